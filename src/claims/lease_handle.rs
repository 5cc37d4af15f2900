//! The node's lease, shared by its heartbeat and its rooms.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::lease::{Lease, SharedLease};

/// Clones share the lease.
#[derive(Clone)]
pub enum LeaseHandle {
    /// The mirror belongs to this process alone: no other node can own a room.
    Sole(Arc<SharedLease>),
    /// The mirror is shared.
    Leased(Arc<SharedLease>, Arc<Mutex<Lease>>),
}

impl LeaseHandle {
    /// For a mirror that belongs to this process alone.
    #[must_use]
    pub fn sole() -> Self {
        Self::Sole(Arc::new(SharedLease::alone()))
    }

    /// For a shared mirror: heartbeats renew the lease.
    #[must_use]
    pub fn leased(lease: Lease) -> Self {
        Self::Leased(lease.shared(), Arc::new(Mutex::new(lease)))
    }

    /// What rooms read.
    #[must_use]
    pub fn shared(&self) -> &SharedLease {
        match self {
            Self::Sole(shared) | Self::Leased(shared, _) => shared,
        }
    }

    /// Locks the lease. None if the mirror belongs to this process alone. The lock is never held
    /// across an await.
    #[must_use]
    pub fn lock(&self) -> Option<MutexGuard<'_, Lease>> {
        match self {
            Self::Sole(_) => None,
            // Each change of a lease is complete in itself.
            Self::Leased(_, lease) => Some(lease.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }
}
