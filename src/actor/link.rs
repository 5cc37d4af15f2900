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
    protocol::GoodbyeReason,
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
    /// Frames released since the last delivery: mostly one for everybody but its author.
    pending: SmallVec<[ByteString; 1]>,
    pending_bytes: usize,
    /// A sign of life is asked for.
    asks: bool,
    /// It is on the room's list of those to be written to.
    is_listed: bool,
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
            asks: false,
            is_listed: false,
            goodbye: None,
            sent: None,
        }
    }

    /// Adds a frame to the next delivery; whether the link is to be listed for it.
    pub fn push(&mut self, frame: ByteString) -> bool {
        self.pending_bytes += frame.len();
        self.pending.push(frame);
        self.list()
    }

    /// Asks for a sign of life with the next delivery; whether the link is to be listed for it.
    pub fn ask(&mut self) -> bool {
        self.asks = true;
        self.list()
    }

    /// Makes the next delivery the last; whether the link is to be listed for it. The first goodbye counts.
    pub fn close(&mut self, farewell: Farewell) -> bool {
        self.goodbye.get_or_insert_with(|| Box::new(farewell));
        self.list()
    }

    /// Whether it is to be listed: it is not yet.
    pub fn list(&mut self) -> bool {
        !std::mem::replace(&mut self.is_listed, true)
    }

    /// Whether the next delivery is the last.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.goodbye.is_some()
    }

    /// Forgets the frames of the next delivery: they were written, or are not to be.
    pub fn forget_pending(&mut self) {
        self.pending = SmallVec::new();
        self.pending_bytes = 0;
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
        self.is_listed = false;
        let frames = self.pending.iter().map(|frame| Outgoing::Text(frame));
        let ping = self.asks.then_some(Outgoing::Ping);
        let waiting = self.socket.deliver(frames.chain(ping), limits)?;
        self.asks = false;
        self.forget_pending();
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

#[cfg(test)]
mod tests {
    use actix::{Actor, Context, Handler};
    use tokio::{
        io::AsyncReadExt,
        net::{TcpListener, TcpStream},
        sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    };

    use super::*;
    use crate::{fd_budget::FdBudget, ids::Timestamp, ws::ClientStream};

    const LIMITS: LinkLimits = LinkLimits {
        slow_ms: 1_000,
        outgoing_bytes_max: 64 * 1024,
    };

    /// Notes what a connection's actor is told.
    struct Ear(UnboundedSender<RoomNews>);

    impl Actor for Ear {
        type Context = Context<Self>;
    }

    impl Handler<RoomNews> for Ear {
        type Result = ();

        fn handle(&mut self, news: RoomNews, _: &mut Self::Context) {
            self.0.send(news).unwrap();
        }
    }

    async fn link() -> (Link, TcpStream, UnboundedReceiver<RoomNews>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let (sender, news) = unbounded_channel();
        let permit = FdBudget::new(1).acquire().unwrap();
        let socket = Socket::new(ClientStream::new(stream, permit), Timestamp(0));
        (
            Link::new(Ear(sender).start().recipient(), socket),
            client,
            news,
        )
    }

    #[actix_web::test]
    async fn link_is_listed_once_until_it_is_written_to() {
        let (mut link, mut client, _news) = link().await;
        assert!(link.push(ByteString::from_static("one")));
        assert!(!link.ask());
        assert!(!link.push(ByteString::from_static("two")));
        assert_eq!(link.flush(LIMITS), Ok(Flushed::Taken));
        assert!(link.ask());
        assert_eq!(link.flush(LIMITS), Ok(Flushed::Taken));
        // RFC 6455 section 5.2: two texts and a ping, and another ping.
        let expected = b"\x81\x03one\x81\x03two\x89\0\x89\0";
        let mut bytes = vec![0; expected.len()];
        client.read_exact(&mut bytes).await.unwrap();
        assert_eq!(bytes, expected);
    }

    #[actix_web::test]
    async fn first_goodbye_counts_and_what_is_forgotten_is_not_written() {
        let (mut link, mut client, mut news) = link().await;
        link.push(ByteString::from_static("one"));
        link.forget_pending();
        assert!(!link.close(Farewell::from(GoodbyeReason::Removed)));
        assert!(link.is_closing());
        assert!(!link.close(Farewell::from(GoodbyeReason::Moved)));
        assert_eq!(link.flush(LIMITS), Ok(Flushed::Over));
        let told = news.recv().await.unwrap();
        let RoomNews::Goodbye(farewell) = told else {
            panic!("{told:?}");
        };
        assert_eq!(farewell.reason, GoodbyeReason::Removed);
        link.socket.cut();
        let mut bytes = Vec::new();
        client.read_to_end(&mut bytes).await.unwrap();
        assert_eq!(bytes, b"");
    }
}
