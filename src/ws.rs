//! The layers between a client's TCP connection and its connection actor.
//!
//! - [`listener`] serves HTTP. An upgraded request takes over its socket with [`OnUpgrade`].
//! - [`Frames`] reads frames from a [`Socket`]. An oversized frame is refused at its header.
//! - [`Reassembly`] joins fragments into whole messages of bounded size.
//! - [`CommandLimiter`] bounds the rate of messages.
//! - [`Socket`] takes frames from any thread without an actor in between, reports what waits for a
//!   client that does not read, and can be cut from outside.

mod disconnect;
mod frames;
mod limiter;
pub mod listener;
mod reassembly;
mod socket;
mod upgrade;
mod violation;

pub use disconnect::{DisconnectCause, LinkLimits};
pub use frames::{FrameReader, Frames, frame_bytes};
pub use limiter::{CommandLimiter, Pace, RateDecision};
pub use reassembly::{Incoming, Reassembly};
pub use socket::{Outgoing, Socket, SocketClosed};
pub use upgrade::{ClientStream, OnUpgrade, early};
pub use violation::Violation;

/// Default limit for a frame and for a message of a client, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Largest number of fragments of one message.
pub const MESSAGE_PARTS_MAX: usize = 64;

#[cfg(test)]
mod tests;
