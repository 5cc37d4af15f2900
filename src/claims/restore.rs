//! Restores a room that the mirror lost.

use std::sync::Weak;

use tracing::warn;

use super::Claimant;
use crate::{
    mirror::{ClaimOutcome, CommitOutcome, MirrorFault, Ownership},
    owner::{Loss, Recovery},
};

impl Claimant {
    /// Writes the snapshot if the mirror still names this owner, or if the room is missing there
    /// and its session is not closed.
    ///
    /// `alive` lives as long as nobody else claims the room on this node.
    pub async fn restore(&self, loss: &Loss, alive: &Weak<()>) -> Recovery {
        match self.try_restore(loss, alive).await {
            Ok(recovery) => recovery,
            Err(fault) => {
                warn!(room = %loss.commit.room_id, %fault, "recovery failed");
                Recovery::Failed
            }
        }
    }

    async fn try_restore(&self, loss: &Loss, alive: &Weak<()>) -> Result<Recovery, MirrorFault> {
        let commit = &loss.commit;
        let expected = match loss.outcome {
            CommitOutcome::Missing => match self.outcome_of_missing(loss).await? {
                None => None,
                Some(recovery) => return Ok(recovery),
            },
            CommitOutcome::Ok | CommitOutcome::Behind | CommitOutcome::Fenced { .. } => {
                let stored = self.mirror.ownership(commit.room_id).await?;
                let is_ours = |stored: &Ownership| {
                    stored.owner == Some(self.node_id) || stored.epoch < commit.epoch
                };
                // Another actor of this node may have claimed it meanwhile.
                let is_dead = alive.strong_count() == 0;
                if is_dead || stored.as_ref().is_some_and(|stored| !is_ours(stored)) {
                    return Ok(Recovery::Lost);
                }
                stored
            }
        };
        let mut claimed = self.mirror.restore(commit, expected).await?;
        if let ClaimOutcome::Lost(Some(stored)) = claimed
            && stored.owner == Some(self.node_id)
            && alive.strong_count() > 0
        {
            // An earlier try arrived, and its answer did not. Nobody else writes the room here
            // while its actor lives, and it lived after `stored` was read.
            claimed = self.mirror.restore(commit, Some(stored)).await?;
        }
        Ok(match claimed {
            ClaimOutcome::Claimed { epoch, .. } => Recovery::Restored(epoch),
            ClaimOutcome::Lost(_) | ClaimOutcome::TooNew => Recovery::Lost,
        })
    }

    /// A room that the mirror does not know may have been closed by another node. None if it was
    /// not.
    async fn outcome_of_missing(&self, loss: &Loss) -> Result<Option<Recovery>, MirrorFault> {
        let (room_id, changes) = (loss.commit.room_id, &loss.commit.changes);
        let Some(session) = changes.head.as_ref().and_then(|head| head.session) else {
            return Ok(None);
        };
        let closed = Some(if changes.closing.is_some() {
            Recovery::Closed
        } else {
            Recovery::Lost
        });
        // Its close may wait to be recorded.
        if self.mirror.is_finished(room_id, session.session_id).await? {
            return Ok(closed);
        }
        Ok(match self.history.is_closed(session.session_id).await {
            Ok(true) => closed,
            Ok(false) => None,
            Err(fault) => {
                warn!(room = %room_id, %fault, "cannot ask SQL whether the session is closed");
                Some(Recovery::Failed)
            }
        })
    }
}
