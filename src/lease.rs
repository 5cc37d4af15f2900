//! A node's time-limited right to its rooms: when it expires, why, and when other nodes may take
//! over.
//!
//! Pure: the node's own monotonic time comes in, and the answers of the mirror and of other nodes.
//! The node that sends heartbeats ([`Lease`]) and the nodes that watch them ([`Watch`]) share one
//! set of [`Deadlines`]. Wall clocks are never compared.

mod expiry;
mod shared;
#[cfg(test)]
mod tests;
mod watch;

pub use self::{
    expiry::{ExpiryCause, MirrorAnswer, PartitionPolicy},
    shared::{LeaseState, LeaseView, SharedLease},
    watch::Watch,
};
use std::sync::Arc;

use crate::ids::Timestamp;

/// All times of ownership, in milliseconds: stall and heartbeat < own deadline < expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// Between two heartbeats.
    pub heartbeat_ms: u64,
    /// A room is degraded when the mirror has not answered for this long.
    pub stall_ms: u64,
    /// How long a node trusts its lease after it sent its last successful heartbeat.
    pub own_deadline_ms: u64,
    /// How long other nodes must see a heartbeat stand still before they take over.
    pub expiry_ms: u64,
}

impl Deadlines {
    /// Checks the order that ownership relies on: a node stops publishing before others may take
    /// over.
    ///
    /// # Panics
    /// When the order is wrong. The configuration refuses such values before.
    #[must_use]
    pub fn checked(self) -> Self {
        assert!(
            self.heartbeat_ms < self.own_deadline_ms
                && self.stall_ms < self.own_deadline_ms
                && self.own_deadline_ms < self.expiry_ms,
            "stall and heartbeat < own deadline < expiry"
        );
        assert!(
            self.mirror_timeout_ms() < self.own_deadline_ms
                && self.expiry_ms < self.suspect_ms()
                && self.complete_ms() < self.session_lost_ms(),
            "mirror time-out < own deadline, expiry < suspect, complete < session lost"
        );
        self
    }

    /// How old a node's last answered heartbeat may be for the node to say that it has the mirror.
    /// This is well below the own deadline, so that nodes which lost the mirror at the same time
    /// agree that none of them has it.
    #[must_use]
    pub fn fresh_ms(self) -> u64 {
        self.own_deadline_ms / 2
    }

    /// What a mirror does not know after this long is lost. An owner that stood still beyond its
    /// expiry waits for another expiry before it restores its rooms.
    #[must_use]
    pub fn complete_ms(self) -> u64 {
        3 * self.expiry_ms
    }

    /// Longest wait for an answer of the mirror. A node learns of an outage before its own
    /// deadline.
    #[must_use]
    pub fn mirror_timeout_ms(self) -> u64 {
        self.own_deadline_ms / 2
    }

    /// How long to wait for a silent node: until its heartbeat continues, or until it has expired.
    #[must_use]
    pub fn suspect_ms(self) -> u64 {
        self.expiry_ms + 2 * self.heartbeat_ms
    }

    /// How often SQL is told which sessions are live.
    #[must_use]
    pub fn session_touch_ms(self) -> u64 {
        10 * self.expiry_ms
    }

    /// A session counts as lost when no node has seen it alive for this long. By then every living
    /// owner has restored its rooms.
    #[must_use]
    pub fn session_lost_ms(self) -> u64 {
        3 * self.session_touch_ms()
    }

    /// How long an [`ExpiryCause`] counts. It is determined again with each heartbeat.
    #[must_use]
    pub fn verdict_ms(self) -> u64 {
        self.heartbeat_ms + VERDICT_SLACK_MS
    }
}

/// How long an [`ExpiryCause`] counts after the next one is due: the time to ask the other nodes,
/// twice.
const VERDICT_SLACK_MS: u64 = 1_500;

/// The lease of this node. Only the heartbeat changes it; rooms read its [`SharedLease`].
#[derive(Debug)]
pub struct Lease {
    deadlines: Deadlines,
    partition: PartitionPolicy,
    shared: Arc<SharedLease>,
    /// When the last answered heartbeat was sent.
    renewed_at: Timestamp,
    /// Since when the same mirror has answered every heartbeat.
    mirror_since: Option<Timestamp>,
    generation: Option<String>,
    /// When the generation last changed. None if the first one still counts.
    generation_since: Option<Timestamp>,
    /// The last time at which the node is known to have run.
    observed_at: Timestamp,
    /// Since when the node has run without standing still.
    runs_since: Timestamp,
    /// The node stood still long enough for others to take over, and has no proof yet that they did
    /// not.
    is_doubtful: bool,
}

/// What an answered heartbeat changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Renewal {
    /// The mirror has lost everything since the last one: all rooms are to be written at once.
    pub is_new_generation: bool,
    /// The lease had expired.
    pub had_ended: bool,
}

impl Lease {
    /// A lease that is expired until the first heartbeat is answered.
    #[must_use]
    pub fn new(deadlines: Deadlines, partition: PartitionPolicy, now: Timestamp) -> Self {
        Self {
            deadlines: deadlines.checked(),
            partition,
            shared: Arc::new(SharedLease::default()),
            renewed_at: Timestamp(i64::MIN),
            mirror_since: None,
            generation: None,
            generation_since: None,
            observed_at: now,
            runs_since: now,
            is_doubtful: false,
        }
    }

    /// What rooms read.
    #[must_use]
    pub fn shared(&self) -> Arc<SharedLease> {
        Arc::clone(&self.shared)
    }

    /// Notes that the node runs at `now`. Must be called more often than every
    /// [`Deadlines::fresh_ms`]: a longer gap means that the node stood still.
    pub fn observe(&mut self, now: Timestamp) {
        let gap_ms = now.ms_since(self.observed_at);
        self.observed_at = now;
        if gap_ms >= self.deadlines.fresh_ms() {
            self.mirror_since = None;
            self.runs_since = now;
            if self.has_ended(now) {
                self.is_doubtful = true;
                self.shared.set_cause(ExpiryCause::Unknown, now);
            }
        }
    }

    /// A heartbeat that was sent at `sent_at` has been answered by a mirror of this generation.
    pub fn renew(&mut self, sent_at: Timestamp, now: Timestamp, generation: &str) -> Renewal {
        self.observe(now);
        let is_first = self.generation.is_none();
        let is_new_generation = !is_first && self.generation.as_deref() != Some(generation);
        if is_new_generation {
            self.generation_since = Some(now);
            self.mirror_since = None;
        }
        if is_first || is_new_generation {
            self.generation = Some(generation.to_owned());
        }
        let had_ended =
            !is_first && sent_at.ms_since(self.renewed_at) >= self.deadlines.own_deadline_ms;
        if had_ended && (self.is_doubtful || !self.shared.was_outage()) {
            // Others may have continued the rooms: each of them needs a proof.
            self.shared.next_term();
        }
        self.renewed_at = self.renewed_at.max(sent_at);
        if sent_at >= self.runs_since {
            // A heartbeat from before the node stood still says nothing of what happened meanwhile.
            self.is_doubtful = false;
            self.mirror_since.get_or_insert(sent_at);
        }
        self.shared
            .held_until(self.renewed_at.plus_ms(self.deadlines.own_deadline_ms));
        Renewal {
            is_new_generation,
            had_ended,
        }
    }

    /// A heartbeat was not answered.
    pub fn miss(&mut self) {
        self.mirror_since = None;
    }

    /// Whether it is time to ask the others whether they have the mirror.
    #[must_use]
    pub fn has_ended(&self, now: Timestamp) -> bool {
        now.ms_since(self.renewed_at) >= self.deadlines.own_deadline_ms
    }

    /// Determines why the lease expired from the answers of the other nodes. Rooms act on it until
    /// the next time.
    pub fn diagnose(&mut self, now: Timestamp, answers: &[MirrorAnswer]) -> ExpiryCause {
        self.observe(now);
        let mut cause = expiry::diagnose(answers, self.deadlines, self.partition);
        if cause == ExpiryCause::Outage && self.is_doubtful {
            // The node stood still before the outage: another one may have taken over meanwhile.
            cause = ExpiryCause::Unknown;
        }
        if cause == ExpiryCause::CutOff && now.ms_since(self.runs_since) < self.deadlines.fresh_ms()
        {
            // The node has only just begun to run again: its own heartbeat may find that the rooms
            // are still its own.
            cause = ExpiryCause::Unknown;
        }
        let until = now.plus_ms(self.deadlines.verdict_ms());
        self.shared.set_cause(cause, until);
        cause
    }

    /// How long this node has had the mirror without interruption, as it tells other nodes. None if
    /// it does not have it.
    #[must_use]
    pub fn has_mirror_for(&self, now: Timestamp) -> Option<u64> {
        let since = self.mirror_since?;
        (now.ms_since(self.renewed_at) < self.deadlines.fresh_ms()).then(|| now.ms_since(since))
    }

    /// Whether this node may take over rooms of a node whose heartbeat has stopped.
    ///
    /// After an outage each owner writes first: this node must have had the same mirror for the
    /// whole expiry.
    #[must_use]
    pub fn may_take_expired(&self, now: Timestamp) -> bool {
        self.has_had_same_mirror_for(self.deadlines.expiry_ms, now)
    }

    fn has_had_same_mirror_for(&self, wanted_ms: u64, now: Timestamp) -> bool {
        let has_mirror = self.has_mirror_for(now);
        has_mirror.is_some_and(|for_ms| for_ms >= wanted_ms)
            && !self.is_generation_younger_than(wanted_ms, now)
    }

    fn is_generation_younger_than(&self, age_ms: u64, now: Timestamp) -> bool {
        self.generation_since
            .is_some_and(|since| now.ms_since(since) < age_ms)
    }

    /// Whether the mirror lost everything less than an expiry ago: an owner may be about to restore
    /// what it does not know.
    #[must_use]
    pub fn is_generation_young(&self, now: Timestamp) -> bool {
        self.is_generation_younger_than(self.deadlines.expiry_ms, now)
    }

    /// Whether the mirror must have every room of every living owner by now.
    ///
    /// This node has had the same mirror for so long that even an owner that stood still has
    /// restored its rooms.
    #[must_use]
    pub fn is_mirror_complete(&self, now: Timestamp) -> bool {
        self.has_had_same_mirror_for(self.deadlines.complete_ms(), now)
    }

    /// Whether the mirror has lost everything at least once since this node started.
    #[must_use]
    pub fn has_lost_everything(&self) -> bool {
        self.generation_since.is_some()
    }

    /// The generation of the last answered heartbeat.
    #[must_use]
    pub fn generation(&self) -> Option<&str> {
        self.generation.as_deref()
    }

    /// The deadlines of this lease.
    #[must_use]
    pub fn deadlines(&self) -> Deadlines {
        self.deadlines
    }
}
