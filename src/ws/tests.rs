//! The guard, the reassembly and the disconnect together with the real codec, over a real socket.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use actix::{Actor, ActorContext, StreamHandler};
use actix_http::ws::{CloseCode, CloseReason, Message, ProtocolError};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use actix_web_actors::ws::{WebsocketContext, WsResponseBuilder};

use super::*;

/// Nothing here takes longer, unless it hangs.
const DEADLINE: Duration = Duration::from_secs(20);

/// Echoes texts, answers binary messages with `binary`, closes after violations.
struct Echo {
    reassembly: Reassembly,
    report: GuardReport,
    stopped: mpsc::Sender<()>,
}

impl Echo {
    fn close(violation: Violation, context: &mut WebsocketContext<Self>) {
        context.close(Some(CloseReason {
            code: CloseCode::from(violation.close_code()),
            description: None,
        }));
        context.stop();
    }
}

impl Actor for Echo {
    type Context = WebsocketContext<Self>;

    fn stopped(&mut self, _: &mut Self::Context) {
        self.stopped.send(()).ok();
    }
}

impl StreamHandler<Result<Message, ProtocolError>> for Echo {
    fn handle(&mut self, item: Result<Message, ProtocolError>, context: &mut Self::Context) {
        let accepted = match item {
            Ok(message) => self.reassembly.accept(message),
            Err(error) => match self.report.explain(&error) {
                Some(violation) => Err(violation),
                None => return context.stop(),
            },
        };
        match accepted {
            Ok(Incoming::Text(text)) => context.text(text),
            Ok(Incoming::Binary) => context.text("binary"),
            Ok(Incoming::Ping(bytes)) => context.pong(&bytes),
            Ok(Incoming::Partial | Incoming::Pong) => {}
            Ok(Incoming::Close(reason)) => {
                context.close(reason);
                context.stop();
            }
            Err(violation) => Self::close(violation, context),
        }
    }
}

/// What the test holds of the running server.
struct Running {
    address: SocketAddr,
    disconnects: Arc<Mutex<Vec<Arc<Disconnect>>>>,
    stopped: mpsc::Receiver<()>,
    handle: actix_web::dev::ServerHandle,
    thread: std::thread::JoinHandle<()>,
}

fn start() -> Running {
    let disconnects = Arc::new(Mutex::new(Vec::new()));
    let (stopped_sender, stopped) = mpsc::channel();
    let (ready_sender, ready) = mpsc::channel();
    let collected = Arc::clone(&disconnects);
    let thread = std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let server = HttpServer::new(move || {
                let (collected, stopped) = (Arc::clone(&collected), stopped_sender.clone());
                App::new().default_service(web::to(
                    move |request: HttpRequest, payload: web::Payload| {
                        let (collected, stopped) = (Arc::clone(&collected), stopped.clone());
                        async move { upgrade(&request, payload, &collected, stopped) }
                    },
                ))
            })
            .workers(1)
            .disable_signals()
            .shutdown_timeout(1)
            .on_connect(on_connect)
            .bind("127.0.0.1:0")
            .expect("a free port");
            let address = server.addrs()[0];
            let server = server.run();
            ready_sender.send((address, server.handle())).unwrap();
            server.await.expect("server runs");
        });
    });
    let (address, handle) = ready.recv_timeout(DEADLINE).expect("server starts");
    Running {
        address,
        disconnects,
        stopped,
        handle,
        thread,
    }
}

fn upgrade(
    request: &HttpRequest,
    payload: web::Payload,
    collected: &Mutex<Vec<Arc<Disconnect>>>,
    stopped: mpsc::Sender<()>,
) -> Result<HttpResponse, actix_web::Error> {
    let disconnect = Disconnect::of_request(request).expect("plain TCP");
    collected.lock().unwrap().push(disconnect);
    let guard = FrameGuard::new(payload, MESSAGE_BYTES_MAX);
    let echo = Echo {
        reassembly: Reassembly::new(MESSAGE_BYTES_MAX, MESSAGE_PARTS_MAX),
        report: guard.report(),
        stopped,
    };
    WsResponseBuilder::new(echo, request, guard)
        .frame_size(MESSAGE_BYTES_MAX)
        .start()
}

impl Running {
    /// A client after the handshake.
    fn client(&self) -> TcpStream {
        let mut socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket.set_write_timeout(Some(DEADLINE)).unwrap();
        socket
            .write_all(
                b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                  Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            )
            .unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        assert!(head.starts_with(b"HTTP/1.1 101"));
        socket
    }

    fn stop(self) {
        drop(self.handle.stop(false));
        self.thread.join().unwrap();
    }
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

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;

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
fn client_that_does_not_read_is_cut_from_outside_and_its_actor_stops() {
    let running = start();
    let mut client = running.client();
    let sent = AtomicUsize::new(0);
    let chunk = frame(TEXT, &vec![b'x'; 60_000]);
    client
        .set_write_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    // Echoes fill the sockets until the server stops reading: then the actor is stalled.
    while client.write_all(&chunk).is_ok() {
        assert!(sent.fetch_add(1, Ordering::Relaxed) < 10_000);
    }
    assert!(running.stopped.try_recv().is_err());
    let disconnect = running.disconnects.lock().unwrap()[0].clone();
    disconnect.shutdown();
    disconnect.shutdown();
    running.stopped.recv_timeout(DEADLINE).expect("actor stops");
    running.stop();
}

#[test]
fn handle_that_outlives_its_connection_keeps_no_socket_open() {
    let running = start();
    let mut client = running.client();
    client.write_all(&frame(CLOSE, &[0x03, 0xE8])).unwrap();
    assert_eq!(receive(&mut client).0, CLOSE);
    // The end of the stream arrives though the test still holds the handle.
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
    running.disconnects.lock().unwrap()[0].shutdown();
    running.stop();
}
