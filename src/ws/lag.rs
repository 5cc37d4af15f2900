//! How far a client may be behind, and why it was sent nothing.

use thiserror::Error;

use super::socket::SocketClosed;

/// How far a client may be behind.
#[derive(Clone, Copy, Debug)]
pub struct LinkLimits {
    /// Longest time for which a client may take nothing of what waits for it.
    pub slow_ms: u64,
    /// Bytes that may wait for a client beyond the largest delivery among them.
    pub outgoing_bytes_max: usize,
}

/// How a client is too far behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Lag {
    /// It took nothing for too long.
    #[error("the client takes nothing")]
    Stuck,
    /// Too much waits for it.
    #[error("too much waits for the client")]
    Backlog,
}

/// Why frames were not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Undelivered {
    /// The socket is closed.
    #[error(transparent)]
    Closed(#[from] SocketClosed),
    /// The client is too far behind.
    #[error(transparent)]
    Lag(#[from] Lag),
}
