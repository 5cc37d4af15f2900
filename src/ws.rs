//! What stands between a client's socket and its connection actor: bounded frames, whole messages, a bounded pace, and a
//! way to cut the socket from outside.
//!
//! - [`FrameGuard`] wraps the request's payload: a frame that is announced too large never reaches a buffer.
//! - [`Reassembly`] joins fragments into whole messages, bounded.
//! - [`CommandLimiter`] bounds the pace.
//! - [`Disconnect`] ends a connection whose actor is stalled because its client does not read.

mod disconnect;
mod guard;
mod limiter;
mod reassembly;
mod scanner;
mod violation;

pub use disconnect::{Disconnect, on_connect};
pub use guard::{FrameGuard, GuardReport};
pub use limiter::{CommandLimiter, Pace, Verdict};
pub use reassembly::{Incoming, Reassembly};
pub use scanner::{FrameScanner, Step};
pub use violation::Violation;

/// Largest frame and largest message of a client, in bytes, unless configured otherwise.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Most fragments of one message.
pub const MESSAGE_PARTS_MAX: usize = 64;

#[cfg(test)]
mod tests;
