//! How a WebSocket gets its socket from the HTTP server: a request asks for it, and gets it when its response has been written. The
//! HTTP connection with its buffers is gone by then.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use actix_web::{HttpRequest, web};
use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, StreamExt};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::oneshot,
};

use crate::files::ConnectionFile;

/// A client's socket, and its part of the open files.
#[derive(Debug)]
pub struct Accepted {
    /// The socket.
    pub stream: TcpStream,
    /// Held as long as the socket is open.
    pub file: ConnectionFile,
}

/// A client's socket as the HTTP server has it.
#[derive(Debug)]
pub struct HttpStream {
    /// None: given away, when dropped.
    accepted: Option<Accepted>,
    upgrade: OnUpgrade,
}

/// The connection's promise to give its socket away; in the connection data of its requests.
#[derive(Clone, Debug, Default)]
pub struct OnUpgrade(Rc<RefCell<Progress>>);

#[derive(Debug, Default)]
enum Progress {
    /// HTTP as ever.
    #[default]
    Http,
    /// A response that switches protocols is about to be written.
    Switching(oneshot::Sender<Accepted>),
    /// It has been.
    Switched(oneshot::Sender<Accepted>),
}

impl OnUpgrade {
    /// Of the connection that carries this request; none: it is not an [`HttpStream`].
    #[must_use]
    pub fn of_request(request: &HttpRequest) -> Option<Self> {
        request.conn_data::<Self>().cloned()
    }

    /// The socket, once the response to the current request has been written: that must be `101 Switching Protocols`. An error: the
    /// client was gone before.
    #[must_use]
    pub fn socket(&self) -> oneshot::Receiver<Accepted> {
        let (sender, receiver) = oneshot::channel();
        *self.0.borrow_mut() = Progress::Switching(sender);
        receiver
    }

    fn is_switched(&self) -> bool {
        matches!(*self.0.borrow(), Progress::Switched(_))
    }

    /// All that the server had to write is written.
    fn written(&self) -> bool {
        let mut progress = self.0.borrow_mut();
        match std::mem::take(&mut *progress) {
            Progress::Switching(sender) => {
                *progress = Progress::Switched(sender);
                true
            }
            other => {
                *progress = other;
                false
            }
        }
    }
}

impl HttpStream {
    /// An accepted socket; Nagle's algorithm is turned off, since it would meet delayed acknowledgements.
    #[must_use]
    pub fn new(stream: TcpStream, file: ConnectionFile) -> Self {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "no TCP_NODELAY on a connection");
        }
        Self {
            accepted: Some(Accepted { stream, file }),
            upgrade: OnUpgrade::default(),
        }
    }

    /// What its requests find in their connection data.
    #[must_use]
    pub fn on_upgrade(&self) -> OnUpgrade {
        self.upgrade.clone()
    }

    fn stream(&mut self) -> Pin<&mut TcpStream> {
        let accepted = self.accepted.as_mut();
        Pin::new(&mut accepted.expect("taken only when dropped").stream)
    }
}

impl AsyncRead for HttpStream {
    /// Shows the end once the socket is to be given away, so that the HTTP connection ends.
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.upgrade.is_switched() {
            return Poll::Ready(Ok(()));
        }
        self.stream().poll_read(context, buffer)
    }
}

impl AsyncWrite for HttpStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream().poll_write(context, bytes);
        // The server writes all that it has; a part is followed by the rest.
        if matches!(written, Poll::Ready(Ok(count)) if count == bytes.len())
            && self.upgrade.written()
        {
            // It reads again, and sees the end.
            context.waker().wake_by_ref();
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.upgrade.is_switched() {
            return Poll::Ready(Ok(()));
        }
        self.stream().poll_shutdown(context)
    }
}

impl Drop for HttpStream {
    fn drop(&mut self) {
        let progress = self.upgrade.0.take();
        if let (Progress::Switched(taker), Some(accepted)) = (progress, self.accepted.take()) {
            // Nobody waits any more: the socket closes.
            let _ = taker.send(accepted);
        }
    }
}

/// What the client sent before it knew of the upgrade, which it should not have (RFC 6455 section 4.1).
#[must_use]
pub fn early(mut payload: web::Payload) -> Bytes {
    let mut early = BytesMut::new();
    while let Some(Some(Ok(chunk))) = payload.next().now_or_never() {
        early.extend_from_slice(&chunk);
    }
    early.freeze()
}
