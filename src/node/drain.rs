//! Hands off the rooms of a node that leaves: each to a successor that claims it, or to no node.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Semaphore;
use tracing::{debug, warn};

use crate::{
    actor::HandOffFn,
    cluster::{NodeClient, Registry},
    ids::{NodeId, RoomId},
    mirror::{Ownership, RoomMirror},
};

/// Rooms that are handed off at the same time.
const AT_ONCE: usize = 32;
/// Successors that are asked for one room.
const ASKED_MAX: usize = 3;

/// Hands each room to one of the other nodes in turn. A room that none takes is left without an
/// owner.
#[must_use]
pub fn to_successors(
    registry: Arc<Registry>,
    client: NodeClient,
    mirror: Arc<dyn RoomMirror>,
) -> HandOffFn {
    let (turn, places) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(Semaphore::new(AT_ONCE)),
    );
    Arc::new(move |room_id, previous| {
        let (registry, mirror) = (Arc::clone(&registry), Arc::clone(&mirror));
        let client = client.clone();
        let (turn, places) = (Arc::clone(&turn), Arc::clone(&places));
        Box::pin(async move {
            let _place = places.acquire_owned().await;
            let first = turn.fetch_add(1, Ordering::Relaxed);
            let successor = hand_off(&registry, &client, first, room_id, previous).await;
            if successor.is_none() {
                release(mirror.as_ref(), room_id, previous).await;
            }
            successor
        })
    })
}

/// Leaves each room without an owner, for a mirror that belongs to this process alone.
#[must_use]
pub fn to_nobody(mirror: Arc<dyn RoomMirror>) -> HandOffFn {
    Arc::new(move |room_id, previous| {
        let mirror = Arc::clone(&mirror);
        Box::pin(async move {
            release(mirror.as_ref(), room_id, previous).await;
            None
        })
    })
}

async fn hand_off(
    registry: &Registry,
    client: &NodeClient,
    first: usize,
    room_id: RoomId,
    previous: Ownership,
) -> Option<NodeId> {
    let mut successors = registry.successors();
    if successors.is_empty() {
        return None;
    }
    let count = successors.len();
    successors.rotate_left(first % count);
    for successor in successors.iter().take(ASKED_MAX) {
        match client.take(successor, room_id, previous).await {
            Ok(()) => return Some(successor.node_id),
            Err(fault) => {
                warn!(room = %room_id, node = %successor.node_id, %fault, "a successor did not take a room");
            }
        }
    }
    None
}

async fn release(mirror: &dyn RoomMirror, room_id: RoomId, previous: Ownership) {
    let Some(owner) = previous.owner else { return };
    match mirror.release(room_id, owner, previous.epoch).await {
        // Fenced: a successor took the room and its answer was lost.
        Ok(outcome) => debug!(room = %room_id, ?outcome, "a room was left without owner"),
        Err(fault) => {
            warn!(room = %room_id, %fault, "a room could not be released: another node takes it over later")
        }
    }
}
