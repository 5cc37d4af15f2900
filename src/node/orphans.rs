//! Takes over the rooms of nodes that are gone: their clients may connect here, and without them
//! the sessions end in time.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use tracing::info;

use crate::{
    actor::Rooms,
    claims::{NodeLiveness, StartError},
    ids::{NodeId, RoomId},
    mirror::{MirrorFault, RoomMirror},
};

/// Rooms that are taken over at the same time.
const ROOMS_AT_ONCE: usize = 32;
/// Nodes that are checked at the same time: a check may wait for a silent node.
const NODES_AT_ONCE: usize = 32;

/// Takes over the rooms of nodes that are gone, and the rooms that the mirror says are this node's
/// but nobody runs, after a claim whose answer was lost. Returns whether no such rooms are left.
///
/// # Errors
/// Fails when the mirror does not answer.
pub async fn take_over_orphans(
    mirror: &Arc<dyn RoomMirror>,
    liveness: &Arc<dyn NodeLiveness>,
    rooms: &Rooms,
    own: NodeId,
) -> Result<bool, MirrorFault> {
    let nodes: Vec<NodeId> = mirror
        .nodes()
        .await?
        .iter()
        .map(|node| node.node_id)
        .collect();
    let looks = stream::iter(nodes).map(|node_id| async move {
        if node_id == own {
            let idle = mirror.rooms_of(own).await?;
            let idle = idle.into_iter().filter(|room_id| !rooms.is_live(*room_id));
            return Ok(take_over(rooms, idle.collect(), own).await == 0);
        }
        take_over_if_gone(mirror, liveness, rooms, node_id).await
    });
    let answers: Vec<Result<bool, MirrorFault>> =
        looks.buffer_unordered(NODES_AT_ONCE).collect().await;
    let mut is_complete = true;
    for answer in answers {
        is_complete &= answer?;
    }
    Ok(is_complete)
}

async fn take_over_if_gone(
    mirror: &Arc<dyn RoomMirror>,
    liveness: &Arc<dyn NodeLiveness>,
    rooms: &Rooms,
    node_id: NodeId,
) -> Result<bool, MirrorFault> {
    let owner = liveness.liveness_of(node_id).await?;
    if !owner.is_gone && !owner.has_expired {
        return Ok(true);
    }
    let orphans = mirror.rooms_of(node_id).await?;
    let count = orphans.len();
    let left = take_over(rooms, orphans, node_id).await;
    info!(node = %node_id, rooms = count, left, "took over the rooms of a node that is gone");
    if left == 0 {
        mirror.forget_node(node_id).await?;
    }
    Ok(left == 0)
}

/// Returns the number of rooms that could not be taken over now.
async fn take_over(rooms: &Rooms, orphans: Vec<RoomId>, owner: NodeId) -> usize {
    stream::iter(orphans)
        .map(|room_id| rooms.take_over(room_id))
        .buffer_unordered(ROOMS_AT_ONCE)
        .filter(|taken| {
            let is_left = match taken {
                Err(StartError::Unavailable) => true,
                Err(StartError::Elsewhere(other)) => *other == owner,
                Ok(()) | Err(StartError::RoomNotFound | StartError::ForeignTenant) => false,
            };
            std::future::ready(is_left)
        })
        .count()
        .await
}
