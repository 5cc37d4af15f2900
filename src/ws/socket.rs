//! A client's socket after the upgrade. Frames are written by whoever has them, on whatever thread: one call of the system for
//! all that is due, no actor in between. What the kernel does not take waits here, in order.

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
    lag::{Lag, LinkLimits, Undelivered},
    upgrade::ClientStream,
};
use crate::ids::Timestamp;

/// A thread's buffer for frames on their way into the kernel; a larger one is not kept.
const SCRATCH_BYTES_MAX: usize = 64 * 1024;

thread_local! {
    static OUTGOING: RefCell<BytesMut> = RefCell::default();
}

/// A frame for a client.
#[derive(Clone, Debug)]
pub enum Outgoing<'a> {
    /// A whole text message.
    Text(&'a str),
    /// A question for a sign of life.
    Ping,
    /// The answer to a ping with these bytes.
    Pong(&'a [u8]),
    /// The last frame: what comes after it is dropped.
    Close(Option<CloseReason>),
}

/// The client's end is closed, or this one was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the socket is closed")]
pub struct SocketClosed;

/// See the module. All that a delivery touches lies together: with thousands of connections each further place in memory is a
/// wait for it.
#[derive(Debug)]
pub struct Socket {
    stream: ClientStream,
    out: Mutex<Out>,
    /// When the last frame of the client came, in milliseconds since 1970.
    last_seen: AtomicI64,
    /// Nothing waits any more.
    drained: Notify,
}

#[derive(Debug, Default)]
struct Out {
    /// None: the kernel has taken everything.
    waiting: Option<Box<Waiting>>,
    /// The Close frame was said.
    is_closed: bool,
    /// Shut down, by whomever.
    is_over: bool,
    /// By this end.
    is_shut: bool,
}

/// What the kernel has not taken.
#[derive(Debug)]
struct Waiting {
    /// Encoded frames, or the rest of one.
    bytes: BytesMut,
    /// Bytes of the largest piece among them.
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

    fn judge(&self, limits: LinkLimits) -> Result<(), Lag> {
        // One that is over takes nothing more, and says so itself.
        if self.is_over || self.waiting.is_none() {
            Ok(())
        } else if self.backlog_bytes() > limits.outgoing_bytes_max {
            Err(Lag::Backlog)
        } else if self.stuck_for() >= Duration::from_millis(limits.slow_ms) {
            Err(Lag::Stuck)
        } else {
            Ok(())
        }
    }
}

impl Socket {
    /// The socket of an upgraded connection that was heard of at `now`.
    #[must_use]
    pub fn new(stream: ClientStream, now: Timestamp) -> Arc<Self> {
        Arc::new(Self {
            stream,
            out: Mutex::default(),
            last_seen: AtomicI64::new(now.0),
            drained: Notify::new(),
        })
    }

    /// Reads what has come; zero bytes: the end.
    ///
    /// # Errors
    /// When the connection broke.
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
                // Less than there is room for: nothing is left, and the kernel need not be asked before it says so.
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

    /// A frame arrived.
    pub fn seen(&self, now: Timestamp) {
        self.last_seen.store(now.0, Ordering::Relaxed);
    }

    /// When the last frame arrived.
    #[must_use]
    pub fn last_seen(&self) -> Timestamp {
        Timestamp(self.last_seen.load(Ordering::Relaxed))
    }

    /// Asks for a sign of life.
    pub fn ping(self: &Arc<Self>) {
        if let Err(closed) = self.send([Outgoing::Ping]) {
            tracing::debug!(%closed, "no ping");
        }
    }

    /// Writes frames, in one piece; what the kernel does not take now waits. After a Close frame nothing is written any more.
    ///
    /// Must be called inside a tokio runtime, which writes what waits. The caller bounds it: see [`judge`](Self::judge).
    ///
    /// Answers how many bytes wait then.
    ///
    /// # Errors
    /// When the socket is closed: whatever waited is lost.
    pub fn send<'a>(
        self: &Arc<Self>,
        frames: impl IntoIterator<Item = Outgoing<'a>>,
    ) -> Result<usize, SocketClosed> {
        self.encode_and_write(&mut self.out(), frames)
    }

    /// The same, unless the client is too far behind already.
    ///
    /// # Errors
    /// See [`Undelivered`].
    pub fn deliver<'a>(
        self: &Arc<Self>,
        frames: impl IntoIterator<Item = Outgoing<'a>>,
        limits: LinkLimits,
    ) -> Result<usize, Undelivered> {
        let mut out = self.out();
        out.judge(limits)?;
        Ok(self.encode_and_write(&mut out, frames)?)
    }

    /// Whether the client is too far behind.
    ///
    /// # Errors
    /// In which way it is.
    pub fn judge(&self, limits: LinkLimits) -> Result<(), Lag> {
        self.out().judge(limits)
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
        // Past the runtime's own record of the socket, which would say the same: it nearly always can be written to. A client that
        // is gone is an error here: Rust programs ignore SIGPIPE.
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

    /// Writes what waits; runs only while something does.
    async fn drain(self: Arc<Self>) {
        loop {
            let writable = self.stream.writable().await;
            let mut out = self.out();
            let Some(mut waiting) = out.waiting.take() else {
                break;
            };
            let written = writable.and_then(|()| self.stream.try_write(&waiting.bytes));
            // Else it is lost: the rest of a frame must not be followed by another.
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

    /// Of them, those beside the largest piece: one piece may be larger than what may wait, as the state of a big room is. None
    /// of a socket that was cut.
    #[must_use]
    pub fn backlog_bytes(&self) -> usize {
        self.out().backlog_bytes()
    }

    /// For how long the kernel has taken nothing of what waits; zero: nothing waits.
    #[must_use]
    pub fn stuck_for(&self) -> Duration {
        self.out().stuck_for()
    }

    /// Returns as soon as nothing waits, or the socket is closed.
    pub async fn drained(&self) {
        loop {
            let drained = self.drained.notified();
            if self.waiting_bytes() == 0 {
                return;
            }
            drained.await;
        }
    }

    /// Ends both directions when what waits has been written, at the latest after `patience`; at once where no runtime is left.
    pub fn finish(self: &Arc<Self>, patience: Duration) {
        let mut out = self.out();
        out.is_closed = true;
        let runtime = Handle::try_current();
        let (Some(_), Ok(runtime)) = (&out.waiting, runtime) else {
            return self.shut_down(&mut out);
        };
        let socket = Arc::clone(self);
        runtime.spawn(async move {
            // Whichever way it ends, there is nobody any more to whom it matters.
            let _ = tokio::time::timeout(patience, socket.drained()).await;
            socket.cut();
        });
    }

    /// Ends both directions at once: what waits is lost, and the reader sees the end. Repeats do nothing.
    pub fn cut(&self) {
        self.shut_down(&mut self.out());
    }

    fn shut_down(&self, out: &mut Out) {
        out.is_over = true;
        if std::mem::replace(&mut out.is_shut, true) {
            return;
        }
        if let Err(error) = SockRef::from(&*self.stream).shutdown(Shutdown::Both) {
            // The client was faster.
            tracing::debug!(%error, "socket was closed already");
        }
    }

    fn out(&self) -> MutexGuard<'_, Out> {
        // Each change is complete in itself.
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How much the kernel took; it may take nothing now.
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
    /// Appends the frame, as RFC 6455 section 5.2 has it, unmasked; whether it is the last one.
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
