//! Why a request is refused, and why a connection must end.
//!
//! A [`Rejection`] answers one request with an `Error`; the connection lives on. A [`Refusal`] ends
//! the connection: its `Error`, its `Goodbye` and the close code all follow from the one value.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{goodbye::GoodbyeReason, wire_enum::wire_enum};

wire_enum! {
    /// Stable codes of the wire and of HTTP.
    pub enum Code {
        /// Unreadable or against the protocol.
        BadRequest = "bad_request",
        /// The join token is wrong, expired, revoked, of another room or tenant.
        Unauthorized = "unauthorized",
        /// Not allowed to this role.
        Forbidden = "forbidden",
        /// The kind of joiner is not among `allowedRoles`.
        RoleNotAllowed = "role_not_allowed",
        /// Banned from the room.
        Banned = "banned",
        /// No seat is free.
        RoomFull = "room_full",
        /// The room is locked.
        RoomLocked = "room_locked",
        /// The user is connected already and the policy is `reject`.
        Duplicate = "duplicate",
        /// Unknown or deleted room.
        RoomNotFound = "room_not_found",
        /// The connection is in no room.
        NotInRoom = "not_in_room",
        /// The target is not in the room.
        TargetNotFound = "target_not_found",
        /// A newer stay of the same user replaced this one.
        Superseded = "superseded",
        /// Try again later.
        Unavailable = "unavailable",
        /// Over a size limit.
        TooLarge = "too_large",
        /// Over a rate limit.
        RateLimited = "rate_limited",
        /// The outcome is unknown: repeat with the same id.
        Timeout = "timeout",
        /// A fault of the server.
        Internal = "internal",
    }
}

/// Refuses one request. A refused request changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rejection {
    /// Stable, for programs.
    pub code: Code,
    /// For people; contains no secrets and no internals.
    pub message: Cow<'static, str>,
}

impl Rejection {
    /// Creates a rejection with a fixed text.
    #[must_use]
    pub const fn new(code: Code, message: &'static str) -> Self {
        Self {
            code,
            message: Cow::Borrowed(message),
        }
    }
}

/// Ends a connection: an `Error`, then the `Goodbye` with its close code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What the `Error` says.
    pub rejection: Rejection,
    /// Decides action and close code.
    pub reason: GoodbyeReason,
}

impl Refusal {
    /// Creates a refusal with the error code that belongs to `reason`.
    #[must_use]
    pub fn new(reason: GoodbyeReason, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            rejection: Rejection {
                code: reason.error_code(),
                message: message.into(),
            },
            reason,
        }
    }

    /// Creates the refusal of a join whose room did not answer in time. It may have taken effect,
    /// so the client repeats it on the next connection.
    #[must_use]
    pub const fn outcome_unknown() -> Self {
        Self {
            rejection: Rejection::new(Code::Timeout, "outcome unknown: repeat with the same id"),
            reason: GoodbyeReason::Unavailable,
        }
    }
}
