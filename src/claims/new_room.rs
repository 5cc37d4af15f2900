//! Starts a room that the mirror does not know, unless an owner may be about to restore it.

use tracing::warn;

use super::{Claimant, StartError, StoredRoom, unavailable};
use crate::{
    ids::{RoomId, SessionId, TenantId},
    room::RoomBasis,
    store::OpenSession,
};

impl Claimant {
    /// What SQL knows of the room, and its open sessions there.
    ///
    /// While SQL is away, this is what was known when the room was last started here, without
    /// sessions.
    pub(super) async fn stored_room_of(
        &self,
        room_id: RoomId,
        tenant_id: Option<TenantId>,
    ) -> Result<(RoomBasis, Option<Vec<OpenSession>>), StartError> {
        let (basis, open) = match self.history.stored_room(room_id).await {
            Ok(Some(StoredRoom { basis, open })) => {
                self.memory().room_cache.insert(basis.clone());
                (basis, Some(open))
            }
            Ok(None) => return Err(StartError::RoomNotFound),
            Err(fault) => {
                warn!(room = %room_id, %fault, "cannot read the room from SQL");
                let remembered = self.memory().room_cache.get(room_id);
                (remembered.ok_or(StartError::Unavailable)?, None)
            }
        };
        if tenant_id.is_some_and(|tenant| tenant != basis.tenant_id) {
            return Err(StartError::ForeignTenant);
        }
        Ok((basis, open))
    }

    /// The sessions that are lost if the room starts anew. None if it may not: an owner may be
    /// about to restore it.
    ///
    /// That is so when the mirror lost everything a moment ago, or when SQL has an open session of
    /// the room whose close is neither in SQL nor in the outbox. `generation` and `open` were read
    /// after the mirror did not know the room, so that an earlier loss shows. Without `open` SQL is
    /// away.
    pub(super) async fn may_begin(
        &self,
        room_id: RoomId,
        generation: Option<&str>,
        open: Option<Vec<OpenSession>>,
    ) -> Result<Option<Vec<SessionId>>, StartError> {
        let now = self.clock.now();
        if let Some(lease) = self.lease.lock()
            && (lease.is_generation_young(now) || generation != lease.generation())
        {
            return Ok(None);
        }
        match open {
            Some(open) => self.lost_of(room_id, open).await,
            // The room was live here before, and its last close is at least in the outbox, unless
            // the outbox was lost.
            None => Ok((!self.has_lost_everything()).then(Vec::new)),
        }
    }

    fn has_lost_everything(&self) -> bool {
        self.lease
            .lock()
            .is_some_and(|lease| lease.has_lost_everything())
    }

    /// Which of the sessions that are open in SQL are lost. Those whose close waits in the outbox
    /// are not. None if an owner may still have one.
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
            .lease
            .lock()
            .is_none_or(|lease| lease.is_mirror_complete(now));
        Ok((lost.is_empty() || is_complete).then_some(lost))
    }

    /// Closes lost sessions. The recorder closes those that cannot be closed now.
    pub(super) async fn close_lost(&self, lost: Vec<SessionId>) {
        for session in lost {
            match self.history.close_lost(session).await {
                Ok(()) => warn!(%session, "a session was lost with its owner and the mirror"),
                Err(fault) => warn!(%session, %fault, "a lost session could not be closed"),
            }
        }
    }
}
