//! Why a request is refused: a stable code and a sentence for people.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// Why a request was refused: stable codes of the wire and of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// Unreadable or against the protocol.
    BadRequest,
    /// The join token is wrong, expired, revoked, of another room or tenant.
    Unauthorized,
    /// Not allowed to this role.
    Forbidden,
    /// The kind of joiner is not among `allowedRoles`.
    RoleNotAllowed,
    /// Banned from the room.
    Banned,
    /// No seat free.
    RoomFull,
    /// Locked.
    RoomLocked,
    /// The user is connected already and the policy is `reject`.
    Duplicate,
    /// Unknown or deleted room.
    RoomNotFound,
    /// The connection is in no room.
    NotInRoom,
    /// The target is not in the room.
    TargetNotFound,
    /// The stay was taken over by a newer one.
    Superseded,
    /// Try again later.
    Unavailable,
    /// Over a size limit.
    TooLarge,
    /// Over a rate limit.
    RateLimited,
    /// Outcome unknown: repeat with the same id.
    Timeout,
    /// Our fault.
    Internal,
}

/// A refusal: goes to the one who asked, changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rejection {
    /// Stable.
    pub code: Code,
    /// For people; no secrets, no internals.
    pub message: Cow<'static, str>,
}

impl Rejection {
    /// A refusal with a fixed text.
    #[must_use]
    pub const fn new(code: Code, message: &'static str) -> Self {
        Self {
            code,
            message: Cow::Borrowed(message),
        }
    }
}
