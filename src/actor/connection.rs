//! The actor of one WebSocket: frames to commands, deliveries to frames. It decides nothing about the room.
//!
//! It is the response body as well: while the peer does not read, this actor stands still. So the room judges it and cuts
//! the socket from outside; nothing here is relied on for that.

use std::{sync::Arc, time::Duration};

use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, ContextFutureSpawner, Handler,
    MailboxError, Running, StreamHandler, WrapFuture,
};
use actix_http::ws::{CloseCode, CloseReason, Message as Frame, ProtocolError};
use actix_web_actors::ws::WebsocketContext;
use bytestring::ByteString;
use tracing::debug;

use super::{
    gate::{Gate, JoinAttempt, Refusal},
    link::{Deliver, LinkState},
    room::{Applied, ConnectionClosed, Instruct, RoomActor, StillThere},
};
use crate::{
    ids::{ConnectionId, RoomId},
    metrics::{CommandOutcome, CommandType, EvictionReason},
    protocol::{ClientMessage, decode, encode_error, encode_goodbye},
    room::{
        command::Command,
        goodbye::{Goodbye, GoodbyeReason},
        view::{Code, Rejection},
    },
    ws::{CommandLimiter, GuardReport, Incoming, Reassembly, Verdict, Violation},
};

/// Deliveries that wait for a connection: the room keeps what does not fit.
const MAILBOX: usize = 16;
/// Fragments of one message.
const PARTS_MAX: usize = 64;
/// How long a room may take to decide; beyond it the outcome is unknown to the client.
const COMMAND_PATIENCE: Duration = Duration::from_secs(10);
/// How long a peer may take to close after the goodbye.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// Where the connection stands.
enum Phase {
    /// No `JoinRoom` yet.
    Fresh,
    /// The room knows it (seat or lobby).
    Joined(Addr<RoomActor>),
    /// Goodbye said.
    Closing,
}

/// See the module.
pub struct Connection {
    id: ConnectionId,
    /// The room of the path.
    room_id: RoomId,
    gate: Arc<Gate>,
    state: Arc<LinkState>,
    report: GuardReport,
    reassembly: Reassembly,
    limiter: CommandLimiter,
    phase: Phase,
    /// Counts this connection; given back when it is dropped.
    _place: super::gate::Place,
}

type Context = WebsocketContext<Connection>;

impl Connection {
    /// A connection whose frames pass the guard that `report` belongs to.
    #[must_use]
    pub fn new(
        room_id: RoomId,
        gate: Arc<Gate>,
        state: Arc<LinkState>,
        report: GuardReport,
        place: super::gate::Place,
    ) -> Self {
        let limits = &gate.limits;
        Self {
            id: ConnectionId(uuid::Uuid::new_v4()),
            room_id,
            reassembly: Reassembly::new(limits.frame_bytes_max, PARTS_MAX),
            limiter: CommandLimiter::new(limits.pace),
            gate,
            state,
            report,
            phase: Phase::Fresh,
            _place: place,
        }
    }

    /// Ends the connection for what its peer did.
    fn violated(&mut self, context: &mut Context, violation: Violation) {
        let eviction = match violation {
            Violation::TooLarge => EvictionReason::TooLarge,
            Violation::ReservedBit
            | Violation::UnknownOpcode
            | Violation::Unmasked
            | Violation::BadControl
            | Violation::BadLength
            | Violation::BadFragment
            | Violation::Codec
            | Violation::InvalidText => EvictionReason::Protocol,
        };
        let code = match violation {
            Violation::TooLarge => Code::TooLarge,
            Violation::ReservedBit
            | Violation::UnknownOpcode
            | Violation::Unmasked
            | Violation::BadControl
            | Violation::BadLength
            | Violation::BadFragment
            | Violation::Codec
            | Violation::InvalidText => Code::BadRequest,
        };
        debug!(connection = %self.id, %violation, "connection ended");
        self.gate.node.metrics.eviction(eviction);
        refuse(
            context,
            None,
            &Rejection {
                code,
                message: violation.to_string().into(),
            },
        );
        self.end(context, violation.reason());
    }

    /// Says goodbye and closes; the peer has [`CLOSE_TIMEOUT`] to do the same.
    fn end(&mut self, context: &mut Context, reason: GoodbyeReason) {
        if matches!(self.phase, Phase::Closing) {
            return;
        }
        self.leave_room();
        self.phase = Phase::Closing;
        let mut goodbye = Goodbye::from(reason);
        goodbye.retry_after_ms = retry_after_ms(reason);
        context.text(encode_goodbye(&goodbye));
        context.close(Some(CloseReason {
            code: CloseCode::from(reason.close_code()),
            description: None,
        }));
        context.run_later(CLOSE_TIMEOUT, |this, context| {
            this.state.disconnect.shutdown();
            context.stop();
        });
    }

    fn leave_room(&self) {
        if let Phase::Joined(room) = &self.phase {
            room.do_send(ConnectionClosed {
                connection_id: self.id,
            });
        }
    }

    /// Handles one text message.
    fn text(&mut self, context: &mut Context, text: &ByteString) {
        let is_admitted = self.admit(context);
        let metrics = &self.gate.node.metrics;
        match decode(text, self.gate.limits.text_bytes_max) {
            Err(error) if is_admitted => {
                metrics.command(
                    CommandType::Unknown,
                    CommandOutcome::Refused(error.rejection.code),
                );
                refuse(context, error.id, &error.rejection);
            }
            Ok(message) if is_admitted => self.message(context, message),
            refused => {
                let id = match refused {
                    Err(error) => error.id,
                    Ok(ClientMessage::Join { id, .. } | ClientMessage::Command { id, .. }) => {
                        Some(id)
                    }
                    Ok(ClientMessage::KeepAlive) => None,
                };
                self.rate_limited(context, id);
            }
        }
    }

    /// Whether one more message is within the connection's pace; a flood ends it.
    fn admit(&mut self, context: &mut Context) -> bool {
        match self.limiter.check() {
            Verdict::Admit => true,
            Verdict::Refuse => false,
            Verdict::Close => {
                if !matches!(self.phase, Phase::Closing) {
                    self.gate.node.metrics.eviction(EvictionReason::Flood);
                    self.rate_limited(context, None);
                    self.end(context, GoodbyeReason::RateLimited);
                }
                false
            }
        }
    }

    fn rate_limited(&self, context: &mut Context, id: Option<u64>) {
        if matches!(self.phase, Phase::Closing) {
            return;
        }
        let metrics = &self.gate.node.metrics;
        metrics.command(
            CommandType::Unknown,
            CommandOutcome::Refused(Code::RateLimited),
        );
        refuse(
            context,
            id,
            &Rejection::new(Code::RateLimited, "too many messages"),
        );
    }

    fn message(&mut self, context: &mut Context, message: ClientMessage) {
        match (message, &self.phase) {
            (_, Phase::Closing) => {}
            (
                ClientMessage::Join {
                    id,
                    room_id,
                    token,
                    resume,
                    region,
                },
                Phase::Fresh,
            ) => {
                if room_id != self.room_id {
                    let rejection =
                        Rejection::new(Code::BadRequest, "roomId differs from the path");
                    return refuse(context, Some(id), &rejection);
                }
                let attempt = JoinAttempt {
                    connection_id: self.id,
                    id,
                    room_id,
                    token,
                    resume,
                    region,
                    recipient: context.address().recipient(),
                    state: Arc::clone(&self.state),
                };
                let gate = Arc::clone(&self.gate);
                async move { gate.enter(attempt).await }
                    .into_actor(self)
                    .map(move |entered, this, context| this.entered(context, id, entered))
                    .wait(context);
            }
            (ClientMessage::Join { id, .. }, Phase::Joined(_)) => {
                let rejection =
                    Rejection::new(Code::BadRequest, "this connection has joined already");
                refuse(context, Some(id), &rejection);
            }
            (ClientMessage::Command { id, command }, Phase::Joined(room)) => {
                let room = room.clone();
                self.instruct(context, &room, id, command);
            }
            (ClientMessage::KeepAlive, Phase::Joined(room)) => {
                room.send(StillThere {
                    connection_id: self.id,
                })
                .timeout(COMMAND_PATIENCE)
                .into_actor(self)
                .map(|applied, this, context| this.applied(context, None, applied))
                .wait(context);
            }
            (ClientMessage::Command { id, .. }, Phase::Fresh) => {
                refuse(
                    context,
                    Some(id),
                    &Rejection::new(Code::NotInRoom, "join the room first"),
                );
            }
            (ClientMessage::KeepAlive, Phase::Fresh) => {
                refuse(
                    context,
                    None,
                    &Rejection::new(Code::NotInRoom, "join the room first"),
                );
            }
        }
    }

    fn entered(
        &mut self,
        context: &mut Context,
        id: u64,
        entered: Result<Addr<RoomActor>, Refusal>,
    ) {
        match entered {
            Ok(room) => self.phase = Phase::Joined(room),
            Err(Refusal { rejection, reason }) => {
                let metrics = &self.gate.node.metrics;
                metrics.command(
                    CommandType::JoinRoom,
                    CommandOutcome::Refused(rejection.code),
                );
                refuse(context, Some(id), &rejection);
                self.end(context, reason);
            }
        }
    }

    /// One command at a time: the next message is read when the room has decided, so TCP holds a fast sender back.
    fn instruct(
        &mut self,
        context: &mut Context,
        room: &Addr<RoomActor>,
        id: u64,
        command: Command,
    ) {
        room.send(Instruct {
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
        context: &mut Context,
        id: Option<u64>,
        applied: Result<Applied, MailboxError>,
    ) {
        let rejection = match applied {
            Ok(Applied::Done) => return,
            Ok(Applied::Busy) => Rejection::new(Code::Unavailable, "the room is overloaded"),
            Ok(Applied::Closing) => Rejection::new(Code::Unavailable, "the room is closing"),
            Ok(Applied::Refused(rejection, _)) => rejection,
            Ok(Applied::Failed) => {
                self.find_room_again(context);
                Rejection::new(Code::Internal, "the room failed on this command")
            }
            Err(MailboxError::Timeout) => outcome_unknown(),
            Err(MailboxError::Closed) => {
                self.find_room_again(context);
                outcome_unknown()
            }
        };
        if id.is_some() {
            refuse(context, id, &rejection);
        }
    }

    /// The room's actor failed: its successor knows this connection.
    fn find_room_again(&mut self, context: &mut Context) {
        let (gate, room_id) = (Arc::clone(&self.gate), self.room_id);
        async move { gate.find_again(room_id).await }
            .into_actor(self)
            .map(|found, this, context| match found {
                Some(room) if matches!(this.phase, Phase::Joined(_)) => {
                    this.phase = Phase::Joined(room)
                }
                Some(_) => {}
                None => this.end(context, GoodbyeReason::Unavailable),
            })
            .wait(context);
    }

    fn incoming(&mut self, context: &mut Context, incoming: Incoming) {
        match incoming {
            Incoming::Text(text) => self.text(context, &text),
            Incoming::Binary => {
                if self.admit(context) {
                    let rejection =
                        Rejection::new(Code::BadRequest, "binary messages are not understood");
                    refuse(context, None, &rejection);
                } else {
                    self.rate_limited(context, None);
                }
            }
            Incoming::Ping(bytes) => {
                if self.admit(context) {
                    context.pong(&bytes);
                }
            }
            Incoming::Partial | Incoming::Pong => {}
            Incoming::Close(reason) => {
                self.leave_room();
                if !matches!(self.phase, Phase::Closing) {
                    context.close(reason);
                }
                self.phase = Phase::Closing;
                context.stop();
            }
        }
    }
}

fn refuse(context: &mut Context, id: Option<u64>, rejection: &Rejection) {
    context.text(encode_error(id, rejection));
}

fn outcome_unknown() -> Rejection {
    Rejection::new(Code::Timeout, "outcome unknown: repeat with the same id")
}

/// Spreads those who come back at once.
fn retry_after_ms(reason: GoodbyeReason) -> Option<u64> {
    matches!(
        reason,
        GoodbyeReason::Draining | GoodbyeReason::Unavailable | GoodbyeReason::Moved
    )
    .then(|| rand::random_range(100..=1_000))
}

impl Actor for Connection {
    type Context = Context;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(MAILBOX);
        context.run_interval(self.gate.limits.ping_interval, |_, context| {
            context.ping(b"")
        });
        context.run_later(self.gate.limits.join_timeout, |this, context| {
            if matches!(this.phase, Phase::Fresh) {
                this.gate.node.metrics.eviction(EvictionReason::JoinTimeout);
                refuse(
                    context,
                    None,
                    &Rejection::new(Code::Timeout, "no JoinRoom in time"),
                );
                this.end(context, GoodbyeReason::Timeout);
            }
        });
    }

    fn stopping(&mut self, _: &mut Self::Context) -> Running {
        self.leave_room();
        Running::Stop
    }
}

impl Handler<Deliver> for Connection {
    type Result = ();

    fn handle(&mut self, delivery: Deliver, context: &mut Self::Context) {
        self.state.taken(delivery.bytes);
        for frame in delivery.frames {
            context.text(frame);
        }
        if let Some(reason) = delivery.goodbye {
            self.end(context, reason);
        }
    }
}

impl StreamHandler<Result<Frame, ProtocolError>> for Connection {
    fn handle(&mut self, item: Result<Frame, ProtocolError>, context: &mut Self::Context) {
        match item {
            Ok(frame) => {
                self.state.seen(self.gate.node.clock.now());
                match self.reassembly.accept(frame) {
                    Ok(incoming) => self.incoming(context, incoming),
                    Err(violation) => self.violated(context, violation),
                }
            }
            Err(error) => match self.report.explain(&error) {
                Some(violation) => self.violated(context, violation),
                None => context.stop(),
            },
        }
    }
}
