//! What all people of a run share: where they are, what is measured, which rooms there are.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
};

use tokio::sync::{Semaphore, watch};
use uuid::Uuid;

use super::{breach::Breaches, meter::Meter, options::Options, socket::Target};

/// Joins under way at once while the rooms are filled: a crowd at the door is what `join-storm` is for.
const FILLING_MAX: usize = 64;
/// Joins under way at once in a storm.
const STORMING_MAX: usize = 20_000;
/// Leaves under way at once at the end.
const LEAVING_MAX: usize = 256;
/// Rooms whose state is compared at the end.
const SAMPLE_MAX: usize = 200;
/// People of such a room who keep its state.
const FOLDING_SEATS_MAX: usize = 3;

/// One room.
pub(super) struct RoomCard {
    /// Its id; none: the target knows numbers only.
    pub id: Option<Uuid>,
    /// As in the path.
    pub name: String,
    /// Who has which seat.
    pub users: Vec<Uuid>,
    /// People in the room now.
    pub inside: AtomicUsize,
    /// Messages acked.
    pub acked: AtomicU64,
}

impl RoomCard {
    /// A message was taken: everybody inside is owed it.
    pub fn owe_message(&self, meter: &Meter) {
        self.acked.fetch_add(1, Relaxed);
        let inside = u64::try_from(self.inside.load(Relaxed)).unwrap_or(u64::MAX);
        meter.counts.deliveries_expected.fetch_add(inside, Relaxed);
    }
}

/// One person's place.
#[derive(Clone, Debug)]
pub(super) struct Who {
    /// Counts all people.
    pub index: usize,
    /// Counts the rooms.
    pub room: usize,
    /// Counts the people of the room; 0 is the host.
    pub seat: usize,
    /// For `JoinRoom`.
    pub token: String,
}

/// What all people of a run share.
pub(super) struct Stage {
    /// As asked.
    pub options: Options,
    /// Clock, counters, latencies.
    pub meter: Meter,
    /// Broken promises.
    pub breaches: Breaches,
    /// The nodes.
    pub targets: Vec<Target>,
    /// The rooms.
    pub rooms: Vec<Arc<RoomCard>>,
    /// Permits to join.
    pub joining: Semaphore,
    /// Permits to leave at the end.
    pub leaving: Semaphore,
    /// Whether the run is to end now.
    pub stop: watch::Sender<bool>,
}

impl Stage {
    /// With an empty house.
    pub fn new(options: Options, targets: Vec<Target>, rooms: Vec<Arc<RoomCard>>) -> Self {
        let joins_max = if options.profile.has_ramp() {
            FILLING_MAX
        } else {
            STORMING_MAX
        };
        Self {
            meter: Meter::new(options.threads),
            options,
            breaches: Breaches::default(),
            targets,
            rooms,
            joining: Semaphore::new(joins_max),
            leaving: Semaphore::new(LEAVING_MAX),
            stop: watch::Sender::new(false),
        }
    }

    /// Whether the run is to end now.
    pub fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// The node that a room's people connect to.
    pub fn target_of(&self, room: usize) -> &Target {
        &self.targets[room % self.targets.len()]
    }

    /// Which rooms are compared at the end.
    pub fn is_sampled(&self, room: usize) -> bool {
        room.is_multiple_of(self.rooms.len().div_ceil(SAMPLE_MAX).max(1))
    }

    /// Whether this person keeps the state of the room.
    pub fn is_folding(&self, who: &Who) -> bool {
        let is_compared = who.room < self.rooms.len() && !self.options.is_bare;
        is_compared && who.seat < FOLDING_SEATS_MAX && self.is_sampled(who.room)
    }

    /// The address to connect from; none: there is no choice.
    pub fn source_of(&self, index: usize) -> Option<u8> {
        let sources = self.options.sources;
        let last = index % usize::from(sources) + 1;
        (sources > 1).then(|| u8::try_from(last).unwrap_or(sources))
    }
}
