//! The rooms of processes that are gone: their people may come back here, and if nobody does, their sessions end in time.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use tracing::info;

use crate::{
    actor::Rooms,
    claims::{Peers, StartError},
    ids::NodeId,
    mirror::{MirrorFault, RoomMirror},
};

/// Rooms that are taken over at the same time.
const AT_ONCE: usize = 32;

/// Takes over the rooms of processes that are gone. Answers whether nothing is left to be taken over.
///
/// # Errors
/// When the mirror does not answer.
pub async fn take_over_orphans(
    mirror: &Arc<dyn RoomMirror>,
    peers: &Arc<dyn Peers>,
    rooms: &Rooms,
    own: NodeId,
) -> Result<bool, MirrorFault> {
    let mut is_complete = true;
    for node in mirror.nodes().await? {
        if node.node_id == own {
            continue;
        }
        let former = peers.former(node.node_id).await?;
        if !former.is_gone && !former.has_expired {
            continue;
        }
        let orphans = mirror.rooms_of(node.node_id).await?;
        let left = stream::iter(orphans.clone())
            .map(|room_id| rooms.take_over(room_id))
            .buffer_unordered(AT_ONCE)
            .filter(|taken| std::future::ready(*taken == Err(StartError::Unavailable)))
            .count()
            .await;
        info!(node = %node.node_id, rooms = orphans.len(), left, "took over the rooms of a process that is gone");
        if left == 0 {
            mirror.forget_node(node.node_id).await?;
        } else {
            is_complete = false;
        }
    }
    Ok(is_complete)
}
