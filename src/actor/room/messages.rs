//! What a room's actor is asked, and what it tells its supervisor.

use std::sync::Arc;

use actix::{Message, MessageResponse, Recipient};
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use super::{RoomCrashState, link::RoomNews};
use crate::{
    ids::{ConnectionId, Epoch, NodeId, RoomId, TenantId, Version},
    mirror::{CommitOutcome, Ownership},
    owner::Recovery,
    protocol::{Command, Refusal, Rejection},
    room::{
        admin::{AdminCommand, AdminReply},
        input::Join,
    },
    ws::Socket,
};

/// The result of a request. The answer to the client itself waits for the room's commits.
#[derive(Clone, Debug, PartialEq, Eq, MessageResponse)]
pub enum Applied {
    /// The rules decided.
    Done,
    /// Too much waits: try again later.
    Busy,
    /// The room is closing or moving: ask the supervisor again.
    Closing,
    /// The room crashed on this request, which will not be tried again.
    Failed,
}

/// A connection asks to join.
#[derive(Message)]
#[rtype(result = "Result<Applied, Refusal>")]
pub struct JoinRoom {
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
pub struct RunCommand {
    /// Where it came from.
    pub connection_id: ConnectionId,
    /// Repeated by the answer.
    pub id: u64,
    /// The command.
    pub command: Command,
}

/// A participant asks for the current `seq`.
#[derive(Message)]
#[rtype(result = "Applied")]
pub struct KeepAlive {
    /// Where it came from.
    pub connection_id: ConnectionId,
}

/// A connection's actor has ended.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ConnectionClosed {
    /// The connection.
    pub connection_id: ConnectionId,
}

/// An admin's command. The answer waits for the room's commits.
#[derive(Message)]
#[rtype(result = "()")]
pub struct RunAdmin {
    /// The command.
    pub command: AdminCommand,
    /// Dropped if the room cannot answer.
    pub reply: oneshot::Sender<Result<AdminReply, Rejection>>,
}

/// Hands off a room after its last commit: another node claims it, or nobody owns it any more.
/// Returns the node that continues it, if it is known.
pub type HandOffFn =
    Arc<dyn Fn(RoomId, Ownership) -> BoxFuture<'static, Option<NodeId>> + Send + Sync>;

/// The node stops: the room makes its last commit, is handed off, says goodbye to all, and ends.
#[derive(Message)]
#[rtype(result = "()")]
pub struct HandOff {
    /// Finds a successor.
    pub hand_off: HandOffFn,
    /// Sent or dropped when the room has ended.
    pub done: oneshot::Sender<()>,
}

/// Another node owns the room, or none does.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct HandedOff {
    /// The node that continues it.
    pub(super) successor: Option<NodeId>,
}

/// The node stops and does not wait for the mirror: the room says goodbye to all without its last
/// commit.
#[derive(Message)]
#[rtype(result = "()")]
pub struct StopNow;

/// The supervisor has forgotten the room: nobody asks it any more.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Shutdown;

/// The mirror may have lost this room, or another node may own it: ask now.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Verify;

/// The node has learnt why its lease expired: read it now.
#[derive(Message)]
#[rtype(result = "()")]
pub struct CheckLease;

/// A commit was answered.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Committed {
    pub(super) to: Version,
    pub(super) outcome: CommitOutcome,
}

/// A recovery has ended.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Recovered {
    pub(super) to: Version,
    pub(super) outcome: CommitOutcome,
    pub(super) recovery: Recovery,
}

/// A room's actor has ended.
#[derive(Message)]
#[rtype(result = "()")]
pub struct RoomGone {
    /// The room.
    pub room_id: RoomId,
    /// The actor's epoch: news of older actors is ignored.
    pub epoch: Epoch,
    /// It ended by decision.
    pub is_clean: bool,
    /// For its successor, if it crashed.
    pub crash_state: RoomCrashState,
}
