//! Inputs: everything that can change a room.

use super::{admin::AdminCommand, effect::Ticket};
use crate::{
    ids::{ConnectionId, Seq, SessionId, StayId, UserId},
    protocol::{Command, EndReason, Kind},
};

/// A resume token: the text for the client, the hash for the mirror.
#[derive(Clone, Debug)]
pub struct IssuedToken {
    /// Opaque to clients.
    pub text: String,
    /// SHA-256 of the text, hex.
    pub hash: String,
}

/// A `JoinRoom` whose token was verified, with fresh ids for what may begin.
#[derive(Clone, Debug)]
pub struct Join {
    /// The new connection.
    pub connection_id: ConnectionId,
    /// The id of the `JoinRoom`.
    pub id: u64,
    /// From the token.
    pub user_id: UserId,
    /// From the token; at most 128 characters.
    pub display_name: String,
    /// From the token.
    pub kind: Kind,
    /// The token has expired: it allows only a resume.
    pub is_expired: bool,
    /// The region that the client named.
    pub region: Option<String>,
    /// Continues a stay, if the token allows it.
    pub resume: Option<Resume>,
    /// Used if a stay begins.
    pub stay_id: StayId,
    /// Used if a session begins.
    pub session_id: SessionId,
    /// The next resume token.
    pub resume_token: IssuedToken,
}

/// The resume part of a join.
#[derive(Clone, Debug)]
pub struct Resume {
    /// The token that the client presents.
    pub token: IssuedToken,
    /// The last event that the client has seen.
    pub last_seq: Seq,
}

/// An input of [`Room::apply`](super::Room::apply).
#[derive(Clone, Debug)]
pub enum Input {
    /// Somebody joins or resumes.
    Join(Box<Join>),
    /// A participant's command.
    Command {
        /// The connection that sent it.
        connection_id: ConnectionId,
        /// The id of the command.
        id: u64,
        /// What to do.
        command: Command,
    },
    /// A participant asks for the current `seq`.
    KeepAlive {
        /// The connection that sent it.
        connection_id: ConnectionId,
    },
    /// A connection is lost; a connection that the room does not know is ignored.
    ConnectionLost {
        /// The lost connection.
        connection_id: ConnectionId,
    },
    /// An admin's command.
    Admin {
        /// Returned with the answer.
        ticket: Ticket,
        /// What to do.
        command: AdminCommand,
    },
    /// A deadline may have passed.
    Tick,
    /// The node stops and another one continues the room: all connections count as lost from now
    /// on.
    Suspend,
    /// The mirror stopped or resumed accepting changes.
    Durability {
        /// The new state.
        durable: bool,
    },
    /// Connections that survived the room actor hold their seats again.
    Reattach {
        /// All connections that are still open.
        connections: Vec<ConnectionId>,
    },
    /// A command must not run again: it made the room fail.
    Decide {
        /// The connection that sent it.
        connection_id: ConnectionId,
        /// The id of the command.
        id: u64,
    },
    /// The session ends.
    End(EndReason),
}
