//! The closed sets of label values.

use crate::protocol::{Code, MessageType};

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

            /// Returns the label's text.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }
    };
}

/// The `type` of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CommandLabel {
    /// A message of a client.
    Message(MessageType),
    /// A request over HTTP.
    Admin,
    /// A message that cannot be read or has an unknown type.
    Unknown,
}

impl CommandLabel {
    /// The number of labels.
    pub(super) const COUNT: usize = MessageType::ALL.len() + 2;

    /// Returns the label's text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Message(message_type) => message_type.name(),
            Self::Admin => "admin",
            Self::Unknown => "unknown",
        }
    }

    /// Returns a number below [`CommandLabel::COUNT`].
    pub(super) const fn index(self) -> usize {
        match self {
            Self::Message(message_type) => message_type as usize,
            Self::Admin => MessageType::ALL.len(),
            Self::Unknown => MessageType::ALL.len() + 1,
        }
    }
}

/// The `outcome` of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CommandOutcome {
    /// It took effect, or there was nothing to change.
    Applied,
    /// It was refused with this code.
    Refused(Code),
}

impl CommandOutcome {
    /// Returns the label's text: `applied` or the code on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Refused(code) => code.as_str(),
        }
    }
}

label! {
    /// Why the server closed a connection because of its peer.
    EvictionReason {
        /// The peer read nothing for `limits.slow_ms`.
        Slow = "slow",
        /// More than `limits.outgoing_bytes_max` waited for the peer.
        Backlog = "backlog",
        /// A message exceeded `limits.frame_bytes_max`.
        TooLarge = "too_large",
        /// More than `limits.refusals_max` messages were refused.
        Flood = "flood",
        /// No `JoinRoom` within `connection.join_timeout_ms`.
        JoinTimeout = "join_timeout",
        /// Nothing was received for `connection.ping_timeout_ms`.
        Silent = "silent",
        /// The frames break the WebSocket protocol (RFC 6455).
        Protocol = "protocol",
    }
}

label! {
    /// Why a connection was not accepted.
    RefusedConnection {
        /// `limits.connections_max` are open, or there are no file descriptors left.
        Full = "full",
        /// Its `Origin` is not among `http.allowed_origins`.
        Origin = "origin",
        /// It offers only unknown sub-protocols.
        Subprotocol = "subprotocol",
        /// The node starts or drains.
        NotReady = "not_ready",
    }
}

label! {
    /// The result of a call to another node.
    ForwardOutcome {
        /// The node answered.
        Answered = "answered",
        /// The room is not on that node.
        Moved = "moved",
        /// The connection was refused.
        Refused = "refused",
        /// No answer in time.
        Silent = "silent",
        /// The answer was not understood.
        Failed = "failed",
    }
}

/// Returns the method if it is a usual one, else `other`: clients may send any word.
pub(super) fn known_method(method: &str) -> &'static str {
    ["GET", "POST", "PATCH", "DELETE", "PUT", "HEAD", "OPTIONS"]
        .into_iter()
        .find(|known| *known == method)
        .unwrap_or("other")
}

/// Returns `2xx` and the like.
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
    fn every_command_label_has_its_own_index() {
        let messages = MessageType::ALL.iter().copied().map(CommandLabel::Message);
        let labels = messages.chain([CommandLabel::Admin, CommandLabel::Unknown]);
        let indices: Vec<usize> = labels.map(CommandLabel::index).collect();
        assert_eq!(indices, Vec::from_iter(0..CommandLabel::COUNT));
    }

    #[test]
    fn methods_and_classes_are_bounded() {
        assert_eq!(known_method("PATCH"), "PATCH");
        assert_eq!(known_method("patch"), "other");
        assert_eq!(status_class(101), "1xx");
        assert_eq!(status_class(999), "other");
    }
}
