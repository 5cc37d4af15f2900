//! The room's end of one connection: bounded delivery straight into its socket, and eviction of a peer that does not read.

use std::{sync::Arc, time::Duration};

use actix::{Addr, Message, Recipient};
use bytestring::ByteString;
use smallvec::SmallVec;
use url::Url;

use super::room::RoomActor;
pub use crate::ws::LinkLimits;
use crate::{
    ids::Seq,
    metrics::EvictionReason,
    room::goodbye::GoodbyeReason,
    ws::{Lag, Outgoing, Socket, Undelivered},
};

/// How long a peer may take to close after the goodbye.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

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

/// What a connection's actor must know of its room; what its client is told does not pass it.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub enum RoomNews {
    /// The room goes on in another actor: commands go there from now on.
    Moved(Addr<RoomActor>),
    /// Say this and close.
    Goodbye(Farewell),
}

/// Why a connection is no longer served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Its socket is closed.
    Gone,
    /// It took nothing for `slow_ms`.
    Slow,
    /// Too much waits for it.
    Backlog,
    /// Nothing was heard of it for `ping_timeout`.
    Silent,
}

impl From<Undelivered> for Lost {
    fn from(why: Undelivered) -> Self {
        match why {
            Undelivered::Closed(_) => Self::Gone,
            Undelivered::Lag(lag) => lag.into(),
        }
    }
}

impl From<Lag> for Lost {
    fn from(lag: Lag) -> Self {
        match lag {
            Lag::Stuck => Self::Slow,
            Lag::Backlog => Self::Backlog,
        }
    }
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

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushed {
    /// The kernel has all of it.
    Taken,
    /// Some of it waits.
    Behind,
    /// It was the last one: the connection's actor closes, and cuts off a peer that does not.
    Over,
}

/// The room's handle of one connection.
#[derive(Debug)]
pub struct Link {
    actor: Recipient<RoomNews>,
    /// Shared with the connection.
    pub socket: Arc<Socket>,
    /// Frames released by the commit at hand: one for everybody but its author.
    pending: SmallVec<[ByteString; 1]>,
    pending_bytes: usize,
    goodbye: Option<Box<Farewell>>,
    /// Last event handed over; none until `RoomJoined` or `RoomResumed` was.
    pub sent: Option<Seq>,
}

impl Link {
    /// The link to a connection with this actor.
    #[must_use]
    pub fn new(actor: Recipient<RoomNews>, socket: Arc<Socket>) -> Self {
        Self {
            actor,
            socket,
            pending: SmallVec::new(),
            pending_bytes: 0,
            goodbye: None,
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
        self.goodbye = Some(Box::new(farewell));
        is_first
    }

    fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.goodbye.is_none()
    }

    /// The connection learns who runs its room now.
    pub fn move_to(&self, room: Addr<RoomActor>) {
        self.actor.do_send(RoomNews::Moved(room));
    }

    /// Whether a relay may be added. Others' relays get half of the bound, so that nobody can be evicted by a flood of them:
    /// they are sent at most once, and the room's own events are not.
    #[must_use]
    pub fn has_room_for_relay(&self, bytes: usize, limits: LinkLimits) -> bool {
        let waiting = self.socket.waiting_bytes() + self.pending_bytes;
        waiting + bytes <= limits.outgoing_bytes_max / 2
    }

    /// Writes what is pending in one piece, and judges whether the client reads.
    pub fn flush(&mut self, limits: LinkLimits) -> Result<Flushed, Lost> {
        let frames = self.pending.iter().map(|frame| Outgoing::Text(frame));
        let waiting = self.socket.deliver(frames, limits)?;
        self.pending = SmallVec::new();
        self.pending_bytes = 0;
        if let Some(farewell) = self.goodbye.take() {
            self.actor.do_send(RoomNews::Goodbye(*farewell));
            return Ok(Flushed::Over);
        }
        Ok(match waiting {
            0 => Flushed::Taken,
            _ => Flushed::Behind,
        })
    }
}
