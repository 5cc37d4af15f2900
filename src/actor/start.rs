//! Starting a room: claim it in the mirror, then continue what is stored there or begin from what SQL knows.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
    time::Duration,
};

use thiserror::Error;
use tracing::warn;

use super::Node;
use crate::{
    ids::{Epoch, NodeId, RoomId, TenantId, Timestamp, Version},
    mirror::{Claim, ClaimOutcome, MirrorFault, Ownership},
    room::{Room, RoomBasis, record::BanRecord},
    store::StoreFault,
};

/// Attempts to restart a failed room whose mirror does not answer.
const RESTART_TRIES: usize = 10;
/// Between two of them.
const RESTART_WAIT: Duration = Duration::from_millis(200);
/// Claims that are lost to somebody else before the asker has to come again.
const CLAIMS_MAX: usize = 4;

/// Why a room cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum StartError {
    /// Unknown or deleted.
    #[error("unknown room")]
    RoomNotFound,
    /// Another tenant's.
    #[error("another tenant's room")]
    ForeignTenant,
    /// Owned by a live other node.
    #[error("another node's room")]
    Elsewhere(NodeId),
    /// Mirror or SQL away, or too much at once.
    #[error("not available now")]
    Unavailable,
}

/// A room that is ours now.
#[derive(Debug)]
pub struct Started {
    /// Its state.
    pub room: Room,
    /// The version that the mirror has of it.
    pub committed: Version,
    /// Continued from the mirror.
    pub is_restored: bool,
}

/// Claims a room that this node does not run.
pub async fn start_room(
    node: &Node,
    room_id: RoomId,
    tenant_id: Option<TenantId>,
) -> Result<Started, StartError> {
    for _ in 0..CLAIMS_MAX {
        let stored = node.mirror.ownership(room_id).await.map_err(unavailable)?;
        let basis = match stored {
            Some(ownership) => {
                require_claimable(node, ownership).await?;
                None
            }
            // Nothing left to be taken over.
            None if tenant_id.is_none() => return Err(StartError::RoomNotFound),
            // Unknown to the mirror: it is begun from SQL, if it exists at all.
            None => Some(basis_of(node, room_id, tenant_id).await?),
        };
        if let Some(started) = claim(node, room_id, stored, basis).await? {
            return Ok(started);
        }
    }
    Err(StartError::Unavailable)
}

/// Claims a room again whose actor failed here under `epoch`; its people wait for it, so a mirror that does not answer is
/// asked for a while.
pub async fn restart_room(
    node: &Node,
    room_id: RoomId,
    epoch: Epoch,
) -> Result<Started, StartError> {
    for _ in 0..RESTART_TRIES {
        if let Ok(stored) = node.mirror.ownership(room_id).await.map_err(unavailable) {
            // The epoch is higher when the actor failed while it was writing the room again.
            let is_ours = stored
                .is_some_and(|stored| stored.owner == Some(node.node_id) && stored.epoch >= epoch);
            if !is_ours {
                return Err(StartError::Unavailable);
            }
            if let Ok(Some(started)) = claim(node, room_id, stored, None).await {
                return Ok(started);
            }
        }
        tokio::time::sleep(RESTART_WAIT).await;
    }
    Err(StartError::Unavailable)
}

/// Only rooms of nobody, of this node, or of a process that is gone may be claimed.
async fn require_claimable(node: &Node, stored: Ownership) -> Result<(), StartError> {
    match stored.owner {
        Some(owner) if owner != node.node_id && !node.peers.is_gone(owner).await => {
            Err(StartError::Elsewhere(owner))
        }
        Some(_) | None => Ok(()),
    }
}

/// None: somebody else was faster.
async fn claim(
    node: &Node,
    room_id: RoomId,
    expected: Option<Ownership>,
    basis: Option<RoomBasis>,
) -> Result<Option<Started>, StartError> {
    // Asked before the claim: a fault afterwards would leave a room that is ours and nobody runs.
    let lost_at = last_sign_of_life(node, expected).await?;
    let claim = Claim {
        room_id,
        expected,
        claimant: node.node_id,
        last_seen: Epoch(0),
    };
    let (epoch, version, snapshot) = match node.mirror.claim(claim).await.map_err(unavailable)? {
        ClaimOutcome::Claimed {
            epoch,
            version,
            room,
        } => (epoch, version, room),
        ClaimOutcome::Lost(_) => return Ok(None),
        ClaimOutcome::TooNew => {
            warn!(room = %room_id, "the room was written by a newer release");
            return Err(StartError::Unavailable);
        }
    };
    let now = node.clock.now();
    let rules = Arc::clone(&node.rules);
    if let Some(mut snapshot) = snapshot {
        if let Some(at) = lost_at {
            snapshot.lost_at(at.min(now));
        }
        return Ok(Some(Started {
            room: Room::restore(rules, *snapshot, epoch, version, now),
            committed: version,
            is_restored: true,
        }));
    }
    let basis = match basis {
        Some(basis) => basis,
        None => basis_of(node, room_id, None).await?,
    };
    Ok(Some(Started {
        room: Room::create(rules, basis, epoch, now),
        committed: version,
        is_restored: false,
    }))
}

/// When the former owner of a room was last known to live; none: it was this process, or nothing is known.
async fn last_sign_of_life(
    node: &Node,
    former: Option<Ownership>,
) -> Result<Option<Timestamp>, StartError> {
    let Some(owner) = former
        .and_then(|former| former.owner)
        .filter(|owner| *owner != node.node_id)
    else {
        return Ok(None);
    };
    let nodes = node.mirror.nodes().await.map_err(unavailable)?;
    Ok(nodes
        .into_iter()
        .find(|known| known.node_id == owner)
        .map(|known| known.seen_at))
}

/// What SQL knows of the room; while SQL is away, what was known when the room was last started here.
async fn basis_of(
    node: &Node,
    room_id: RoomId,
    tenant_id: Option<TenantId>,
) -> Result<RoomBasis, StartError> {
    let basis = match read_basis(node, room_id).await {
        Ok(Some(basis)) => {
            node.remember_basis(basis.clone());
            basis
        }
        Ok(None) => return Err(StartError::RoomNotFound),
        Err(fault) => {
            warn!(room = %room_id, %fault, "cannot read the room from SQL");
            node.remembered_basis(room_id)
                .ok_or(StartError::Unavailable)?
        }
    };
    if tenant_id.is_some_and(|tenant| tenant != basis.tenant_id) {
        return Err(StartError::ForeignTenant);
    }
    Ok(basis)
}

async fn read_basis(node: &Node, room_id: RoomId) -> Result<Option<RoomBasis>, StoreFault> {
    let Some(row) = node.store.any_room(room_id).await? else {
        return Ok(None);
    };
    let bans: BTreeMap<_, _> = node
        .store
        .bans(room_id)
        .await?
        .into_iter()
        .map(|(user_id, created_at)| (user_id, BanRecord { created_at }))
        .collect();
    Ok(Some(RoomBasis {
        room_id,
        tenant_id: row.tenant_id,
        host_user_id: row.host_user_id,
        settings: row.settings,
        bans,
    }))
}

fn unavailable(fault: MirrorFault) -> StartError {
    warn!(%fault, "cannot claim a room");
    StartError::Unavailable
}

impl Node {
    /// Keeps what SQL said of a room, for a new session while SQL is away; the oldest is forgotten at the bound.
    fn remember_basis(&self, basis: RoomBasis) {
        let mut known = self.bases.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(basis);
    }

    fn remembered_basis(&self, room_id: RoomId) -> Option<RoomBasis> {
        self.bases
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(room_id)
    }

    /// What SQL said of a room has changed since.
    pub fn forget_basis(&self, room_id: RoomId) {
        self.bases
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(room_id);
    }
}
