//! Becoming the owner of a room, and writing again what the mirror lost: the protocol between this node, the mirror, SQL and
//! the other nodes' signs of life.

mod bases;
mod beginning;
mod ports;
mod restore;
mod tenure;

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use thiserror::Error;
use tracing::warn;

use self::bases::Bases;
pub use self::{
    ports::{Alone, Beginning, Former, Ledger, Peers},
    tenure::Tenure,
};
use crate::{
    clock::Clock,
    ids::{Epoch, NodeId, RoomId, TenantId, Version},
    lease::{LeaseView, Standing},
    mirror::{Claim, ClaimOutcome, LookUp, MirrorFault, Ownership, RoomMirror},
    room::{Room, RoomBasis, rules::Rules},
};

/// Attempts to restart a failed room whose mirror does not answer.
const RESTART_TRIES: usize = 10;
/// Between two of them.
const RESTART_WAIT: Duration = Duration::from_millis(200);
/// Claims that are lost to somebody else before the asker has to come again.
const CLAIMS_MAX: usize = 4;
/// How long a join waits for the owner of a room that the mirror does not know but SQL has as live.
const OWNER_PATIENCE: Duration = Duration::from_secs(3);
/// Between two looks for it.
const OWNER_LOOK: Duration = Duration::from_millis(100);
/// Rooms taken from this node while its lease held that are remembered.
const TAKEN_MAX: usize = 10_000;

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
    /// The term of the lease in which it was claimed.
    pub term: u64,
    /// Continued from the mirror.
    pub is_restored: bool,
}

/// What claiming needs of the node.
pub struct Claimant {
    /// This process.
    pub node_id: NodeId,
    /// Gives rooms their time.
    pub clock: Clock,
    /// The copy of live rooms.
    pub mirror: Arc<dyn RoomMirror>,
    /// SQL.
    pub ledger: Arc<dyn Ledger>,
    /// The other processes on the same mirror.
    pub peers: Arc<dyn Peers>,
    /// This node's right to its rooms.
    pub tenure: Tenure,
    /// Of all rooms.
    pub rules: Arc<Rules>,
    memory: Mutex<Memory>,
}

/// What is remembered of rooms, bounded.
#[derive(Default)]
struct Memory {
    /// What SQL said of rooms that were started here.
    bases: Bases,
    /// Rooms that others took while this node's lease held, oldest first: they are not taken back early.
    taken: HashSet<RoomId>,
    taken_order: VecDeque<RoomId>,
}

impl Claimant {
    /// Nothing claimed yet.
    #[must_use]
    pub fn new(
        node_id: NodeId,
        clock: Clock,
        mirror: Arc<dyn RoomMirror>,
        ledger: Arc<dyn Ledger>,
        peers: Arc<dyn Peers>,
        tenure: Tenure,
        rules: Arc<Rules>,
    ) -> Self {
        Self {
            node_id,
            clock,
            mirror,
            ledger,
            peers,
            tenure,
            rules,
            memory: Mutex::default(),
        }
    }

    /// Claims a room that this node does not run. `tenant_id`: whose it must be; none: a takeover, whoever's it is.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(
        &self,
        room_id: RoomId,
        tenant_id: Option<TenantId>,
    ) -> Result<Started, StartError> {
        let until = tokio::time::Instant::now() + OWNER_PATIENCE;
        let mut claims = 0;
        while claims < CLAIMS_MAX {
            let LookUp {
                ownership: stored,
                generation,
            } = self.mirror.look_up(room_id).await.map_err(unavailable)?;
            let (basis, lost) = match stored {
                Some(_) => (None, Vec::new()),
                // Nothing left to be taken over.
                None if tenant_id.is_none() => return Err(StartError::RoomNotFound),
                // Unknown to the mirror: it is begun from SQL, if it exists at all.
                None => {
                    let (basis, open) = self.beginning_of(room_id, tenant_id).await?;
                    let may_begin = self.may_begin(room_id, generation.as_deref(), open);
                    let Some(lost) = may_begin.await? else {
                        if tokio::time::Instant::now() >= until {
                            warn!(room = %room_id, "SQL has a live session that the mirror does not know");
                            return Err(StartError::Unavailable);
                        }
                        tokio::time::sleep(OWNER_LOOK).await;
                        continue;
                    };
                    (Some(basis), lost)
                }
            };
            let former = self.require_claimable(room_id, stored).await?;
            if let Some(started) = self.claim(room_id, stored, former, basis).await? {
                // Only now: before the claim an owner could still have come back with one of them.
                self.close_lost(lost).await;
                return Ok(started);
            }
            claims += 1;
        }
        Err(StartError::Unavailable)
    }

    /// Claims a room that its owner hands over, if the mirror still says so.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn take_from(
        &self,
        room_id: RoomId,
        former: Ownership,
    ) -> Result<Started, StartError> {
        let started = self
            .claim(room_id, Some(former), Former::GONE_NOW, None)
            .await?;
        started.ok_or(StartError::Unavailable)
    }

    /// Claims a room again whose actor failed here under `epoch`; its people wait for it, so a mirror that does not answer is
    /// asked for a while.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn restart(&self, room_id: RoomId, epoch: Epoch) -> Result<Started, StartError> {
        for _ in 0..RESTART_TRIES {
            if let Ok(stored) = self.mirror.ownership(room_id).await.map_err(unavailable) {
                // The epoch is higher when the actor failed while it was writing the room again.
                let is_ours = stored.is_some_and(|stored| {
                    stored.owner == Some(self.node_id) && stored.epoch >= epoch
                });
                if !is_ours {
                    return Err(StartError::Unavailable);
                }
                if let Ok(Some(started)) = self.claim(room_id, stored, Former::GONE_NOW, None).await
                {
                    return Ok(started);
                }
            }
            tokio::time::sleep(RESTART_WAIT).await;
        }
        Err(StartError::Unavailable)
    }

    /// Which other node owns a room, as the mirror says.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn owner_of(&self, room_id: RoomId) -> Result<Option<NodeId>, MirrorFault> {
        let stored = self.mirror.ownership(room_id).await?;
        let owner = stored.and_then(|stored| stored.owner);
        Ok(owner.filter(|owner| *owner != self.node_id))
    }

    /// Another node took a room from this one while its lease held: somebody takes this node for dead.
    pub fn was_taken(&self, room_id: RoomId) {
        let mut memory = self.memory();
        if memory.taken.insert(room_id) {
            memory.taken_order.push_back(room_id);
        }
        if memory.taken_order.len() > TAKEN_MAX
            && let Some(oldest) = memory.taken_order.pop_front()
        {
            memory.taken.remove(&oldest);
        }
    }

    /// What SQL said of a room has changed since.
    pub fn forget_basis(&self, room_id: RoomId) {
        self.memory().bases.remove(room_id);
    }

    /// Only rooms of nobody, of this node, or of a process that is gone may be claimed.
    async fn require_claimable(
        &self,
        room_id: RoomId,
        stored: Option<Ownership>,
    ) -> Result<Former, StartError> {
        let owner = stored.and_then(|stored| stored.owner);
        let Some(owner) = owner.filter(|owner| *owner != self.node_id) else {
            return Ok(Former::GONE_NOW);
        };
        let former = self.peers.former(owner).await.map_err(unavailable)?;
        let was_taken = self.memory().taken.contains(&room_id);
        if former.has_expired || (former.is_gone && !was_taken) {
            Ok(former)
        } else {
            Err(StartError::Elsewhere(owner))
        }
    }

    /// None: somebody else was faster.
    async fn claim(
        &self,
        room_id: RoomId,
        expected: Option<Ownership>,
        former: Former,
        basis: Option<RoomBasis>,
    ) -> Result<Option<Started>, StartError> {
        let claim = Claim {
            room_id,
            expected,
            claimant: self.node_id,
            last_seen: expected.map_or(Epoch(0), |expected| expected.epoch),
        };
        let LeaseView { standing, term } = self.tenure.cell().view(self.clock.now());
        if standing == Standing::CutOff {
            // It would be given up at once, and its owner would be a node that does not run it.
            return Err(StartError::Unavailable);
        }
        let (epoch, version, snapshot) =
            match self.mirror.claim(claim).await.map_err(unavailable)? {
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
        let now = self.clock.now();
        let rules = Arc::clone(&self.rules);
        let (room, is_restored) = match snapshot {
            Some(mut snapshot) => {
                if let Some(at) = former.seen_at {
                    snapshot.lost_at(at.min(now));
                }
                (Room::restore(rules, *snapshot, epoch, version, now), true)
            }
            None => {
                let basis = match basis {
                    Some(basis) => basis,
                    None => self.beginning_of(room_id, None).await?.0,
                };
                (Room::create(rules, basis, epoch, now), false)
            }
        };
        Ok(Some(Started {
            room,
            committed: version,
            term,
            is_restored,
        }))
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unavailable(fault: MirrorFault) -> StartError {
    warn!(%fault, "cannot claim a room");
    StartError::Unavailable
}
