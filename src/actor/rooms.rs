//! The live rooms of this node, as HTTP and the node's tasks see them.

mod admin_calls;

use std::{fmt, sync::Arc, time::Duration};

use actix::{Actor, Addr};
use tokio::sync::oneshot;

use super::{
    context::NodeContext,
    room::{CheckLease, HandOffFn, RoomDirectory, StopNow, Verify},
    supervisor::{FindRoom, RoomSupervisor, StopRooms},
    threads::RoomThreads,
    waiter::Right,
};
use crate::{
    claims::StartError, cluster::Neighbour, ids::RoomId, mirror::Ownership, protocol::Rejection,
};

/// Where a room is live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// On this node.
    Here,
    /// On another node.
    At(Neighbour),
    /// On no node: it is not live, or its owner is gone.
    Nowhere,
}

/// Why an admin's command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminError {
    /// The room is not live.
    NotLive,
    /// The room cannot answer now.
    Unavailable,
    /// The room refused it.
    Rejected(Rejection),
}

/// The live rooms of this node, for everybody above the actors.
#[derive(Clone)]
pub struct Rooms {
    pub(super) node: Arc<NodeContext>,
    pub(super) directory: Arc<RoomDirectory>,
    pub(super) supervisor: Addr<RoomSupervisor>,
}

impl fmt::Debug for Rooms {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Rooms")
    }
}

impl Rooms {
    /// Starts the supervisor on the current arbiter; rooms live on `threads`.
    #[must_use]
    pub fn start(node: Arc<NodeContext>, threads: RoomThreads) -> Self {
        let directory = Arc::new(RoomDirectory::default());
        let supervisor =
            RoomSupervisor::new(Arc::clone(&node), Arc::clone(&directory), threads).start();
        Self {
            node,
            directory,
            supervisor,
        }
    }

    /// Wakes the rooms that are due. Runs until it is dropped, on the I/O runtime.
    pub async fn tick(self) {
        self.directory.tick(self.node.clock).await;
    }

    /// Whether a room has an actor here, or gets a new one because the last one crashed.
    #[must_use]
    pub fn is_live(&self, room_id: RoomId) -> bool {
        self.directory.is_restarting(room_id) || self.directory.has(room_id)
    }

    /// Takes over a room that `previous` hands off, if the mirror still names it as the owner.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn take_over_from(
        &self,
        room_id: RoomId,
        previous: Ownership,
    ) -> Result<(), StartError> {
        self.find(room_id, Right::HandOff(previous)).await
    }

    /// Takes over a room of a process that is gone.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn take_over(&self, room_id: RoomId) -> Result<(), StartError> {
        self.find(room_id, Right::Takeover).await
    }

    async fn find(&self, room_id: RoomId, right: Right) -> Result<(), StartError> {
        let found = self.supervisor.send(FindRoom { room_id, right }).await;
        found.map_err(|_| StartError::Unavailable)?.map(|_| ())
    }

    /// The node has learnt why its lease expired: every room reads it now.
    pub fn check_leases(&self) {
        for room in self.directory.addresses() {
            room.do_send(CheckLease);
        }
    }

    /// The mirror may have lost everything: every room asks it now.
    pub fn verify_all(&self) {
        for room in self.directory.addresses() {
            room.do_send(Verify);
        }
    }

    /// Ends all rooms of this node, but not their meetings: last commit, hand-off, goodbye. Returns
    /// the number of rooms that ended.
    ///
    /// None if not all have ended within `patience`. Then the others say goodbye without their last
    /// commit.
    pub async fn stop(&self, hand_off: HandOffFn, patience: Duration) -> Option<usize> {
        self.node.leaving.set();
        let (done, stopped) = oneshot::channel();
        self.supervisor.do_send(StopRooms { hand_off, done });
        if let Ok(Ok(ended)) = tokio::time::timeout(patience, stopped).await {
            return Some(ended);
        }
        for room in self.directory.addresses() {
            room.do_send(StopNow);
        }
        None
    }
}
