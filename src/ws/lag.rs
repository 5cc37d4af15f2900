//! How far behind a client may be, and what becomes of frames for one that is further.

use thiserror::Error;

use super::socket::SocketClosed;

/// How far a client may be behind.
#[derive(Clone, Copy, Debug)]
pub struct LinkLimits {
    /// How long a connection may take nothing of what waits for it.
    pub slow_ms: u64,
    /// Bytes that may wait for it beside the largest delivery among them.
    pub outgoing_bytes_max: usize,
}

/// In which way a client is too far behind.
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
    /// There is no client any more.
    #[error(transparent)]
    Closed(#[from] SocketClosed),
    /// There is one, and it is too far behind.
    #[error(transparent)]
    Lag(#[from] Lag),
}
