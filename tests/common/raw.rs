//! A WebSocket spoken by hand, byte by byte, for what no well-behaved library would send.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{client::ANSWER_DEADLINE, server::Server};

/// Opcodes of RFC 6455 section 5.2.
pub mod opcode {
    /// The next part of a message.
    pub const CONTINUATION: u8 = 0;
    /// A text message, or its first part.
    pub const TEXT: u8 = 1;
    /// A binary message, or its first part.
    pub const BINARY: u8 = 2;
    /// The end.
    pub const CLOSE: u8 = 8;
    /// Asks for a pong.
    pub const PING: u8 = 9;
    /// Answers a ping.
    pub const PONG: u8 = 10;
}

/// The bit of the last part.
const FINAL: u8 = 0x80;
/// The bit that every frame of a client must have.
const MASKED: u8 = 0x80;
/// The key of RFC 6455 section 1.3.
const SAMPLE_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// Longest answer to an upgrade that is read.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// A write that makes no progress for so long is refused.
const WRITE_DEADLINE: Duration = Duration::from_secs(2);

/// One frame as it came.
#[derive(Debug)]
pub struct Frame {
    /// See [`opcode`].
    pub opcode: u8,
    /// Its bytes.
    pub payload: Vec<u8>,
}

/// A TCP connection that has been upgraded.
pub struct RawSocket {
    /// The connection.
    pub stream: TcpStream,
}

impl RawSocket {
    /// Connects and upgrades; panics when that is refused.
    pub async fn open(server: &Server, room_id: &str) -> Self {
        let (stream, head) = upgrade(server, room_id, &[]).await;
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        Self { stream }
    }

    /// Sends a whole masked frame.
    pub async fn send(&mut self, opcode: u8, is_final: bool, payload: &[u8]) -> bool {
        let frame = [&header(opcode, is_final, payload.len() as u64), payload].concat();
        self.write(&frame).await
    }

    /// Sends bytes as they are. Returns whether the server took them.
    pub async fn write(&mut self, bytes: &[u8]) -> bool {
        let write = timeout(WRITE_DEADLINE, self.stream.write_all(bytes)).await;
        matches!(write, Ok(Ok(())))
    }

    /// Returns the next frame. `None` at the end of the connection.
    pub async fn next(&mut self) -> Option<Frame> {
        timeout(ANSWER_DEADLINE, self.read_frame())
            .await
            .expect("the server answers or closes")
    }

    /// Reads to the end; the text frames, and the code of the Close frame if there was one.
    pub async fn read_out(&mut self) -> (Vec<String>, Option<u16>) {
        let (mut texts, mut code) = (Vec::new(), None);
        while let Some(frame) = self.next().await {
            match frame.opcode {
                opcode::TEXT => texts.push(String::from_utf8_lossy(&frame.payload).into_owned()),
                opcode::CLOSE if frame.payload.len() >= 2 => {
                    code = Some(u16::from_be_bytes([frame.payload[0], frame.payload[1]]));
                }
                _ => {}
            }
        }
        (texts, code)
    }

    async fn read_frame(&mut self) -> Option<Frame> {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head).await.ok()?;
        let length = match head[1] & !MASKED {
            126 => u64::from(self.stream.read_u16().await.ok()?),
            127 => self.stream.read_u64().await.ok()?,
            short => u64::from(short),
        };
        let mut payload = vec![0; usize::try_from(length).ok()?];
        self.stream.read_exact(&mut payload).await.ok()?;
        Some(Frame {
            opcode: head[0] & 0x0f,
            payload,
        })
    }
}

/// The header of a frame masked with zeroes, so that its payload may be sent as it is.
pub fn header(opcode: u8, is_final: bool, length: u64) -> Vec<u8> {
    let mut bytes = vec![opcode | if is_final { FINAL } else { 0 }];
    match length {
        0..=125 => bytes.push(MASKED | u8::try_from(length).expect("at most 125")),
        126..=0xffff => {
            bytes.push(MASKED | 126);
            bytes.extend(u16::try_from(length).expect("16 bits").to_be_bytes());
        }
        _ => {
            bytes.push(MASKED | 127);
            bytes.extend(length.to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes
}

/// Asks for an upgrade with further headers; the connection and the head of the answer.
pub async fn upgrade(
    server: &Server,
    room_id: &str,
    headers: &[(&str, &str)],
) -> (TcpStream, String) {
    let usual = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", SAMPLE_KEY),
    ];
    request_upgrade(server, room_id, &[&usual, headers].concat()).await
}

/// Asks for an upgrade with another value of one of its headers.
pub async fn upgrade_instead(
    server: &Server,
    room_id: &str,
    name: &str,
    value: &str,
) -> (TcpStream, String) {
    let (mut version, mut key) = ("13", SAMPLE_KEY);
    match name {
        "Sec-WebSocket-Version" => version = value,
        _ => key = value,
    }
    let headers = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", version),
        ("Sec-WebSocket-Key", key),
    ];
    request_upgrade(server, room_id, &headers).await
}

/// Sends the request of an upgrade and reads the head of the answer.
async fn request_upgrade(
    server: &Server,
    room_id: &str,
    headers: &[(&str, &str)],
) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port))
        .await
        .expect("the server listens");
    let mut request = format!(
        "GET /v1/rooms/{room_id}/signal HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n",
        server.port
    );
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await.expect("written");
    let head = timeout(ANSWER_DEADLINE, read_head(&mut stream))
        .await
        .expect("the server answers an upgrade");
    (stream, head)
}

/// Byte by byte, so that nothing behind the head is taken.
async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD_BYTES_MAX {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}
