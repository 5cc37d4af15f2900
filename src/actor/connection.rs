//! The actor of one WebSocket: turns frames into commands. What the room tells the client does not
//! pass it: the room writes to the socket itself, and disconnects a client that does not read.

mod dispatch;
mod forward;
mod proxy;

use std::{sync::Arc, time::Duration};

use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler, Running, StreamHandler};
use actix_http::ws::{CloseCode, CloseReason, Message as Frame};
use bytes::Bytes;
use bytestring::ByteString;
use tokio::sync::mpsc;
use tracing::debug;

pub use self::forward::Origin;
use super::{
    join_service::{ConnectionPermit, JoinService},
    room::{
        ConnectionClosed, RoomActor,
        link::{CLOSE_TIMEOUT, CloseNotice, RoomNews},
    },
};
use crate::{
    ids::{ConnectionId, RoomId},
    metrics::{CommandLabel, CommandOutcome, EvictionReason},
    protocol::{Code, Goodbye, GoodbyeReason, Refusal, Rejection, decode, encode_error},
    ws::{
        ClientStream, CommandLimiter, Frames, Incoming, MESSAGE_PARTS_MAX, Outgoing, RateDecision,
        Reassembly, Socket, Violation,
    },
};

/// How long a room may take to decide. After this the client is told that the outcome is unknown.
const COMMAND_PATIENCE: Duration = Duration::from_secs(10);

/// Clients per millisecond that may connect again to the nodes that take over.
const RETURNS_PER_MS: u64 = 5;
/// Bounds of the time over which they are spread, in milliseconds.
const SPREAD_MS_MIN: u64 = 20;
const SPREAD_MS_MAX: u64 = 5_000;
/// `retryAfterMs` of `Goodbye{unavailable}`.
const UNAVAILABLE_MS: std::ops::RangeInclusive<u64> = 100..=1_000;

/// The state of the connection.
enum Phase {
    /// No `JoinRoom` yet.
    Fresh,
    /// The room knows it (seat or lobby).
    Joined(Addr<RoomActor>),
    /// A room of another node knows it: the client's messages go there.
    Forwarded(mpsc::Sender<ByteString>),
    /// Goodbye said.
    Closing,
}

/// See the module.
pub struct Connection {
    id: ConnectionId,
    /// The room of the path.
    room_id: RoomId,
    joins: Arc<JoinService>,
    socket: Arc<Socket>,
    origin: Origin,
    reassembly: Reassembly,
    limiter: CommandLimiter,
    phase: Phase,
    /// Counts this connection; given back when it is dropped.
    _permit: ConnectionPermit,
}

impl Connection {
    /// Starts the actor of an upgraded socket on the current arbiter. `early` are the bytes that
    /// came with the upgrade.
    pub fn start(
        stream: ClientStream,
        early: Bytes,
        room_id: RoomId,
        joins: Arc<JoinService>,
        permit: ConnectionPermit,
        origin: Origin,
    ) {
        let limits = &joins.limits;
        let socket = Socket::new(stream, joins.node.clock.now());
        let frames = Frames::new(Arc::clone(&socket), limits.frame_bytes_max, early);
        let connection = Self {
            id: ConnectionId(uuid::Uuid::new_v4()),
            room_id,
            reassembly: Reassembly::new(limits.frame_bytes_max, MESSAGE_PARTS_MAX),
            limiter: CommandLimiter::new(limits.pace),
            socket,
            joins,
            origin,
            phase: Phase::Fresh,
            _permit: permit,
        };
        Self::create(|context| {
            context.add_stream(frames);
            connection
        });
    }

    /// Writes to the client. One that does not read is disconnected, as a room does it.
    fn say<'a>(&self, frames: impl IntoIterator<Item = Outgoing<'a>>) {
        match self.socket.deliver(frames, self.joins.node.limits.link) {
            Ok(_) => {}
            // After an error the stream of its frames ends as well.
            Err(cause) => {
                debug!(connection = %self.id, %cause, "cannot write to the client");
                if let Some(reason) = cause.eviction() {
                    self.joins.node.metrics.eviction(reason);
                    self.socket.cut();
                }
            }
        }
    }

    /// Ends the connection because its peer violated the protocol.
    fn violated(&mut self, context: &mut Context<Self>, violation: Violation) {
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
        debug!(connection = %self.id, %violation, "connection ended");
        self.joins.node.metrics.eviction(eviction);
        self.turn_away(context, None, &violation.into());
    }

    fn refuse(&self, id: Option<u64>, rejection: &Rejection) {
        self.say([Outgoing::Text(&encode_error(id, rejection))]);
    }

    /// Refuses a message and ends the connection.
    fn turn_away(&mut self, context: &mut Context<Self>, id: Option<u64>, refusal: &Refusal) {
        self.refuse(id, &refusal.rejection);
        self.end(context, refusal.reason);
    }

    /// Says goodbye and closes. The peer has [`CLOSE_TIMEOUT`] to do the same.
    fn end(&mut self, context: &mut Context<Self>, notice: impl Into<CloseNotice>) {
        if matches!(self.phase, Phase::Closing) {
            return;
        }
        self.leave_room();
        let CloseNotice { reason, url } = notice.into();
        let goodbye = Goodbye {
            retry_after_ms: self.retry_after_ms(reason),
            url: url.map(String::from),
            ..Goodbye::from(reason)
        };
        self.close(context, Some(&goodbye.encode()), reason.close_code());
    }

    /// Sends a last message and closes. The peer has [`CLOSE_TIMEOUT`] to do the same.
    fn close(&mut self, context: &mut Context<Self>, last_word: Option<&str>, code: u16) {
        self.phase = Phase::Closing;
        let close = Outgoing::Close(Some(CloseReason {
            code: CloseCode::from(code),
            description: None,
        }));
        let last = last_word.map(Outgoing::Text).into_iter().chain([close]);
        if self.socket.send(last).is_err() {
            debug!(connection = %self.id, "the client was gone before the goodbye");
        }
        context.run_later(CLOSE_TIMEOUT, |this, _| this.socket.cut());
    }

    /// Spreads clients over time that connect again at once. For a room that moved, the time
    /// depends on the number of this node's connections.
    fn retry_after_ms(&self, reason: GoodbyeReason) -> Option<u64> {
        match reason {
            GoodbyeReason::Draining | GoodbyeReason::Moved => {
                let connections = self.joins.node.metrics.connections.get().unsigned_abs();
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
    fn text(&mut self, context: &mut Context<Self>, text: &ByteString) {
        let is_admitted = self.admit(context);
        if let (true, Phase::Forwarded(owner)) = (is_admitted, &self.phase) {
            let owner = owner.clone();
            return self.pass_on(context, owner, text.clone());
        }
        let metrics = &self.joins.node.metrics;
        match decode(text, self.joins.limits.text_bytes_max) {
            Err(error) if is_admitted => {
                metrics.command(
                    CommandLabel::Unknown,
                    CommandOutcome::Refused(error.rejection.code),
                );
                self.refuse(error.id, &error.rejection);
            }
            Ok(message) if is_admitted => self.message(context, message),
            refused => {
                self.rate_limited(refused.map_or_else(|error| error.id, |message| message.id()));
            }
        }
    }

    /// Whether one more message is within the connection's pace. A flood ends the connection.
    /// Another node has checked its own clients.
    fn admit(&mut self, context: &mut Context<Self>) -> bool {
        if matches!(self.origin, Origin::Node(_)) {
            return true;
        }
        match self.limiter.check() {
            RateDecision::Admit => true,
            RateDecision::Refuse => false,
            RateDecision::Close => {
                self.joins.node.metrics.eviction(EvictionReason::Flood);
                self.rate_limited(None);
                self.end(context, GoodbyeReason::RateLimited);
                false
            }
        }
    }

    fn rate_limited(&self, id: Option<u64>) {
        if matches!(self.phase, Phase::Closing) {
            return;
        }
        let metrics = &self.joins.node.metrics;
        metrics.command(
            CommandLabel::Unknown,
            CommandOutcome::Refused(Code::RateLimited),
        );
        self.refuse(id, &Rejection::new(Code::RateLimited, "too many messages"));
    }

    fn incoming(&mut self, context: &mut Context<Self>, incoming: Incoming) {
        match incoming {
            Incoming::Text(text) => self.text(context, &text),
            Incoming::Binary => {
                if self.admit(context) {
                    let rejection =
                        Rejection::new(Code::BadRequest, "binary messages are not understood");
                    self.refuse(None, &rejection);
                } else {
                    self.rate_limited(None);
                }
            }
            Incoming::Ping(bytes) => {
                if self.admit(context) {
                    self.say([Outgoing::Pong(&bytes)]);
                }
            }
            Incoming::Pong => {
                self.admit(context);
            }
            Incoming::Partial => {}
            Incoming::Close(reason) => {
                self.leave_room();
                self.phase = Phase::Closing;
                self.say([Outgoing::Close(reason)]);
                context.stop();
            }
        }
    }
}

impl Actor for Connection {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.run_later(self.joins.limits.join_timeout, |this, context| {
            if matches!(this.phase, Phase::Fresh) {
                this.joins
                    .node
                    .metrics
                    .eviction(EvictionReason::JoinTimeout);
                let refusal = Refusal::new(GoodbyeReason::Timeout, "no JoinRoom in time");
                this.turn_away(context, None, &refusal);
            }
        });
    }

    fn stopping(&mut self, _: &mut Self::Context) -> Running {
        self.leave_room();
        self.socket.finish(CLOSE_TIMEOUT);
        Running::Stop
    }
}

impl Handler<RoomNews> for Connection {
    type Result = ();

    fn handle(&mut self, news: RoomNews, context: &mut Self::Context) {
        if matches!(self.phase, Phase::Closing) {
            // Nothing may follow the Close frame.
            return;
        }
        match news {
            RoomNews::Moved(room) => self.phase = Phase::Joined(room),
            RoomNews::Goodbye(notice) => self.end(context, notice),
        }
    }
}

impl StreamHandler<Result<Frame, Violation>> for Connection {
    fn handle(&mut self, item: Result<Frame, Violation>, context: &mut Self::Context) {
        if matches!(self.phase, Phase::Closing) {
            // Waits for the peer's own Close only.
            if matches!(item, Err(_) | Ok(Frame::Close(_))) {
                context.stop();
            }
            return;
        }
        let incoming = item.and_then(|frame| {
            self.socket.seen(self.joins.node.clock.now());
            self.reassembly.accept(frame)
        });
        match incoming {
            Ok(incoming) => self.incoming(context, incoming),
            Err(violation) => self.violated(context, violation),
        }
    }
}
