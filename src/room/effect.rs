//! Effects: what the shell does for the room, as data and in order.

use std::sync::Arc;

use bytestring::ByteString;

use super::{
    admin::AdminReply,
    record::{BanRecord, ClosedSession, TailEvent},
};
use crate::{
    ids::{ConnectionId, SessionId, Timestamp, UserId},
    protocol::{GoodbyeReason, Notice, Rejection},
};

/// Links an admin's command with its answer; chosen by the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(pub u64);

/// Recipients of an event, fixed when it happens.
pub type Audience = Arc<[ConnectionId]>;

/// An action of the shell. Every effect except [`Effect::Relay`] waits for the commit of all
/// earlier changes.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Sends a notice to one connection.
    Send {
        /// The recipient.
        to: ConnectionId,
        /// The message.
        notice: Notice,
    },
    /// Sends an event to everybody who was connected when it happened.
    Broadcast {
        /// The recipients.
        to: Audience,
        /// The message.
        event: TailEvent,
    },
    /// Sends a relay. It overtakes everything that waits for a commit, except the joins of the two.
    Relay {
        /// The sender's connection; `None` if the relay was held for the target.
        from: Option<ConnectionId>,
        /// The target's connection.
        to: ConnectionId,
        /// The encoded message.
        frame: ByteString,
    },
    /// Sends a `Goodbye` and closes the connection.
    Disconnect {
        /// The connection to close.
        connection_id: ConnectionId,
        /// Decides action and close code.
        reason: GoodbyeReason,
    },
    /// Answers an admin.
    Reply {
        /// The request that is answered.
        ticket: Ticket,
        /// The answer or the rejection.
        result: Result<AdminReply, Rejection>,
    },
    /// Stores a session that began in SQL.
    OpenSession {
        /// The new session.
        session_id: SessionId,
        /// Time of the first admitted join.
        start_time: Timestamp,
    },
    /// Stores a ban in SQL.
    StoreBan {
        /// The banned user.
        user_id: UserId,
        /// The content of the row.
        ban: BanRecord,
    },
    /// Ends the room. It is irreversible and never precedes its commit. A finished session is in
    /// the outbox by then.
    Closed {
        /// The finished session, if one began.
        session: Option<Box<ClosedSession>>,
    },
}

impl Effect {
    /// Returns recipient and notice of a [`Effect::Send`].
    #[must_use]
    pub fn told(&self) -> Option<(ConnectionId, &Notice)> {
        match self {
            Self::Send { to, notice } => Some((*to, notice)),
            Self::Broadcast { .. }
            | Self::Relay { .. }
            | Self::Disconnect { .. }
            | Self::Reply { .. }
            | Self::OpenSession { .. }
            | Self::StoreBan { .. }
            | Self::Closed { .. } => None,
        }
    }
}
