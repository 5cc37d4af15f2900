//! The actors: one per live room, one per connection, and the supervisor that brings them together. The only place that
//! knows actix actors; [`Rooms`] is what the rest of the node sees of them.

mod alarm;
mod asker;
mod asking;
mod connection;
mod directory;
mod durability;
mod failures;
mod gate;
mod link;
mod room;
mod spacing;
mod supervisor;
#[cfg(test)]
mod tests;
mod threads;

use std::{fmt, sync::Arc, time::Duration};

use actix::{Actor, Addr};
use tokio::{runtime::Handle, sync::oneshot};
use url::Url;

pub use self::{
    connection::{Connection, Origin},
    directory::Directory,
    gate::{ConnectionLimits, Gate, Person, Place, pace},
    link::LinkLimits,
    room::HandOver,
    spacing::SpacingLimits,
    threads::RoomThreads,
};
use self::{
    durability::{Look, Verify},
    room::Abandon,
    supervisor::{FindRoom, Right, RoomSupervisor, StopRooms},
};
use crate::{
    claims::{Claimant, StartError},
    clock::Clock,
    cluster::{self, Neighbour, Registry, client::NodeClient},
    ids::{NodeId, RoomId},
    metrics::Metrics,
    mirror::{Ownership, RoomMirror, writer::MirrorWriter},
    owner::OwnerLimits,
    protocol::Rejection,
    recorder::Recorder,
    store::Store,
};

/// How long an admin's command may take.
const ADMIN_PATIENCE: Duration = Duration::from_secs(10);

/// Times and bounds of the actors.
#[derive(Clone, Copy, Debug)]
pub struct ActorLimits {
    /// Of each owned room.
    pub owner: OwnerLimits,
    /// Of each connection, seen from its room.
    pub link: LinkLimits,
    /// Of each room's commits.
    pub spacing: SpacingLimits,
    /// Between two pings of a connection.
    pub ping_interval_ms: u64,
    /// Silence after which a connection is lost.
    pub ping_timeout_ms: u64,
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
    /// Of all actors.
    pub limits: ActorLimits,
    /// Makes this node the owner of rooms.
    pub claimant: Claimant,
    /// The other processes on the same mirror; none: it is this process's alone.
    pub registry: Option<Arc<Registry>>,
    /// Calls them.
    pub client: NodeClient,
    /// Live rooms.
    pub directory: Arc<Directory>,
}

impl Node {
    /// Where the room's signalling is at its new owner; of one that is not known: at any node that lives.
    fn signal_url_at(&self, owner: Option<NodeId>, room_id: RoomId) -> Option<Url> {
        let registry = self.registry.as_ref()?;
        let neighbour = match owner {
            Some(owner) => registry.neighbour(owner)?,
            None => registry.entries().into_iter().next()?,
        };
        cluster::signal_url(&neighbour.url, room_id)
    }
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
    /// Starts the supervisor on the current arbiter; rooms live on `threads`.
    #[must_use]
    pub fn start(node: Arc<Node>, threads: RoomThreads) -> Self {
        let supervisor = RoomSupervisor::new(Arc::clone(&node), threads).start();
        Self { node, supervisor }
    }

    /// Whether a room has an actor here, or is being given a new one because the last one failed.
    #[must_use]
    pub fn is_live(&self, room_id: RoomId) -> bool {
        let directory = &self.node.directory;
        directory.is_restarting(room_id) || directory.has(room_id)
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
        self.find(room_id, Right::Handover(former)).await
    }

    /// Takes over a room of a process that is gone.
    ///
    /// # Errors
    /// When it cannot be had.
    pub async fn take_over(&self, room_id: RoomId) -> Result<(), StartError> {
        self.find(room_id, Right::Takeover).await
    }

    async fn find(&self, room_id: RoomId, right: Right) -> Result<(), StartError> {
        let found = self.supervisor.send(FindRoom { room_id, right }).await;
        found.map_err(|_| StartError::Unavailable)?.map(|_| ())
    }

    /// The node's lease has been judged: every room looks now.
    pub fn look_all(&self) {
        for room in self.node.directory.addresses() {
            room.do_send(Look);
        }
    }

    /// The mirror may have lost everything: every room looks now.
    pub fn verify_all(&self) {
        for room in self.node.directory.addresses() {
            room.do_send(Verify);
        }
    }

    /// Ends all rooms of this node without ending their meetings: last commit, handover, goodbye. Answers how many did; none: not all
    /// within `patience`. Then the others say goodbye without the last commit.
    pub async fn stop(&self, hand_over: HandOver, patience: Duration) -> Option<usize> {
        self.node.directory.leave();
        let (done, stopped) = oneshot::channel();
        self.supervisor.do_send(StopRooms { hand_over, done });
        if let Ok(Ok(ended)) = tokio::time::timeout(patience, stopped).await {
            return Some(ended);
        }
        for room in self.node.directory.addresses() {
            room.do_send(Abandon);
        }
        None
    }
}
