//! The actor of one WebSocket: frames to commands, deliveries to frames. It decides nothing about the room.
//!
//! It is the response body as well: while the peer does not read, this actor stands still. So the room judges it and cuts
//! the socket from outside; nothing here is relied on for that.

mod conversation;
mod forward;
mod pump;

use std::{sync::Arc, time::Duration};

use actix::{Actor, ActorContext, Addr, AsyncContext, Handler, Running, StreamHandler};
use actix_http::ws::{CloseCode, CloseReason, Message as Frame, ProtocolError};
use actix_web_actors::ws::WebsocketContext;
use bytestring::ByteString;
use tokio::sync::mpsc;
use tracing::debug;

pub use self::forward::Origin;
use super::{
    gate::{Gate, JOIN_PATIENCE},
    link::{CLOSE_TIMEOUT, Deliver, Farewell, LinkState},
    room::{ConnectionClosed, RoomActor},
};
use crate::{
    ids::{ConnectionId, RoomId},
    metrics::{CommandOutcome, CommandType, EvictionReason},
    protocol::{ClientMessage, decode, encode_error, encode_goodbye},
    room::{
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

/// How many people per millisecond may come back to the nodes that take over.
const RETURNS_PER_MS: u64 = 5;
/// Bounds of the time over which they are spread, in milliseconds.
const SPREAD_MS_MIN: u64 = 20;
const SPREAD_MS_MAX: u64 = 5_000;
/// When those come back for whom nobody was there, in milliseconds.
const UNAVAILABLE_MS: std::ops::RangeInclusive<u64> = 100..=1_000;

/// Where the connection stands.
enum Phase {
    /// No `JoinRoom` yet.
    Fresh,
    /// The room knows it (seat or lobby).
    Joined(Addr<RoomActor>),
    /// A room of another node does; what the client says goes there.
    Forwarded(mpsc::Sender<ByteString>),
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
    origin: Origin,
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
        origin: Origin,
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
            origin,
            phase: Phase::Fresh,
            _place: place,
        }
    }

    /// Ends the connection for what its peer did.
    fn violated(&mut self, context: &mut Context, violation: Violation) {
        let (eviction, code) = match violation {
            Violation::TooLarge => (EvictionReason::TooLarge, Code::TooLarge),
            Violation::ReservedBit
            | Violation::UnknownOpcode
            | Violation::Unmasked
            | Violation::BadControl
            | Violation::BadLength
            | Violation::BadFragment
            | Violation::Codec
            | Violation::InvalidText => (EvictionReason::Protocol, Code::BadRequest),
        };
        debug!(connection = %self.id, %violation, "connection ended");
        self.gate.node.metrics.eviction(eviction);
        self.refuse(
            context,
            None,
            &Rejection {
                code,
                message: violation.to_string().into(),
            },
        );
        self.end(context, violation.reason());
    }

    fn refuse(&self, context: &mut Context, id: Option<u64>, rejection: &Rejection) {
        context.text(encode_error(id, rejection));
    }

    /// Cuts the socket when `is_over` after `patience`. Done from outside: this actor stands still while its peer does not
    /// read.
    fn cut_off_after(&self, patience: Duration, is_over: fn(&LinkState) -> bool) {
        let state = Arc::clone(&self.state);
        self.gate.node.io.spawn(async move {
            tokio::time::sleep(patience).await;
            if is_over(&state) {
                state.disconnect.shutdown();
            }
        });
    }

    /// Says goodbye and closes; the peer has [`CLOSE_TIMEOUT`] to do the same.
    fn end(&mut self, context: &mut Context, farewell: impl Into<Farewell>) {
        if matches!(self.phase, Phase::Closing) {
            return;
        }
        self.leave_room();
        let Farewell { reason, url } = farewell.into();
        let goodbye = Goodbye {
            retry_after_ms: self.retry_after_ms(reason),
            url: url.map(String::from),
            ..Goodbye::from(reason)
        };
        context.text(encode_goodbye(&goodbye));
        self.close(context, reason.close_code());
    }

    fn close(&mut self, context: &mut Context, code: u16) {
        self.phase = Phase::Closing;
        context.close(Some(CloseReason {
            code: CloseCode::from(code),
            description: None,
        }));
        self.cut_off_after(CLOSE_TIMEOUT, |_| true);
    }

    /// Spreads those who come back at once: the people of a room that moved by how many this node may have to send away, those
    /// for whom nobody is there by a while that somebody may need to come.
    fn retry_after_ms(&self, reason: GoodbyeReason) -> Option<u64> {
        match reason {
            GoodbyeReason::Draining | GoodbyeReason::Moved => {
                let connections = self.gate.node.metrics.connections.get().unsigned_abs();
                let spread_ms = (connections / RETURNS_PER_MS).clamp(SPREAD_MS_MIN, SPREAD_MS_MAX);
                Some(rand::random_range(0..=spread_ms))
            }
            GoodbyeReason::Unavailable => Some(rand::random_range(UNAVAILABLE_MS)),
            GoodbyeReason::Unauthorized
            | GoodbyeReason::Banned
            | GoodbyeReason::RoleNotAllowed
            | GoodbyeReason::Denied
            | GoodbyeReason::Forbidden
            | GoodbyeReason::RoomFull
            | GoodbyeReason::RoomLocked
            | GoodbyeReason::Duplicate
            | GoodbyeReason::RoomNotFound
            | GoodbyeReason::Ended
            | GoodbyeReason::Failed
            | GoodbyeReason::Removed
            | GoodbyeReason::Superseded
            | GoodbyeReason::Left
            | GoodbyeReason::TooSlow
            | GoodbyeReason::TooLarge
            | GoodbyeReason::RateLimited
            | GoodbyeReason::Timeout
            | GoodbyeReason::BadRequest
            | GoodbyeReason::ProtocolError
            | GoodbyeReason::InvalidText
            | GoodbyeReason::Internal => None,
        }
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
        if let (true, Phase::Forwarded(owner)) = (is_admitted, &self.phase) {
            let owner = owner.clone();
            return self.pass_on(context, owner, text.clone());
        }
        let metrics = &self.gate.node.metrics;
        match decode(text, self.gate.limits.text_bytes_max) {
            Err(error) if is_admitted => {
                metrics.command(
                    CommandType::Unknown,
                    CommandOutcome::Refused(error.rejection.code),
                );
                self.refuse(context, error.id, &error.rejection);
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

    /// Whether one more message is within the connection's pace; a flood ends it. What another node sends has passed it there.
    fn admit(&mut self, context: &mut Context) -> bool {
        if matches!(self.origin, Origin::Node(_)) {
            return true;
        }
        match self.limiter.check() {
            Verdict::Admit => true,
            Verdict::Refuse => false,
            Verdict::Close => {
                self.gate.node.metrics.eviction(EvictionReason::Flood);
                self.rate_limited(context, None);
                self.end(context, GoodbyeReason::RateLimited);
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
        self.refuse(
            context,
            id,
            &Rejection::new(Code::RateLimited, "too many messages"),
        );
    }

    fn incoming(&mut self, context: &mut Context, incoming: Incoming) {
        match incoming {
            Incoming::Text(text) => self.text(context, &text),
            Incoming::Binary => {
                if self.admit(context) {
                    let rejection =
                        Rejection::new(Code::BadRequest, "binary messages are not understood");
                    self.refuse(context, None, &rejection);
                } else {
                    self.rate_limited(context, None);
                }
            }
            Incoming::Ping(bytes) => {
                if self.admit(context) {
                    context.pong(&bytes);
                }
            }
            Incoming::Pong => {
                self.admit(context);
            }
            Incoming::Partial => {}
            Incoming::Close(reason) => {
                self.leave_room();
                self.phase = Phase::Closing;
                context.close(reason);
                context.stop();
                self.cut_off_after(CLOSE_TIMEOUT, |_| true);
            }
        }
    }
}

impl Actor for Connection {
    type Context = Context;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(MAILBOX);
        context.run_interval(self.gate.limits.ping_interval, |this, context| {
            if !matches!(this.phase, Phase::Closing) {
                context.ping(b"");
            }
        });
        let join_timeout = self.gate.limits.join_timeout;
        self.cut_off_after(join_timeout + JOIN_PATIENCE + CLOSE_TIMEOUT, |state| {
            !state.is_in_room()
        });
        context.run_later(join_timeout, |this, context| {
            if matches!(this.phase, Phase::Fresh) {
                this.gate.node.metrics.eviction(EvictionReason::JoinTimeout);
                this.refuse(
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
        if matches!(self.phase, Phase::Closing) {
            // Nothing may follow the Close frame.
            return;
        }
        if let Some(room) = delivery.room {
            self.phase = Phase::Joined(room);
        }
        for frame in delivery.frames {
            context.text(frame);
        }
        if let Some(farewell) = delivery.goodbye {
            self.end(context, farewell);
        }
    }
}

impl StreamHandler<Result<Frame, ProtocolError>> for Connection {
    fn handle(&mut self, item: Result<Frame, ProtocolError>, context: &mut Self::Context) {
        if matches!(self.phase, Phase::Closing) {
            // Only the peer's own Close is waited for.
            if matches!(item, Err(_) | Ok(Frame::Close(_))) {
                context.stop();
            }
            return;
        }
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
