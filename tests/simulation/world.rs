//! What lies between the processes, the people and the mirror: time, wires, chance, the log.
//! Everything that happens later is an event in one queue, in one order.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use callboard::{
    clock::Clock,
    ids::{ConnectionId, NodeId, RoomId, Timestamp, UserId},
    mirror::memory::MemoryMirror,
    protocol::GoodbyeReason,
};
use tokio::sync::{Notify, mpsc};
use uuid::Uuid;

use crate::{
    checks::Truth,
    node::{self, ClientFrame, NodeMessage},
    plan::{Fault, MACHINES, Mishap, Plan},
    random::Random,
    sql::Sql,
};

/// When the simulated time begins.
pub const BEGIN: Timestamp = Timestamp(1_800_000_000_000);

/// Something that happens later.
pub enum Event {
    /// A process hears something.
    ToNode {
        process: usize,
        message: NodeMessage,
    },
    /// A frame arrives at a process.
    Up {
        connection_id: ConnectionId,
        frame: ClientFrame,
    },
    /// A process learns that a connection is gone.
    UpClosed(ConnectionId),
    /// Frames arrive at a person.
    Down {
        connection_id: ConnectionId,
        delivery: Delivery,
    },
    /// A person learns that a connection is gone; `by_node`: closed in order, behind all frames.
    DownClosed {
        connection_id: ConnectionId,
        by_node: bool,
    },
    /// A person does something.
    Timer { person: usize, ticket: u64 },
    /// Something goes wrong.
    Mishap(Mishap),
    /// Something goes wrong on this machine, or is right again.
    Fault(Fault),
    /// A part of the run is over.
    Phase(Phase),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// All faults are over.
    Heal,
    /// Look whether all is well.
    Look,
}

/// What one message of a process to a person holds.
#[derive(Clone, Default)]
pub struct Delivery {
    /// Frames, and whether they were told as durable.
    pub frames: Vec<(bytestring::ByteString, bool)>,
    /// The machine where the room continues.
    pub goodbye: Option<(GoodbyeReason, Option<usize>)>,
}

/// A connection between a person and a process.
pub struct Wire {
    pub person: usize,
    pub process: usize,
    /// Nothing passes any more.
    is_cut: bool,
    person_open: bool,
    node_open: bool,
    up_at: Timestamp,
    down_at: Timestamp,
    /// Holds this seat, since it was told so.
    pub seat: Option<(RoomId, UserId)>,
}

impl Wire {
    /// Whether both ends believe in it and it works.
    pub fn is_whole(&self) -> bool {
        !self.is_cut && self.person_open && self.node_open
    }
}

/// A process on a machine.
pub struct Process {
    pub machine: usize,
    pub node_id: NodeId,
    pub inbox: mpsc::UnboundedSender<NodeMessage>,
    pub gate: Arc<Gate>,
    pub is_alive: bool,
    pub is_draining: bool,
    /// Its machine went with it: connections are not refused but unanswered.
    pub is_silent: bool,
}

/// What is out of order now.
#[derive(Default)]
pub struct Conditions {
    pub cut: [bool; MACHINES],
    pub all_cut: bool,
    pub parted: [[bool; MACHINES]; MACHINES],
    pub delay_ms: u64,
    pub lost_permille: u64,
}

#[derive(Default)]
struct Log {
    text: String,
    hash: u64,
}

/// See the module.
pub struct World {
    pub plan: Plan,
    pub clock: Clock,
    pub memory: MemoryMirror,
    pub pasts: Mutex<crate::mirror::Pasts>,
    random: Mutex<Random>,
    log: Mutex<Log>,
    violation: Mutex<Option<String>>,
    events: Mutex<BTreeMap<(Timestamp, u64), Event>>,
    news: Notify,
    fresh: AtomicU64,
    processes: Mutex<Vec<Process>>,
    conditions: Mutex<Conditions>,
    wires: Mutex<BTreeMap<ConnectionId, Wire>>,
    /// When the last connection of a seat was lost.
    ends: Mutex<BTreeMap<(RoomId, UserId), Timestamp>>,
    sql: Mutex<Sql>,
    truth: Mutex<Truth>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    pub fn new(plan: Plan) -> Arc<Self> {
        let clock = Clock::showing(BEGIN);
        let memory = MemoryMirror::with_clock(clock);
        if plan.is_fence_broken {
            memory.break_fence();
        }
        Arc::new(Self {
            clock,
            memory,
            pasts: Mutex::default(),
            random: Mutex::new(Random::new(plan.seed.wrapping_add(77_777))),
            log: Mutex::default(),
            violation: Mutex::default(),
            events: Mutex::default(),
            news: Notify::new(),
            fresh: AtomicU64::new(1),
            processes: Mutex::default(),
            conditions: Mutex::default(),
            wires: Mutex::default(),
            ends: Mutex::default(),
            sql: Mutex::default(),
            truth: Mutex::new(Truth::new(plan.policy, plan.is_fence_broken)),
            plan,
        })
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub async fn sleep_until(&self, at: Timestamp) {
        tokio::time::sleep(Duration::from_millis(at.ms_since(self.now()))).await;
    }

    pub fn random<T>(&self, draw: impl FnOnce(&mut Random) -> T) -> T {
        draw(&mut lock(&self.random))
    }

    pub fn sql<T>(&self, ask: impl FnOnce(&mut Sql) -> T) -> T {
        ask(&mut lock(&self.sql))
    }

    pub fn conditions<T>(&self, ask: impl FnOnce(&mut Conditions) -> T) -> T {
        ask(&mut lock(&self.conditions))
    }

    pub fn processes<T>(&self, ask: impl FnOnce(&mut Vec<Process>) -> T) -> T {
        ask(&mut lock(&self.processes))
    }

    /// Notes what the truth objects to.
    pub fn truth(&self, tell: impl FnOnce(&mut Truth) -> Result<(), String>) {
        if let Err(violation) = tell(&mut lock(&self.truth)) {
            self.violate(violation);
        }
    }

    pub fn is_excused(&self, room_id: RoomId) -> bool {
        lock(&self.truth).is_excused(room_id)
    }

    pub fn fresh(&self) -> Uuid {
        Uuid::from_u128(u128::from(self.fresh.fetch_add(1, Ordering::Relaxed)))
    }

    /// Adds a line to the log.
    pub fn log(&self, line: fmt::Arguments<'_>) {
        use fmt::Write;
        let at = self.now().ms_since(BEGIN);
        let mut log = lock(&self.log);
        let begin = log.text.len();
        writeln!(log.text, "{at:>6} {line}").unwrap();
        let mut hash = log.hash;
        for byte in &log.text.as_bytes()[begin..] {
            // FNV-1a.
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
        log.hash = hash;
    }

    pub fn log_text(&self) -> String {
        lock(&self.log).text.clone()
    }

    pub fn log_hash(&self) -> u64 {
        lock(&self.log).hash
    }

    /// A promise was broken; the first time counts.
    pub fn violate(&self, what: String) {
        self.log(format_args!("VIOLATION {what}"));
        lock(&self.violation).get_or_insert(what);
    }

    pub fn violation(&self) -> Option<String> {
        lock(&self.violation).clone()
    }

    pub fn after(&self, ms: u64, event: Event) {
        self.at(self.now().plus_ms(ms), event);
    }

    pub fn at(&self, at: Timestamp, event: Event) {
        let number = self.fresh.fetch_add(1, Ordering::Relaxed);
        lock(&self.events).insert((at, number), event);
        self.news.notify_one();
    }

    /// The next event, when it is due.
    pub async fn next_event(&self) -> Event {
        loop {
            let next = lock(&self.events).first_key_value().map(|(key, _)| key.0);
            match next {
                Some(at) if at <= self.now() => {
                    if let Some((_, event)) = lock(&self.events).pop_first() {
                        return event;
                    }
                }
                Some(at) => {
                    tokio::select! { biased;
                        () = self.news.notified() => {}
                        () = self.sleep_until(at) => {}
                    }
                }
                None => self.news.notified().await,
            }
        }
    }

    /// Begins a process on a machine.
    pub fn start_process(self: &Arc<Self>, machine: usize) {
        let (inbox, messages) = mpsc::unbounded_channel();
        let gate = Arc::new(Gate::default());
        let process = self.processes(|processes| {
            processes.push(Process {
                machine,
                node_id: NodeId(Uuid::from_u128(0xC000 + processes.len() as u128)),
                inbox,
                gate: Arc::clone(&gate),
                is_alive: true,
                is_draining: false,
                is_silent: false,
            });
            processes.len() - 1
        });
        self.log(format_args!("n{process} starts on machine {machine}"));
        let life = node::run(Arc::clone(self), process, messages);
        tokio::spawn(Freezable {
            life: Box::pin(life),
            gate,
        });
    }

    /// The living process of a machine.
    pub fn process_of(&self, machine: usize) -> Option<usize> {
        self.processes(|processes| {
            processes
                .iter()
                .position(|process| process.machine == machine && process.is_alive)
        })
    }

    pub fn process_named(&self, node_id: NodeId) -> Option<usize> {
        self.processes(|processes| {
            processes
                .iter()
                .position(|process| process.node_id == node_id)
        })
    }

    /// The machine of the process with this id.
    pub fn machine_named(&self, node_id: NodeId) -> Option<usize> {
        self.process_named(node_id)
            .map(|process| self.machine_of(process))
    }

    pub fn machine_of(&self, process: usize) -> usize {
        self.processes(|processes| processes[process].machine)
    }

    /// The process has ended, for any reason.
    pub fn bury(&self, process: usize, is_silent: bool) {
        self.processes(|processes| {
            processes[process].is_alive = false;
            processes[process].is_silent = is_silent;
            processes[process].gate.kill();
        });
        let lost: Vec<ConnectionId> = lock(&self.wires)
            .iter()
            .filter(|(_, wire)| wire.process == process && wire.person_open)
            .map(|(connection_id, _)| *connection_id)
            .collect();
        for connection_id in lost {
            self.cut(connection_id);
            if !is_silent {
                let ms = self.random(|random| random.between(1, 80));
                self.after(
                    ms,
                    Event::DownClosed {
                        connection_id,
                        by_node: false,
                    },
                );
            }
        }
    }

    pub fn tell(&self, process: usize, message: NodeMessage) {
        self.processes(|processes| {
            let process = &processes[process];
            if process.is_alive {
                // A process that has just ended does not hear.
                let _ = process.inbox.send(message);
            }
        });
    }

    /// A person opens a connection. None if it is refused.
    pub fn connect(&self, person: usize, process: usize) -> Option<ConnectionId> {
        let is_refused = self.processes(|processes| {
            let process = &processes[process];
            !process.is_alive && !process.is_silent
        });
        if is_refused {
            return None;
        }
        let connection_id = ConnectionId(self.fresh());
        let now = self.now();
        let wire = Wire {
            person,
            process,
            is_cut: false,
            person_open: true,
            node_open: true,
            up_at: now,
            down_at: now,
            seat: None,
        };
        lock(&self.wires).insert(connection_id, wire);
        Some(connection_id)
    }

    pub fn wire<T>(
        &self,
        connection_id: ConnectionId,
        ask: impl FnOnce(&mut Wire) -> T,
    ) -> Option<T> {
        lock(&self.wires).get_mut(&connection_id).map(ask)
    }

    /// Whether somebody holds this seat over a whole wire to this process.
    pub fn holds_seat(&self, process: usize, room_id: RoomId, user_id: UserId) -> bool {
        lock(&self.wires).values().any(|wire| {
            wire.process == process && wire.seat == Some((room_id, user_id)) && wire.is_whole()
        })
    }

    /// How long ago the last connection of a seat was lost.
    pub fn seat_lost_ms(&self, room_id: RoomId, user_id: UserId) -> Option<u64> {
        let end = lock(&self.ends).get(&(room_id, user_id)).copied();
        end.map(|end| self.now().ms_since(end))
    }

    fn note_end(&self, seat: Option<(RoomId, UserId)>) {
        if let Some(seat) = seat {
            let now = self.now();
            lock(&self.ends).insert(seat, now);
        }
    }

    pub fn up(&self, connection_id: ConnectionId, frame: ClientFrame) {
        if let Some(at) = self.arrival_up(connection_id) {
            self.at(
                at,
                Event::Up {
                    connection_id,
                    frame,
                },
            );
        }
    }

    fn arrival_up(&self, connection_id: ConnectionId) -> Option<Timestamp> {
        let now = self.now();
        let latency = self.random(|random| random.between(1, 40));
        self.wire(connection_id, |wire| {
            wire.up_at = wire.up_at.max(now.plus_ms(latency));
            (wire.person_open && !wire.is_cut).then_some(wire.up_at)
        })?
    }

    pub fn down(&self, connection_id: ConnectionId, delivery: Delivery) {
        if let Some(at) = self.arrival_down(connection_id) {
            self.at(
                at,
                Event::Down {
                    connection_id,
                    delivery,
                },
            );
        }
    }

    fn arrival_down(&self, connection_id: ConnectionId) -> Option<Timestamp> {
        let now = self.now();
        let latency = self.random(|random| random.between(1, 40));
        self.wire(connection_id, |wire| {
            wire.down_at = wire.down_at.max(now.plus_ms(latency));
            (wire.node_open && !wire.is_cut).then_some(wire.down_at)
        })?
    }

    pub fn person_closes(&self, connection_id: ConnectionId) {
        let at = self.arrival_up(connection_id);
        let seat = self
            .wire(connection_id, |wire| {
                (std::mem::take(&mut wire.person_open) && !wire.is_cut)
                    .then_some(wire.seat)
                    .flatten()
            })
            .flatten();
        self.note_end(seat);
        if let Some(at) = at {
            self.at(at, Event::UpClosed(connection_id));
        }
    }

    pub fn node_closes(&self, connection_id: ConnectionId) {
        let at = self.arrival_down(connection_id);
        let seat = self
            .wire(connection_id, |wire| {
                (std::mem::take(&mut wire.node_open) && !wire.is_cut)
                    .then_some(wire.seat)
                    .flatten()
            })
            .flatten();
        self.note_end(seat);
        if let Some(at) = at {
            self.at(
                at,
                Event::DownClosed {
                    connection_id,
                    by_node: true,
                },
            );
        }
    }

    fn cut(&self, connection_id: ConnectionId) {
        let seat = self
            .wire(connection_id, |wire| {
                (!std::mem::replace(&mut wire.is_cut, true))
                    .then_some(wire.seat)
                    .flatten()
            })
            .flatten();
        self.note_end(seat);
    }

    /// Connections break; what is on its way is lost, and each end notices when it does.
    pub fn break_connections(&self, permille: u64) {
        let open: Vec<ConnectionId> = lock(&self.wires)
            .iter()
            .filter(|(_, wire)| wire.is_whole())
            .map(|(connection_id, _)| *connection_id)
            .collect();
        for connection_id in open {
            if !self.random(|random| random.permille(permille)) {
                continue;
            }
            self.cut(connection_id);
            let (node_ms, person_ms) =
                self.random(|random| (random.between(1, 4_000), random.between(1, 2_000)));
            self.after(node_ms, Event::UpClosed(connection_id));
            self.after(
                person_ms,
                Event::DownClosed {
                    connection_id,
                    by_node: false,
                },
            );
        }
    }

    /// What arrives at a process, if it still does.
    pub fn arrive(&self, connection_id: ConnectionId, frame: ClientFrame) {
        let process = self.wire(connection_id, |wire| {
            (wire.node_open && !wire.is_cut).then_some(wire.process)
        });
        if let Some(Some(process)) = process {
            self.tell(
                process,
                NodeMessage::Frame {
                    connection_id,
                    frame,
                },
            );
        }
    }

    pub fn arrive_closed(&self, connection_id: ConnectionId) {
        let process = self.wire(connection_id, |wire| {
            std::mem::take(&mut wire.node_open).then_some(wire.process)
        });
        if let Some(Some(process)) = process {
            self.tell(process, NodeMessage::Closed { connection_id });
        }
    }

    /// Who is to receive frames, if they still arrive.
    pub fn reaches(&self, connection_id: ConnectionId) -> Option<usize> {
        self.wire(connection_id, |wire| {
            (wire.person_open && !wire.is_cut).then_some(wire.person)
        })?
    }

    /// Who learns of the end of a connection.
    pub fn reaches_end(&self, connection_id: ConnectionId, by_node: bool) -> Option<usize> {
        let person = self.wire(connection_id, |wire| {
            let is_heard = wire.person_open && (!wire.is_cut || !by_node);
            if is_heard {
                wire.person_open = false;
            }
            is_heard.then_some(wire.person)
        });
        person?
    }
}

/// Whether a process runs.
#[derive(Default)]
pub struct Gate(Mutex<GateState>);

#[derive(Default)]
struct GateState {
    is_frozen: bool,
    is_killed: bool,
    waker: Option<Waker>,
}

impl Gate {
    pub fn freeze(&self) {
        lock(&self.0).is_frozen = true;
    }

    pub fn thaw(&self) {
        let mut state = lock(&self.0);
        state.is_frozen = false;
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    fn kill(&self) {
        let mut state = lock(&self.0);
        state.is_killed = true;
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    pub fn is_frozen(&self) -> bool {
        lock(&self.0).is_frozen
    }
}

/// A process: not polled while it is frozen; dropped when it is killed.
struct Freezable {
    life: Pin<Box<dyn Future<Output = ()> + Send>>,
    gate: Arc<Gate>,
}

impl Future for Freezable {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        {
            let mut state = lock(&self.gate.0);
            if state.is_killed {
                return Poll::Ready(());
            }
            state.waker = Some(context.waker().clone());
            if state.is_frozen {
                return Poll::Pending;
            }
        }
        self.life.as_mut().poll(context)
    }
}
