//! How this node becomes the owner of a room, and restores a room that the mirror lost: the
//! protocol between this node, the mirror, SQL and the liveness of the other nodes.

mod lease_handle;
mod new_room;
mod ports;
mod restore;
mod room_cache;

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use thiserror::Error;
use tracing::warn;

use self::room_cache::RoomCache;
pub use self::{
    lease_handle::LeaseHandle,
    ports::{Alone, NodeLiveness, OwnerLiveness, SessionHistory, StoredRoom},
};
use crate::{
    clock::Clock,
    ids::{Epoch, NodeId, RoomId, TenantId, Version},
    lease::{LeaseState, LeaseView},
    mirror::{Claim, ClaimOutcome, LookUp, MirrorFault, Ownership, RoomMirror},
    room::{Room, RoomBasis, rules::Rules},
};

/// Attempts to restart a failed room whose mirror does not answer.
const RESTART_TRIES: usize = 10;
/// Wait between two attempts.
const RESTART_WAIT: Duration = Duration::from_millis(200);
/// Claims that a start may lose to other nodes before it fails.
const CLAIMS_MAX: usize = 4;
/// How long a join waits for the owner of a room that the mirror does not know but SQL has as live.
const OWNER_PATIENCE: Duration = Duration::from_secs(3);
/// How often the join looks for that owner.
const OWNER_LOOK: Duration = Duration::from_millis(100);
/// Bound of the list of rooms that were taken from this node while its lease held.
const TAKEN_MAX: usize = 10_000;

/// Why a room cannot be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum StartError {
    /// Unknown or deleted.
    #[error("unknown room")]
    RoomNotFound,
    /// The room belongs to another tenant.
    #[error("another tenant's room")]
    ForeignTenant,
    /// A living other node owns it.
    #[error("another node's room")]
    Elsewhere(NodeId),
    /// The mirror or SQL is away, or too many rooms start at once.
    #[error("not available now")]
    Unavailable,
}

/// A room that this node owns now.
#[derive(Debug)]
pub struct Started {
    /// Its state.
    pub room: Room,
    /// The version that the mirror has.
    pub committed: Version,
    /// The lease's term in which it was claimed.
    pub term: u64,
    /// Continued from the mirror.
    pub is_restored: bool,
}

/// Claims rooms for this node.
pub struct Claimant {
    /// This process.
    pub node_id: NodeId,
    /// Gives rooms their time.
    pub clock: Clock,
    /// The copy of live rooms.
    pub mirror: Arc<dyn RoomMirror>,
    /// SQL.
    pub history: Arc<dyn SessionHistory>,
    /// The other processes on the same mirror.
    pub liveness: Arc<dyn NodeLiveness>,
    /// This node's lease.
    pub lease: LeaseHandle,
    /// Of all rooms.
    pub rules: Arc<Rules>,
    memory: Mutex<Memory>,
}

/// What is remembered of rooms. Bounded.
#[derive(Default)]
struct Memory {
    /// What SQL said of rooms that were started here.
    room_cache: RoomCache,
    /// Rooms that others took while this node's lease held: it does not take them back early.
    taken: HashSet<RoomId>,
    taken_order: VecDeque<RoomId>,
}

impl Claimant {
    /// A claimant without memory.
    #[must_use]
    pub fn new(
        node_id: NodeId,
        clock: Clock,
        mirror: Arc<dyn RoomMirror>,
        history: Arc<dyn SessionHistory>,
        liveness: Arc<dyn NodeLiveness>,
        lease: LeaseHandle,
        rules: Arc<Rules>,
    ) -> Self {
        Self {
            node_id,
            clock,
            mirror,
            history,
            liveness,
            lease,
            rules,
            memory: Mutex::default(),
        }
    }

    /// Claims a room that this node does not run.
    ///
    /// The room must belong to `tenant_id`. Without one this is a takeover of a room of any tenant.
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
                // Unknown to the mirror: it starts from SQL, if it exists at all.
                None => {
                    let (basis, open) = self.stored_room_of(room_id, tenant_id).await?;
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
            let previous = self.require_claimable(room_id, stored).await?;
            if let Some(started) = self.claim(room_id, stored, previous, basis).await? {
                // Not earlier: before the claim an owner could still come back with one of them.
                self.close_lost(lost).await;
                return Ok(started);
            }
            claims += 1;
        }
        Err(StartError::Unavailable)
    }

    /// Claims a room that `previous` hands off, if the mirror still names it as the owner.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn take_from(
        &self,
        room_id: RoomId,
        previous: Ownership,
    ) -> Result<Started, StartError> {
        let started = self
            .claim(room_id, Some(previous), OwnerLiveness::GONE_NOW, None)
            .await?;
        started.ok_or(StartError::Unavailable)
    }

    /// Claims a room again whose actor crashed here under `epoch`. Its people wait, so a mirror
    /// that does not answer is asked several times.
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
                if let Ok(Some(started)) = self
                    .claim(room_id, stored, OwnerLiveness::GONE_NOW, None)
                    .await
                {
                    return Ok(started);
                }
            }
            tokio::time::sleep(RESTART_WAIT).await;
        }
        Err(StartError::Unavailable)
    }

    /// The other node that owns a room, as the mirror says.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn owner_of(&self, room_id: RoomId) -> Result<Option<NodeId>, MirrorFault> {
        let stored = self.mirror.ownership(room_id).await?;
        let owner = stored.and_then(|stored| stored.owner);
        Ok(owner.filter(|owner| *owner != self.node_id))
    }

    /// Another node took a room from this one while its lease held: that node believes this one to
    /// be gone.
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

    /// Drops what SQL said of a room, because it has changed.
    pub fn forget_stored_room(&self, room_id: RoomId) {
        self.memory().room_cache.remove(room_id);
    }

    /// Fails unless the room has no owner, or belongs to this node or to one that is gone.
    async fn require_claimable(
        &self,
        room_id: RoomId,
        stored: Option<Ownership>,
    ) -> Result<OwnerLiveness, StartError> {
        let owner = stored.and_then(|stored| stored.owner);
        let Some(owner) = owner.filter(|owner| *owner != self.node_id) else {
            return Ok(OwnerLiveness::GONE_NOW);
        };
        let liveness = self
            .liveness
            .liveness_of(owner)
            .await
            .map_err(unavailable)?;
        let was_taken = self.memory().taken.contains(&room_id);
        if liveness.has_expired || (liveness.is_gone && !was_taken) {
            Ok(liveness)
        } else {
            Err(StartError::Elsewhere(owner))
        }
    }

    /// None if another node was faster.
    async fn claim(
        &self,
        room_id: RoomId,
        expected: Option<Ownership>,
        previous: OwnerLiveness,
        basis: Option<RoomBasis>,
    ) -> Result<Option<Started>, StartError> {
        let claim = Claim {
            room_id,
            expected,
            claimant: self.node_id,
            last_seen: expected.map_or(Epoch(0), |expected| expected.epoch),
        };
        let LeaseView { state, term } = self.lease.shared().view(self.clock.now());
        if state == LeaseState::CutOff {
            // It would be given up at once, and the mirror would name an owner that does not run
            // it.
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
                if let Some(at) = previous.seen_at {
                    snapshot.lost_at(at.min(now));
                }
                (Room::restore(rules, *snapshot, epoch, version, now), true)
            }
            None => {
                let basis = match basis {
                    Some(basis) => basis,
                    None => self.stored_room_of(room_id, None).await?.0,
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
