//! What is asked of a room's actor.

use std::sync::Arc;

use actix::{Message, MessageResponse, Recipient};
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use url::Url;

use crate::{
    actor::link::RoomNews,
    ids::{ConnectionId, RoomId, TenantId},
    mirror::Ownership,
    protocol::{Command, Refusal, Rejection},
    room::{
        admin::{AdminCommand, AdminReply},
        input::Join,
    },
    ws::Socket,
};

/// What became of a request: the answer to the client itself comes through the room's FIFO.
#[derive(Clone, Debug, PartialEq, Eq, MessageResponse)]
pub enum Applied {
    /// The rules decided.
    Done,
    /// Too much waits: try again later.
    Busy,
    /// The room is closing or moving: ask the supervisor again.
    Closing,
    /// The room failed on this request; it will not be tried again.
    Failed,
}

/// A connection asks to come in.
#[derive(Message)]
#[rtype(result = "Result<Applied, Refusal>")]
pub struct Enter {
    /// The verified join.
    pub join: Box<Join>,
    /// The token's tenant.
    pub tenant_id: TenantId,
    /// The connection's actor.
    pub actor: Recipient<RoomNews>,
    /// Shared with the connection.
    pub socket: Arc<Socket>,
}

/// A participant's command.
#[derive(Message)]
#[rtype(result = "Applied")]
pub struct Instruct {
    /// On which connection.
    pub connection_id: ConnectionId,
    /// Its id.
    pub id: u64,
    /// The command.
    pub command: Command,
}

/// A participant asks for the current `seq`.
#[derive(Message)]
#[rtype(result = "Applied")]
pub struct StillThere {
    /// On which connection.
    pub connection_id: ConnectionId,
}

/// A connection's actor has ended.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ConnectionClosed {
    /// Which.
    pub connection_id: ConnectionId,
}

/// An admin's command; the answer comes through the room's FIFO.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Administer {
    /// The command.
    pub command: AdminCommand,
    /// Dropped: the room could not answer.
    pub reply: oneshot::Sender<Result<AdminReply, Rejection>>,
}

/// Time has passed.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Tick;

/// Hands a room over that has made its last commit under this ownership: somebody else claims it, or nobody owns it any
/// more. Answers where it goes on, if it is known.
pub type HandOver = Arc<dyn Fn(RoomId, Ownership) -> BoxFuture<'static, Option<Url>> + Send + Sync>;

/// The node stops: the last commit, the handover, goodbye to all, end.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Depart {
    /// Finds a successor.
    pub hand_over: HandOver,
    /// Dropped or sent: the room has ended.
    pub done: oneshot::Sender<()>,
}

/// The room is somebody else's now, or nobody's.
#[derive(Message)]
#[rtype(result = "()")]
pub struct HandedOver {
    /// Its signal URL on the node that goes on with it.
    pub successor: Option<Url>,
}

/// The node stops and the mirror has not answered in time: goodbye to all, without the last commit.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Abandon;

/// The supervisor has forgotten the room: nobody asks any more.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Forgotten;
