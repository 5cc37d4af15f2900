//! The room and its mirror: commits, one at a time; degraded while none is answered; recovery of what the mirror lost.

use super::{Fate, Flight, Loss, Owner};
use crate::{
    ids::{Epoch, Timestamp, Version},
    lease::Standing,
    mirror::{Commit, CommitOutcome},
    room::{input::Input, record::ChangeSet},
};

/// Longest time that one look at the clock may add to the age of a commit: a process that was frozen reads what the
/// mirror answered before it judges it.
const LOOK_MS: u64 = 250;
/// How soon a failed recovery is tried again.
const RETRY_MS: u64 = 500;

/// What became of a recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// Written under a new epoch.
    Restored(Epoch),
    /// The room's closing commit had arrived before, and its session is in SQL already.
    Closed,
    /// Somebody else owns the room, or its session is closed.
    Lost,
    /// The mirror or SQL is away.
    Failed,
}

impl Owner {
    /// Whether there is a commit to be sent.
    #[must_use]
    pub fn has_commit(&self) -> bool {
        let is_free = self.flight.is_none() && self.recover_at.is_none();
        let has_news = self.refused.is_some() || self.room.has_changes();
        is_free && (has_news || self.must_verify || self.owes_proof())
    }

    /// The next commit to be sent, if none is on its way: a proof that is owed, or what has changed.
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

    /// The writer had no room for the commit that [`Owner::next_commit`] gave: it is offered again.
    pub fn commit_refused(&mut self, commit: Commit) {
        self.flight = None;
        self.refused = Some(commit.changes);
    }

    fn owes_proof(&self) -> bool {
        self.lease.standing == Standing::Held && !self.is_proven()
    }

    fn commit_of(&self, changes: ChangeSet) -> Commit {
        Commit {
            room_id: self.room.room_id(),
            owner: self.node_id,
            epoch: self.room.epoch(),
            changes,
        }
    }

    /// The mirror may have lost this room: ask it as soon as nothing else is on its way.
    pub fn verify(&mut self) {
        self.must_verify = true;
    }

    /// When the passing of time matters next.
    #[must_use]
    pub fn next_check(&self, now: Timestamp) -> Timestamp {
        if self.is_waiting() {
            now.plus_ms(LOOK_MS / 2)
        } else {
            self.answered_at.plus_ms(self.limits.verify_ms)
        }
    }

    /// For the mirror, or for the lease.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.flight.is_some()
            || self.refused.is_some()
            || self.recover_at.is_some()
            || !self.may_publish()
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Timestamp) {
        let looked_at = std::mem::replace(&mut self.looked_at, now);
        let passed_ms = now.ms_since(looked_at).min(LOOK_MS);
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
        if self.lease.standing == Standing::Outage || waited_ms >= self.limits.stall_ms {
            self.degrade(now);
        }
        if now >= self.answered_at.plus_ms(self.limits.verify_ms) && self.flight.is_none() {
            self.must_verify = true;
        }
    }

    /// Goes on without the mirror, if the lease allows it: before its end, or when no node has the mirror.
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

    /// The recovery that is due: the shell carries it out and answers by [`Owner::recovered`].
    pub fn next_loss(&mut self, now: Timestamp) -> Option<Loss> {
        let (at, outcome) = self.recover_at?;
        let is_due = at <= now && self.flight.is_none() && self.lease.standing != Standing::Unsure;
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

    /// A commit was answered; news of one that is not on its way is ignored.
    pub fn committed_to(&mut self, now: Timestamp, to: Version, outcome: CommitOutcome) -> Fate {
        let Some(flight) = self.flight.take_if(|flight| flight.to == to) else {
            return Fate::Ours;
        };
        self.answered_at = now;
        match outcome {
            CommitOutcome::Ok => {
                self.has_mirrored(now, &flight);
                Fate::Ours
            }
            CommitOutcome::Fenced { .. } => Fate::Lost,
            CommitOutcome::Behind | CommitOutcome::Missing => {
                // After a lease that had ended somebody else may own the room and be about to write it.
                let wait_ms = if self.is_proven() && self.lease.standing != Standing::Unsure {
                    0
                } else {
                    self.limits.expiry_ms
                };
                self.recover_at = Some((now.plus_ms(wait_ms), outcome));
                Fate::Ours
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
    ) -> Fate {
        let Some(flight) = self.flight.take_if(|flight| flight.to == to) else {
            return Fate::Ours;
        };
        match recovery {
            Recovery::Restored(epoch) => {
                self.answered_at = now;
                self.room.begin_epoch(epoch);
                self.has_mirrored(now, &flight);
                Fate::Ours
            }
            Recovery::Closed if self.is_proven() => {
                self.committed = flight.to;
                Fate::Ours
            }
            // Closed by whom, and with which last events, cannot be proved any more.
            Recovery::Closed => Fate::Lost,
            Recovery::Lost => Fate::Lost,
            Recovery::Failed => {
                self.recover_at = Some((now.plus_ms(RETRY_MS), outcome));
                self.degrade(now);
                Fate::Ours
            }
        }
    }

    fn has_mirrored(&mut self, now: Timestamp, flight: &Flight) {
        self.committed = flight.to;
        // A close that the mirror took is its own proof: there is nothing left that another node could own.
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
            // The mirror is back; whatever it missed, one full snapshot puts it right.
            self.room.mirror_everything();
        }
    }
}
