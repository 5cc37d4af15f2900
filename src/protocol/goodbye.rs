//! Why a connection is ended, what the client should do then, and the close code that says so.

use bytestring::ByteString;
use serde::{Deserialize, Serialize};

use super::rejection::Code;

/// What a client does after a `Goodbye`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// New connection, `JoinRoom` with `resume`: the same stay goes on.
    Reconnect,
    /// A new stay, with a new token if needed.
    Rejoin,
    /// Neither by itself.
    Stop,
}

/// Why the server ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GoodbyeReason {
    /// The join token is wrong, expired, of another room or tenant.
    Unauthorized,
    /// Banned from the room.
    Banned,
    /// The kind of joiner is not among `allowedRoles`.
    RoleNotAllowed,
    /// A host sent the person in the lobby away.
    Denied,
    /// Refused for good for another cause: the stay that was to be resumed has ended.
    Forbidden,
    /// No seat free.
    RoomFull,
    /// Locked.
    RoomLocked,
    /// The user is connected already and the policy is `reject`.
    Duplicate,
    /// Unknown or deleted room.
    RoomNotFound,
    /// The meeting is over.
    Ended,
    /// The room failed more often than its restart budget allows; a new session may begin.
    Failed,
    /// Removed by a host or an admin.
    Removed,
    /// A newer connection of the same user took the seat.
    Superseded,
    /// Left by own command.
    Left,
    /// Another node owns the room.
    Moved,
    /// The node is being stopped.
    Draining,
    /// The mirror or SQL is away.
    Unavailable,
    /// The client does not read what it is sent.
    TooSlow,
    /// A frame or message over the size limit.
    TooLarge,
    /// Flood of commands.
    RateLimited,
    /// No `JoinRoom` in time.
    Timeout,
    /// A message that cannot be answered by an `Error` alone.
    BadRequest,
    /// Frames against RFC 6455.
    ProtocolError,
    /// A text message that is not UTF-8.
    InvalidText,
    /// Our fault.
    Internal,
}

/// The meeting is over, or the room unknown.
const CLOSE_ENDED: u16 = 4004;
/// The join token is refused.
const CLOSE_UNAUTHORIZED: u16 = 4003;
/// Removed.
const CLOSE_REMOVED: u16 = 4002;
/// Superseded by a newer connection.
const CLOSE_SUPERSEDED: u16 = 4001;
/// Does not read.
const CLOSE_TOO_SLOW: u16 = 4008;
/// Another node owns the room.
const CLOSE_MOVED: u16 = 4009;
// The codes below are those of RFC 6455 section 7.4.1 and of the IANA registry that continues it.
/// Normal end.
const CLOSE_NORMAL: u16 = 1000;
/// The server goes away.
const CLOSE_GOING_AWAY: u16 = 1001;
/// Against the WebSocket protocol.
const CLOSE_PROTOCOL: u16 = 1002;
/// Data that does not fit its type.
const CLOSE_INVALID_DATA: u16 = 1007;
/// Against the server's policy.
const CLOSE_POLICY: u16 = 1008;
/// Too big.
const CLOSE_TOO_LARGE: u16 = 1009;
/// The server failed.
const CLOSE_INTERNAL: u16 = 1011;
/// Try again later (IANA registry).
const CLOSE_TRY_AGAIN_LATER: u16 = 1013;

impl GoodbyeReason {
    /// All of them.
    pub const ALL: [Self; 25] = [
        Self::Unauthorized,
        Self::Banned,
        Self::RoleNotAllowed,
        Self::Denied,
        Self::Forbidden,
        Self::RoomFull,
        Self::RoomLocked,
        Self::Duplicate,
        Self::RoomNotFound,
        Self::Ended,
        Self::Failed,
        Self::Removed,
        Self::Superseded,
        Self::Left,
        Self::Moved,
        Self::Draining,
        Self::Unavailable,
        Self::TooSlow,
        Self::TooLarge,
        Self::RateLimited,
        Self::Timeout,
        Self::BadRequest,
        Self::ProtocolError,
        Self::InvalidText,
        Self::Internal,
    ];

    /// The WebSocket close code and what the client does next: the table of the signalling contract.
    const fn row(self) -> (u16, Action) {
        match self {
            Self::Unauthorized => (CLOSE_UNAUTHORIZED, Action::Rejoin),
            Self::Banned
            | Self::RoleNotAllowed
            | Self::Denied
            | Self::Forbidden
            | Self::BadRequest => (CLOSE_POLICY, Action::Stop),
            Self::RoomFull | Self::RoomLocked | Self::Duplicate => (CLOSE_POLICY, Action::Rejoin),
            Self::RoomNotFound | Self::Ended => (CLOSE_ENDED, Action::Stop),
            Self::Failed => (CLOSE_INTERNAL, Action::Rejoin),
            Self::Removed => (CLOSE_REMOVED, Action::Stop),
            Self::Superseded => (CLOSE_SUPERSEDED, Action::Stop),
            Self::Left => (CLOSE_NORMAL, Action::Stop),
            Self::Moved => (CLOSE_MOVED, Action::Reconnect),
            Self::Draining => (CLOSE_GOING_AWAY, Action::Reconnect),
            Self::Unavailable => (CLOSE_TRY_AGAIN_LATER, Action::Reconnect),
            Self::TooSlow => (CLOSE_TOO_SLOW, Action::Reconnect),
            Self::TooLarge => (CLOSE_TOO_LARGE, Action::Reconnect),
            Self::RateLimited | Self::Timeout => (CLOSE_POLICY, Action::Reconnect),
            Self::ProtocolError => (CLOSE_PROTOCOL, Action::Reconnect),
            Self::InvalidText => (CLOSE_INVALID_DATA, Action::Reconnect),
            Self::Internal => (CLOSE_INTERNAL, Action::Reconnect),
        }
    }

    /// The WebSocket close code.
    #[must_use]
    pub const fn close_code(self) -> u16 {
        self.row().0
    }

    /// What the client does next.
    #[must_use]
    pub const fn action(self) -> Action {
        self.row().1
    }

    /// The end of a connection whose `JoinRoom` was refused with `code`.
    #[must_use]
    pub const fn of_refused_join(code: Code) -> Self {
        match code {
            Code::Unauthorized => Self::Unauthorized,
            Code::Banned => Self::Banned,
            Code::RoleNotAllowed => Self::RoleNotAllowed,
            Code::Forbidden => Self::Forbidden,
            Code::RoomFull => Self::RoomFull,
            Code::RoomLocked => Self::RoomLocked,
            Code::Duplicate => Self::Duplicate,
            Code::RoomNotFound => Self::RoomNotFound,
            Code::Superseded => Self::Superseded,
            // A room that did not answer in time may answer the next connection.
            Code::Unavailable | Code::Timeout => Self::Unavailable,
            Code::TooLarge => Self::TooLarge,
            Code::RateLimited => Self::RateLimited,
            Code::BadRequest | Code::NotInRoom | Code::TargetNotFound => Self::BadRequest,
            Code::Internal => Self::Internal,
        }
    }
}

/// The last message before an orderly close: `{"type":"Goodbye","reason":"room_full","action":"rejoin"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub struct Goodbye {
    /// Why; decides the close code.
    pub reason: GoodbyeReason,
    /// What the client does next; that of the reason unless the room knows better.
    pub action: Action,
    /// Wait at least so many milliseconds before the next connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// Where to: a complete signal URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

impl Goodbye {
    /// With the action of the reason.
    #[must_use]
    pub const fn new(reason: GoodbyeReason) -> Self {
        Self {
            reason,
            action: reason.action(),
            retry_after_ms: None,
            url: None,
        }
    }

    /// Returns the JSON object.
    #[must_use]
    pub fn encode(&self) -> ByteString {
        serde_json::to_string(self)
            .expect("texts and numbers in a struct are always JSON")
            .into()
    }
}

impl From<GoodbyeReason> for Goodbye {
    fn from(reason: GoodbyeReason) -> Self {
        Self::new(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of the contract, row by row, as the wire shows it.
    const TABLE: [(&str, u16, &str); 25] = [
        ("unauthorized", 4003, "rejoin"),
        ("banned", 1008, "stop"),
        ("role_not_allowed", 1008, "stop"),
        ("denied", 1008, "stop"),
        ("forbidden", 1008, "stop"),
        ("room_full", 1008, "rejoin"),
        ("room_locked", 1008, "rejoin"),
        ("duplicate", 1008, "rejoin"),
        ("room_not_found", 4004, "stop"),
        ("ended", 4004, "stop"),
        ("failed", 1011, "rejoin"),
        ("removed", 4002, "stop"),
        ("superseded", 4001, "stop"),
        ("left", 1000, "stop"),
        ("moved", 4009, "reconnect"),
        ("draining", 1001, "reconnect"),
        ("unavailable", 1013, "reconnect"),
        ("too_slow", 4008, "reconnect"),
        ("too_large", 1009, "reconnect"),
        ("rate_limited", 1008, "reconnect"),
        ("timeout", 1008, "reconnect"),
        ("bad_request", 1008, "stop"),
        ("protocol_error", 1002, "reconnect"),
        ("invalid_text", 1007, "reconnect"),
        ("internal", 1011, "reconnect"),
    ];

    #[test]
    fn every_reason_has_the_wire_name_close_code_and_action_of_the_contract() {
        for (reason, (name, close_code, action)) in GoodbyeReason::ALL.into_iter().zip(TABLE) {
            assert_eq!(
                serde_json::to_string(&Goodbye::new(reason)).unwrap(),
                format!(r#"{{"type":"Goodbye","reason":"{name}","action":"{action}"}}"#)
            );
            assert_eq!(reason.close_code(), close_code, "{name}");
        }
    }

    #[test]
    fn goodbye_says_what_to_do_next() {
        assert_eq!(
            Goodbye::from(GoodbyeReason::RoomFull).encode(),
            r#"{"type":"Goodbye","reason":"room_full","action":"rejoin"}"#
        );
    }

    #[test]
    fn goodbye_with_all_fields_survives_the_wire() {
        let goodbye = Goodbye {
            retry_after_ms: Some(250),
            url: Some("wss://b.example/v1/rooms/x/signal".to_owned()),
            ..Goodbye::new(GoodbyeReason::Draining)
        };
        let text = serde_json::to_string(&goodbye).unwrap();
        assert_eq!(
            text,
            r#"{"type":"Goodbye","reason":"draining","action":"reconnect","retryAfterMs":250,"url":"wss://b.example/v1/rooms/x/signal"}"#
        );
        assert_eq!(serde_json::from_str::<Goodbye>(&text).unwrap(), goodbye);
    }
}
