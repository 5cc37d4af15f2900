//! Why the server ends a connection, what the client does next, and the close code.

use bytestring::ByteString;
use serde::{Deserialize, Serialize};

use super::{refusal::Code, wire_enum::wire_enum};

wire_enum! {
    /// What a client does after a `Goodbye`.
    pub enum Action {
        /// Opens a new connection and sends `JoinRoom` with `resume`: the same stay continues.
        Reconnect = "reconnect",
        /// Begins a new stay, with a new token if needed.
        Rejoin = "rejoin",
        /// Does neither by itself.
        Stop = "stop",
    }
}

wire_enum! {
    /// Why the server ends a connection.
    pub enum GoodbyeReason {
        /// The join token is wrong, expired, of another room or tenant.
        Unauthorized = "unauthorized",
        /// Banned from the room.
        Banned = "banned",
        /// The kind of joiner is not among `allowedRoles`.
        RoleNotAllowed = "role_not_allowed",
        /// A host refused the person in the lobby.
        Denied = "denied",
        /// The stay that was to be resumed has ended.
        Forbidden = "forbidden",
        /// No seat is free.
        RoomFull = "room_full",
        /// The room is locked.
        RoomLocked = "room_locked",
        /// The user is connected already and the policy is `reject`.
        Duplicate = "duplicate",
        /// Unknown or deleted room.
        RoomNotFound = "room_not_found",
        /// The meeting is over.
        Ended = "ended",
        /// The room failed more often than its restart budget allows; a new session may begin.
        Failed = "failed",
        /// A host or an admin removed the participant.
        Removed = "removed",
        /// A newer connection of the same user took the seat.
        Superseded = "superseded",
        /// The participant sent `LeaveRoom`.
        Left = "left",
        /// Another node owns the room.
        Moved = "moved",
        /// The node is being stopped.
        Draining = "draining",
        /// The mirror or SQL is unavailable.
        Unavailable = "unavailable",
        /// A frame or message exceeds the size limit.
        TooLarge = "too_large",
        /// The client sent too many messages.
        RateLimited = "rate_limited",
        /// No `JoinRoom` arrived in time.
        Timeout = "timeout",
        /// A message that cannot be answered by an `Error` alone.
        BadRequest = "bad_request",
        /// The frames break RFC 6455.
        ProtocolError = "protocol_error",
        /// A text message is not UTF-8.
        InvalidText = "invalid_text",
        /// A fault of the server.
        Internal = "internal",
    }
}

const CLOSE_SUPERSEDED: u16 = 4001;
const CLOSE_REMOVED: u16 = 4002;
const CLOSE_UNAUTHORIZED: u16 = 4003;
const CLOSE_ENDED: u16 = 4004;
const CLOSE_MOVED: u16 = 4009;
// The codes below are those of RFC 6455 section 7.4.1 and of the IANA registry that continues it.
const CLOSE_NORMAL: u16 = 1000;
const CLOSE_GOING_AWAY: u16 = 1001;
const CLOSE_PROTOCOL: u16 = 1002;
const CLOSE_INVALID_DATA: u16 = 1007;
const CLOSE_POLICY: u16 = 1008;
const CLOSE_TOO_LARGE: u16 = 1009;
const CLOSE_INTERNAL: u16 = 1011;
const CLOSE_TRY_AGAIN_LATER: u16 = 1013;

impl GoodbyeReason {
    /// Returns the close code, the client's next action, and the code of an `Error` that goes
    /// first.
    const fn row(self) -> (u16, Action, Code) {
        match self {
            Self::Unauthorized => (CLOSE_UNAUTHORIZED, Action::Rejoin, Code::Unauthorized),
            Self::Banned => (CLOSE_POLICY, Action::Stop, Code::Banned),
            Self::RoleNotAllowed => (CLOSE_POLICY, Action::Stop, Code::RoleNotAllowed),
            Self::Denied | Self::Forbidden => (CLOSE_POLICY, Action::Stop, Code::Forbidden),
            Self::BadRequest => (CLOSE_POLICY, Action::Stop, Code::BadRequest),
            Self::RoomFull => (CLOSE_POLICY, Action::Rejoin, Code::RoomFull),
            Self::RoomLocked => (CLOSE_POLICY, Action::Rejoin, Code::RoomLocked),
            Self::Duplicate => (CLOSE_POLICY, Action::Rejoin, Code::Duplicate),
            Self::RoomNotFound | Self::Ended => (CLOSE_ENDED, Action::Stop, Code::RoomNotFound),
            Self::Failed => (CLOSE_INTERNAL, Action::Rejoin, Code::Internal),
            Self::Removed => (CLOSE_REMOVED, Action::Stop, Code::Forbidden),
            Self::Superseded => (CLOSE_SUPERSEDED, Action::Stop, Code::Superseded),
            Self::Left => (CLOSE_NORMAL, Action::Stop, Code::Forbidden),
            Self::Moved => (CLOSE_MOVED, Action::Reconnect, Code::Unavailable),
            Self::Draining => (CLOSE_GOING_AWAY, Action::Reconnect, Code::Unavailable),
            Self::Unavailable => (CLOSE_TRY_AGAIN_LATER, Action::Reconnect, Code::Unavailable),
            Self::TooLarge => (CLOSE_TOO_LARGE, Action::Reconnect, Code::TooLarge),
            Self::RateLimited => (CLOSE_POLICY, Action::Reconnect, Code::RateLimited),
            Self::Timeout => (CLOSE_POLICY, Action::Reconnect, Code::Timeout),
            Self::ProtocolError => (CLOSE_PROTOCOL, Action::Reconnect, Code::BadRequest),
            Self::InvalidText => (CLOSE_INVALID_DATA, Action::Reconnect, Code::BadRequest),
            Self::Internal => (CLOSE_INTERNAL, Action::Reconnect, Code::Internal),
        }
    }

    /// Returns the WebSocket close code.
    #[must_use]
    pub const fn close_code(self) -> u16 {
        self.row().0
    }

    /// Returns what the client does next.
    #[must_use]
    pub const fn action(self) -> Action {
        self.row().1
    }

    /// Returns the code of the `Error` that precedes this `Goodbye` when a request is refused.
    #[must_use]
    pub const fn error_code(self) -> Code {
        self.row().2
    }
}

/// The last message before an orderly close:
/// `{"type":"Goodbye","reason":"room_full","action":"rejoin"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub struct Goodbye {
    /// Decides the close code.
    pub reason: GoodbyeReason,
    /// What the client does next.
    pub action: Action,
    /// Shortest wait before the next connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// Complete signal URL of the node that continues the room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

impl Goodbye {
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
        Self {
            reason,
            action: reason.action(),
            retry_after_ms: None,
            url: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of the contract, row by row, as the wire shows it.
    const TABLE: [(&str, u16, &str); 24] = [
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
        assert_eq!(GoodbyeReason::ALL.len(), TABLE.len());
        for (reason, (name, close_code, action)) in GoodbyeReason::ALL.iter().zip(TABLE) {
            assert_eq!(
                serde_json::to_string(&Goodbye::from(*reason)).unwrap(),
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
            ..Goodbye::from(GoodbyeReason::Draining)
        };
        let text = serde_json::to_string(&goodbye).unwrap();
        assert_eq!(
            text,
            r#"{"type":"Goodbye","reason":"draining","action":"reconnect","retryAfterMs":250,"url":"wss://b.example/v1/rooms/x/signal"}"#
        );
        assert_eq!(serde_json::from_str::<Goodbye>(&text).unwrap(), goodbye);
    }
}
