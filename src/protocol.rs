//! The wire, both directions: what clients say, what they are told, and how both are written as JSON. One object per text
//! message; no I/O here.
//!
//! [`decode`] never panics and never loses the id of a message that has one: whatever else is wrong, the client learns
//! which of its commands was refused.

mod client;
mod command;
mod event;
mod fields;
mod goodbye;
mod message_type;
mod notice;
mod rejection;
mod settings;
mod view;

pub(crate) use self::notice::Relayed;
pub use self::{
    client::{
        ClientMessage, DecodeError, NESTING_MAX, REGION_CHARACTERS_MAX, RESUME_TOKEN_BYTES_MAX,
        TOKEN_BYTES_MAX, decode,
    },
    command::{Command, ResumeRequest, StateChange},
    event::{EndReason, Event, LeaveReason},
    fields::ID_MAX,
    goodbye::{Action, Goodbye, GoodbyeReason},
    message_type::MessageType,
    notice::{Joined, Notice, Resumed, encode_error},
    rejection::{Code, Rejection},
    settings::{
        DURATION_SECS_MAX, DuplicatePolicy, Kind, PARTICIPANTS_MAX, PARTICIPANTS_MIN, Settings,
    },
    view::{ParticipantView, Role, RoomView, WaitingView},
};

/// The WebSocket sub-protocol; an absent one means the same.
pub const SUB_PROTOCOL: &str = "callboard.v1+json";
