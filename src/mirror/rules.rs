//! The contract of the mirror as plain functions, for the adapters that decide in Rust. The Redis scripts say the same.

use std::time::{SystemTime, UNIX_EPOCH};

use super::{Claim, Commit, CommitOutcome, Ownership};
use crate::{
    ids::{Epoch, NodeId, Version},
    room::record::ClosedSession,
};

/// Whether a commit or a release is to be written.
pub(super) enum Verdict {
    /// Write it.
    Apply,
    /// Write nothing and answer this.
    Answer(CommitOutcome),
}

/// Judges a commit by what is stored of its room: ownership and version, and whether the outbox holds the session that
/// the commit closes.
pub(super) fn judge(
    stored: Option<(Ownership, Version)>,
    is_in_outbox: bool,
    commit: &Commit,
) -> Verdict {
    // A repeat of a close whose answer was lost; by now the hash may be gone or belong to the next session.
    if is_in_outbox {
        return Verdict::Answer(CommitOutcome::Ok);
    }
    let Some((ownership, version)) = stored else {
        // A close without a session leaves no trace, so a repeat of it finds nothing.
        let is_done = commit.changes.closing.is_some() && closed_session(commit).is_none();
        return Verdict::Answer(if is_done {
            CommitOutcome::Ok
        } else {
            CommitOutcome::Missing
        });
    };
    if ownership.epoch < commit.epoch {
        return Verdict::Answer(CommitOutcome::Behind);
    }
    // The same epoch under another name happens only when the mirror forgot a claim; the one it remembers wins. A
    // version beyond `to` means that it holds acknowledged changes which this writer does not know: it must stop, too.
    let is_foreign = ownership.epoch > commit.epoch || ownership.owner != Some(commit.owner);
    if is_foreign || version > commit.changes.from.max(commit.changes.to) {
        return Verdict::Answer(CommitOutcome::Fenced {
            epoch: ownership.epoch,
            owner: ownership.owner,
        });
    }
    if version == commit.changes.from {
        Verdict::Apply
    } else if version == commit.changes.to {
        Verdict::Answer(CommitOutcome::Ok)
    } else {
        Verdict::Answer(CommitOutcome::Behind)
    }
}

/// Judges a release by what is stored of its room.
pub(super) fn judge_release(stored: Option<Ownership>, owner: NodeId, epoch: Epoch) -> Verdict {
    let Some(stored) = stored else {
        return Verdict::Answer(CommitOutcome::Missing);
    };
    if stored.epoch < epoch {
        return Verdict::Answer(CommitOutcome::Behind);
    }
    // No owner under the same epoch: a repeat of a release whose answer was lost.
    if stored.epoch > epoch || stored.owner.is_some_and(|stored| stored != owner) {
        return Verdict::Answer(CommitOutcome::Fenced {
            epoch: stored.epoch,
            owner: stored.owner,
        });
    }
    Verdict::Apply
}

/// The finished session that a commit moves to the outbox.
pub(super) fn closed_session(commit: &Commit) -> Option<&ClosedSession> {
    commit.changes.closing.as_ref()?.session.as_ref()
}

/// The epoch of a new owner: higher than any seen, and never lower than the clock, so that a mirror that lost everything
/// does not hand out old ones again.
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
