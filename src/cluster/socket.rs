//! A WebSocket to a room of another node, for one person who is connected here.

use std::{io, time::Duration};

use reqwest::StatusCode;
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config,
    tungstenite::{
        Error,
        client::IntoClientRequest,
        handshake::client::Request,
        http::{
            HeaderValue,
            header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL},
        },
        protocol::WebSocketConfig,
    },
};
use tracing::debug;

use super::{
    Neighbour,
    client::{CallFault, NodeClient, under},
};
use crate::{ids::RoomId, protocol::SUB_PROTOCOL, secrets::node_token::Grant};

/// Longest wait for the answer to the upgrade.
const UPGRADE_PATIENCE: Duration = Duration::from_millis(700);
/// Largest message of an owner: the snapshot of a room of 10,000.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What is allocated to read a socket.
const READ_BYTES: usize = 8 * 1024;

/// An open one.
pub type NodeSocket = WebSocketStream<MaybeTlsStream<TcpStream>>;

impl NodeClient {
    /// Opens the signalling of a neighbour's room for somebody whom this node has verified.
    ///
    /// # Errors
    /// See [`CallFault`]; nothing was asked of the room in any case.
    pub async fn signal(
        &self,
        neighbour: &Neighbour,
        room_id: RoomId,
        person: Grant,
    ) -> Result<NodeSocket, CallFault> {
        let request = self.upgrade(neighbour, room_id, person)?;
        let limits = WebSocketConfig::default()
            .read_buffer_size(READ_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(MESSAGE_BYTES_MAX)
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        let connector = Connector::Rustls(self.tls.clone());
        let opening = connect_async_tls_with_config(request, Some(limits), true, Some(connector));
        match timeout(UPGRADE_PATIENCE, Box::pin(opening)).await {
            Ok(Ok((socket, _))) => Ok(socket),
            Ok(Err(error)) => Err(fault(&error)),
            Err(_) => Err(CallFault::Silent),
        }
    }

    fn upgrade(
        &self,
        neighbour: &Neighbour,
        room_id: RoomId,
        person: Grant,
    ) -> Result<Request, CallFault> {
        let path = format!("/internal/rooms/{room_id}/signal");
        let mut url = under(&neighbour.url, &path);
        let scheme = if url.scheme() == "https" { "wss" } else { "ws" };
        url.set_scheme(scheme).map_err(|()| CallFault::Failed)?;
        let mut request = url
            .as_str()
            .into_client_request()
            .map_err(|_| CallFault::Failed)?;
        let token = self.token(neighbour.node_id, person);
        let bearer =
            HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| CallFault::Failed)?;
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, bearer);
        headers.insert(
            SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static(SUB_PROTOCOL),
        );
        Ok(request)
    }
}

/// A node that drains or has no place answers 503: the room is or will be elsewhere.
fn fault(error: &Error) -> CallFault {
    debug!(%error, "a neighbour does not take a connection");
    match error {
        Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => CallFault::Refused,
        Error::Http(response) if is_elsewhere(response.status()) => CallFault::Moved,
        Error::Http(_) => CallFault::Failed,
        _ => CallFault::Silent,
    }
}

fn is_elsewhere(status: StatusCode) -> bool {
    status == StatusCode::MISDIRECTED_REQUEST || status == StatusCode::SERVICE_UNAVAILABLE
}
