//! The wire: what clients say and how it is read. One JSON object per text message; no I/O here.
//!
//! [`decode`] never panics and never loses the id of a message that has one: whatever else is wrong, the client learns
//! which of its commands was refused.

mod client;
mod fields;
mod message_type;
mod reply;

pub use client::{
    ClientMessage, DecodeError, NESTING_MAX, REGION_CHARACTERS_MAX, RESUME_TOKEN_BYTES_MAX,
    TOKEN_BYTES_MAX, decode,
};
pub use fields::ID_MAX;
pub use message_type::MessageType;
pub use reply::encode_goodbye;

pub use crate::room::effect::encode_error;

/// The WebSocket sub-protocol; an absent one means the same.
pub const SUB_PROTOCOL: &str = "callboard.v1+json";
