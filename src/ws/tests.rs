//! Listener, upgrade, socket, frames and reassembly together, over a real socket.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, mpsc},
    time::{Duration, Instant},
};

use actix_http::ws::{CloseCode, CloseReason};
use actix_web::{HttpRequest, HttpResponse, web};
use actix_web_actors::ws::handshake_with_protocols;
use futures_util::StreamExt;

use super::{listener::HttpLimits, *};
use crate::{fd_budget::FdBudget, ids::Timestamp, metrics::Metrics};

mod slow;

/// Nothing here takes longer, unless it hangs.
const DEADLINE: Duration = Duration::from_secs(20);

/// Echoes texts, answers binary messages with `binary`, closes after violations.
async fn echo(socket: Arc<Socket>, mut frames: Frames, stopped: mpsc::Sender<()>) {
    let mut reassembly = Reassembly::new(MESSAGE_BYTES_MAX, MESSAGE_PARTS_MAX);
    while let Some(frame) = frames.next().await {
        let accepted = frame.and_then(|frame| reassembly.accept(frame));
        let (answer, is_over) = match &accepted {
            Ok(Incoming::Text(text)) => (Outgoing::Text(text), false),
            Ok(Incoming::Binary) => (Outgoing::Text("binary"), false),
            Ok(Incoming::Ping(bytes)) => (Outgoing::Pong(bytes), false),
            Ok(Incoming::Partial | Incoming::Pong) => continue,
            Ok(Incoming::Close(reason)) => (Outgoing::Close(reason.clone()), true),
            Err(violation) => {
                let reason = CloseReason {
                    code: CloseCode::from(violation.reason().close_code()),
                    description: None,
                };
                (Outgoing::Close(Some(reason)), true)
            }
        };
        if socket.send([answer]).is_err() || is_over {
            break;
        }
    }
    socket.finish(DEADLINE);
    stopped.send(()).ok();
}

/// What the test holds of the running server.
struct Running {
    address: SocketAddr,
    sockets: Arc<Mutex<Vec<Arc<Socket>>>>,
    stopped: mpsc::Receiver<()>,
    metrics: Metrics,
    handle: actix_web::dev::ServerHandle,
    thread: std::thread::JoinHandle<()>,
}

fn start() -> Running {
    start_with(FdBudget::new(100))
}

fn start_with(budget: FdBudget) -> Running {
    let metrics = Metrics::new();
    let counted = metrics.clone();
    let sockets = Arc::new(Mutex::new(Vec::new()));
    let (stopped_sender, stopped) = mpsc::channel();
    let (ready_sender, ready) = mpsc::channel();
    let collected = Arc::clone(&sockets);
    let thread = std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
            let address = listener.local_addr().unwrap();
            let limits = HttpLimits {
                workers: 1,
                connections_max: 100,
                shutdown_timeout_secs: 1,
            };
            let server = listener::serve(listener, limits, budget, metrics, move |app| {
                let (collected, stopped) = (Arc::clone(&collected), stopped_sender.clone());
                app.default_service(web::to(
                    move |request: HttpRequest, payload: web::Payload| {
                        let (collected, stopped) = (Arc::clone(&collected), stopped.clone());
                        async move { upgrade(&request, payload, collected, stopped) }
                    },
                ));
            })
            .unwrap();
            ready_sender.send((address, server.handle())).unwrap();
            server.await.expect("server runs");
        });
    });
    let (address, handle) = ready.recv_timeout(DEADLINE).expect("server starts");
    Running {
        address,
        sockets,
        stopped,
        metrics: counted,
        handle,
        thread,
    }
}

fn upgrade(
    request: &HttpRequest,
    payload: web::Payload,
    collected: Arc<Mutex<Vec<Arc<Socket>>>>,
    stopped: mpsc::Sender<()>,
) -> Result<HttpResponse, actix_web::Error> {
    let response = handshake_with_protocols(request, &[])?.finish();
    let socket = OnUpgrade::of_request(request).unwrap().socket();
    actix_web::rt::spawn(async move {
        let stream = socket.await.expect("the client waits");
        let socket = Socket::new(stream, Timestamp(0));
        collected.lock().unwrap().push(Arc::clone(&socket));
        let frames = Frames::new(Arc::clone(&socket), MESSAGE_BYTES_MAX, early(payload));
        echo(socket, frames, stopped).await;
    });
    Ok(response)
}

impl Running {
    /// A client after the handshake.
    fn client(&self) -> TcpStream {
        self.try_client().expect("it is let in")
    }

    /// None if the server closed the connection instead.
    fn try_client(&self) -> Option<TcpStream> {
        let mut socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket.set_write_timeout(Some(DEADLINE)).unwrap();
        socket.write_all(REQUEST).ok()?;
        let head = head(&mut socket)?;
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        Some(socket)
    }

    /// The server's end of the only client.
    fn socket(&self) -> Arc<Socket> {
        let started = Instant::now();
        loop {
            if let Some(socket) = self.sockets.lock().unwrap().first() {
                return Arc::clone(socket);
            }
            assert!(started.elapsed() < DEADLINE, "no connection");
            std::thread::yield_now();
        }
    }

    fn stop(self) {
        drop(self.handle.stop(false));
        self.thread.join().unwrap();
    }
}

/// The head of a response. None if the connection ended.
fn head(socket: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    Some(String::from_utf8(head).unwrap())
}

/// A client's frame, masked with zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(first, payload.len() as u64);
    frame.extend_from_slice(payload);
    frame
}

/// The header of a client's frame that announces `length`.
fn header(first: u8, length: u64) -> Vec<u8> {
    let mut header = vec![first];
    match length {
        0..=125 => header.push(0x80 | length as u8),
        126..=0xFFFF => {
            header.push(0x80 | 126);
            header.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            header.push(0x80 | 127);
            header.extend_from_slice(&length.to_be_bytes());
        }
    }
    header.extend_from_slice(&[0; 4]);
    header
}

/// The server's next frame: first byte and payload.
fn receive(socket: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    socket.read_exact(&mut head).unwrap();
    let length = match head[1] {
        126 => {
            let mut length = [0; 2];
            socket.read_exact(&mut length).unwrap();
            u64::from(u16::from_be_bytes(length))
        }
        127 => {
            let mut length = [0; 8];
            socket.read_exact(&mut length).unwrap();
            u64::from_be_bytes(length)
        }
        short => u64::from(short),
    };
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    socket.read_exact(&mut payload).unwrap();
    (head[0], payload)
}

const REQUEST: &[u8] =
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;

#[test]
fn connection_without_a_file_is_closed_at_once_and_an_upgraded_one_holds_its_own_until_it_ends() {
    let running = start_with(FdBudget::new(2));
    let first = running.client();
    let _second = running.client();
    let mut third = TcpStream::connect(running.address).unwrap();
    third.set_read_timeout(Some(DEADLINE)).unwrap();
    assert!(
        !matches!(third.read(&mut [0]), Ok(1..)),
        "closed without a word"
    );
    let refused = r#"callboard_refused_connections_total{reason="full"} 1"#;
    let metrics = running.metrics.render();
    assert!(metrics.contains(refused), "{metrics}");
    drop(first);
    running.stopped.recv_timeout(DEADLINE).unwrap();
    running.sockets.lock().unwrap().clear();
    // Its task may still be at its last line.
    let started = Instant::now();
    while running.try_client().is_none() {
        assert!(started.elapsed() < DEADLINE, "the file was not given back");
    }
    running.stop();
}

#[test]
fn good_messages_reach_the_actor_whole_and_in_order() {
    let running = start();
    let mut client = running.client();
    let big = vec![b'x'; MESSAGE_BYTES_MAX];
    let mut burst = Vec::new();
    for number in 0..500 {
        burst.extend(frame(TEXT, format!("message {number}").as_bytes()));
    }
    burst.extend(frame(0x01, b"in "));
    burst.extend(frame(PING, b"beat"));
    burst.extend(frame(0x80, b"parts"));
    burst.extend(frame(BINARY, b"\xFF"));
    burst.extend(frame(TEXT, &big));
    client.write_all(&burst).unwrap();
    for number in 0..500 {
        let expected = format!("message {number}").into_bytes();
        assert_eq!(receive(&mut client), (TEXT, expected));
    }
    assert_eq!(receive(&mut client), (0x8A, b"beat".to_vec()));
    assert_eq!(receive(&mut client), (TEXT, b"in parts".to_vec()));
    assert_eq!(receive(&mut client), (TEXT, b"binary".to_vec()));
    assert_eq!(receive(&mut client), (TEXT, big));
    client.write_all(&frame(CLOSE, &[0x03, 0xE8])).unwrap();
    assert_eq!(receive(&mut client), (CLOSE, vec![0x03, 0xE8]));
    running.stop();
}

#[test]
fn each_violation_is_closed_with_its_code_after_the_good_message_before_it() {
    let running = start();
    let table: [(&str, Vec<u8>, u16); 8] = [
        ("a frame of 1 TiB", header(TEXT, 1 << 40), 1009),
        (
            "fragments over the limit",
            {
                let half = vec![b'x'; MESSAGE_BYTES_MAX / 2 + 1];
                [frame(0x01, &half), frame(0x80, &half)].concat()
            },
            1009,
        ),
        (
            "endless fragments",
            frame(0x01, b"")
                .into_iter()
                .chain(frame(0x00, b"").repeat(MESSAGE_PARTS_MAX))
                .collect(),
            1009,
        ),
        ("not UTF-8", frame(TEXT, b"\xFF"), 1007),
        (
            "not UTF-8 in fragments",
            [frame(0x01, b"\xFF"), frame(0x80, b"")].concat(),
            1007,
        ),
        ("reserved bit", header(0xC1, 1), 1002),
        ("unmasked", vec![TEXT, 1, b'x'], 1002),
        ("continuation of nothing", frame(0x80, b"x"), 1002),
    ];
    for (what, bytes, code) in table {
        let mut client = running.client();
        client
            .write_all(&[frame(TEXT, b"before"), bytes].concat())
            .unwrap();
        assert_eq!(receive(&mut client), (TEXT, b"before".to_vec()), "{what}");
        assert_eq!(
            receive(&mut client),
            (CLOSE, code.to_be_bytes().to_vec()),
            "{what}"
        );
        running.stopped.recv_timeout(DEADLINE).expect(what);
    }
    running.stop();
}

#[test]
fn frames_that_come_with_the_request_are_not_lost() {
    let running = start();
    let mut client = TcpStream::connect(running.address).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    let early = [frame(TEXT, b"early"), frame(TEXT, b"half")].concat();
    let (first, second) = early.split_at(early.len() - 2);
    client.write_all(&[REQUEST, first].concat()).unwrap();
    assert!(head(&mut client).unwrap().starts_with("HTTP/1.1 101"));
    assert_eq!(receive(&mut client), (TEXT, b"early".to_vec()));
    client.write_all(second).unwrap();
    assert_eq!(receive(&mut client), (TEXT, b"half".to_vec()));
    running.stop();
}

#[test]
fn requests_before_the_upgrade_are_answered_on_the_same_connection() {
    let running = start();
    let mut client = TcpStream::connect(running.address).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    let refused = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    client.write_all(&[&refused[..], REQUEST].concat()).unwrap();
    assert!(head(&mut client).unwrap().starts_with("HTTP/1.1 400"));
    assert!(head(&mut client).unwrap().starts_with("HTTP/1.1 101"));
    client.write_all(&frame(TEXT, b"hello")).unwrap();
    assert_eq!(receive(&mut client), (TEXT, b"hello".to_vec()));
    running.stop();
}
