//! The closed sets of label values.

use crate::protocol::{Code, Command};

/// Declares an enum whose variants are the values of one label.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// All values.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The label's text.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }
    };
}

label! {
    /// What a client sent, by its `type`.
    CommandType {
        /// A join or a resume.
        JoinRoom = "JoinRoom",
        /// See [`Command::UpdateState`].
        UpdateState = "UpdateState",
        /// See [`Command::SendOffer`].
        SendOffer = "SendOffer",
        /// See [`Command::SendAnswer`].
        SendAnswer = "SendAnswer",
        /// See [`Command::SendIceCandidate`].
        SendIceCandidate = "SendIceCandidate",
        /// See [`Command::SendMessage`].
        SendMessage = "SendMessage",
        /// See [`Command::MuteParticipant`].
        MuteParticipant = "MuteParticipant",
        /// See [`Command::RemoveParticipant`].
        RemoveParticipant = "RemoveParticipant",
        /// See [`Command::AdmitParticipant`].
        AdmitParticipant = "AdmitParticipant",
        /// See [`Command::DenyParticipant`].
        DenyParticipant = "DenyParticipant",
        /// See [`Command::SetRole`].
        SetRole = "SetRole",
        /// See [`Command::LockRoom`].
        LockRoom = "LockRoom",
        /// See [`Command::StartRecording`].
        StartRecording = "StartRecording",
        /// See [`Command::StopRecording`].
        StopRecording = "StopRecording",
        /// See [`Command::EndRoom`].
        EndRoom = "EndRoom",
        /// See [`Command::LeaveRoom`].
        LeaveRoom = "LeaveRoom",
        /// The heartbeat of browsers.
        KeepAlive = "KeepAlive",
        /// Asked over HTTP.
        Admin = "admin",
        /// Unreadable or of a type that we do not know.
        Unknown = "unknown",
    }
}

impl From<&Command> for CommandType {
    fn from(command: &Command) -> Self {
        match command {
            Command::UpdateState(_) => Self::UpdateState,
            Command::SendOffer { .. } => Self::SendOffer,
            Command::SendAnswer { .. } => Self::SendAnswer,
            Command::SendIceCandidate { .. } => Self::SendIceCandidate,
            Command::SendMessage { .. } => Self::SendMessage,
            Command::MuteParticipant { .. } => Self::MuteParticipant,
            Command::RemoveParticipant { .. } => Self::RemoveParticipant,
            Command::AdmitParticipant { .. } => Self::AdmitParticipant,
            Command::DenyParticipant { .. } => Self::DenyParticipant,
            Command::SetRole { .. } => Self::SetRole,
            Command::LockRoom { .. } => Self::LockRoom,
            Command::StartRecording => Self::StartRecording,
            Command::StopRecording => Self::StopRecording,
            Command::EndRoom => Self::EndRoom,
            Command::LeaveRoom => Self::LeaveRoom,
        }
    }
}

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CommandOutcome {
    /// It took effect, or had none to take.
    Applied,
    /// Refused with this code.
    Refused(Code),
}

impl CommandOutcome {
    /// The label's text: `applied` or the code as on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Refused(code) => match code {
                Code::BadRequest => "bad_request",
                Code::Unauthorized => "unauthorized",
                Code::Forbidden => "forbidden",
                Code::RoleNotAllowed => "role_not_allowed",
                Code::Banned => "banned",
                Code::RoomFull => "room_full",
                Code::RoomLocked => "room_locked",
                Code::Duplicate => "duplicate",
                Code::RoomNotFound => "room_not_found",
                Code::NotInRoom => "not_in_room",
                Code::TargetNotFound => "target_not_found",
                Code::Superseded => "superseded",
                Code::Unavailable => "unavailable",
                Code::TooLarge => "too_large",
                Code::RateLimited => "rate_limited",
                Code::Timeout => "timeout",
                Code::Internal => "internal",
            },
        }
    }
}

label! {
    /// Why the server closed a connection for what its peer did or failed to do.
    EvictionReason {
        /// Took nothing for `limits.slow_ms`.
        Slow = "slow",
        /// More than `limits.outgoing_bytes_max` waited for it.
        Backlog = "backlog",
        /// Announced or sent more than `limits.frame_bytes_max`, or broke the framing.
        TooLarge = "too_large",
        /// Passed `limits.refusals_max`.
        Flood = "flood",
        /// Did not join in `connection.join_timeout_ms`.
        JoinTimeout = "join_timeout",
        /// Silent for `connection.ping_timeout_ms`.
        Silent = "silent",
        /// Against the WebSocket protocol (RFC 6455).
        Protocol = "protocol",
    }
}

label! {
    /// Why a connection was not let in.
    RefusedConnection {
        /// `limits.connections_max` are open, or as many as there are files for.
        Full = "full",
        /// Its `Origin` is not among `http.allowed_origins`.
        Origin = "origin",
        /// It offers only sub-protocols that we do not speak.
        Subprotocol = "subprotocol",
        /// The node starts or drains.
        NotReady = "not_ready",
    }
}

label! {
    /// What became of something that was for another node.
    ForwardOutcome {
        /// It answered, whatever it said.
        Answered = "answered",
        /// The room was not there.
        Moved = "moved",
        /// Nobody listened.
        Refused = "refused",
        /// No answer in time.
        Silent = "silent",
        /// An answer that was not understood.
        Failed = "failed",
    }
}

/// The method, if it is one that HTTP clients use: anybody may send any other word.
pub(super) fn known_method(method: &str) -> &'static str {
    ["GET", "POST", "PATCH", "DELETE", "PUT", "HEAD", "OPTIONS"]
        .into_iter()
        .find(|known| *known == method)
        .unwrap_or("other")
}

/// `2xx` and its like.
pub(super) fn status_class(status: u16) -> &'static str {
    match status / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        5 => "5xx",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcome_of_a_refusal_is_its_code_on_the_wire() {
        for code in [Code::BadRequest, Code::RoleNotAllowed, Code::TargetNotFound] {
            let wire = serde_json::to_value(code).unwrap();
            assert_eq!(wire, CommandOutcome::Refused(code).as_str());
        }
    }

    #[test]
    fn methods_and_classes_are_bounded() {
        assert_eq!(known_method("PATCH"), "PATCH");
        assert_eq!(known_method("patch"), "other");
        assert_eq!(status_class(101), "1xx");
        assert_eq!(status_class(999), "other");
    }
}
