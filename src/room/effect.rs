//! What the room asks of the shell: effects as data, in the order in which they are to happen.

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

/// Ties an admin's command to its answer; chosen by the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(pub u64);

/// Recipients of an event, fixed when it happened.
pub type Audience = Arc<[ConnectionId]>;

/// Something the shell is to do. Everything but [`Effect::Relay`] waits for the commit of all changes before it.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Tell one connection.
    Send {
        /// Whom.
        to: ConnectionId,
        /// What.
        notice: Notice,
    },
    /// Tell all who were connected when it happened.
    Broadcast {
        /// Whom.
        to: Audience,
        /// What.
        event: TailEvent,
    },
    /// Pass something from one to another; overtakes what waits for a commit, except the joins of the two.
    Relay {
        /// Sender's connection; none: held for the target until now.
        from: Option<ConnectionId>,
        /// Target's connection.
        to: ConnectionId,
        /// The encoded object.
        frame: ByteString,
    },
    /// Say goodbye and close.
    Disconnect {
        /// Whom.
        connection_id: ConnectionId,
        /// Why; decides action and close code.
        reason: GoodbyeReason,
    },
    /// Answer an admin.
    Reply {
        /// Which request.
        ticket: Ticket,
        /// The answer.
        result: Result<AdminReply, Rejection>,
    },
    /// A session began: put it into SQL.
    OpenSession {
        /// Its id.
        session_id: SessionId,
        /// First admitted join.
        start_time: Timestamp,
    },
    /// Put a ban into SQL.
    StoreBan {
        /// Whose.
        user_id: UserId,
        /// The ban.
        ban: BanRecord,
    },
    /// Irreversible, never before its commit: the room is closed; a session, if one began, waits in the outbox.
    Closed {
        /// The finished session.
        session: Option<Box<ClosedSession>>,
    },
}

impl Effect {
    /// Whom it tells something, and what; none: it does something else, or tells all.
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
