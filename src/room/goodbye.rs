//! Placeholder until merge.
use serde::Serialize;
/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum GoodbyeReason {
    Unauthorized,
    Banned,
    RoleNotAllowed,
    Denied,
    RoomFull,
    RoomLocked,
    Duplicate,
    RoomNotFound,
    Ended,
    Removed,
    Superseded,
    Left,
    Moved,
    Draining,
    Unavailable,
    TooSlow,
    TooLarge,
    RateLimited,
    Timeout,
    BadRequest,
    Internal,
    Failed,
}
