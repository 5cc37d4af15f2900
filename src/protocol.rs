//! The wire, both directions: what clients say, what they are told, and how both are written as
//! JSON. One object per text message; no I/O.
//!
//! [`decode`] never panics and never loses the id of a message that has one: the client always
//! learns which of its commands was refused.
//!
//! To add a command, add a row to the table in `command`; to add a participant flag, a row to the
//! table in `state`. A new field needs a row in `fields`.

mod client;
mod command;
mod event;
mod fields;
mod goodbye;
mod notice;
mod parameters;
mod refusal;
mod settings;
mod state;
mod view;
mod wire_enum;

pub(crate) use self::notice::RelayedMessage;
pub use self::{
    client::{ClientMessage, DecodeError, JoinRequest, ResumeRequest, decode},
    command::{Command, HostCommand, MessageType, OwnCommand, RelayCommand},
    event::{EndReason, Event, LeaveReason},
    fields::ID_MAX,
    goodbye::{Action, Goodbye, GoodbyeReason},
    notice::{Joined, Notice, Resumed, encode_error},
    refusal::{Code, Refusal, Rejection},
    settings::{
        DURATION_SECS_MAX, DuplicatePolicy, Kind, PARTICIPANTS_MAX, PARTICIPANTS_MIN, Settings,
    },
    state::{ParticipantFlags, StateChange},
    view::{ParticipantView, Role, RoomView, WaitingView},
};

/// The WebSocket sub-protocol; a client that names none gets the same.
pub const SUB_PROTOCOL: &str = "callboard.v1+json";
