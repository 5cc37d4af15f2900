//! How a WebSocket takes its socket over from the HTTP server. A request asks for the socket and
//! gets it once its response is written. By then the HTTP connection and its buffers are gone.

use std::{
    cell::RefCell,
    io,
    ops::Deref,
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

use crate::fd_budget::FdPermit;

/// A client's socket together with its share of the open files.
#[derive(Debug)]
pub struct ClientStream {
    // Declared first, so that the socket is closed before its permit is given back.
    stream: TcpStream,
    _permit: FdPermit,
}

impl ClientStream {
    /// Disables Nagle's algorithm, which would wait for the client's delayed acknowledgements.
    #[must_use]
    pub fn new(stream: TcpStream, permit: FdPermit) -> Self {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        Self {
            stream,
            _permit: permit,
        }
    }
}

impl Deref for ClientStream {
    type Target = TcpStream;

    fn deref(&self) -> &TcpStream {
        &self.stream
    }
}

/// A client's socket while the HTTP server uses it.
#[derive(Debug)]
pub(super) struct HttpStream {
    /// None once it was given away, which happens on drop.
    client: Option<ClientStream>,
    upgrade: OnUpgrade,
}

/// Lets a request take over the socket of its HTTP connection. Lies in the connection data.
#[derive(Clone, Debug, Default)]
pub struct OnUpgrade(Rc<RefCell<Progress>>);

#[derive(Debug, Default)]
enum Progress {
    /// The connection speaks HTTP.
    #[default]
    Http,
    /// The next response that is written switches protocols.
    Switching(oneshot::Sender<ClientStream>),
    /// That response is written.
    Switched(oneshot::Sender<ClientStream>),
}

impl OnUpgrade {
    /// Returns the handle of the connection that carries `request`. None on another server than
    /// [`listener`](super::listener).
    #[must_use]
    pub fn of_request(request: &HttpRequest) -> Option<Self> {
        request.conn_data::<Self>().cloned()
    }

    /// Receives the socket once the response to the current request is written, which must be
    /// `101 Switching Protocols`. Receives an error if the client is gone before.
    #[must_use]
    pub fn socket(&self) -> oneshot::Receiver<ClientStream> {
        let (sender, receiver) = oneshot::channel();
        *self.0.borrow_mut() = Progress::Switching(sender);
        receiver
    }

    fn is_switched(&self) -> bool {
        matches!(*self.0.borrow(), Progress::Switched(_))
    }

    /// The server has written all that it had. Returns whether that was the upgrade's response.
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
    pub(super) fn new(client: ClientStream) -> Self {
        Self {
            client: Some(client),
            upgrade: OnUpgrade::default(),
        }
    }

    pub(super) fn on_upgrade(&self) -> OnUpgrade {
        self.upgrade.clone()
    }

    fn stream(&mut self) -> Pin<&mut TcpStream> {
        let client = self.client.as_mut();
        Pin::new(&mut client.expect("taken only on drop").stream)
    }
}

impl AsyncRead for HttpStream {
    /// Reports the end of the stream after the switch, so that the HTTP connection ends.
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
        // The server writes all of its buffer. After a partial write it writes the rest.
        if matches!(written, Poll::Ready(Ok(count)) if count == bytes.len())
            && self.upgrade.written()
        {
            // Makes the server read again and find the end of the stream.
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
        if let (Progress::Switched(receiver), Some(client)) = (progress, self.client.take()) {
            // Without a receiver the socket closes.
            let _ = receiver.send(client);
        }
    }
}

/// Returns what the client sent behind its request without waiting for the response, which RFC
/// 6455 section 4.1 forbids.
#[must_use]
pub fn early(mut payload: web::Payload) -> Bytes {
    let mut early = BytesMut::new();
    while let Some(Some(Ok(chunk))) = payload.next().now_or_never() {
        early.extend_from_slice(&chunk);
    }
    early.freeze()
}
