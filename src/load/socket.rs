//! One WebSocket to a node, from a chosen address and with small buffers.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use thiserror::Error;
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, client_async_tls_with_config,
    tungstenite::{
        self,
        client::IntoClientRequest,
        http::{HeaderValue, StatusCode},
        protocol::WebSocketConfig,
    },
};
use url::Url;

use crate::protocol::SUB_PROTOCOL;

/// The read buffer of each connection, small because there are many.
const READ_BUFFER_BYTES: usize = 4 * 1024;
/// Longest message: the snapshot of the largest room.
const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The first source port and the number of source ports: the default range of Linux (ip(7)).
const FIRST_PORT: u16 = 32_768;
const PORTS: u16 = 28_232;
/// The number of ports taken of each source, by the last part of its address.
static TAKEN: [AtomicU32; 256] = [const { AtomicU32::new(0) }; 256];
/// The first port is random, so that several load tools seldom collide.
static BEGIN: LazyLock<u16> = LazyLock::new(|| rand::random_range(0..PORTS));

/// A connection to a node.
pub(super) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Why connecting failed.
#[derive(Debug, Error)]
pub(super) enum ConnectFault {
    /// 503 or 429.
    #[error("refused for load")]
    Refused,
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

/// A node to connect to.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// Base of its HTTP API, with a slash at the end.
    pub base: Url,
    address: SocketAddr,
}

impl Target {
    /// Resolves the host.
    pub async fn of(url: &Url) -> Result<Self, ConnectFault> {
        let mut base = url.clone();
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        Ok(Self {
            address: address_of(url).await?,
            base,
        })
    }

    /// Returns the signal URL of a room.
    pub fn signal_url(&self, room: &str) -> String {
        let base = self.base.as_str().replacen("http", "ws", 1);
        format!("{base}v1/rooms/{room}/signal")
    }

    /// Connects to a signal URL of this node.
    pub async fn open(&self, url: &str, source: Option<u8>) -> Result<Socket, ConnectFault> {
        open(url, self.address, source).await
    }
}

/// Connects to a signal URL of any node.
pub(super) async fn open_elsewhere(url: &str) -> Result<Socket, ConnectFault> {
    let parsed = Url::parse(url).map_err(failed)?;
    let address = address_of(&parsed).await?;
    open(url, address, None).await
}

async fn address_of(url: &Url) -> Result<SocketAddr, ConnectFault> {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let port = url.port_or_known_default().unwrap_or(80);
    let mut found = lookup_host((host, port)).await.map_err(failed)?;
    found
        .next()
        .ok_or_else(|| ConnectFault::Failed(format!("{url} has no address")))
}

async fn open(url: &str, address: SocketAddr, source: Option<u8>) -> Result<Socket, ConnectFault> {
    let stream = match source {
        None => TcpStream::connect(address).await,
        Some(last) => connect_from(last, address, PORTS).await,
    };
    let stream = stream.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    let mut request = url.into_client_request().map_err(failed)?;
    request.headers_mut().insert(
        "sec-websocket-protocol",
        HeaderValue::from_static(SUB_PROTOCOL),
    );
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_frame_size(Some(FRAME_BYTES_MAX))
        .max_message_size(Some(FRAME_BYTES_MAX));
    match client_async_tls_with_config(request, stream, Some(config), None).await {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::Error::Http(answer))
            if [
                StatusCode::SERVICE_UNAVAILABLE,
                StatusCode::TOO_MANY_REQUESTS,
            ]
            .contains(&answer.status()) =>
        {
            Err(ConnectFault::Refused)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Connects from an address of 127.0.0/24 and the next port. The kernel's own choice of a port for
/// a bound address gets slow after some ten thousand connections. Ports in use are skipped. Fails
/// after `ports_max` of them.
async fn connect_from(source: u8, address: SocketAddr, ports_max: u16) -> io::Result<TcpStream> {
    let from = Ipv4Addr::new(127, 0, 0, source);
    let mut tried = 1;
    loop {
        let socket = TcpSocket::new_v4()?;
        // The port may have been used a moment ago.
        socket.set_reuseaddr(true)?;
        let taken = TAKEN[usize::from(source)].fetch_add(1, Relaxed);
        let bound = socket.bind(SocketAddr::from((from, port(taken))));
        let connected = match bound {
            Ok(()) => socket.connect(address).await,
            Err(error) => Err(error),
        };
        match connected {
            Err(error) if tried < ports_max && is_port_taken(&error) => tried += 1,
            connected => return connected,
        }
    }
}

fn is_port_taken(error: &io::Error) -> bool {
    [io::ErrorKind::AddrInUse, io::ErrorKind::AddrNotAvailable].contains(&error.kind())
}

/// Returns the next port after this many.
fn port(taken: u32) -> u16 {
    let at = taken.wrapping_add(u32::from(*BEGIN)) % u32::from(PORTS);
    FIRST_PORT + u16::try_from(at).unwrap_or_default()
}

fn failed(error: impl std::fmt::Display) -> ConnectFault {
    ConnectFault::Failed(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn ports_that_are_taken_are_passed_over_up_to_a_bound() {
        // No other test connects from here.
        const SOURCE: u8 = 251;
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let from = Ipv4Addr::new(127, 0, 0, SOURCE);
        const TRIED: u16 = 16;
        let tried = u32::from(TRIED);
        let taken: Vec<_> = (0..tried - 1)
            .map(|ahead| TcpListener::bind((from, port(ahead))).unwrap())
            .collect();
        let stream = connect_from(SOURCE, address, TRIED).await.unwrap();
        let expected = SocketAddr::from((from, port(tried - 1)));
        assert_eq!(stream.local_addr().unwrap(), expected);
        let more: Vec<_> = (tried..2 * tried)
            .map(|ahead| TcpListener::bind((from, port(ahead))).unwrap())
            .collect();
        let refused = connect_from(SOURCE, address, TRIED).await.unwrap_err();
        assert!(is_port_taken(&refused), "{refused}");
        drop((taken, more));
    }

    #[test]
    fn ports_begin_anew_after_the_last() {
        let all: std::collections::HashSet<u16> = (0..u32::from(PORTS)).map(port).collect();
        assert_eq!(all.len(), usize::from(PORTS));
        assert_eq!(all.iter().min(), Some(&FIRST_PORT));
        assert_eq!(all.iter().max(), Some(&60_999));
        assert_eq!(port(u32::from(PORTS)), port(0));
    }
}
