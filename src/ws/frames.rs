//! Frames of a client: judged at their headers, decoded, at most one of them in memory. The codec alone would gather a frame whole
//! before it looks at its length.

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

use super::{scanner::FrameScanner, socket::Socket, violation::Violation};

/// Bytes that are taken from the kernel at once.
const READ_BYTES: usize = 16 * 1024;

thread_local! {
    static INCOMING: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

/// Makes frames of bytes, however those are cut.
#[derive(Debug)]
pub struct FrameReader {
    scanner: FrameScanner,
    codec: Codec,
    /// What has come of the current frame; no memory is kept between frames.
    frame: BytesMut,
}

impl FrameReader {
    /// Refuses frames with a longer payload.
    #[must_use]
    pub fn new(payload_bytes_max: usize) -> Self {
        Self {
            scanner: FrameScanner::new(payload_bytes_max as u64),
            codec: Codec::new().max_size(payload_bytes_max),
            frame: BytesMut::new(),
        }
    }

    /// Bytes kept of an unfinished frame; never more than the limit and a header.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.frame.len()
    }

    /// Takes `bytes` in up to the end of the current frame and answers it; none: all are taken in, and it needs more.
    ///
    /// # Errors
    /// A [`Violation`], as soon as the frame's header shows it. Nothing may be read after it.
    pub fn read(&mut self, bytes: &mut &[u8]) -> Result<Option<Message>, Violation> {
        while !bytes.is_empty() {
            let step = self.scanner.step(bytes)?;
            let (piece, rest) = bytes.split_at(step.bytes);
            *bytes = rest;
            self.frame.extend_from_slice(piece);
            if step.ends_frame {
                let mut frame = std::mem::take(&mut self.frame);
                let decoded = self
                    .codec
                    .decode(&mut frame)
                    .map_err(|error| explain(&error))?;
                return decoded.map(whole).transpose();
            }
        }
        Ok(None)
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
        // The text of a Close that is not UTF-8.
        ProtocolError::Io(_) => Violation::InvalidText,
        _ => Violation::Codec,
    }
}

/// The frames of a socket, until it ends. After a violation whatever the client still sends is dropped, so that it can read why
/// it is closed.
#[derive(Debug)]
pub struct Frames {
    socket: Arc<Socket>,
    reader: FrameReader,
    /// Arrived, not decoded yet.
    held: Bytes,
    is_refused: bool,
}

impl Frames {
    /// Frames with a longer payload are refused. `early` came with the request.
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
        self.judge(read)
    }

    fn judge(
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
                // However it ended.
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
                if let Some(frame) = this.judge(read) {
                    return Poll::Ready(Some(frame));
                }
            }
        })
    }
}
