//! Beginning a room anew that the mirror does not know: not while an owner may be about to write it again.

use tracing::warn;

use super::{Beginning, Claimant, StartError, unavailable};
use crate::{
    ids::{RoomId, SessionId, TenantId},
    room::RoomBasis,
    store::OpenSession,
};

impl Claimant {
    /// What SQL knows of the room, and its open sessions there. While SQL is away: what was known when the room was last started
    /// here, and no sessions.
    pub(super) async fn beginning_of(
        &self,
        room_id: RoomId,
        tenant_id: Option<TenantId>,
    ) -> Result<(RoomBasis, Option<Vec<OpenSession>>), StartError> {
        let (basis, open) = match self.ledger.beginning(room_id).await {
            Ok(Some(Beginning { basis, open })) => {
                self.memory().bases.insert(basis.clone());
                (basis, Some(open))
            }
            Ok(None) => return Err(StartError::RoomNotFound),
            Err(fault) => {
                warn!(room = %room_id, %fault, "cannot read the room from SQL");
                let remembered = self.memory().bases.get(room_id);
                (remembered.ok_or(StartError::Unavailable)?, None)
            }
        };
        if tenant_id.is_some_and(|tenant| tenant != basis.tenant_id) {
            return Err(StartError::ForeignTenant);
        }
        Ok((basis, open))
    }

    /// Whether a room that the mirror does not know may begin anew, and which of its sessions are lost then. Not while an owner
    /// may be about to write it again: when the mirror lost everything a moment ago, or when SQL has a session of it as live
    /// that no close explains. `generation`, `open`: of the mirror and of SQL, read after the mirror was seen not to know the room,
    /// so that a loss before shows; no `open`: SQL is away.
    pub(super) async fn may_begin(
        &self,
        room_id: RoomId,
        generation: Option<&str>,
        open: Option<Vec<OpenSession>>,
    ) -> Result<Option<Vec<SessionId>>, StartError> {
        let now = self.clock.now();
        if let Some(lease) = self.tenure.lease()
            && (lease.is_generation_young(now) || generation != lease.generation())
        {
            return Ok(None);
        }
        match open {
            Some(open) => self.lost_of(room_id, open).await,
            // The room has been live here before, and its last close is in the outbox at least: unless that was lost.
            None => Ok((!self.has_lost_everything()).then(Vec::new)),
        }
    }

    fn has_lost_everything(&self) -> bool {
        self.tenure
            .lease()
            .is_some_and(|lease| lease.has_lost_everything())
    }

    /// Which of the sessions that are open in SQL are lost; those whose close waits in the outbox are not. None: an owner may
    /// still have one.
    async fn lost_of(
        &self,
        room_id: RoomId,
        open: Vec<OpenSession>,
    ) -> Result<Option<Vec<SessionId>>, StartError> {
        let mut lost = Vec::new();
        for OpenSession { session_id, .. } in open {
            let is_finished = self.mirror.is_finished(room_id, session_id);
            if !is_finished.await.map_err(unavailable)? {
                lost.push(session_id);
            }
        }
        let now = self.clock.now();
        let is_complete = self
            .tenure
            .lease()
            .is_none_or(|lease| lease.is_mirror_complete(now));
        Ok((lost.is_empty() || is_complete).then_some(lost))
    }

    /// What cannot be closed now, the recorder closes.
    pub(super) async fn close_lost(&self, lost: Vec<SessionId>) {
        for session in lost {
            match self.ledger.close_lost(session).await {
                Ok(()) => warn!(%session, "a session was lost with its owner and the mirror"),
                Err(fault) => warn!(%session, %fault, "a lost session could not be closed"),
            }
        }
    }
}
