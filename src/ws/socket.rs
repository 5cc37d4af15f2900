//! A client's socket after the upgrade. Frames are written by whoever has them, on whatever thread: one call of the system for
//! all that is due, no actor in between. What the kernel does not take waits here, in order.

use std::{
    cell::RefCell,
    io,
    net::Shutdown,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use actix_http::ws::{CloseReason, OpCode, Parser};
use bytes::{Buf, BytesMut};
use socket2::SockRef;
use thiserror::Error;
use tokio::{
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    runtime::Handle,
    sync::Notify,
};

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

/// See the module.
#[derive(Debug)]
pub struct Socket {
    stream: OwnedWriteHalf,
    out: Mutex<Out>,
    /// Nothing waits any more.
    drained: Notify,
}

#[derive(Debug, Default)]
struct Out {
    /// Encoded frames, or the rest of one, that the kernel has not taken.
    waiting: BytesMut,
    /// Bytes of the largest piece among them.
    largest: usize,
    /// When it last took something; none: nothing waits.
    stuck_since: Option<Instant>,
    /// The Close frame was said.
    is_closed: bool,
    /// Shut down, by whomever.
    is_over: bool,
    /// By this end.
    is_shut: bool,
}

impl Socket {
    /// The socket of an upgraded connection, and where its frames are read.
    #[must_use]
    pub fn new(stream: TcpStream) -> (Arc<Self>, OwnedReadHalf) {
        let (reader, stream) = stream.into_split();
        let socket = Arc::new(Self {
            stream,
            out: Mutex::default(),
            drained: Notify::new(),
        });
        (socket, reader)
    }

    /// Writes frames, in one piece; what the kernel does not take now waits. After a Close frame nothing is written any more.
    ///
    /// Must be called inside a tokio runtime, which writes what waits. The caller bounds it by [`backlog_bytes`](Self::backlog_bytes).
    ///
    /// Answers how many bytes wait then.
    ///
    /// # Errors
    /// When the socket is closed: whatever waited is lost.
    pub fn send<'a>(
        self: &Arc<Self>,
        frames: impl IntoIterator<Item = Outgoing<'a>>,
    ) -> Result<usize, SocketClosed> {
        OUTGOING.with_borrow_mut(|bytes| {
            let mut out = self.out();
            bytes.clear();
            for frame in frames {
                if out.is_closed {
                    break;
                }
                out.is_closed = frame.encode(bytes);
            }
            let sent = self.write(&mut out, bytes).map(|()| out.waiting.len());
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
        let is_first = out.waiting.is_empty();
        let taken = if is_first && !bytes.is_empty() {
            self.try_write(out, bytes)?
        } else {
            0
        };
        if taken == bytes.len() {
            return Ok(());
        }
        let rest = &bytes[taken..];
        out.waiting.extend_from_slice(rest);
        out.largest = out.largest.max(rest.len());
        if is_first {
            out.stuck_since = Some(Instant::now());
            tokio::spawn(Arc::clone(self).drain());
        }
        Ok(())
    }

    fn try_write(&self, out: &mut Out, bytes: &[u8]) -> Result<usize, SocketClosed> {
        match self.stream.try_write(bytes) {
            Ok(taken) => Ok(taken),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(_) => {
                out.is_over = true;
                Err(SocketClosed)
            }
        }
    }

    /// Writes what waits; runs only while something does.
    async fn drain(self: Arc<Self>) {
        loop {
            let writable = self.stream.writable().await;
            let mut out = self.out();
            let waiting = std::mem::take(&mut out.waiting);
            let taken = match writable {
                Ok(()) => self.try_write(&mut out, &waiting),
                Err(_) => Err(SocketClosed),
            };
            // Else it is lost: the rest of a frame must not be followed by another.
            out.is_over |= taken.is_err();
            if let Ok(taken) = taken {
                out.waiting = waiting;
                if taken > 0 {
                    out.waiting.advance(taken);
                    out.stuck_since = Some(Instant::now());
                }
            }
            if out.waiting.is_empty() {
                out.waiting = BytesMut::new();
                out.largest = 0;
                out.stuck_since = None;
                break;
            }
        }
        self.drained.notify_waiters();
    }

    /// Bytes that the kernel has not taken yet.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.out().waiting.len()
    }

    /// Of them, those beside the largest piece: one piece may be larger than what may wait, as the state of a big room is. None
    /// of a socket that was cut.
    #[must_use]
    pub fn backlog_bytes(&self) -> usize {
        let out = self.out();
        match out.is_over {
            true => 0,
            false => out.waiting.len().saturating_sub(out.largest),
        }
    }

    /// For how long the kernel has taken nothing of what waits; zero: nothing waits.
    #[must_use]
    pub fn stuck_for(&self) -> Duration {
        self.out()
            .stuck_since
            .map_or(Duration::ZERO, |since| since.elapsed())
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
        let (false, Ok(runtime)) = (out.waiting.is_empty(), runtime) else {
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
        if let Err(error) = SockRef::from(self.stream.as_ref()).shutdown(Shutdown::Both) {
            // The client was faster.
            tracing::debug!(%error, "socket was closed already");
        }
    }

    fn out(&self) -> MutexGuard<'_, Out> {
        // Each change is complete in itself.
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
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
