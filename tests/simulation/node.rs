//! One process: another shell over the same room, owner, lease and claims as the server's actors.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use callboard::{
    claims::{Claimant, LeaseHandle, NodeLiveness, StartError, Started},
    cluster::{Identity, Neighbour, Registry},
    ids::{ConnectionId, NodeId, RoomId, Seq, SessionId, StayId, Timestamp, UserId},
    lease::{ExpiryCause, Lease, MirrorAnswer},
    mirror::{CommitOutcome, MirrorFault, NodeRecord, Ownership, RoomMirror},
    owner::Recovery,
    protocol::{Code, Command, GoodbyeReason, Kind, Rejection, encode_error},
    room::{
        input::{IssuedToken, Join, Resume},
        record::Snapshot,
    },
};
use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::sync::{mpsc, oneshot};

use crate::{
    hosted::Hosted,
    mirror::{SimMirror, short},
    notes::Notes,
    peers::SimCalls,
    plan::DEADLINES,
    sql::{SimHistory, TENANT},
    world::{Delivery, World},
};

/// How often the lease sees that the process runs, and the node asks why its lease expired.
const PULSE_MS: u64 = 100;
const REFRESH_MS: u64 = 250;
/// All processes share one.
const DATABASE: &str = "one";
const ORPHANS_MS: u64 = 3_000;
const TRY_AGAIN: Duration = Duration::from_millis(50);
const JOIN_PATIENCE_MS: u64 = 10_000;
const DRAIN_PATIENCE_MS: u64 = 8_000;

/// What a person asks.
pub enum ClientFrame {
    Join {
        room_id: RoomId,
        user_id: UserId,
        kind: Kind,
        id: u64,
        resume: Option<(String, u64)>,
    },
    Command {
        id: u64,
        command: Command,
    },
    KeepAlive,
}

/// What a process hears.
pub enum NodeMessage {
    Frame {
        connection_id: ConnectionId,
        frame: ClientFrame,
    },
    Closed {
        connection_id: ConnectionId,
    },
    /// Whether it has the mirror.
    AskMirror {
        reply: oneshot::Sender<Option<u64>>,
    },
    /// Another process is there.
    Introduce {
        neighbour: Neighbour,
        reply: oneshot::Sender<()>,
    },
    /// Take over a room that its owner hands off.
    Take {
        room_id: RoomId,
        former: Ownership,
        reply: oneshot::Sender<bool>,
    },
    /// Its own search for orphans found one.
    TakeOver {
        room_id: RoomId,
        reply: oneshot::Sender<bool>,
    },
    Drain,
    /// For the checks.
    Describe {
        reply: oneshot::Sender<Vec<Described>>,
    },
}

/// A hosted room as the checks see it.
pub struct Described {
    pub room_id: RoomId,
    pub snapshot: Snapshot,
    pub is_degraded: bool,
    pub is_settled: bool,
}

/// What has ended of what the process had begun.
pub enum Done {
    Started {
        room_id: RoomId,
        right: Right,
        result: Box<Result<Started, StartError>>,
    },
    Committed {
        room_id: RoomId,
        number: u64,
        to: callboard::ids::Version,
        outcome: CommitOutcome,
    },
    Recovered {
        room_id: RoomId,
        number: u64,
        to: callboard::ids::Version,
        outcome: CommitOutcome,
        recovery: Recovery,
    },
    HandedOff {
        room_id: RoomId,
        number: u64,
        successor: Option<NodeId>,
    },
    Beat {
        sent_at: Timestamp,
        written: Result<String, MirrorFault>,
    },
    Refreshed,
    Introduced,
    Diagnosed(Vec<MirrorAnswer>),
    Searched,
    Noted,
    TryAgain(Box<Attempt>),
    Left,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Right {
    Join,
    Takeover,
    HandOff(Ownership),
}

/// A join that is on its way to a room.
pub struct Attempt {
    pub connection_id: ConnectionId,
    pub room_id: RoomId,
    pub join: Box<Join>,
    until: Timestamp,
}

enum Waiter {
    Join(Box<Attempt>),
    Other(Right, oneshot::Sender<bool>),
}

enum Stage {
    Fresh,
    Joining(Vec<ClientFrame>),
    InRoom(RoomId),
}

/// See the module.
pub struct Node {
    pub world: Arc<World>,
    pub process: usize,
    pub node_id: NodeId,
    pub claimant: Arc<Claimant>,
    pub mirror: Arc<dyn RoomMirror>,
    pub registry: Arc<Registry>,
    pub calls: SimCalls,
    pub work: FuturesUnordered<BoxFuture<'static, Done>>,
    pub notes: Notes,
    rooms: BTreeMap<RoomId, Hosted>,
    starting: BTreeMap<RoomId, Vec<Waiter>>,
    stages: BTreeMap<ConnectionId, Stage>,
    record: NodeRecord,
    numbers: u64,
    pulse_at: Timestamp,
    beat_at: Option<Timestamp>,
    refresh_at: Option<Timestamp>,
    introduce_at: Option<Timestamp>,
    orphans_at: Option<Timestamp>,
    diagnose_at: Option<Timestamp>,
    generation: Option<String>,
    /// Until when the rooms must have been handed over.
    drains_until: Option<Timestamp>,
    is_leaving: bool,
    has_left: bool,
}

/// Lives until it is killed or has left.
pub async fn run(
    world: Arc<World>,
    process: usize,
    mut inbox: mpsc::UnboundedReceiver<NodeMessage>,
) {
    let mut node = Node::new(Arc::clone(&world), process);
    while !node.has_left {
        let wake = node.wake_at();
        // What is first after a pause is anybody's guess.
        match world.random(|random| random.below(3)) {
            0 => tokio::select! { biased;
                Some(message) = inbox.recv() => node.hear(message),
                Some(done) = node.work.next(), if !node.work.is_empty() => node.end(done),
                () = world.sleep_until(wake) => node.tick(),
            },
            1 => tokio::select! { biased;
                Some(done) = node.work.next(), if !node.work.is_empty() => node.end(done),
                () = world.sleep_until(wake) => node.tick(),
                Some(message) = inbox.recv() => node.hear(message),
            },
            _ => tokio::select! { biased;
                () = world.sleep_until(wake) => node.tick(),
                Some(message) = inbox.recv() => node.hear(message),
                Some(done) = node.work.next(), if !node.work.is_empty() => node.end(done),
            },
        }
    }
    world.log(format_args!("n{process} has left"));
    world.bury(process, false);
}

impl Node {
    fn new(world: Arc<World>, process: usize) -> Self {
        let node_id = world.processes(|processes| processes[process].node_id);
        let now = world.now();
        let mirror: Arc<dyn RoomMirror> = Arc::new(SimMirror::new(Arc::clone(&world), process));
        let lease = LeaseHandle::leased(Lease::new(DEADLINES, world.plan.policy, now));
        let calls = SimCalls {
            world: Arc::clone(&world),
            process,
        };
        let url = format!("http://machine{}/", world.machine_of(process));
        let identity = Identity {
            node_id,
            url: url.parse().unwrap(),
            database_id: DATABASE.to_owned(),
        };
        let registry = Arc::new(Registry::new(
            Arc::clone(&mirror),
            identity,
            world.clock,
            lease.clone(),
            Arc::new(calls.clone()),
            DEADLINES,
        ));
        let claimant = Claimant::new(
            node_id,
            world.clock,
            Arc::clone(&mirror),
            Arc::new(SimHistory(Arc::clone(&world))),
            Arc::clone(&registry) as Arc<dyn NodeLiveness>,
            lease,
            Arc::clone(&world.plan.rules),
        );
        Self {
            node_id,
            claimant: Arc::new(claimant),
            registry,
            calls,
            work: FuturesUnordered::new(),
            notes: Notes::new(Arc::clone(&world), Arc::clone(&mirror), now),
            mirror,
            rooms: BTreeMap::new(),
            starting: BTreeMap::new(),
            stages: BTreeMap::new(),
            record: NodeRecord {
                node_id,
                url,
                region: "local".to_owned(),
                version: "1".to_owned(),
                database_id: DATABASE.to_owned(),
                rooms: 0,
                connections: 0,
                state: "ready".to_owned(),
                heartbeat: 0,
                seen_at: now,
            },
            numbers: 0,
            pulse_at: now,
            beat_at: Some(now),
            refresh_at: Some(now),
            introduce_at: Some(now),
            orphans_at: Some(now.plus_ms(100)),
            diagnose_at: Some(now),
            generation: None,
            drains_until: None,
            is_leaving: false,
            has_left: false,
            world,
            process,
        }
    }

    fn wake_at(&self) -> Timestamp {
        let rooms = self.rooms.values().map(|room| room.wake_at);
        rooms.chain([self.pulse_at]).min().unwrap_or(self.pulse_at)
    }

    fn is_draining(&self) -> bool {
        self.drains_until.is_some()
    }

    fn tick(&mut self) {
        let now = self.world.now();
        if self.pulse_at <= now {
            self.pulse_at = now.plus_ms(PULSE_MS);
            if let Some(mut lease) = self.claimant.lease.lock() {
                lease.observe(now);
            }
            self.keep_up(now);
            self.ask_why_expired(now);
        }
        let due: Vec<RoomId> = self
            .rooms
            .iter()
            .filter(|(_, room)| room.wake_at <= now)
            .map(|(room_id, _)| *room_id)
            .collect();
        for room_id in due {
            self.with_room(room_id, None, Hosted::tick);
        }
        if let Some(until) = self.drains_until {
            self.drain_on(now, until);
        }
    }

    /// Heartbeat, registry, orphans, notes: one of each at a time.
    fn keep_up(&mut self, now: Timestamp) {
        if self.beat_at.is_some_and(|at| at <= now) {
            self.beat_at = None;
            self.record.heartbeat += 1;
            self.record.seen_at = now;
            self.record.rooms = self.rooms.len() as u64;
            let (mirror, record) = (Arc::clone(&self.mirror), self.record.clone());
            self.work.push(Box::pin(async move {
                Done::Beat {
                    sent_at: now,
                    written: mirror.heartbeat(&record).await,
                }
            }));
        }
        if self.refresh_at.is_some_and(|at| at <= now) {
            self.refresh_at = None;
            let registry = Arc::clone(&self.registry);
            self.work.push(Box::pin(async move {
                // The heartbeat tells of a mirror that is away.
                let _ = registry.refresh().await;
                Done::Refreshed
            }));
        }
        if self.introduce_at.is_some_and(|at| at <= now) {
            self.introduce_at = None;
            let registry = Arc::clone(&self.registry);
            self.work.push(Box::pin(async move {
                registry.introduce().await;
                Done::Introduced
            }));
        }
        if self.orphans_at.is_some_and(|at| at <= now) && !self.is_draining() {
            self.orphans_at = None;
            self.search_orphans();
        }
        let sessions: Vec<SessionId> = self.rooms.values().filter_map(Hosted::session).collect();
        if let Some(work) = self.notes.work(now, sessions) {
            self.work.push(work);
        }
    }

    fn ask_why_expired(&mut self, now: Timestamp) {
        let has_ended = self
            .claimant
            .lease
            .lock()
            .is_some_and(|lease| lease.generation().is_some() && lease.has_ended(now));
        if has_ended && self.diagnose_at.is_some_and(|at| at <= now) {
            self.diagnose_at = None;
            let registry = Arc::clone(&self.registry);
            self.work.push(Box::pin(async move {
                Done::Diagnosed(registry.ask_for_mirror().await)
            }));
        }
    }

    fn search_orphans(&mut self) {
        let (mirror, liveness, own) = (
            Arc::clone(&self.mirror),
            Arc::clone(&self.registry),
            self.node_id,
        );
        let inbox = self
            .world
            .processes(|processes| processes[self.process].inbox.clone());
        self.work.push(Box::pin(async move {
            // The next search finds what this one could not.
            let _ = take_over_orphans(mirror, liveness, own, inbox).await;
            Done::Searched
        }));
    }

    fn hear(&mut self, message: NodeMessage) {
        match message {
            NodeMessage::Frame {
                connection_id,
                frame,
            } => self.hear_frame(connection_id, frame),
            NodeMessage::Closed { connection_id } => {
                if let Some(Stage::InRoom(room_id)) = self.stages.remove(&connection_id) {
                    self.with_room(room_id, None, |room, node| {
                        room.connection_lost(node, connection_id);
                    });
                }
            }
            NodeMessage::AskMirror { reply } => {
                let now = self.world.now();
                let lease = self.claimant.lease.lock();
                // Who asked may have given up.
                let _ = reply.send(lease.and_then(|lease| lease.has_mirror_for(now)));
            }
            NodeMessage::Introduce { neighbour, reply } => {
                self.registry.introduced(neighbour);
                // Who told it may have given up.
                let _ = reply.send(());
            }
            NodeMessage::Take {
                room_id,
                former,
                reply,
            } => self.find(room_id, Waiter::Other(Right::HandOff(former), reply)),
            NodeMessage::TakeOver { room_id, reply } => {
                self.find(room_id, Waiter::Other(Right::Takeover, reply));
            }
            NodeMessage::Drain => self.drain(),
            NodeMessage::Describe { reply } => {
                let rooms = self.rooms.iter().map(|(id, room)| room.describe(*id));
                let _ = reply.send(rooms.collect());
            }
        }
    }

    fn hear_frame(&mut self, connection_id: ConnectionId, frame: ClientFrame) {
        let stage = self.stages.entry(connection_id).or_insert(Stage::Fresh);
        match (stage, frame) {
            (Stage::Joining(waiting), frame) => waiting.push(frame),
            (
                Stage::Fresh,
                ClientFrame::Join {
                    room_id,
                    user_id,
                    kind,
                    id,
                    resume,
                },
            ) => {
                self.stages
                    .insert(connection_id, Stage::Joining(Vec::new()));
                let join = self.join(connection_id, user_id, kind, id, resume);
                let attempt = Attempt {
                    connection_id,
                    room_id,
                    join: Box::new(join),
                    until: self.world.now().plus_ms(JOIN_PATIENCE_MS),
                };
                self.find(room_id, Waiter::Join(Box::new(attempt)));
            }
            (Stage::InRoom(room_id), frame) => {
                let room_id = *room_id;
                self.with_room(room_id, None, |room, node| {
                    room.hear(node, connection_id, frame);
                });
            }
            (Stage::Fresh, ClientFrame::Command { .. } | ClientFrame::KeepAlive) => {}
        }
    }

    fn join(
        &self,
        connection_id: ConnectionId,
        user_id: UserId,
        kind: Kind,
        id: u64,
        resume: Option<(String, u64)>,
    ) -> Join {
        Join {
            connection_id,
            id,
            user_id,
            display_name: "somebody".to_owned(),
            kind,
            is_expired: false,
            region: None,
            resume: resume.map(|(token, seq)| Resume {
                token: issued(token),
                last_seq: Seq(seq),
            }),
            stay_id: StayId(self.world.fresh()),
            session_id: SessionId(self.world.fresh()),
            resume_token: issued(format!("t{}", self.world.fresh().as_u128())),
        }
    }

    /// Brings somebody to a room, which is started first if it must be.
    fn find(&mut self, room_id: RoomId, waiter: Waiter) {
        if self.rooms.contains_key(&room_id) {
            return self.answer(room_id, waiter, Ok(()));
        }
        if self.is_draining() {
            return self.answer(room_id, waiter, Err(StartError::Unavailable));
        }
        if let Some(waiting) = self.starting.get_mut(&room_id) {
            waiting.push(waiter);
            return;
        }
        let right = match &waiter {
            Waiter::Join(_) => Right::Join,
            Waiter::Other(right, _) => *right,
        };
        self.starting.insert(room_id, vec![waiter]);
        self.start(room_id, right);
    }

    fn start(&mut self, room_id: RoomId, right: Right) {
        let claimant = Arc::clone(&self.claimant);
        self.work.push(Box::pin(async move {
            let result = match right {
                Right::Join => claimant.start(room_id, Some(TENANT)).await,
                Right::Takeover => claimant.start(room_id, None).await,
                Right::HandOff(former) => claimant.take_from(room_id, former).await,
            };
            Done::Started {
                room_id,
                right,
                result: Box::new(result),
            }
        }));
    }

    fn started(&mut self, room_id: RoomId, right: Right, result: Result<Started, StartError>) {
        let Some(mut waiting) = self.starting.remove(&room_id) else {
            return;
        };
        let result = match result {
            Ok(_) if self.is_draining() => Err(StartError::Unavailable),
            Ok(started) => {
                self.numbers += 1;
                let mut room = Hosted::new(self, started, self.numbers);
                room.begin(self);
                self.keep(room_id, room);
                Ok(())
            }
            Err(error) => {
                self.world.log(format_args!(
                    "n{} does not start {}: {error:?}",
                    self.process,
                    short(room_id)
                ));
                // A caller with another right may succeed.
                let others = waiting.iter().position(|waiter| {
                    matches!(waiter, Waiter::Join(_)) && right == Right::Takeover
                        || matches!(waiter, Waiter::Other(other @ Right::HandOff(_), _) if *other != right)
                });
                if let Some(index) = others {
                    let next = match &waiting[index] {
                        Waiter::Join(_) => Right::Join,
                        Waiter::Other(right, _) => *right,
                    };
                    let (again, told): (Vec<Waiter>, Vec<Waiter>) =
                        waiting.drain(..).partition(|waiter| match waiter {
                            Waiter::Join(_) => next == Right::Join,
                            Waiter::Other(right, _) => *right == next,
                        });
                    self.starting.insert(room_id, again);
                    self.start(room_id, next);
                    waiting = told;
                }
                Err(error)
            }
        };
        for waiter in waiting {
            self.answer(room_id, waiter, result);
        }
    }

    fn answer(&mut self, room_id: RoomId, waiter: Waiter, found: Result<(), StartError>) {
        match waiter {
            Waiter::Other(_, reply) => {
                // Who asked may have given up.
                let _ = reply.send(!matches!(found, Err(StartError::Unavailable)));
            }
            Waiter::Join(attempt) => match found {
                Ok(()) => self.enter(attempt),
                Err(StartError::Elsewhere(owner)) => {
                    let process = self.world.process_named(owner);
                    let machine = process.map(|process| self.world.machine_of(process));
                    self.dismiss(
                        attempt.connection_id,
                        Vec::new(),
                        GoodbyeReason::Moved,
                        machine,
                    );
                }
                Err(
                    StartError::RoomNotFound | StartError::ForeignTenant | StartError::Unavailable,
                ) => self.refuse(room_id, &attempt),
            },
        }
    }

    fn refuse(&mut self, _: RoomId, attempt: &Attempt) {
        let rejection = Rejection::new(Code::Unavailable, "the room is not available now");
        let frame = encode_error(Some(attempt.join.id), &rejection);
        let reason = GoodbyeReason::Unavailable;
        self.dismiss(attempt.connection_id, vec![(frame, false)], reason, None);
    }

    /// The last word to a connection.
    pub fn dismiss(
        &mut self,
        connection_id: ConnectionId,
        frames: Vec<(bytestring::ByteString, bool)>,
        reason: GoodbyeReason,
        machine: Option<usize>,
    ) {
        self.stages.remove(&connection_id);
        let delivery = Delivery {
            frames,
            goodbye: Some((reason, machine)),
        };
        self.world.down(connection_id, delivery);
        self.world.node_closes(connection_id);
    }

    /// Closes a connection without a word.
    pub fn hang_up(&mut self, connection_id: ConnectionId) {
        self.stages.remove(&connection_id);
        self.world.node_closes(connection_id);
    }

    fn enter(&mut self, attempt: Box<Attempt>) {
        let connection_id = attempt.connection_id;
        if !matches!(self.stages.get(&connection_id), Some(Stage::Joining(_))) {
            return;
        }
        let room_id = attempt.room_id;
        let is_open = self.rooms.get(&room_id).map(|room| !room.is_closing());
        if self.world.now() >= attempt.until {
            return self.refuse(room_id, &attempt);
        }
        if is_open != Some(true) {
            self.work.push(Box::pin(async move {
                tokio::time::sleep(TRY_AGAIN).await;
                Done::TryAgain(attempt)
            }));
            return;
        }
        let stage = self.stages.insert(connection_id, Stage::InRoom(room_id));
        let join = attempt.join;
        self.with_room(room_id, None, |room, node| room.join(node, join));
        if let Some(Stage::Joining(waiting)) = stage {
            for frame in waiting {
                self.with_room(room_id, None, |room, node| {
                    room.hear(node, connection_id, frame);
                });
            }
        }
    }

    /// Lets a hosted room do something; of this number, if one is given.
    fn with_room(
        &mut self,
        room_id: RoomId,
        number: Option<u64>,
        act: impl FnOnce(&mut Hosted, &mut Self),
    ) {
        let is_meant = self
            .rooms
            .get(&room_id)
            .is_some_and(|room| number.is_none_or(|number| room.number == number));
        if is_meant && let Some(mut room) = self.rooms.remove(&room_id) {
            act(&mut room, self);
            self.keep(room_id, room);
        }
    }

    fn keep(&mut self, room_id: RoomId, room: Hosted) {
        if !room.has_ended() {
            self.rooms.insert(room_id, room);
        }
    }

    fn end(&mut self, done: Done) {
        let now = self.world.now();
        match done {
            Done::Started {
                room_id,
                right,
                result,
            } => self.started(room_id, right, *result),
            Done::Committed {
                room_id,
                number,
                to,
                outcome,
            } => self.with_room(room_id, Some(number), |room, node| {
                room.committed(node, to, outcome);
            }),
            Done::Recovered {
                room_id,
                number,
                to,
                outcome,
                recovery,
            } => self.with_room(room_id, Some(number), |room, node| {
                room.recovered(node, to, outcome, recovery);
            }),
            Done::HandedOff {
                room_id,
                number,
                successor,
            } => self.with_room(room_id, Some(number), |room, node| {
                room.handed_off(node, successor);
            }),
            Done::Beat { sent_at, written } => {
                self.beat_at = Some(sent_at.plus_ms(DEADLINES.heartbeat_ms).max(now));
                self.beat(sent_at, written);
            }
            Done::Refreshed => self.refresh_at = Some(now.plus_ms(REFRESH_MS)),
            Done::Introduced => self.introduce_at = Some(now.plus_ms(DEADLINES.heartbeat_ms)),
            Done::Diagnosed(answers) => {
                self.diagnose_at = Some(now.plus_ms(DEADLINES.heartbeat_ms));
                self.diagnosed(now, &answers);
            }
            Done::Searched => self.orphans_at = Some(now.plus_ms(ORPHANS_MS)),
            Done::Noted => self.notes.done(now),
            Done::TryAgain(attempt) => self.find(attempt.room_id, Waiter::Join(attempt)),
            Done::Left => self.has_left = true,
        }
    }

    fn beat(&mut self, sent_at: Timestamp, written: Result<String, MirrorFault>) {
        let now = self.world.now();
        let had_ended = match (&written, self.claimant.lease.lock()) {
            (Ok(generation), Some(mut lease)) => lease.renew(sent_at, now, generation).had_ended,
            (Err(_), Some(mut lease)) => {
                lease.miss();
                false
            }
            (_, None) => false,
        };
        let is_new = match written {
            Ok(current) => self
                .generation
                .replace(current.clone())
                .is_some_and(|known| known != current),
            Err(_) => false,
        };
        if had_ended {
            self.world
                .log(format_args!("n{} has its lease again", self.process));
        }
        if had_ended || is_new {
            for room_id in self.room_ids() {
                self.with_room(room_id, None, Hosted::verify);
            }
        }
    }

    fn diagnosed(&mut self, now: Timestamp, answers: &[MirrorAnswer]) {
        let cause = self
            .claimant
            .lease
            .lock()
            .filter(|lease| lease.has_ended(now))
            .map(|mut lease| lease.diagnose(now, answers));
        let Some(cause) = cause else { return };
        self.world.log(format_args!(
            "n{} finds {cause:?} from {answers:?}",
            self.process
        ));
        if cause != ExpiryCause::Unknown {
            for room_id in self.room_ids() {
                self.with_room(room_id, None, Hosted::check_lease);
            }
        }
    }

    fn room_ids(&self) -> BTreeSet<RoomId> {
        self.rooms.keys().copied().collect()
    }

    fn drain(&mut self) {
        if self.is_draining() {
            return;
        }
        self.world.log(format_args!("n{} drains", self.process));
        self.record.state = "draining".to_owned();
        self.drains_until = Some(self.world.now().plus_ms(DRAIN_PATIENCE_MS));
        for room_id in self.room_ids() {
            self.with_room(room_id, None, Hosted::hand_off);
        }
    }

    fn drain_on(&mut self, now: Timestamp, until: Timestamp) {
        if self.is_leaving || !(self.rooms.is_empty() || now >= until) {
            return;
        }
        self.is_leaving = true;
        for room_id in self.room_ids() {
            self.with_room(room_id, None, Hosted::stop);
        }
        let (mirror, own) = (Arc::clone(&self.mirror), self.node_id);
        self.work.push(Box::pin(async move {
            if mirror.rooms_of(own).await.is_ok_and(|left| left.is_empty()) {
                // The others find out.
                let _ = mirror.forget_node(own).await;
            }
            Done::Left
        }));
    }
}

/// As in `node/orphans.rs`.
async fn take_over_orphans(
    mirror: Arc<dyn RoomMirror>,
    liveness: Arc<Registry>,
    own: NodeId,
    inbox: mpsc::UnboundedSender<NodeMessage>,
) -> Result<(), MirrorFault> {
    for node in mirror.nodes().await? {
        // Its own are those that it has given up, or whose claim's answer was lost; nobody else
        // takes them while it lives.
        let is_own = node.node_id == own;
        if !is_own {
            let former = liveness.liveness_of(node.node_id).await?;
            if !former.is_gone && !former.has_expired {
                continue;
            }
        }
        let mut is_complete = true;
        for room_id in mirror.rooms_of(node.node_id).await? {
            let (reply, taken) = oneshot::channel();
            // The process hears itself as long as it lives.
            let _ = inbox.send(NodeMessage::TakeOver { room_id, reply });
            is_complete &= taken.await.unwrap_or(false);
        }
        if is_complete && !is_own {
            mirror.forget_node(node.node_id).await?;
        }
    }
    Ok(())
}

fn issued(text: String) -> IssuedToken {
    IssuedToken {
        hash: format!("#{text}"),
        text,
    }
}
