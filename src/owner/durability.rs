//! The room and its mirror: one commit at a time, degradation while none is answered, recovery of a
//! lost room.

use super::{Flight, Loss, Owner, StillOwner};
use crate::{
    ids::{Epoch, Timestamp, Version},
    lease::LeaseState,
    mirror::{Commit, CommitOutcome},
    room::{input::Input, record::ChangeSet},
};

/// The most that one tick adds to the age of a commit. A process that was frozen first reads the
/// mirror's answers, and only then counts the time.
const TICK_MS_MAX: u64 = 250;
/// Wait before a failed recovery is tried again.
const RETRY_MS: u64 = 500;

/// The result of a recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// Written under a new epoch.
    Restored(Epoch),
    /// The room's closing commit had arrived before, and SQL has its session.
    Closed,
    /// Another node owns the room, or its session is closed.
    Lost,
    /// The mirror or SQL does not answer.
    Failed,
}

impl Owner {
    /// Whether [`Owner::next_commit`] returns one.
    #[must_use]
    pub fn has_commit(&self) -> bool {
        let is_free = self.flight.is_none() && self.recover_at.is_none();
        let has_news = self.refused.is_some() || self.room.has_changes();
        is_free && (has_news || self.must_verify || self.owes_proof())
    }

    /// The next commit to send. None while one is without an answer, or if nothing is due.
    ///
    /// A commit without changes asks the mirror to confirm the ownership.
    pub fn next_commit(&mut self) -> Option<Commit> {
        if !self.has_commit() {
            return None;
        }
        let changes = self.refused.take().or_else(|| self.room.take_changes());
        let changes = changes.unwrap_or_else(|| self.room.no_changes(self.committed));
        self.must_verify = false;
        self.refused_ms = 0;
        self.flight = Some(Flight {
            to: changes.to,
            is_full: changes.is_full,
            term: self.lease.term,
            waited_ms: 0,
        });
        Some(self.commit_of(changes))
    }

    /// The writer did not take the commit of [`Owner::next_commit`], which returns it again.
    pub fn commit_refused(&mut self, commit: Commit) {
        self.flight = None;
        self.refused = Some(commit.changes);
    }

    fn owes_proof(&self) -> bool {
        self.lease.state == LeaseState::Held && !self.is_proven()
    }

    fn commit_of(&self, changes: ChangeSet) -> Commit {
        Commit {
            room_id: self.room.room_id(),
            owner: self.node_id,
            epoch: self.room.epoch(),
            changes,
        }
    }

    /// The mirror may have lost this room: asks it with the next commit.
    pub fn verify(&mut self) {
        self.must_verify = true;
    }

    /// When the next [`Owner::tick`] is due.
    #[must_use]
    pub fn next_check(&self, now: Timestamp) -> Timestamp {
        if self.is_waiting() {
            now.plus_ms(TICK_MS_MAX / 2)
        } else {
            self.answered_at.plus_ms(self.limits.verify_ms)
        }
    }

    /// Whether the room waits for the mirror or for the lease.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.flight.is_some()
            || self.refused.is_some()
            || self.recover_at.is_some()
            || !self.may_publish()
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Timestamp) {
        let checked_at = std::mem::replace(&mut self.checked_at, now);
        let passed_ms = now.ms_since(checked_at).min(TICK_MS_MAX);
        let waited_ms = match (&mut self.flight, &self.refused) {
            (Some(flight), _) => {
                flight.waited_ms += passed_ms;
                flight.waited_ms
            }
            (None, Some(_)) => {
                self.refused_ms += passed_ms;
                self.refused_ms
            }
            (None, None) => 0,
        };
        if self.lease.state == LeaseState::Outage || waited_ms >= self.limits.stall_ms {
            self.degrade(now);
        }
        if now >= self.answered_at.plus_ms(self.limits.verify_ms) && self.flight.is_none() {
            self.must_verify = true;
        }
    }

    /// Stops waiting for the mirror, if the lease allows it: it holds, or no node has the mirror.
    fn degrade(&mut self, now: Timestamp) {
        if !self.is_degraded && self.may_publish() {
            self.is_degraded = true;
            self.announce_durability(now, false);
        }
    }

    fn announce_durability(&mut self, now: Timestamp, durable: bool) {
        let notices = self.room.apply(now, Input::Durability { durable });
        let audience = notices.iter().filter_map(|effect| Some(effect.told()?.0));
        self.queue.announce(durable, audience);
    }

    /// The recovery that is due. The shell carries it out, and answers with [`Owner::recovered`].
    pub fn next_loss(&mut self, now: Timestamp) -> Option<Loss> {
        let (at, outcome) = self.recover_at?;
        let is_due = at <= now && self.flight.is_none() && self.lease.state != LeaseState::Unsure;
        if !is_due {
            return None;
        }
        self.recover_at = None;
        self.room.mirror_everything();
        self.refused = None;
        let changes = self.room.take_changes()?;
        self.flight = Some(Flight {
            to: changes.to,
            is_full: true,
            term: self.lease.term,
            waited_ms: 0,
        });
        Some(Loss {
            commit: self.commit_of(changes),
            outcome,
        })
    }

    /// A commit was answered. Answers to earlier commits are ignored.
    pub fn committed_to(
        &mut self,
        now: Timestamp,
        to: Version,
        outcome: CommitOutcome,
    ) -> StillOwner {
        let Some(flight) = self.flight.take_if(|flight| flight.to == to) else {
            return StillOwner::Yes;
        };
        self.answered_at = now;
        match outcome {
            CommitOutcome::Ok => {
                self.has_mirrored(now, &flight);
                StillOwner::Yes
            }
            CommitOutcome::Fenced { .. } => StillOwner::No,
            CommitOutcome::Behind | CommitOutcome::Missing => {
                // After an expired lease another node may own the room, and be about to write it.
                let wait_ms = if self.is_proven() && self.lease.state != LeaseState::Unsure {
                    0
                } else {
                    self.limits.expiry_ms
                };
                self.recover_at = Some((now.plus_ms(wait_ms), outcome));
                StillOwner::Yes
            }
        }
    }

    /// A recovery has ended.
    pub fn recovered(
        &mut self,
        now: Timestamp,
        to: Version,
        outcome: CommitOutcome,
        recovery: Recovery,
    ) -> StillOwner {
        let Some(flight) = self.flight.take_if(|flight| flight.to == to) else {
            return StillOwner::Yes;
        };
        match recovery {
            Recovery::Restored(epoch) => {
                self.answered_at = now;
                self.room.begin_epoch(epoch);
                self.has_mirrored(now, &flight);
                StillOwner::Yes
            }
            Recovery::Closed if self.is_proven() => {
                self.committed = flight.to;
                StillOwner::Yes
            }
            // It cannot be proved any more who closed it, and with which last events.
            Recovery::Closed => StillOwner::No,
            Recovery::Lost => StillOwner::No,
            Recovery::Failed => {
                self.recover_at = Some((now.plus_ms(RETRY_MS), outcome));
                self.degrade(now);
                StillOwner::Yes
            }
        }
    }

    fn has_mirrored(&mut self, now: Timestamp, flight: &Flight) {
        self.committed = flight.to;
        // A close that the mirror took needs no other proof: nothing is left that another node
        // could own.
        let has_closed = self.room.is_closed() && flight.to == self.room.version();
        if flight.term == self.lease.term || has_closed {
            self.proven_term = self.lease.term;
        }
        if !self.is_degraded {
            return;
        }
        if flight.is_full {
            self.is_degraded = false;
            self.announce_durability(now, true);
        } else {
            // The mirror is back. One full snapshot brings all that it missed.
            self.room.mirror_everything();
        }
    }
}
