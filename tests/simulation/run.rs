//! One run of a plan: trouble, healing, a check of the rest, the end, and a check of SQL.

use std::{collections::BTreeMap, fmt::Write, sync::Arc};

use callboard::{ids::UserId, mirror::RoomMirror, protocol::EndReason};
use serde_json::Value;
use tokio::sync::oneshot;

use crate::{
    node::{Described, NodeMessage},
    person::{Mood, Person, Stage},
    plan::{Fault, MACHINES, Mishap, Plan},
    view::text,
    world::{BEGIN, Event, Phase, World},
};

/// How soon after the last fault everything must be well.
const HEALED_MS: u64 = 60_000;
/// How soon after the last person has left every session must be closed.
const CLOSED_MS: u64 = 60_000;
/// The same when a session was lost: nobody may say so before it was silent for three minutes.
const LOST_MS: u64 = 300_000;
const LOOK_MS: u64 = 500;

/// What came of a run.
pub struct Outcome {
    pub violation: Option<String>,
    pub log: String,
    pub hash: u64,
    pub virtual_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Trouble,
    Healing { until: u64 },
    Leaving { until: u64 },
}

struct Run {
    world: Arc<World>,
    people: Vec<Person>,
    part: Part,
}

/// Runs a plan to its end, or to the first broken promise.
pub fn run(plan: Plan) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async move {
        let world = World::new(plan);
        let mut run = Run::new(Arc::clone(&world));
        while world.violation().is_none() && !run.step().await {}
        Outcome {
            violation: world.violation(),
            log: world.log_text(),
            hash: world.log_hash(),
            virtual_ms: world.now().ms_since(BEGIN),
        }
    })
}

impl Run {
    fn new(world: Arc<World>) -> Self {
        for machine in 0..MACHINES {
            world.start_process(machine);
        }
        for room in &world.plan.rooms {
            let people = room.settings.max_participants as usize;
            world.truth(|truth| {
                truth.limit(room.room_id, people);
                Ok(())
            });
        }
        for (at, mishap) in &world.plan.faults {
            world.at(BEGIN.plus_ms(*at), Event::Mishap(mishap.clone()));
        }
        world.at(
            BEGIN.plus_ms(world.plan.duration_ms),
            Event::Phase(Phase::Heal),
        );
        let seats = &world.plan.people;
        let people = seats
            .iter()
            .enumerate()
            .map(|(index, (user_id, room))| {
                let inside = seats.iter().filter(|(_, other)| other == room);
                let others: Vec<UserId> = inside.map(|(user_id, _)| *user_id).collect();
                let room_id = world.plan.rooms[*room].room_id;
                Person::new(Arc::clone(&world), index, *user_id, room_id, others)
            })
            .collect();
        Self {
            world,
            people,
            part: Part::Trouble,
        }
    }

    /// Whether the run is over.
    async fn step(&mut self) -> bool {
        match self.world.next_event().await {
            Event::ToNode { process, message } => self.world.tell(process, message),
            Event::Up {
                connection_id,
                frame,
            } => self.world.arrive(connection_id, frame),
            Event::UpClosed(connection_id) => self.world.arrive_closed(connection_id),
            Event::Down {
                connection_id,
                delivery,
            } => {
                if let Some(person) = self.world.reaches(connection_id) {
                    self.people[person].receive(connection_id, delivery);
                }
            }
            Event::DownClosed {
                connection_id,
                by_node,
            } => {
                if let Some(person) = self.world.reaches_end(connection_id, by_node) {
                    self.people[person].disconnected(connection_id);
                }
            }
            Event::Timer { person, ticket } => self.people[person].timer(ticket),
            // Faults end with the trouble.
            Event::Fault(fault) if self.part == Part::Trouble => self.suffer(&fault),
            Event::Mishap(mishap) if self.part == Part::Trouble => self.meet(mishap).await,
            Event::Fault(_) | Event::Mishap(_) => {}
            Event::Phase(Phase::Heal) => self.heal(),
            Event::Phase(Phase::Look) => return self.look().await,
        }
        false
    }

    async fn meet(&self, mishap: Mishap) {
        let Mishap {
            mut fault,
            owner_of,
            mut end,
        } = mishap;
        if let Some(room) = owner_of
            && let Some(machine) = self.owner_of(room).await
        {
            fault = fault.on(machine);
            end = end.map(|(ms, end)| (ms, end.on(machine)));
        }
        self.suffer(&fault);
        if let Some((ms, end)) = end {
            self.world.after(ms, Event::Fault(end));
        }
    }

    async fn owner_of(&self, room: usize) -> Option<usize> {
        let room_id = self.world.plan.rooms[room].room_id;
        let stored = self.world.memory.ownership(room_id).await.ok()??;
        let process = self.world.process_named(stored.owner?)?;
        Some(self.world.machine_of(process))
    }

    fn suffer(&self, fault: &Fault) {
        let world = &self.world;
        world.log(format_args!("FAULT {fault:?}"));
        match *fault {
            Fault::Kill { machine, is_silent } => {
                if let Some(process) = world.process_of(machine) {
                    world.bury(process, is_silent);
                }
            }
            Fault::Restart { machine } => self.restart(machine),
            Fault::Freeze { machine } => self.gate(machine, true),
            Fault::Thaw { machine } => self.gate(machine, false),
            Fault::Drain { machine } => {
                if let Some(process) = world.process_of(machine) {
                    world.processes(|processes| processes[process].is_draining = true);
                    world.tell(process, NodeMessage::Drain);
                }
            }
            Fault::Cut { machine } => world.conditions(|now| now.cut[machine] = true),
            Fault::Mend { machine } => world.conditions(|now| now.cut[machine] = false),
            Fault::CutAll => world.conditions(|now| now.all_cut = true),
            Fault::MendAll => world.conditions(|now| now.all_cut = false),
            Fault::Part { one, other } => self.part(one, other, true),
            Fault::Join { one, other } => self.part(one, other, false),
            Fault::Slow {
                delay_ms,
                lost_permille,
            } => world
                .conditions(|now| (now.delay_ms, now.lost_permille) = (delay_ms, lost_permille)),
            Fault::Fast => world.conditions(|now| (now.delay_ms, now.lost_permille) = (0, 0)),
            Fault::LoseAll => world.mirror_loses_all(),
            Fault::LoseRoom { room } => world.mirror_loses(world.plan.rooms[room].room_id),
            Fault::GoBack { ms } => world.mirror_goes_back(ms),
            Fault::SqlAway => world.sql(|sql| sql.is_away = true),
            Fault::SqlBack => world.sql(|sql| sql.is_away = false),
            Fault::BreakConnections { permille } => world.break_connections(permille),
        }
    }

    fn restart(&self, machine: usize) {
        if self.world.process_of(machine).is_none() {
            self.world.start_process(machine);
        }
    }

    fn gate(&self, machine: usize, freezes: bool) {
        if let Some(process) = self.world.process_of(machine) {
            let gate = self
                .world
                .processes(|processes| Arc::clone(&processes[process].gate));
            if freezes {
                gate.freeze();
            } else {
                gate.thaw();
            }
        }
    }

    fn part(&self, one: usize, other: usize, is_parted: bool) {
        self.world.conditions(|now| {
            now.parted[one][other] = is_parted;
            now.parted[other][one] = is_parted;
        });
    }

    fn heal(&mut self) {
        for machine in 0..MACHINES {
            self.gate(machine, false);
            self.restart(machine);
        }
        self.world.conditions(|now| *now = Default::default());
        self.world.sql(|sql| sql.is_away = false);
        self.world.log(format_args!("HEALED"));
        self.change_mood(Mood::Calm);
        self.part = Part::Healing {
            until: self.elapsed_ms() + HEALED_MS,
        };
        self.world.after(LOOK_MS, Event::Phase(Phase::Look));
    }

    fn change_mood(&mut self, mood: Mood) {
        for person in &mut self.people {
            person.change_mood(mood);
        }
    }

    fn elapsed_ms(&self) -> u64 {
        self.world.now().ms_since(BEGIN)
    }

    async fn look(&mut self) -> bool {
        let (until, problem) = match self.part {
            Part::Trouble => return true,
            Part::Healing { until } => (until, self.not_healed().await),
            Part::Leaving { until } => (until, self.not_closed().await),
        };
        let is_lost = self.has_lost_sessions();
        match problem {
            None if matches!(self.part, Part::Healing { .. }) => {
                self.world.log(format_args!("WELL"));
                self.change_mood(Mood::Leaving);
                self.part = Part::Leaving {
                    until: self.elapsed_ms() + if is_lost { LOST_MS } else { CLOSED_MS },
                };
            }
            None => {
                self.check_sessions();
                return true;
            }
            Some(problem) => {
                let patience_ms = if is_lost { LOST_MS } else { 0 };
                if self.elapsed_ms() > until + patience_ms {
                    self.world.violate(format!("honest-outage: {problem}"));
                }
            }
        }
        self.world.after(LOOK_MS, Event::Phase(Phase::Look));
        false
    }

    /// Whether SQL has sessions that the mirror lost.
    fn has_lost_sessions(&self) -> bool {
        let rooms = &self.world.plan.rooms;
        rooms.iter().any(|room| self.world.is_excused(room.room_id))
    }

    async fn describe(&self) -> Vec<Described> {
        let mut rooms = Vec::new();
        for machine in 0..MACHINES {
            if let Some(process) = self.world.process_of(machine) {
                let (reply, answer) = oneshot::channel();
                self.world.tell(process, NodeMessage::Describe { reply });
                rooms.extend(answer.await.unwrap_or_default());
            }
        }
        rooms
    }

    async fn not_healed(&self) -> Option<String> {
        for machine in 0..MACHINES {
            // Who was leaving when all was healed is followed by a new process.
            self.restart(machine);
        }
        for (index, person) in self.people.iter().enumerate() {
            if !person.is_at_rest() {
                return Some(format!("p{index} is not at rest: {:?}", person.stage));
            }
        }
        let rooms = self.describe().await;
        let past = self.world.memory.past();
        for room in &rooms {
            let id = room.room_id;
            if room.is_degraded || !room.is_settled {
                return Some(format!("{id} is not durable"));
            }
            let Some(stored) = past.room(id) else {
                return Some(format!("{id} is hosted and not in the mirror"));
            };
            if stored.seq != room.snapshot.seq
                || stored.head != room.snapshot.head
                || stored
                    .participants
                    .keys()
                    .ne(room.snapshot.participants.keys())
                || stored.tail != room.snapshot.tail
            {
                return Some(format!("{id}: the mirror has another state than the owner"));
            }
        }
        let mut hosts: BTreeMap<_, usize> = BTreeMap::new();
        for room in &rooms {
            *hosts.entry(room.room_id).or_default() += 1;
        }
        if let Some((room, count)) = hosts.iter().find(|(_, count)| **count > 1) {
            return Some(format!("{room} has {count} owners"));
        }
        self.views_differ(&rooms)
    }

    fn views_differ(&self, rooms: &[Described]) -> Option<String> {
        for (index, person) in self.people.iter().enumerate() {
            if person.stage != Stage::Inside {
                continue;
            }
            let Some(room) = rooms.iter().find(|room| room.room_id == person.room_id) else {
                return Some(format!("p{index} is in a room that nobody hosts"));
            };
            if room.snapshot.seq.0 != person.view.seq {
                return Some(format!("p{index} has not seen all events"));
            }
            let inside = &room.snapshot.participants;
            if person.view.participants.len() != inside.len() {
                return Some(format!("p{index} sees other people"));
            }
            for (user_id, record) in inside {
                let seen = person.view.participants.get(&user_id.to_string());
                let is_same = seen.is_some_and(|seen| {
                    seen["isMuted"] == record.flags.is_muted
                        && seen["isAway"] == record.is_away
                        && seen["isHandRaised"] == record.flags.is_hand_raised
                        && seen["role"] == serde_json::to_value(record.role).unwrap()
                });
                if !is_same {
                    return Some(format!("p{index} sees {user_id} differently: {seen:?}"));
                }
            }
            if !person.view.is_durable
                || person.view.room["isLocked"] != room.snapshot.head.is_locked
            {
                return Some(format!(
                    "p{index} sees another room: {}",
                    brief(&person.view.room)
                ));
            }
        }
        // no-ghosts, in the end: everybody in a room holds a seat.
        for room in rooms {
            for user_id in room.snapshot.participants.keys() {
                let is_there = self.people.iter().any(|person| {
                    person.user_id == *user_id
                        && person.room_id == room.room_id
                        && person.stage == Stage::Inside
                });
                if !is_there {
                    return Some(format!("{user_id} is a ghost in {}", room.room_id));
                }
            }
        }
        None
    }

    async fn not_closed(&self) -> Option<String> {
        if let Some(room) = self.describe().await.first() {
            return Some(format!("{} is still hosted", room.room_id));
        }
        for room in &self.world.plan.rooms {
            if self.world.has_in_mirror(room.room_id).await {
                return Some(format!("{} is still in the mirror", room.room_id));
            }
        }
        if self
            .world
            .memory
            .outbox(1)
            .await
            .is_ok_and(|left| !left.is_empty())
        {
            return Some("sessions wait to be recorded".to_owned());
        }
        let open = self.world.sql(|sql| {
            let mut rows = sql.sessions.iter();
            rows.find(|(_, row)| row.end.is_none())
                .map(|(session, _)| *session)
        });
        open.map(|session| format!("session {session} is open in SQL"))
    }

    /// one-session: every session that the mirror had is a closed row, and those of a room do not
    /// overlap.
    fn check_sessions(&self) {
        let world = &self.world;
        world.truth(|truth| {
            for (session_id, is_excused) in truth.sessions() {
                let row = world.sql(|sql| sql.sessions.get(&session_id).cloned());
                let is_closed = row
                    .and_then(|row| row.end)
                    .is_some_and(|(_, reason)| reason != EndReason::Lost);
                if !is_closed && !is_excused {
                    return Err(format!("one-session: {session_id} is not closed in SQL"));
                }
            }
            Ok(())
        });
        for room in &world.plan.rooms {
            if world.is_excused(room.room_id) {
                continue;
            }
            let mut rows: Vec<_> = world.sql(|sql| {
                let rows = sql.sessions.values();
                rows.filter(|row| row.room_id == room.room_id)
                    .cloned()
                    .collect()
            });
            rows.sort_by_key(|row| row.start);
            for pair in rows.windows(2) {
                if pair[0].end.is_some_and(|(end, _)| end > pair[1].start) {
                    world.violate(format!("one-session: {pair:?} overlap"));
                }
            }
        }
    }
}

fn brief(value: &Value) -> String {
    let mut line = String::new();
    write!(line, "{} {}", text(value, "roomId"), value["isLocked"]).unwrap();
    line
}
