//! What all actors of this process share.

use std::sync::Arc;

use tokio::{runtime::Handle, sync::watch};
use url::Url;

use super::commit_pacer::PacingLimits;
use crate::{
    claims::Claimant,
    clock::Clock,
    cluster::{self, NodeClient, Registry},
    ids::{NodeId, RoomId},
    metrics::Metrics,
    mirror::{RoomMirror, writer::MirrorWriter},
    owner::OwnerLimits,
    recorder::Recorder,
    store::Store,
    ws::LinkLimits,
};

/// Times and bounds of the actors.
#[derive(Clone, Copy, Debug)]
pub struct ActorLimits {
    /// Limits of each owned room.
    pub owner: OwnerLimits,
    /// How far a client may be behind.
    pub link: LinkLimits,
    /// How far a room's commits are apart.
    pub pacing: PacingLimits,
    /// Time between two pings of a connection.
    pub ping_interval_ms: u64,
    /// A connection that is silent for this long is lost.
    pub ping_timeout_ms: u64,
}

/// What all actors of this process share.
pub struct NodeContext {
    /// This process.
    pub node_id: NodeId,
    /// Gives rooms their time.
    pub clock: Clock,
    /// Runs tasks that do I/O.
    pub io: Handle,
    /// The copy of live rooms.
    pub mirror: Arc<dyn RoomMirror>,
    /// Writes commits in batches.
    pub writer: MirrorWriter,
    /// SQL.
    pub store: Store,
    /// Brings sessions into SQL.
    pub recorder: Recorder,
    /// The node's metrics.
    pub metrics: Metrics,
    /// Times and bounds.
    pub limits: ActorLimits,
    /// Makes this node the owner of rooms.
    pub claimant: Claimant,
    /// The other processes on the same mirror. None if the mirror belongs to this process alone.
    pub registry: Option<Arc<Registry>>,
    /// Calls them.
    pub client: NodeClient,
    /// Set when the node leaves. Clients whose room is on another node are then told to connect
    /// there.
    pub leaving: Leaving,
}

impl NodeContext {
    /// The room's signal URL at its new owner, or at any living node if that is not known.
    pub(super) fn signal_url_at(&self, owner: Option<NodeId>, room_id: RoomId) -> Option<Url> {
        let registry = self.registry.as_ref()?;
        let neighbour = match owner {
            Some(owner) => registry.neighbour(owner)?,
            None => registry.entries().into_iter().next()?,
        };
        cluster::signal_url(&neighbour.url, room_id)
    }
}

/// Whether the node leaves.
#[derive(Debug, Default)]
pub struct Leaving(watch::Sender<bool>);

impl Leaving {
    /// The node leaves.
    pub(super) fn set(&self) {
        self.0.send_replace(true);
    }

    /// Completes when the node leaves.
    pub(super) async fn wait(&self) {
        let mut is_leaving = self.0.subscribe();
        // This value keeps the sender, so the wait has no other end.
        let _ = is_leaving.wait_for(|is_leaving| *is_leaving).await;
    }
}
