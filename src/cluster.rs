//! The other processes on the same mirror: this node's heartbeat, and whether the owner of a room is gone.

pub mod client;
pub mod socket;

use std::{
    collections::HashMap,
    net::ToSocketAddrs,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{net::TcpStream, time::timeout};
use tracing::{debug, info, warn};
use url::Url;

use crate::{
    actor::{Clock, Rooms, StartError},
    ids::NodeId,
    mirror::{MirrorFault, NodeRecord, RoomMirror, writer::MirrorWriter},
};

/// Between the two attempts that show that nobody listens.
const REFUSED_TWICE: Duration = Duration::from_millis(50);
/// Longest wait for a connection that may be refused.
const PROBE_PATIENCE: Duration = Duration::from_millis(500);
/// Other nodes whose heartbeat is watched.
const WATCHED_MAX: usize = 10_000;

/// Another node, as the registry shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The process.
    pub node_id: NodeId,
    /// Under which nodes and clients reach it.
    pub url: Url,
}

/// The other processes on the same mirror.
#[derive(Clone)]
pub enum Peers {
    /// The mirror is this process's alone: the data directory is locked, so whoever owned a room before is gone.
    None,
    /// A shared mirror.
    Shared(Arc<Watch>),
}

/// Watches the heartbeats of other nodes by this node's own clock; wall clocks are never compared.
pub struct Watch {
    mirror: Arc<dyn RoomMirror>,
    /// Where this node listens: nobody else does.
    own_url: Url,
    /// How long a heartbeat may stand still.
    expiry: Duration,
    /// The last heartbeat seen of each node, and when it was first seen.
    seen: Mutex<HashMap<NodeId, (u64, Instant)>>,
}

impl Watch {
    /// A watch over the nodes of `mirror`.
    #[must_use]
    pub fn new(mirror: Arc<dyn RoomMirror>, own_url: Url, expiry: Duration) -> Self {
        Self {
            mirror,
            own_url,
            expiry,
            seen: Mutex::new(HashMap::new()),
        }
    }

    /// Whether a node is gone (its address is ours now, or refuses connections twice) or expired (its heartbeat stood still,
    /// or it is not even listed any more). Silence of its address or a name that does not resolve are no proof.
    async fn is_gone(&self, node_id: NodeId) -> Result<bool, MirrorFault> {
        let nodes = self.mirror.nodes().await?;
        let Some(node) = nodes.into_iter().find(|node| node.node_id == node_id) else {
            return Ok(true);
        };
        let is_expired = self.has_stood_still(&node);
        let url = Url::parse(&node.url).ok();
        let is_here = url
            .as_ref()
            .is_some_and(|url| url.origin() == self.own_url.origin());
        if is_here || is_expired {
            return Ok(true);
        }
        Ok(match url {
            Some(url) => refuses_twice(&url).await,
            None => false,
        })
    }

    fn has_stood_still(&self, node: &NodeRecord) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= WATCHED_MAX && !seen.contains_key(&node.node_id) {
            seen.clear();
        }
        let (heartbeat, since) = seen
            .entry(node.node_id)
            .or_insert((node.heartbeat, Instant::now()));
        if *heartbeat != node.heartbeat {
            (*heartbeat, *since) = (node.heartbeat, Instant::now());
        }
        since.elapsed() >= self.expiry
    }
}

impl Peers {
    /// Where a node is, if it is known.
    pub async fn neighbour(&self, node_id: NodeId) -> Option<Neighbour> {
        let Self::Shared(watch) = self else {
            return None;
        };
        let nodes = watch.mirror.nodes().await.ok()?;
        let node = nodes.into_iter().find(|node| node.node_id == node_id)?;
        let url = Url::parse(&node.url).ok()?;
        Some(Neighbour { node_id, url })
    }

    /// Whether the process that owns a room can no longer serve it. When that cannot be told: no.
    pub async fn is_gone(&self, node_id: NodeId) -> bool {
        match self {
            Self::None => true,
            Self::Shared(watch) => watch.is_gone(node_id).await.unwrap_or_else(|fault| {
                warn!(%fault, %node_id, "cannot tell whether a node is gone");
                false
            }),
        }
    }
}

async fn refuses_twice(url: &Url) -> bool {
    if !refuses(url).await {
        return false;
    }
    tokio::time::sleep(REFUSED_TWICE).await;
    refuses(url).await
}

async fn refuses(url: &Url) -> bool {
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return false;
    };
    let host = host.trim_matches(['[', ']']).to_owned();
    let addresses = tokio::task::spawn_blocking(move || {
        (host.as_str(), port).to_socket_addrs().map(Vec::from_iter)
    })
    .await;
    let Ok(Ok(addresses)) = addresses else {
        return false;
    };
    match timeout(PROBE_PATIENCE, TcpStream::connect(addresses.as_slice())).await {
        Ok(Err(error)) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        Ok(Ok(_)) | Err(_) => false,
    }
}

/// This node's line in the registry.
pub struct Heartbeat {
    /// Where it is written.
    pub mirror: Arc<dyn RoomMirror>,
    /// Is told how the mirror does.
    pub writer: MirrorWriter,
    /// The rooms whose figures are written.
    pub rooms: Rooms,
    /// The line, without figures.
    pub node: NodeRecord,
    /// Says when.
    pub clock: Clock,
    /// Between two heartbeats.
    pub interval: Duration,
}

impl Heartbeat {
    /// Writes for ever. A mirror that lost everything is noticed by its new generation: then all rooms are verified.
    pub async fn run(mut self, state: Arc<dyn Fn() -> (&'static str, u64) + Send + Sync>) {
        let mut interval = tokio::time::interval(self.interval);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut generation: Option<String> = None;
        loop {
            interval.tick().await;
            let (state, connections) = state();
            self.node.heartbeat += 1;
            self.node.seen_at = self.clock.now();
            self.node.rooms = self.rooms.figures().rooms as u64;
            state.clone_into(&mut self.node.state);
            self.node.connections = connections;
            let written = self.mirror.heartbeat(&self.node).await;
            self.writer.observe(&written);
            match written {
                Ok(current) => {
                    if generation.as_ref().is_some_and(|known| *known != current) {
                        warn!("the mirror has lost everything: writing it again");
                        self.rooms.verify_all();
                    }
                    generation = Some(current);
                }
                Err(fault) => debug!(%fault, "no heartbeat"),
            }
        }
    }
}

/// Takes over the rooms of processes that are gone: their people may come back here, and if nobody does, their sessions
/// end in time. Answers whether nothing is left to be taken over.
///
/// # Errors
/// When the mirror does not answer.
pub async fn take_over_orphans(
    mirror: &Arc<dyn RoomMirror>,
    peers: &Peers,
    rooms: &Rooms,
    own: NodeId,
) -> Result<bool, MirrorFault> {
    let mut is_complete = true;
    for node in mirror.nodes().await? {
        if node.node_id == own || !peers.is_gone(node.node_id).await {
            continue;
        }
        let mut left = 0_usize;
        let orphans = mirror.rooms_of(node.node_id).await?;
        for room_id in &orphans {
            left += usize::from(rooms.take_over(*room_id).await == Err(StartError::Unavailable));
        }
        info!(node = %node.node_id, rooms = orphans.len(), left, "took over the rooms of a process that is gone");
        if left == 0 {
            mirror.forget_node(node.node_id).await?;
        } else {
            is_complete = false;
        }
    }
    Ok(is_complete)
}
