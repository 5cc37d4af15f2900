//! A client's socket after the upgrade. Any thread may write frames to it: one system call for all
//! of them, with no actor in between. What the kernel does not take waits here, in order.

use std::{
    cell::RefCell,
    io::{self, Read, Write},
    net::Shutdown,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use actix_http::ws::{CloseReason, OpCode, Parser};
use bytes::{Buf, BytesMut};
use socket2::SockRef;
use thiserror::Error;
use tokio::{io::Interest, runtime::Handle, sync::Notify};

use super::{
    disconnect::{DisconnectCause, LinkLimits},
    upgrade::ClientStream,
};
use crate::ids::Timestamp;

/// Largest buffer that a thread keeps for encoding frames.
const SCRATCH_BYTES_MAX: usize = 64 * 1024;

thread_local! {
    static OUTGOING: RefCell<BytesMut> = RefCell::default();
}

/// A frame for a client.
#[derive(Clone, Debug)]
pub enum Outgoing<'a> {
    /// A whole text message.
    Text(&'a str),
    /// A ping without payload.
    Ping,
    /// The answer to a ping with this payload.
    Pong(&'a [u8]),
    /// The last frame. The socket drops later ones.
    Close(Option<CloseReason>),
}

/// The client closed the connection, or the node cut it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the socket is closed")]
pub struct SocketClosed;

/// See the module. Everything that a delivery touches lies together, because with thousands of
/// connections each further cache line is a cache miss.
#[derive(Debug)]
pub struct Socket {
    stream: ClientStream,
    out: Mutex<Out>,
    /// When the client's last frame arrived, in milliseconds since 1970.
    last_seen: AtomicI64,
    /// Signals that nothing waits any more.
    drained: Notify,
}

#[derive(Debug, Default)]
struct Out {
    /// None while the kernel has taken everything.
    waiting: Option<Box<Waiting>>,
    /// A Close frame was encoded.
    is_closed: bool,
    /// Either side has shut the connection down.
    is_over: bool,
    /// This side has.
    is_shut: bool,
}

/// Bytes that the kernel has not taken.
#[derive(Debug)]
struct Waiting {
    /// Encoded frames, the first of which may be cut.
    bytes: BytesMut,
    /// Size of the largest write among them.
    largest: usize,
    /// When the kernel last took something.
    since: Instant,
}

impl Out {
    fn waiting_bytes(&self) -> usize {
        self.waiting
            .as_ref()
            .map_or(0, |waiting| waiting.bytes.len())
    }

    /// See [`Socket::backlog_bytes`].
    fn backlog_bytes(&self) -> usize {
        match &self.waiting {
            Some(waiting) if !self.is_over => waiting.bytes.len().saturating_sub(waiting.largest),
            Some(_) | None => 0,
        }
    }

    fn stuck_for(&self) -> Duration {
        self.waiting
            .as_ref()
            .map_or(Duration::ZERO, |waiting| waiting.since.elapsed())
    }

    fn check_lag(&self, limits: LinkLimits) -> Result<(), DisconnectCause> {
        // The next write to a closed socket fails by itself.
        if self.is_over || self.waiting.is_none() {
            Ok(())
        } else if self.backlog_bytes() > limits.outgoing_bytes_max {
            Err(DisconnectCause::Backlog)
        } else if self.stuck_for() >= Duration::from_millis(limits.slow_ms) {
            Err(DisconnectCause::Slow)
        } else {
            Ok(())
        }
    }
}

impl Socket {
    /// Wraps the socket of an upgraded connection whose last frame counts as received at `now`.
    #[must_use]
    pub fn new(stream: ClientStream, now: Timestamp) -> Arc<Self> {
        Arc::new(Self {
            stream,
            out: Mutex::default(),
            last_seen: AtomicI64::new(now.0),
            drained: Notify::new(),
        })
    }

    /// Reads what has arrived. Zero bytes mean the end.
    ///
    /// # Errors
    /// Fails when the connection broke.
    pub(super) fn poll_read(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_read_ready(context))?;
            let mut count = None;
            let tried = self.stream.try_io(Interest::READABLE, || {
                let read = (&*SockRef::from(&*self.stream)).read(buffer)?;
                count = Some(read);
                // After a short read nothing is left. `WouldBlock` makes tokio wait for readiness
                // instead of asking the kernel again.
                match read == 0 || read == buffer.len() {
                    true => Ok(()),
                    false => Err(io::ErrorKind::WouldBlock.into()),
                }
            });
            match (count, tried) {
                (Some(count), _) => return Poll::Ready(Ok(count)),
                (None, Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                (None, tried) => return Poll::Ready(tried.map(|()| 0)),
            }
        }
    }

    /// Notes that a frame arrived.
    pub fn seen(&self, now: Timestamp) {
        self.last_seen.store(now.0, Ordering::Relaxed);
    }

    /// When the last frame arrived.
    #[must_use]
    pub fn last_seen(&self) -> Timestamp {
        Timestamp(self.last_seen.load(Ordering::Relaxed))
    }

    /// Sends a ping.
    pub fn ping(self: &Arc<Self>) {
        if let Err(closed) = self.send([Outgoing::Ping]) {
            tracing::debug!(%closed, "cannot send a ping");
        }
    }

    /// Writes frames in one piece and returns how many bytes wait then. What the kernel does not
    /// take now waits. Nothing is written after a Close frame.
    ///
    /// Must be called inside a tokio runtime, which writes what waits. The caller bounds what
    /// waits, see [`check_lag`](Self::check_lag).
    ///
    /// # Errors
    /// Fails when the socket is closed. What waited is lost.
    pub fn send<'a>(
        self: &Arc<Self>,
        frames: impl IntoIterator<Item = Outgoing<'a>>,
    ) -> Result<usize, SocketClosed> {
        self.encode_and_write(&mut self.out(), frames)
    }

    /// Like [`send`](Self::send), unless the client is too far behind.
    ///
    /// # Errors
    /// Fails when the socket is closed or the client is beyond one of the limits.
    pub fn deliver<'a>(
        self: &Arc<Self>,
        frames: impl IntoIterator<Item = Outgoing<'a>>,
        limits: LinkLimits,
    ) -> Result<usize, DisconnectCause> {
        let mut out = self.out();
        out.check_lag(limits)?;
        Ok(self.encode_and_write(&mut out, frames)?)
    }

    /// Checks how far the client is behind.
    ///
    /// # Errors
    /// Fails when it is beyond one of the limits.
    pub fn check_lag(&self, limits: LinkLimits) -> Result<(), DisconnectCause> {
        self.out().check_lag(limits)
    }

    fn encode_and_write<'a>(
        self: &Arc<Self>,
        out: &mut Out,
        frames: impl IntoIterator<Item = Outgoing<'a>>,
    ) -> Result<usize, SocketClosed> {
        OUTGOING.with_borrow_mut(|bytes| {
            bytes.clear();
            for frame in frames {
                if out.is_closed {
                    break;
                }
                out.is_closed = frame.encode(bytes);
            }
            let sent = self.write(out, bytes).map(|()| out.waiting_bytes());
            if bytes.capacity() > SCRATCH_BYTES_MAX {
                *bytes = BytesMut::new();
            }
            sent
        })
    }

    fn write(self: &Arc<Self>, out: &mut Out, bytes: &[u8]) -> Result<(), SocketClosed> {
        if out.is_over {
            return Err(SocketClosed);
        }
        if let Some(waiting) = &mut out.waiting {
            waiting.bytes.extend_from_slice(bytes);
            waiting.largest = waiting.largest.max(bytes.len());
            return Ok(());
        }
        if bytes.is_empty() {
            return Ok(());
        }
        // Bypasses tokio's readiness, because the socket is nearly always writable. A client that
        // is gone is an error here, since Rust programs ignore SIGPIPE.
        let taken = taken(out, (&*SockRef::from(&*self.stream)).write(bytes))?;
        let rest = &bytes[taken..];
        if !rest.is_empty() {
            out.waiting = Some(Box::new(Waiting {
                bytes: BytesMut::from(rest),
                largest: rest.len(),
                since: Instant::now(),
            }));
            tokio::spawn(Arc::clone(self).drain());
        }
        Ok(())
    }

    /// Writes what waits. Runs only while something waits.
    async fn drain(self: Arc<Self>) {
        loop {
            let writable = self.stream.writable().await;
            let mut out = self.out();
            let Some(mut waiting) = out.waiting.take() else {
                break;
            };
            let written = writable.and_then(|()| self.stream.try_write(&waiting.bytes));
            // After an error the rest is lost, because no frame may follow half of another.
            if let Ok(count) = taken(&mut out, written) {
                waiting.bytes.advance(count);
                if count > 0 {
                    waiting.since = Instant::now();
                }
                if !waiting.bytes.is_empty() {
                    out.waiting = Some(waiting);
                    continue;
                }
            }
            break;
        }
        self.drained.notify_waiters();
    }

    /// Bytes that the kernel has not taken yet.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.out().waiting_bytes()
    }

    /// Waiting bytes beyond the largest write among them. One write, such as the snapshot of a big
    /// room, may be larger than the limit. Zero for a closed socket.
    #[must_use]
    pub fn backlog_bytes(&self) -> usize {
        self.out().backlog_bytes()
    }

    /// How long the kernel has taken nothing of what waits. Zero if nothing waits.
    #[must_use]
    pub fn stuck_for(&self) -> Duration {
        self.out().stuck_for()
    }

    /// Waits until nothing waits any more or the socket is closed.
    pub async fn drained(&self) {
        loop {
            let drained = self.drained.notified();
            if self.waiting_bytes() == 0 {
                return;
            }
            drained.await;
        }
    }

    /// Shuts both directions down once what waits is written, at the latest after `timeout`. Does
    /// so at once outside of a runtime.
    pub fn finish(self: &Arc<Self>, timeout: Duration) {
        let mut out = self.out();
        out.is_closed = true;
        let runtime = Handle::try_current();
        let (Some(_), Ok(runtime)) = (&out.waiting, runtime) else {
            return self.shut_down(&mut out);
        };
        let socket = Arc::clone(self);
        runtime.spawn(async move {
            // The socket is cut in any case.
            let _ = tokio::time::timeout(timeout, socket.drained()).await;
            socket.cut();
        });
    }

    /// Shuts both directions down at once. What waits is lost, and the reader finds the end of the
    /// stream. Repeated calls do nothing.
    pub fn cut(&self) {
        self.shut_down(&mut self.out());
    }

    fn shut_down(&self, out: &mut Out) {
        out.is_over = true;
        if std::mem::replace(&mut out.is_shut, true) {
            return;
        }
        if let Err(error) = SockRef::from(&*self.stream).shutdown(Shutdown::Both) {
            // The client closed it first.
            tracing::debug!(%error, "the socket was closed already");
        }
    }

    fn out(&self) -> MutexGuard<'_, Out> {
        // Each change is complete in itself.
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many bytes the kernel took, possibly none.
fn taken(out: &mut Out, written: io::Result<usize>) -> Result<usize, SocketClosed> {
    match written {
        Ok(count) => Ok(count),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        Err(_) => {
            out.is_over = true;
            Err(SocketClosed)
        }
    }
}

impl Outgoing<'_> {
    /// Appends the frame without a mask (RFC 6455 section 5.2). Returns whether it is a Close
    /// frame.
    fn encode(self, bytes: &mut BytesMut) -> bool {
        match self {
            Self::Text(text) => Parser::write_message(bytes, text, OpCode::Text, true, false),
            Self::Ping => Parser::write_message(bytes, [], OpCode::Ping, true, false),
            Self::Pong(payload) => {
                Parser::write_message(bytes, payload, OpCode::Pong, true, false);
            }
            Self::Close(reason) => {
                Parser::write_close(bytes, reason, false);
                return true;
            }
        }
        false
    }
}
