//! Why the node no longer serves a connection, and how far a client may be behind.

use thiserror::Error;

use super::socket::SocketClosed;
use crate::metrics::EvictionReason;

/// How far a client may be behind.
#[derive(Clone, Copy, Debug)]
pub struct LinkLimits {
    /// Longest time for which a client may take nothing of what waits for it.
    pub slow_ms: u64,
    /// Bytes that may wait for a client beyond the largest delivery among them.
    pub outgoing_bytes_max: usize,
}

/// Why a connection is no longer served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DisconnectCause {
    /// Its socket is closed.
    #[error("the socket is closed")]
    Closed,
    /// It took nothing for `slow_ms`.
    #[error("the client takes nothing")]
    Slow,
    /// More than `outgoing_bytes_max` wait for it.
    #[error("too much waits for the client")]
    Backlog,
    /// It sent nothing for `ping_timeout`.
    #[error("the client sends nothing")]
    Silent,
}

impl DisconnectCause {
    /// The metric's label. None if the client ended the connection.
    #[must_use]
    pub const fn eviction(self) -> Option<EvictionReason> {
        match self {
            Self::Closed => None,
            Self::Slow => Some(EvictionReason::Slow),
            Self::Backlog => Some(EvictionReason::Backlog),
            Self::Silent => Some(EvictionReason::Silent),
        }
    }
}

impl From<SocketClosed> for DisconnectCause {
    fn from(_: SocketClosed) -> Self {
        Self::Closed
    }
}
