//! The room's end of one connection: bounded delivery, and eviction of a peer that does not read.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix::{Addr, Message, Recipient, dev::SendError};
use bytestring::ByteString;
use url::Url;

use super::room::RoomActor;
use crate::{
    clock::Clock,
    ids::{Seq, Timestamp},
    metrics::EvictionReason,
    room::goodbye::GoodbyeReason,
    ws::Disconnect,
};

/// How long a peer may take to close after the goodbye.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);
/// How soon a delivery that was refused is tried again after the room's end.
const TRY_AGAIN: Duration = Duration::from_millis(50);

/// The last word to a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Farewell {
    /// Why; decides action and close code.
    pub reason: GoodbyeReason,
    /// Where the room goes on: a complete signal URL.
    pub url: Option<Url>,
}

impl Farewell {
    /// With the place where the room goes on, if it is known.
    #[must_use]
    pub fn to(reason: GoodbyeReason, url: Option<Url>) -> Self {
        Self { reason, url }
    }
}

impl From<GoodbyeReason> for Farewell {
    fn from(reason: GoodbyeReason) -> Self {
        Self { reason, url: None }
    }
}

/// Frames for a client, in order; all that one commit released for it.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Deliver {
    /// Encoded objects, shared with the other receivers.
    pub frames: Vec<ByteString>,
    /// Sum of their lengths.
    pub bytes: usize,
    /// Close after the frames.
    pub goodbye: Option<Farewell>,
    /// The room goes on in another actor: commands go there from now on.
    pub room: Option<Addr<RoomActor>>,
}

/// What room and connection both see of a connection, without messages: the room can judge a connection whose actor stands
/// still because its peer does not read.
#[derive(Debug)]
pub struct LinkState {
    /// Closes the socket from outside.
    pub disconnect: Arc<Disconnect>,
    last_seen: AtomicI64,
    waiting_bytes: AtomicUsize,
    /// A room judges it, so nobody else has to.
    is_in_room: AtomicBool,
}

impl LinkState {
    /// A connection that was heard of at `now`.
    #[must_use]
    pub fn new(disconnect: Arc<Disconnect>, now: Timestamp) -> Self {
        Self {
            disconnect,
            last_seen: AtomicI64::new(now.0),
            waiting_bytes: AtomicUsize::new(0),
            is_in_room: AtomicBool::new(false),
        }
    }

    /// A frame arrived.
    pub fn seen(&self, now: Timestamp) {
        self.last_seen.store(now.0, Ordering::Relaxed);
    }

    /// When the last frame arrived.
    #[must_use]
    pub fn last_seen(&self) -> Timestamp {
        Timestamp(self.last_seen.load(Ordering::Relaxed))
    }

    /// A room took the connection in.
    pub fn enter_room(&self) {
        self.is_in_room.store(true, Ordering::Relaxed);
    }

    /// Whether a room took the connection in.
    #[must_use]
    pub fn is_in_room(&self) -> bool {
        self.is_in_room.load(Ordering::Relaxed)
    }

    /// The connection took a delivery of `bytes` out of its mailbox.
    pub fn taken(&self, bytes: usize) {
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Why a connection is no longer served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Its actor is gone.
    Gone,
    /// It refused for `slow_ms`.
    Slow,
    /// Too much waits for it.
    Backlog,
    /// Nothing was heard of it for `ping_timeout`.
    Silent,
}

impl Lost {
    /// The metric's label, when the room ended the connection.
    #[must_use]
    pub const fn eviction(self) -> Option<EvictionReason> {
        match self {
            Self::Gone => None,
            Self::Slow => Some(EvictionReason::Slow),
            Self::Backlog => Some(EvictionReason::Backlog),
            Self::Silent => Some(EvictionReason::Silent),
        }
    }
}

/// Bounds of a link.
#[derive(Clone, Copy, Debug)]
pub struct LinkLimits {
    /// How long a connection may refuse deliveries.
    pub slow_ms: u64,
    /// Bytes that may wait for it; one delivery may exceed it when less than this waits.
    pub outgoing_bytes_max: usize,
}

/// The room's handle of one connection. There is one recipient for the life of the connection: a mailbox bound counts per
/// sender, and every clone would get one message in.
#[derive(Debug)]
pub struct Link {
    recipient: Recipient<Deliver>,
    /// Shared with the connection.
    pub state: Arc<LinkState>,
    /// Frames released by the commit at hand, then frames that the connection refused.
    pending: Vec<ByteString>,
    pending_bytes: usize,
    goodbye: Option<Farewell>,
    /// To be told to the connection: where its room is now.
    room: Option<Addr<RoomActor>>,
    /// The goodbye was handed over.
    is_done: bool,
    refused_since: Option<Timestamp>,
    /// Last event handed over; none until `RoomJoined` or `RoomResumed` was.
    pub sent: Option<Seq>,
}

impl Link {
    /// Takes over delivery to `recipient`.
    #[must_use]
    pub fn new(recipient: Recipient<Deliver>, state: Arc<LinkState>) -> Self {
        Self {
            recipient,
            state,
            pending: Vec::new(),
            pending_bytes: 0,
            goodbye: None,
            room: None,
            is_done: false,
            refused_since: None,
            sent: None,
        }
    }

    /// Adds a frame to the next delivery; whether it is the first thing in it.
    pub fn push(&mut self, frame: ByteString) -> bool {
        let is_first = self.is_idle();
        self.pending_bytes += frame.len();
        self.pending.push(frame);
        is_first
    }

    /// Makes the next delivery the last; whether this is the first thing in it.
    pub fn close(&mut self, farewell: Farewell) -> bool {
        let is_first = self.is_idle();
        self.goodbye = Some(farewell);
        is_first
    }

    fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.goodbye.is_none() && self.room.is_none()
    }

    /// With the next delivery the connection learns who runs its room now.
    pub fn move_to(&mut self, room: Addr<RoomActor>) {
        self.room = Some(room);
    }

    /// When the room has said its last word: hands over what was refused so far, then cuts off a peer that neither reads it
    /// nor closes.
    pub async fn part(mut self, clock: Clock, limits: LinkLimits) {
        loop {
            match self.flush(clock.now(), limits) {
                Ok(()) if self.is_refused() => tokio::time::sleep(TRY_AGAIN).await,
                Ok(()) => break tokio::time::sleep(CLOSE_TIMEOUT).await,
                Err(_) => break,
            }
        }
        self.state.disconnect.shutdown();
    }

    /// Whether the last delivery was handed over.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    /// Whether something waits that the connection has refused.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.refused_since.is_some()
    }

    /// Whether a relay may be added. Others' relays get half of the bound, so that nobody can be evicted by a flood of them:
    /// they are sent at most once, and the room's own events are not.
    #[must_use]
    pub fn has_room_for_relay(&self, bytes: usize, limits: LinkLimits) -> bool {
        let waiting = self.state.waiting_bytes.load(Ordering::Relaxed) + self.pending_bytes;
        waiting + bytes <= limits.outgoing_bytes_max / 2
    }

    /// Hands over what is pending as one message. A full mailbox is no failure yet: it is tried again later.
    pub fn flush(&mut self, now: Timestamp, limits: LinkLimits) -> Result<(), Lost> {
        if self.is_idle() {
            return Ok(());
        }
        let delivery = Deliver {
            frames: std::mem::take(&mut self.pending),
            bytes: std::mem::take(&mut self.pending_bytes),
            goodbye: self.goodbye.take(),
            room: self.room.take(),
        };
        let bytes = delivery.bytes;
        let is_last = delivery.goodbye.is_some();
        let waiting = self.state.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        match self.recipient.try_send(delivery) {
            Ok(()) => {
                self.refused_since = None;
                self.is_done = is_last;
                return if waiting > limits.outgoing_bytes_max {
                    Err(Lost::Backlog)
                } else {
                    Ok(())
                };
            }
            Err(SendError::Closed(_)) => return Err(Lost::Gone),
            Err(SendError::Full(refused)) => {
                self.pending = refused.frames;
                self.pending_bytes = refused.bytes;
                self.goodbye = refused.goodbye;
                self.room = refused.room;
            }
        }
        self.state.taken(bytes);
        let since = *self.refused_since.get_or_insert(now);
        if waiting + bytes > limits.outgoing_bytes_max {
            return Err(Lost::Backlog);
        }
        if now.ms_since(since) >= limits.slow_ms {
            return Err(Lost::Slow);
        }
        Ok(())
    }
}
