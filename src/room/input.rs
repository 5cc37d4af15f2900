//! What happens to a room: everything that may change it comes in as one of these.

use super::{admin::AdminCommand, effect::Ticket};
use crate::{
    ids::{ConnectionId, Seq, SessionId, StayId, UserId},
    protocol::{Command, EndReason, Kind},
};

/// A resume token as issued: the text for the client, the hash for the mirror.
#[derive(Clone, Debug)]
pub struct IssuedToken {
    /// Opaque.
    pub text: String,
    /// SHA-256 of the text, hex.
    pub hash: String,
}

/// A `JoinRoom` whose token was verified, with the fresh ids that it may need.
#[derive(Clone, Debug)]
pub struct Join {
    /// The new connection.
    pub connection_id: ConnectionId,
    /// Of the command.
    pub id: u64,
    /// From the token.
    pub user_id: UserId,
    /// From the token; at most 128 characters.
    pub display_name: String,
    /// From the token.
    pub kind: Kind,
    /// The token's time is over: good for a resume only.
    pub is_expired: bool,
    /// The joiner's region, if named.
    pub region: Option<String>,
    /// The resume part.
    pub resume: Option<Resume>,
    /// Fresh: the stay, if one begins.
    pub stay_id: StayId,
    /// Fresh: the session, if one begins.
    pub session_id: SessionId,
    /// Fresh: the next resume token.
    pub resume_token: IssuedToken,
}

/// The resume part of a join.
#[derive(Clone, Debug)]
pub struct Resume {
    /// The presented token.
    pub token: IssuedToken,
    /// Last event seen.
    pub last_seq: Seq,
}

/// Something that happens to a room.
#[derive(Clone, Debug)]
pub enum Input {
    /// Somebody asks to come in, or to come back.
    Join(Box<Join>),
    /// A participant's command.
    Command {
        /// On which connection.
        connection_id: ConnectionId,
        /// Its id.
        id: u64,
        /// The command.
        command: Command,
    },
    /// A participant asks for the current `seq`.
    KeepAlive {
        /// On which connection.
        connection_id: ConnectionId,
    },
    /// A connection is gone; late news of old connections is ignored.
    ConnectionLost {
        /// Which.
        connection_id: ConnectionId,
    },
    /// An admin's command.
    Admin {
        /// Comes back with the answer.
        ticket: Ticket,
        /// The command.
        command: AdminCommand,
    },
    /// Time has passed.
    Tick,
    /// The node leaves and another one continues the room: whoever is connected is lost from now on, unless they come back.
    Suspend,
    /// The mirror stopped or resumed taking changes.
    Durability {
        /// New state.
        durable: bool,
    },
    /// Connections that outlived the room actor hold their seats again.
    Reattach {
        /// All that are still open.
        connections: Vec<ConnectionId>,
    },
    /// A command is never to be executed (again): it made the room fail.
    Decide {
        /// On which connection.
        connection_id: ConnectionId,
        /// Its id.
        id: u64,
    },
    /// The session is to end.
    End(EndReason),
}
