//! The frames of a client: checked at their headers, decoded, and at most one of them in memory.
//! The codec alone would buffer a whole frame before it checks the announced length.

use std::{
    cell::RefCell,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use actix_http::ws::{Codec, Frame, Message, ProtocolError};
use bytes::{Buf, Bytes, BytesMut};
use bytestring::ByteString;
use futures_util::Stream;
use tokio_util::codec::Decoder;

use super::{socket::Socket, violation::Violation};

/// Bytes that one read takes from the kernel.
const READ_BYTES: usize = 16 * 1024;
/// Longest payload of a control frame (RFC 6455 section 5.5).
const CONTROL_BYTES_MAX: u8 = 125;
/// Bytes of a masking key.
const MASK_BYTES: u64 = 4;

thread_local! {
    static INCOMING: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

/// Returns the length of the frame whose first bytes are `bytes`, header included (RFC 6455
/// section 5.2). None if they do not hold the whole length yet.
///
/// # Errors
/// Fails at the first byte that makes the header invalid or announces more than
/// `payload_bytes_max`.
pub fn frame_bytes(
    bytes: impl IntoIterator<Item = u8>,
    payload_bytes_max: usize,
) -> Result<Option<usize>, Violation> {
    let mut bytes = bytes.into_iter();
    let Some(first) = bytes.next() else {
        return Ok(None);
    };
    let is_control = is_control(first)?;
    let Some(second) = bytes.next() else {
        return Ok(None);
    };
    let short = second & 0x7F;
    if second & 0x80 == 0 {
        return Err(Violation::Unmasked);
    }
    if is_control && short > CONTROL_BYTES_MAX {
        return Err(Violation::BadControl);
    }
    let (length_bytes, mut payload) = match short {
        126 => (2, 0),
        127 => (8, 0),
        short => (0, u64::from(short)),
    };
    // A length in more bytes than it needs is harmless, and the codec accepts it too.
    for position in 0..length_bytes {
        let Some(byte) = bytes.next() else {
            return Ok(None);
        };
        if length_bytes == 8 && position == 0 && byte & 0x80 != 0 {
            return Err(Violation::BadLength);
        }
        payload = payload << 8 | u64::from(byte);
    }
    if payload > payload_bytes_max as u64 {
        return Err(Violation::TooLarge);
    }
    Ok(Some((2 + length_bytes + MASK_BYTES + payload) as usize))
}

/// Checks the first byte of a frame. [`Reassembly`](super::Reassembly) checks the order of
/// fragments.
fn is_control(first: u8) -> Result<bool, Violation> {
    if first & 0x70 != 0 {
        return Err(Violation::ReservedBit);
    }
    let is_final = first & 0x80 != 0;
    match first & 0x0F {
        0x0..=0x2 => Ok(false),
        0x8..=0xA if is_final => Ok(true),
        0x8..=0xA => Err(Violation::BadControl),
        _ => Err(Violation::UnknownOpcode),
    }
}

/// Turns bytes into frames, however the bytes are split.
#[derive(Debug)]
pub struct FrameReader {
    payload_bytes_max: usize,
    codec: Codec,
    /// The received part of the current frame. Keeps no memory between frames.
    frame: BytesMut,
}

impl FrameReader {
    /// Creates a reader that refuses frames with a longer payload.
    #[must_use]
    pub fn new(payload_bytes_max: usize) -> Self {
        Self {
            payload_bytes_max,
            codec: Codec::new().max_size(payload_bytes_max),
            frame: BytesMut::new(),
        }
    }

    /// Bytes kept of an unfinished frame, at most the limit and a header.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.frame.len()
    }

    /// Takes `bytes` up to the end of the current frame and returns that frame. None if the frame
    /// needs more than `bytes`.
    ///
    /// # Errors
    /// Fails with a [`Violation`] as soon as the frame's header shows it. The reader is unusable
    /// after that.
    pub fn read(&mut self, bytes: &mut &[u8]) -> Result<Option<Message>, Violation> {
        let seen = self.frame.iter().chain(*bytes).copied();
        let missing = match frame_bytes(seen, self.payload_bytes_max)? {
            Some(total) => total - self.frame.len(),
            None => usize::MAX,
        };
        let (piece, rest) = bytes.split_at(missing.min(bytes.len()));
        *bytes = rest;
        self.frame.extend_from_slice(piece);
        if piece.len() < missing {
            return Ok(None);
        }
        let mut frame = std::mem::take(&mut self.frame);
        let decoded = self
            .codec
            .decode(&mut frame)
            .map_err(|error| explain(&error))?;
        decoded.map(whole).transpose()
    }
}

fn whole(frame: Frame) -> Result<Message, Violation> {
    Ok(match frame {
        Frame::Text(bytes) => {
            Message::Text(ByteString::try_from(bytes).map_err(|_| Violation::InvalidText)?)
        }
        Frame::Binary(bytes) => Message::Binary(bytes),
        Frame::Continuation(item) => Message::Continuation(item),
        Frame::Ping(bytes) => Message::Ping(bytes),
        Frame::Pong(bytes) => Message::Pong(bytes),
        Frame::Close(reason) => Message::Close(reason),
    })
}

fn explain(error: &ProtocolError) -> Violation {
    match error {
        ProtocolError::Overflow => Violation::TooLarge,
        ProtocolError::ContinuationNotStarted | ProtocolError::ContinuationStarted => {
            Violation::BadFragment
        }
        // The reason text of a Close frame is not UTF-8.
        ProtocolError::Io(_) => Violation::InvalidText,
        _ => Violation::Codec,
    }
}

/// The frames of a socket, until it ends. After a violation it reads and drops the rest, so that
/// the client still receives the Close frame.
#[derive(Debug)]
pub struct Frames {
    socket: Arc<Socket>,
    reader: FrameReader,
    /// Received, but not decoded yet.
    held: Bytes,
    is_refused: bool,
}

impl Frames {
    /// Refuses frames with a longer payload. `early` arrived together with the request.
    #[must_use]
    pub fn new(socket: Arc<Socket>, payload_bytes_max: usize, early: Bytes) -> Self {
        Self {
            socket,
            reader: FrameReader::new(payload_bytes_max),
            held: early,
            is_refused: false,
        }
    }

    fn next_held(&mut self) -> Option<Result<Message, Violation>> {
        let mut rest = &self.held[..];
        let read = self.reader.read(&mut rest);
        let taken = self.held.len() - rest.len();
        self.held.advance(taken);
        if self.held.is_empty() {
            self.held = Bytes::new();
        }
        self.note_violation(read)
    }

    fn note_violation(
        &mut self,
        read: Result<Option<Message>, Violation>,
    ) -> Option<Result<Message, Violation>> {
        if read.is_err() {
            self.is_refused = true;
            self.held = Bytes::new();
        }
        read.transpose()
    }
}

impl Stream for Frames {
    type Item = Result<Message, Violation>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Some(frame) = this.next_held() {
            return Poll::Ready(Some(frame));
        }
        INCOMING.with_borrow_mut(|buffer| {
            loop {
                // A broken connection ends the stream like a closed one.
                let count = ready!(this.socket.poll_read(context, buffer)).unwrap_or_default();
                let mut bytes = &buffer[..count];
                if bytes.is_empty() {
                    return Poll::Ready(None);
                }
                if this.is_refused {
                    continue;
                }
                let read = this.reader.read(&mut bytes);
                this.held = Bytes::copy_from_slice(bytes);
                if let Some(frame) = this.note_violation(read) {
                    return Poll::Ready(Some(frame));
                }
            }
        })
    }
}
