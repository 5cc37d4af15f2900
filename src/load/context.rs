//! What all clients of a run share.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
};

use tokio::sync::{Semaphore, watch};
use uuid::Uuid;

use super::{meter::Meter, options::Options, socket::Target, violations::Violations};

/// Concurrent joins while the rooms are filled. The profile `join-storm` measures more of them.
const FILLING_MAX: usize = 64;
/// Concurrent joins in the profile `join-storm`.
const STORMING_MAX: usize = 20_000;
/// Concurrent leaves at the end.
const LEAVING_MAX: usize = 256;
/// Rooms whose participants are compared at the end.
const SAMPLE_MAX: usize = 200;
/// Clients of such a room that keep its participants.
const KEEPING_SEATS_MAX: usize = 3;

/// One room.
pub(super) struct RoomCard {
    /// `None` for a target without callboard's protocol.
    pub id: Option<Uuid>,
    /// The room's part of the signal URL.
    pub name: String,
    /// User ids by seat.
    pub users: Vec<Uuid>,
    /// Clients in the room now.
    pub inside: AtomicUsize,
    /// Acknowledged chat messages.
    pub acked: AtomicU64,
}

impl RoomCard {
    /// Counts an acknowledged chat message, which every client in the room must receive.
    pub fn expect_message(&self, meter: &Meter) {
        self.acked.fetch_add(1, Relaxed);
        let inside = u64::try_from(self.inside.load(Relaxed)).unwrap_or(u64::MAX);
        meter.counts.deliveries_expected.fetch_add(inside, Relaxed);
    }
}

/// One client of the run.
#[derive(Clone, Debug)]
pub(super) struct ClientSpec {
    /// Its place among all clients.
    pub index: usize,
    /// The room's place among all rooms.
    pub room: usize,
    /// Its place in the room. 0 is the host.
    pub seat: usize,
    /// For `JoinRoom`.
    pub token: String,
}

/// What all clients of a run share.
pub(super) struct RunContext {
    pub options: Options,
    pub meter: Meter,
    pub violations: Violations,
    pub targets: Vec<Target>,
    pub rooms: Vec<Arc<RoomCard>>,
    pub joining: Semaphore,
    pub leaving: Semaphore,
    /// `true` ends the run early.
    pub stop: watch::Sender<bool>,
}

impl RunContext {
    pub fn new(options: Options, targets: Vec<Target>, rooms: Vec<Arc<RoomCard>>) -> Self {
        let joins_max = if options.profile.has_ramp() {
            FILLING_MAX
        } else {
            STORMING_MAX
        };
        Self {
            meter: Meter::new(options.threads),
            options,
            violations: Violations::default(),
            targets,
            rooms,
            joining: Semaphore::new(joins_max),
            leaving: Semaphore::new(LEAVING_MAX),
            stop: watch::Sender::new(false),
        }
    }

    pub fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// Returns the node that a room's clients connect to.
    pub fn target_of(&self, room: usize) -> &Target {
        &self.targets[room % self.targets.len()]
    }

    /// Returns whether a room is compared at the end.
    pub fn is_sampled(&self, room: usize) -> bool {
        room.is_multiple_of(self.rooms.len().div_ceil(SAMPLE_MAX).max(1))
    }

    /// Returns whether a client keeps the participants of its room.
    pub fn keeps_participants(&self, spec: &ClientSpec) -> bool {
        let is_compared = spec.room < self.rooms.len() && !self.options.is_bare;
        is_compared && spec.seat < KEEPING_SEATS_MAX && self.is_sampled(spec.room)
    }

    /// Returns the last part of the address to connect from. `None` if the kernel chooses.
    pub fn source_of(&self, index: usize) -> Option<u8> {
        let sources = self.options.sources;
        let last = index % usize::from(sources) + 1;
        (sources > 1).then(|| u8::try_from(last).unwrap_or(sources))
    }
}
