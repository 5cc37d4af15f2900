//! One WebSocket to a node: from which address, with which buffers.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

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

/// Bytes read at once, and kept by every connection: many connections must fit.
const READ_BUFFER_BYTES: usize = 4 * 1024;
/// Longest frame of a server: the snapshot of the largest room.
const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A connection to a node.
pub(super) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Why there is no connection.
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
    /// Where it listens.
    address: SocketAddr,
}

impl Target {
    /// Looks the host up once.
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

    /// The signal URL of a room.
    pub fn signal_url(&self, room: &str) -> String {
        let base = self.base.as_str().replacen("http", "ws", 1);
        format!("{base}v1/rooms/{room}/signal")
    }

    /// Connects to a signal URL of this node, from a source if there is a choice.
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
    let socket = match address.ip() {
        IpAddr::V4(_) => TcpSocket::new_v4(),
        IpAddr::V6(_) => TcpSocket::new_v6(),
    }
    .map_err(failed)?;
    if let Some(last) = source {
        let from = SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0));
        socket.bind(from).map_err(failed)?;
    }
    let stream = socket.connect(address).await.map_err(failed)?;
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

fn failed(error: impl std::fmt::Display) -> ConnectFault {
    ConnectFault::Failed(error.to_string())
}
