//! The node's lease as its heartbeat and its rooms share it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::lease::{Lease, LeaseCell};

/// The node's right to its rooms, shared by its heartbeat and its rooms.
#[derive(Clone)]
pub enum Tenure {
    /// The mirror is this process's alone: nobody else can own anything.
    Sole(Arc<LeaseCell>),
    /// Of a shared mirror.
    Leased(Arc<LeaseCell>, Arc<Mutex<Lease>>),
}

impl Tenure {
    /// Without a lease.
    #[must_use]
    pub fn sole() -> Self {
        Self::Sole(Arc::new(LeaseCell::alone()))
    }

    /// Kept by heartbeats.
    #[must_use]
    pub fn leased(lease: Lease) -> Self {
        Self::Leased(lease.cell(), Arc::new(Mutex::new(lease)))
    }

    /// What rooms read.
    #[must_use]
    pub fn cell(&self) -> &LeaseCell {
        match self {
            Self::Sole(cell) | Self::Leased(cell, _) => cell,
        }
    }

    /// The lease, if there is one; never held across an await.
    #[must_use]
    pub fn lease(&self) -> Option<MutexGuard<'_, Lease>> {
        match self {
            Self::Sole(_) => None,
            // Each change of a lease is complete in itself.
            Self::Leased(_, lease) => Some(lease.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }
}
