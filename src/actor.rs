//! The actors: one per live room, one per connection, and the supervisor that brings them together. The only place that
//! knows actix actors; [`Rooms`] is what the rest of the node sees of them.

mod asking;
mod bases;
mod clock;
mod connection;
mod directory;
mod durability;
mod failures;
mod gate;
mod link;
mod queue;
mod room;
mod start;
mod supervisor;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use actix::{Actor, Addr, Arbiter};
use tokio::{runtime::Handle, sync::oneshot};

use self::{
    bases::Bases,
    durability::Verify,
    room::Abandon,
    supervisor::{FindRoom, RoomSupervisor, StopRooms},
};
pub use self::{
    clock::Clock,
    connection::{Connection, Origin},
    directory::{Directory, Figures},
    gate::{ConnectionLimits, Gate, Person, Place, pace},
    link::{LinkLimits, LinkState},
    queue::QueueLimits,
    start::StartError,
};
use crate::{
    cluster::{Neighbour, Peers, client::NodeClient},
    ids::{NodeId, RoomId},
    metrics::Metrics,
    mirror::{Ownership, RoomMirror, writer::MirrorWriter},
    recorder::Recorder,
    room::{rules::Rules, view::Rejection},
    store::Store,
};

/// How long an admin's command may take.
const ADMIN_PATIENCE: Duration = Duration::from_secs(10);

/// Times and bounds of the actors.
#[derive(Clone, Copy, Debug)]
pub struct ActorLimits {
    /// Of each room's FIFO.
    pub queue: QueueLimits,
    /// Of each connection, seen from its room.
    pub link: LinkLimits,
    /// Silence after which a connection is lost.
    pub ping_timeout_ms: u64,
    /// Without an answer of the mirror for this long a room is degraded.
    pub stall_ms: u64,
    /// How often idle rooms are verified in the mirror.
    pub verify_ms: u64,
}

/// What all actors of this process share.
pub struct Node {
    /// This process.
    pub node_id: NodeId,
    /// Gives rooms their time.
    pub clock: Clock,
    /// Runs everything that waits for the outside.
    pub io: Handle,
    /// The copy of live rooms.
    pub mirror: Arc<dyn RoomMirror>,
    /// Gathers commits.
    pub writer: MirrorWriter,
    /// SQL.
    pub store: Store,
    /// Brings sessions into SQL.
    pub recorder: Recorder,
    /// Figures.
    pub metrics: Metrics,
    /// Of all rooms.
    pub rules: Arc<Rules>,
    /// Of all actors.
    pub limits: ActorLimits,
    /// The other processes on the same mirror.
    pub peers: Peers,
    /// Calls them.
    pub client: NodeClient,
    /// Live rooms.
    pub directory: Arc<Directory>,
    /// What SQL said of rooms that were started here.
    pub bases: Mutex<Bases>,
}

/// Where a room is live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// On this node.
    Here,
    /// On another node.
    At(Neighbour),
    /// On none: not live, or its owner is gone.
    Nowhere,
}

/// Why an admin's command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AskError {
    /// The room has no actor here.
    NotLive,
    /// It cannot answer now.
    Unavailable,
    /// It said no.
    Rejected(Rejection),
}

/// The live rooms of this node, for HTTP and the server.
#[derive(Clone)]
pub struct Rooms {
    node: Arc<Node>,
    supervisor: Addr<RoomSupervisor>,
}

impl fmt::Debug for Rooms {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Rooms")
    }
}

impl Rooms {
    /// Starts the supervisor on the current arbiter; rooms live on `arbiters`, of which there is at least one.
    #[must_use]
    pub fn start(node: Arc<Node>, arbiters: Vec<Arbiter>) -> Self {
        let supervisor = RoomSupervisor::new(Arc::clone(&node), arbiters).start();
        Self { node, supervisor }
    }

    /// Whether a room has an actor here, or is being given a new one because the last one failed.
    #[must_use]
    pub fn is_live(&self, room_id: RoomId) -> bool {
        let directory = &self.node.directory;
        directory.is_restarting(room_id) || directory.find(room_id).is_some()
    }

    /// Sums over the live rooms.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.node.directory.figures()
    }

    /// Takes over a room that its owner hands over: claimed if the mirror still says `former`.
    ///
    /// # Errors
    /// When it cannot be had.
    pub async fn take_over_from(
        &self,
        room_id: RoomId,
        former: Ownership,
    ) -> Result<(), StartError> {
        let _ = former;
        self.take_over(room_id).await
    }

    /// Takes over a room of a process that is gone.
    ///
    /// # Errors
    /// When it cannot be had.
    pub async fn take_over(&self, room_id: RoomId) -> Result<(), StartError> {
        let find = FindRoom {
            room_id,
            tenant_id: None,
        };
        self.supervisor
            .send(find)
            .await
            .map_err(|_| StartError::Unavailable)?
            .map(|_| ())
    }

    /// The mirror may have lost everything: every room looks now.
    pub fn verify_all(&self) {
        for room in self.node.directory.addresses() {
            room.do_send(Verify);
        }
    }

    /// Ends all rooms of this node without ending their meetings: last commit, goodbye. Answers how many did; none: not all
    /// within `patience`. Then the others say goodbye without the last commit.
    pub async fn stop(&self, patience: Duration) -> Option<usize> {
        let (done, stopped) = oneshot::channel();
        self.supervisor.do_send(StopRooms { done });
        if let Ok(Ok(ended)) = tokio::time::timeout(patience, stopped).await {
            return Some(ended);
        }
        for room in self.node.directory.addresses() {
            room.do_send(Abandon);
        }
        None
    }
}
