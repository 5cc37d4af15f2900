//! What a seed means: the rooms, the people, the policy, and what goes wrong when.

use std::sync::Arc;

use callboard::{
    ids::{RoomId, UserId},
    lease::{Deadlines, PartitionPolicy},
    protocol::{DuplicatePolicy, Settings},
    room::rules::Rules,
};
use uuid::Uuid;

use crate::random::Random;

/// Machines; each runs one process after the other.
pub const MACHINES: usize = 3;
/// Deadlines as they are by default.
pub const DEADLINES: Deadlines = Deadlines {
    heartbeat_ms: 1_000,
    stall_ms: 1_000,
    own_deadline_ms: 4_000,
    expiry_ms: 6_000,
};
/// Grace of the simulated rooms: shorter than by default, so that its end is seen.
pub const GRACE_MS: u64 = 12_000;

/// Something that goes wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The process dies; its address refuses connections, or the whole machine is silent.
    Kill { machine: usize, is_silent: bool },
    /// A new process on the machine, if none runs.
    Restart { machine: usize },
    /// The process freezes.
    Freeze { machine: usize },
    /// It continues.
    Thaw { machine: usize },
    /// The process hands its rooms over and ends.
    Drain { machine: usize },
    /// The mirror is out of reach for one machine.
    Cut { machine: usize },
    /// It is back.
    Mend { machine: usize },
    /// The mirror is out of reach for all.
    CutAll,
    /// It is back.
    MendAll,
    /// Two machines do not hear each other.
    Part { one: usize, other: usize },
    /// They do again.
    Join { one: usize, other: usize },
    /// The mirror takes its time, and loses answers.
    Slow { delay_ms: u64, lost_permille: u64 },
    /// It does not.
    Fast,
    /// The mirror forgets everything.
    LoseAll,
    /// The mirror forgets one room.
    LoseRoom { room: usize },
    /// The mirror is what it was so long ago.
    GoBack { ms: u64 },
    /// SQL is away.
    SqlAway,
    /// SQL is back.
    SqlBack,
    /// Connections break.
    BreakConnections { permille: u64 },
}

impl Fault {
    /// The same on another machine.
    pub fn on(mut self, other: usize) -> Self {
        match &mut self {
            Self::Kill { machine, .. }
            | Self::Restart { machine }
            | Self::Freeze { machine }
            | Self::Thaw { machine }
            | Self::Drain { machine }
            | Self::Cut { machine }
            | Self::Mend { machine } => *machine = other,
            Self::CutAll
            | Self::MendAll
            | Self::Part { .. }
            | Self::Join { .. }
            | Self::Slow { .. }
            | Self::Fast
            | Self::LoseAll
            | Self::LoseRoom { .. }
            | Self::GoBack { .. }
            | Self::SqlAway
            | Self::SqlBack
            | Self::BreakConnections { .. } => {}
        }
        self
    }
}

/// A fault in its time.
#[derive(Clone, Debug)]
pub struct Mishap {
    pub fault: Fault,
    /// It hits the owner of this room at that time, if there is one.
    pub owner_of: Option<usize>,
    /// What ends it, after so many milliseconds.
    pub end: Option<(u64, Fault)>,
}

/// A kind of trouble that a run may be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    Processes,
    Freezes,
    Cuts,
    Partitions,
    Slowness,
    Loss,
    Sql,
    Connections,
}

const TROUBLES: [Trouble; 8] = [
    Trouble::Processes,
    Trouble::Freezes,
    Trouble::Cuts,
    Trouble::Partitions,
    Trouble::Slowness,
    Trouble::Loss,
    Trouble::Sql,
    Trouble::Connections,
];

/// See the module.
pub struct Plan {
    pub seed: u64,
    pub rooms: Vec<RoomPlan>,
    /// Which user is in which room; the same user may be there twice.
    pub people: Vec<(UserId, usize)>,
    pub policy: PartitionPolicy,
    pub rules: Arc<Rules>,
    /// How long the trouble lasts.
    pub duration_ms: u64,
    pub faults: Vec<(u64, Mishap)>,
    /// The mirror does not fence.
    pub is_fence_broken: bool,
}

/// A room as SQL knows it.
pub struct RoomPlan {
    pub room_id: RoomId,
    pub host: UserId,
    pub settings: Settings,
}

pub fn user(number: usize) -> UserId {
    UserId(Uuid::from_u128(0xA000 + number as u128))
}

impl Plan {
    pub fn of(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let rooms: Vec<RoomPlan> = (0..random.between(1, 3) as usize)
            .map(|index| room(&mut random, index))
            .collect();
        let count = random.between(4, 8) as usize;
        let people = (0..count)
            .map(|index| {
                // The second device of somebody, now and then.
                let number = if index > 0 && random.permille(120) {
                    index - 1
                } else {
                    index
                };
                (user(number), number % rooms.len())
            })
            .collect();
        let policy = if random.permille(300) {
            PartitionPolicy::Serve
        } else {
            PartitionPolicy::Stop
        };
        let duration_ms = random.between(20_000, 50_000);
        let mut plan = Self {
            seed,
            people,
            policy,
            rules: Arc::new(rules(&mut random)),
            duration_ms,
            faults: Vec::new(),
            is_fence_broken: false,
            rooms,
        };
        plan.invent_faults(&mut random);
        plan
    }

    fn invent_faults(&mut self, random: &mut Random) {
        // A run is about a few kinds of trouble: their combinations are seen more often than the
        // sum of all.
        let kinds: Vec<Trouble> = (0..random.between(1, 4))
            .map(|_| TROUBLES[random.below(TROUBLES.len())])
            .collect();
        for _ in 0..random.between(3, 12) {
            let at = random.between(1_500, self.duration_ms);
            let lasts = if random.permille(500) {
                random.between(200, 3_000)
            } else {
                random.between(3_000, 15_000)
            };
            let kind = kinds[random.below(kinds.len())];
            self.invent(random, kind, at, lasts);
        }
        self.faults.sort_by_key(|(at, _)| *at);
    }

    fn invent(&mut self, random: &mut Random, kind: Trouble, at: u64, lasts: u64) {
        let machine = random.below(MACHINES);
        let other = (machine + random.between(1, MACHINES as u64 - 1) as usize) % MACHINES;
        let (fault, end) = match kind {
            Trouble::Processes if random.permille(300) => {
                (Fault::Drain { machine }, Some(Fault::Restart { machine }))
            }
            Trouble::Processes => (
                Fault::Kill {
                    machine,
                    is_silent: random.permille(300),
                },
                Some(Fault::Restart { machine }),
            ),
            Trouble::Freezes => (Fault::Freeze { machine }, Some(Fault::Thaw { machine })),
            Trouble::Cuts if random.permille(400) => (Fault::CutAll, Some(Fault::MendAll)),
            Trouble::Cuts => (Fault::Cut { machine }, Some(Fault::Mend { machine })),
            Trouble::Partitions => (
                Fault::Part {
                    one: machine,
                    other,
                },
                Some(Fault::Join {
                    one: machine,
                    other,
                }),
            ),
            Trouble::Slowness => (
                Fault::Slow {
                    delay_ms: random.between(20, 3_000),
                    lost_permille: random.between(0, 400),
                },
                Some(Fault::Fast),
            ),
            Trouble::Loss => match random.below(3) {
                0 => (Fault::LoseAll, None),
                1 => (
                    Fault::LoseRoom {
                        room: random.below(self.rooms.len()),
                    },
                    None,
                ),
                _ => (
                    Fault::GoBack {
                        ms: random.between(50, 1_500),
                    },
                    None,
                ),
            },
            Trouble::Sql => (Fault::SqlAway, Some(Fault::SqlBack)),
            Trouble::Connections => (
                Fault::BreakConnections {
                    permille: random.between(200, 1_000),
                },
                None,
            ),
        };
        let mishap = Mishap {
            fault,
            owner_of: random.permille(500).then(|| random.below(self.rooms.len())),
            end: end.map(|end| (lasts, end)),
        };
        self.faults.push((at, mishap));
    }
}

fn room(random: &mut Random, index: usize) -> RoomPlan {
    RoomPlan {
        room_id: RoomId(Uuid::from_u128(0xB000 + index as u128)),
        host: user(index),
        settings: Settings {
            max_participants: u32::try_from(random.between(2, 5)).unwrap(),
            duplicate_policy: if random.permille(300) {
                DuplicatePolicy::Reject
            } else {
                DuplicatePolicy::Replace
            },
            is_lobby_enabled: random.permille(200),
            max_duration_secs: random.permille(100).then_some(25),
            ..Settings::default()
        },
    }
}

fn rules(random: &mut Random) -> Rules {
    Rules {
        reconnect_grace_ms: GRACE_MS,
        departure_timeout_ms: 4_000,
        empty_timeout_ms: 20_000,
        takeover_quiet_ms: random.between(500, 3_000),
        tail_events_max: random.between(8, 200) as usize,
        ..Rules::default()
    }
}
