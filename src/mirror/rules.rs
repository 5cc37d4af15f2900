//! The contract of the mirror as plain functions, for the adapters that decide in Rust. The Redis
//! scripts decide the same way.

use std::time::{SystemTime, UNIX_EPOCH};

use super::{Claim, Commit, CommitOutcome, Ownership};
use crate::{
    ids::{Epoch, NodeId, Version},
    room::record::ClosedSession,
};

/// What an adapter does with a commit or a release.
pub(super) enum Decision {
    /// Write it.
    Apply,
    /// Write nothing and answer this.
    Answer(CommitOutcome),
}

/// Decides about a commit from the stored ownership and version of its room, and from whether the
/// outbox holds the session that the commit closes.
pub(super) fn decide_commit(
    stored: Option<(Ownership, Version)>,
    is_in_outbox: bool,
    commit: &Commit,
) -> Decision {
    // A repeat of a close whose answer was lost. The room may be gone or belong to the next
    // session.
    if is_in_outbox {
        return Decision::Answer(CommitOutcome::Ok);
    }
    let Some((ownership, version)) = stored else {
        // A close without a session leaves no trace, so a repeat of it finds nothing.
        let is_done = commit.changes.closing.is_some() && closed_session(commit).is_none();
        return Decision::Answer(if is_done {
            CommitOutcome::Ok
        } else {
            CommitOutcome::Missing
        });
    };
    if ownership.epoch < commit.epoch {
        return Decision::Answer(CommitOutcome::Behind);
    }
    // The same epoch with another owner means that the mirror lost a claim. The stored owner wins.
    // A version beyond `to` means that the mirror holds acknowledged changes which this writer does
    // not know. In both cases the writer must stop.
    let has_other_owner = ownership.epoch > commit.epoch || ownership.owner != Some(commit.owner);
    if has_other_owner || version > commit.changes.from.max(commit.changes.to) {
        return Decision::Answer(CommitOutcome::Fenced {
            epoch: ownership.epoch,
            owner: ownership.owner,
        });
    }
    if version == commit.changes.from {
        Decision::Apply
    } else if version == commit.changes.to {
        Decision::Answer(CommitOutcome::Ok)
    } else {
        Decision::Answer(CommitOutcome::Behind)
    }
}

/// Decides about a release from the stored ownership of its room.
pub(super) fn decide_release(stored: Option<Ownership>, owner: NodeId, epoch: Epoch) -> Decision {
    let Some(stored) = stored else {
        return Decision::Answer(CommitOutcome::Missing);
    };
    if stored.epoch < epoch {
        return Decision::Answer(CommitOutcome::Behind);
    }
    // No owner under the same epoch is a repeat of a release whose answer was lost.
    if stored.epoch > epoch || stored.owner.is_some_and(|stored| stored != owner) {
        return Decision::Answer(CommitOutcome::Fenced {
            epoch: stored.epoch,
            owner: stored.owner,
        });
    }
    Decision::Apply
}

/// The finished session that a commit moves to the outbox.
pub(super) fn closed_session(commit: &Commit) -> Option<&ClosedSession> {
    commit.changes.closing.as_ref()?.session.as_ref()
}

/// Returns the epoch of a new owner. It is higher than any epoch seen and not lower than the clock,
/// so a mirror that lost everything does not give out old epochs again.
pub(super) fn next_epoch(stored: Option<Epoch>, last_seen: Epoch, now_us: u64) -> Epoch {
    let highest = stored.unwrap_or_default().max(last_seen);
    highest.next().max(Epoch(now_us))
}

/// Microseconds since 1970 for [`next_epoch`].
pub(super) fn now_us() -> u64 {
    let elapsed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)
}

/// The claim that a restore makes.
pub(super) fn claim_of_restore(commit: &Commit, expected: Option<Ownership>) -> Claim {
    Claim {
        room_id: commit.room_id,
        expected,
        claimant: commit.owner,
        last_seen: commit.epoch,
    }
}
