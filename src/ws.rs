//! What stands between a client's TCP connection and its connection actor: the upgrade, bounded frames, whole messages, a bounded
//! pace, and writing without an actor in between.
//!
//! - [`listener`] serves HTTP; an upgraded request gets its connection's socket by [`OnUpgrade`].
//! - [`Frames`] are read from a [`Socket`]: a frame that is announced too large never reaches a buffer.
//! - [`Reassembly`] joins fragments into whole messages, bounded.
//! - [`CommandLimiter`] bounds the pace.
//! - [`Socket`] takes frames from any thread, tells what waits for a client that does not read, and is cut from outside.

mod frames;
mod lag;
mod limiter;
pub mod listener;
mod reassembly;
mod scanner;
mod socket;
mod upgrade;
mod violation;

pub use frames::{FrameReader, Frames};
pub use lag::{Lag, LinkLimits, Undelivered};
pub use limiter::{CommandLimiter, Pace, Verdict};
pub use reassembly::{Incoming, Reassembly};
pub use scanner::{FrameScanner, Step};
pub use socket::{Outgoing, Socket, SocketClosed};
pub use upgrade::{ClientStream, OnUpgrade, early};
pub use violation::Violation;

/// Largest frame and largest message of a client, in bytes, unless configured otherwise.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Most fragments of one message.
pub const MESSAGE_PARTS_MAX: usize = 64;

#[cfg(test)]
mod tests;
