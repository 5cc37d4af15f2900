//! A node's time-limited right to its rooms: when it ends, what that means, and when the others may say so.
//!
//! Pure: time comes in as the node's own monotonic clock, news of the mirror and of the other nodes as calls. The node that
//! heartbeats ([`Lease`]) and the nodes that watch it ([`Watch`]) share one set of [`Deadlines`]; wall clocks are never
//! compared.

mod cell;
mod judgement;
#[cfg(test)]
mod tests;
mod watch;

pub use self::{
    cell::{LeaseCell, LeaseView, Standing},
    judgement::{Judgement, MirrorAnswer, PartitionPolicy, judge},
    watch::Watch,
};
use std::sync::Arc;

use crate::ids::Timestamp;

/// All times of ownership, in milliseconds: stall and heartbeat < own deadline < expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// Between two heartbeats.
    pub heartbeat_ms: u64,
    /// Without an answer of the mirror for this long a room is degraded.
    pub stall_ms: u64,
    /// How long a node trusts its lease after it sent its last successful heartbeat.
    pub own_deadline_ms: u64,
    /// How long the others must have watched a heartbeat stand still.
    pub expiry_ms: u64,
}

impl Deadlines {
    /// Checks the order on which everything rests: a node stops before the others may go on in its place.
    ///
    /// # Panics
    /// When the order is wrong: the configuration refuses that before.
    #[must_use]
    pub fn checked(self) -> Self {
        assert!(
            self.heartbeat_ms < self.own_deadline_ms
                && self.stall_ms < self.own_deadline_ms
                && self.own_deadline_ms < self.expiry_ms,
            "stall and heartbeat < own deadline < expiry"
        );
        self
    }

    /// How old the last answered heartbeat of a node may be for it to say that it has the mirror: well below the own deadline,
    /// so that nodes which lost the mirror at the same time agree that none of them has it.
    #[must_use]
    pub fn fresh_ms(self) -> u64 {
        self.own_deadline_ms / 2
    }

    /// After a mirror has been there for so long, what it does not know is lost: an owner that stood still beyond its expiry
    /// waits for another one before it writes its rooms again.
    #[must_use]
    pub fn complete_ms(self) -> u64 {
        3 * self.expiry_ms
    }

    /// How long a judgement counts: it is made again with each heartbeat.
    #[must_use]
    pub fn judgement_ms(self) -> u64 {
        self.heartbeat_ms + JUDGEMENT_SLACK_MS
    }
}

/// How long after the next one is due a judgement still counts: the time to ask the others, twice.
const JUDGEMENT_SLACK_MS: u64 = 1_500;

/// See the module. Changed by the heartbeat alone; rooms read its [`LeaseCell`].
#[derive(Debug)]
pub struct Lease {
    deadlines: Deadlines,
    partition: PartitionPolicy,
    cell: Arc<LeaseCell>,
    /// When the last answered heartbeat was sent.
    renewed_at: Timestamp,
    /// Since when every heartbeat was answered, by the same mirror.
    mirror_since: Option<Timestamp>,
    generation: Option<String>,
    /// When another generation was seen; none: the first one counts still.
    generation_since: Option<Timestamp>,
    /// The last time that the node is known to have run.
    looked_at: Timestamp,
    /// Since when it is known to have run without standing still.
    runs_since: Timestamp,
    /// The node stood still long enough for others to have taken over, and has not proved the opposite yet.
    is_doubtful: bool,
}

/// What an answered heartbeat has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Renewal {
    /// The mirror has lost everything since: write all rooms at once.
    pub is_new_generation: bool,
    /// The lease had ended.
    pub had_ended: bool,
}

impl Lease {
    /// A lease that was never confirmed: over until the first heartbeat is answered.
    #[must_use]
    pub fn new(deadlines: Deadlines, partition: PartitionPolicy, now: Timestamp) -> Self {
        Self {
            deadlines: deadlines.checked(),
            partition,
            cell: Arc::new(LeaseCell::default()),
            renewed_at: Timestamp(i64::MIN),
            mirror_since: None,
            generation: None,
            generation_since: None,
            looked_at: now,
            runs_since: now,
            is_doubtful: false,
        }
    }

    /// What rooms read.
    #[must_use]
    pub fn cell(&self) -> Arc<LeaseCell> {
        Arc::clone(&self.cell)
    }

    /// The node runs at `now`. To be called more often than [`Deadlines::fresh_ms`]: a longer gap means that it stood still.
    pub fn look(&mut self, now: Timestamp) {
        let gap_ms = now.ms_since(self.looked_at);
        self.looked_at = now;
        if gap_ms >= self.deadlines.fresh_ms() {
            self.mirror_since = None;
            self.runs_since = now;
            if self.has_ended(now) {
                self.is_doubtful = true;
                self.cell.judged(Judgement::Unknown, now);
            }
        }
    }

    /// A heartbeat that was sent at `sent_at` has been answered by a mirror of this generation.
    pub fn renew(&mut self, sent_at: Timestamp, now: Timestamp, generation: &str) -> Renewal {
        self.look(now);
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
        if had_ended && (self.is_doubtful || !self.cell.was_outage()) {
            // Others may have gone on with the rooms: each of them needs a proof.
            self.cell.next_term();
        }
        self.renewed_at = self.renewed_at.max(sent_at);
        if sent_at >= self.runs_since {
            // One that was sent before the node stood still says nothing of what happened meanwhile.
            self.is_doubtful = false;
            self.mirror_since.get_or_insert(sent_at);
        }
        self.cell
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

    /// The others have answered: what the node does with its rooms until the next judgement. Answers what was decided.
    pub fn judged(&mut self, now: Timestamp, answers: &[MirrorAnswer]) -> Judgement {
        self.look(now);
        let mut judgement = judge(answers, self.deadlines, self.partition);
        if judgement == Judgement::Outage && self.is_doubtful {
            // It stood still before the outage: somebody may have gone on in its place meanwhile.
            judgement = Judgement::Unknown;
        }
        if judgement == Judgement::CutOff
            && now.ms_since(self.runs_since) < self.deadlines.fresh_ms()
        {
            // It has only just begun to run again: its own heartbeat comes first, and may find that the rooms are still its own.
            judgement = Judgement::Unknown;
        }
        let until = now.plus_ms(self.deadlines.judgement_ms());
        self.cell.judged(judgement, until);
        judgement
    }

    /// For how long this node has had the mirror without interruption, as it tells the others; none: it has not.
    #[must_use]
    pub fn has_mirror_for(&self, now: Timestamp) -> Option<u64> {
        let since = self.mirror_since?;
        (now.ms_since(self.renewed_at) < self.deadlines.fresh_ms()).then(|| now.ms_since(since))
    }

    /// Whether this node may take over rooms of a node whose heartbeat stands still. After an outage each owner writes first:
    /// the mirror must have been there for the whole expiry, and be the same.
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

    /// Whether the mirror lost everything a moment ago: what it does not know, an owner may be about to write again.
    #[must_use]
    pub fn is_generation_young(&self, now: Timestamp) -> bool {
        self.is_generation_younger_than(self.deadlines.expiry_ms, now)
    }

    /// Whether every room that a living owner has must be in the mirror by now: this node has had it without interruption for so
    /// long, and it has lost nothing meanwhile, that even an owner that stood still has written its rooms again.
    #[must_use]
    pub fn is_mirror_complete(&self, now: Timestamp) -> bool {
        self.has_had_same_mirror_for(self.deadlines.complete_ms(), now)
    }

    /// Whether the mirror has ever lost everything in the life of this node.
    #[must_use]
    pub fn has_lost_everything(&self) -> bool {
        self.generation_since.is_some()
    }

    /// The generation of the last answered heartbeat.
    #[must_use]
    pub fn generation(&self) -> Option<&str> {
        self.generation.as_deref()
    }

    /// The times by which it goes.
    #[must_use]
    pub fn deadlines(&self) -> Deadlines {
        self.deadlines
    }
}
