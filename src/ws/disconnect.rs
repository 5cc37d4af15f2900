//! Cuts a client's socket from outside its actor. The connection actor is the response body: while the client does not
//! read, the actor is not polled, so it cannot end itself.

use std::{
    any::Any,
    net::{Shutdown, TcpStream},
    os::fd::AsFd,
    sync::{Arc, Weak},
};

use actix_web::{HttpRequest, dev::Extensions};

/// A handle on a client's socket. It does not keep the socket open: once the HTTP connection is gone, nothing is left.
#[derive(Debug)]
pub struct Disconnect {
    socket: Weak<TcpStream>,
}

/// Keeps the second descriptor of a socket exactly as long as its HTTP connection; without that a handle that somebody
/// still holds would keep the socket from being closed.
struct Socket(#[expect(dead_code, reason = "held for its drop")] Arc<TcpStream>);

impl Disconnect {
    /// The handle of the connection that carries this request; `None` when it is not plain TCP or the server was built
    /// without [`on_connect`].
    #[must_use]
    pub fn of_request(request: &HttpRequest) -> Option<Arc<Self>> {
        request.conn_data::<Arc<Self>>().cloned()
    }

    /// Ends both directions at once: what is queued in the process is lost, the server sees the end of the connection and
    /// stops its actor. Repeats do nothing.
    pub fn shutdown(&self) {
        if let Some(socket) = self.socket.upgrade()
            && let Err(error) = socket.shutdown(Shutdown::Both)
        {
            // The client was faster.
            tracing::debug!(%error, "socket was closed already");
        }
    }
}

/// For `HttpServer::on_connect`, to be set before `bind`: turns Nagle's algorithm off (it would meet delayed
/// acknowledgements) and puts an `Arc<Disconnect>` in the connection data. Costs one file descriptor per connection.
pub fn on_connect(connection: &dyn Any, data: &mut Extensions) {
    let Some(stream) = connection.downcast_ref::<actix_web::rt::net::TcpStream>() else {
        return;
    };
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no TCP_NODELAY on a connection");
    }
    match stream.as_fd().try_clone_to_owned() {
        Ok(descriptor) => {
            let socket = Arc::new(TcpStream::from(descriptor));
            data.insert(Arc::new(Disconnect {
                socket: Arc::downgrade(&socket),
            }));
            data.insert(Socket(socket));
        }
        Err(error) => tracing::warn!(%error, "a connection cannot be cut from outside"),
    }
}
