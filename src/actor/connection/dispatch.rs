//! Sends messages to the room one at a time: each is answered before the next is read.

use std::sync::Arc;

use actix::{
    ActorFutureExt, Addr, AsyncContext, Context, ContextFutureSpawner, MailboxError, WrapFuture,
};

use bytestring::ByteString;
use tokio::sync::mpsc::{self, error::TrySendError};

use super::{
    COMMAND_PATIENCE, Connection, Phase,
    forward::{self, Entered},
    proxy,
};
use crate::{
    actor::{
        join_service::{JoinAttempt, TRY_AGAIN},
        room::{Applied, KeepAlive, RoomActor, RunCommand},
    },
    metrics::{CommandLabel, CommandOutcome},
    protocol::{ClientMessage, Code, Command, JoinRequest, MessageType, Refusal, Rejection},
};

impl Connection {
    pub(super) fn message(&mut self, context: &mut Context<Self>, message: ClientMessage) {
        match (message, &self.phase) {
            // Messages of a forwarded connection are not read here.
            (_, Phase::Closing | Phase::Forwarded(_)) => {}
            (
                ClientMessage::Join(JoinRequest {
                    id,
                    room_id,
                    token,
                    resume,
                    region,
                }),
                Phase::Fresh,
            ) => {
                if room_id != self.room_id {
                    let rejection =
                        Rejection::new(Code::BadRequest, "roomId differs from the path");
                    return self.refuse(Some(id), &rejection);
                }
                let attempt = JoinAttempt {
                    connection_id: self.id,
                    id,
                    room_id,
                    resume,
                    region,
                    actor: context.address().recipient(),
                    socket: Arc::clone(&self.socket),
                };
                let (joins, origin) = (Arc::clone(&self.joins), self.origin.clone());
                async move { forward::enter(&joins, attempt, &token, origin).await }
                    .into_actor(self)
                    .map(move |entered, this, context| this.entered(context, id, entered))
                    .wait(context);
            }
            (ClientMessage::Join(JoinRequest { id, .. }), Phase::Joined(_)) => {
                let rejection =
                    Rejection::new(Code::BadRequest, "this connection has joined already");
                self.refuse(Some(id), &rejection);
            }
            (ClientMessage::Command { id, command }, Phase::Joined(room)) => {
                let room = room.clone();
                self.instruct(context, &room, id, command);
            }
            (ClientMessage::KeepAlive, Phase::Joined(room)) => {
                room.send(KeepAlive {
                    connection_id: self.id,
                })
                .timeout(COMMAND_PATIENCE)
                .into_actor(self)
                .map(|applied, this, context| this.applied(context, None, applied))
                .wait(context);
            }
            (ClientMessage::Command { id, .. }, Phase::Fresh) => {
                self.refuse(
                    Some(id),
                    &Rejection::new(Code::NotInRoom, "join the room first"),
                );
            }
            (ClientMessage::KeepAlive, Phase::Fresh) => {
                self.refuse(
                    None,
                    &Rejection::new(Code::NotInRoom, "join the room first"),
                );
            }
        }
    }

    fn entered(&mut self, context: &mut Context<Self>, id: u64, entered: Result<Entered, Refusal>) {
        match entered {
            Ok(Entered::Here(room)) => {
                self.phase = Phase::Joined(room);
            }
            Ok(Entered::There(opened)) => {
                let socket = Arc::clone(&self.socket);
                let owner = proxy::start(&self.joins.node, context.address(), socket, *opened);
                self.phase = Phase::Forwarded(owner);
            }
            Err(refusal) => {
                self.joins.node.metrics.command(
                    CommandLabel::Message(MessageType::JoinRoom),
                    CommandOutcome::Refused(refusal.rejection.code),
                );
                self.turn_away(context, Some(id), &refusal);
            }
        }
    }

    /// Sends a message to the owner's node. While that takes none, the next is not read.
    pub(super) fn pass_on(
        &mut self,
        context: &mut Context<Self>,
        owner: mpsc::Sender<ByteString>,
        text: ByteString,
    ) {
        let Err(TrySendError::Full(text)) = owner.try_send(text) else {
            // The proxy has ended, and the client is about to be told.
            return;
        };
        async move {
            // As above.
            let _ = owner.send(text).await;
        }
        .into_actor(self)
        .wait(context);
    }

    /// Sends a command to the room. The next message is read when the room has decided, so TCP
    /// slows a fast sender down.
    fn instruct(
        &mut self,
        context: &mut Context<Self>,
        room: &Addr<RoomActor>,
        id: u64,
        command: Command,
    ) {
        room.send(RunCommand {
            connection_id: self.id,
            id,
            command,
        })
        .timeout(COMMAND_PATIENCE)
        .into_actor(self)
        .map(move |applied, this, context| this.applied(context, Some(id), applied))
        .wait(context);
    }

    fn applied(
        &mut self,
        context: &mut Context<Self>,
        id: Option<u64>,
        applied: Result<Applied, MailboxError>,
    ) {
        let rejection = match applied {
            Ok(Applied::Done) => return,
            Ok(Applied::Busy) => Rejection::new(Code::Unavailable, "the room is overloaded"),
            Ok(Applied::Closing) => Rejection::new(Code::Unavailable, "the room is closing"),
            Ok(Applied::Failed) => {
                self.await_successor(context);
                Rejection::new(Code::Internal, "the room failed on this command")
            }
            Err(MailboxError::Timeout) => outcome_unknown(),
            Err(MailboxError::Closed) => {
                self.await_successor(context);
                outcome_unknown()
            }
        };
        if id.is_some() {
            self.refuse(id, &rejection);
        }
    }

    /// The room's actor has crashed. Its successor takes this connection over, or the supervisor
    /// cuts the socket.
    ///
    /// Waits a moment for either, so that a client which repeats its command at once reaches the
    /// successor.
    fn await_successor(&mut self, context: &mut Context<Self>) {
        tokio::time::sleep(TRY_AGAIN).into_actor(self).wait(context);
    }
}

fn outcome_unknown() -> Rejection {
    Rejection::new(Code::Timeout, "outcome unknown: repeat with the same id")
}
