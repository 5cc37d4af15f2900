//! The socket of a test client, from a third-party library, and the task that reads it.

use std::sync::{Arc, Mutex};

use futures_util::{StreamExt, stream::SplitStream};
use tokio::{
    net::{TcpSocket, TcpStream},
    sync::watch,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest},
};

use super::view::{Closed, View};

/// The sub-protocol of this version.
const PROTOCOL: &str = "callboard.v1+json";

/// A socket of the third-party library.
pub type Socket = WebSocketStream<TcpStream>;

/// What the reading task and the test share.
#[derive(Default)]
pub struct Shared {
    /// The model.
    pub view: Mutex<View>,
    /// Counts changes of the model.
    pub changes: watch::Sender<u64>,
}

/// Connects and upgrades.
pub async fn open(url: &str, receive_buffer_bytes: Option<u32>) -> Socket {
    let mut request = url.into_client_request().expect("the URL is valid");
    let headers = request.headers_mut();
    headers.insert("sec-websocket-protocol", PROTOCOL.parse().unwrap());
    let address = request.uri().authority().expect("the URL has a host");
    let address = address.as_str().parse().expect("an IP address and a port");
    let socket = TcpSocket::new_v4().unwrap();
    if let Some(bytes) = receive_buffer_bytes {
        socket.set_recv_buffer_size(bytes).unwrap();
    }
    let stream = socket.connect(address).await.expect("the server listens");
    stream.set_nodelay(true).unwrap();
    let (socket, answer) = client_async(request, stream)
        .await
        .expect("the server upgrades");
    let protocol = answer.headers().get("sec-websocket-protocol");
    assert_eq!(protocol.and_then(|name| name.to_str().ok()), Some(PROTOCOL));
    socket
}

/// Reads until the end, as long as reading is allowed.
pub async fn read(
    mut stream: SplitStream<Socket>,
    shared: Arc<Shared>,
    mut reading: watch::Receiver<bool>,
) {
    let mut code = None;
    loop {
        if reading.wait_for(|may_read| *may_read).await.is_err() {
            return;
        }
        let item = tokio::select! {
            item = stream.next() => item,
            _ = reading.changed() => continue,
        };
        match item {
            Some(Ok(Message::Text(text))) => {
                take(&shared, text.as_str());
            }
            Some(Ok(Message::Ping(_))) => {
                let mut view = shared.view.lock().expect("no test panics with the view");
                view.pings += 1;
            }
            Some(Ok(Message::Close(frame))) => code = frame.map(|frame| u16::from(frame.code)),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => break,
        }
    }
    let mut view = shared.view.lock().expect("no test panics with the view");
    view.closed = Some(Closed { code });
    drop(view);
    shared.changes.send_modify(|count| *count += 1);
}

fn take(shared: &Shared, text: &str) {
    let mut view = shared.view.lock().expect("no test panics with the view");
    view.take(text);
    drop(view);
    shared.changes.send_modify(|count| *count += 1);
}
