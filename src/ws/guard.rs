//! A stream adapter between the request's payload and the WebSocket codec. The codec buffers a frame whole before it looks
//! at its length, and takes in whatever has arrived for each frame that it hands out; the guard bounds both.

use std::{
    cell::Cell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use actix_http::{error::PayloadError, ws::ProtocolError};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};

use super::{scanner::FrameScanner, violation::Violation};

/// Why the guard ended the stream.
#[derive(Clone, Copy, Debug)]
enum Cause {
    Refused(Violation),
    Lost,
}

/// What the guard found; shared with the connection, which lives on the same thread and closes the socket.
#[derive(Clone, Debug, Default)]
pub struct GuardReport(Rc<Cell<Option<Cause>>>);

impl GuardReport {
    /// What the client did wrong, if anything.
    #[must_use]
    pub fn violation(&self) -> Option<Violation> {
        match self.0.get() {
            Some(Cause::Refused(violation)) => Some(violation),
            Some(Cause::Lost) | None => None,
        }
    }

    /// What an error of the WebSocket stream means; `None`: the connection is lost, there is nobody to tell.
    #[must_use]
    pub fn explain(&self, error: &ProtocolError) -> Option<Violation> {
        match self.0.get() {
            Some(Cause::Refused(violation)) => Some(violation),
            Some(Cause::Lost) => None,
            None => Some(match error {
                ProtocolError::Overflow => Violation::TooLarge,
                ProtocolError::ContinuationNotStarted | ProtocolError::ContinuationStarted => {
                    Violation::BadFragment
                }
                // Neither the guard nor the network: what is left is text (of a message or a close) that is not UTF-8.
                ProtocolError::Io(_) => Violation::InvalidText,
                _ => Violation::Codec,
            }),
        }
    }
}

/// Hands the payload on, frame by frame:
///
/// - A frame is refused at its header: `PayloadError::Overflow` for every violation, the [`GuardReport`] says which one.
/// - After the end of a frame the stream is once `Pending`, so that the codec takes that frame out before it gets more: it
///   never holds more than one frame, however many arrive at once and however slowly the actor handles them.
/// - After a violation whatever the client still sends is discarded, so that it can read why it is closed; the stream
///   ends when the client does. The connection closes, and stops after its close timeout.
#[derive(Debug)]
pub struct FrameGuard<S> {
    inner: S,
    scanner: FrameScanner,
    report: GuardReport,
    /// Taken from `inner`, not handed on yet.
    held: Option<Result<Bytes, PayloadError>>,
    /// A frame has been handed on whole, and the reader has not been told to take it out.
    is_frame_due: bool,
    /// `inner` has ended.
    is_over: bool,
}

impl<S> FrameGuard<S> {
    /// Guards `inner`; frames with a longer payload are refused. Give the codec at least the same limit.
    pub fn new(inner: S, payload_bytes_max: usize) -> Self {
        Self {
            inner,
            scanner: FrameScanner::new(payload_bytes_max as u64),
            report: GuardReport::default(),
            held: None,
            is_frame_due: false,
            is_over: false,
        }
    }

    /// A handle on what the guard finds.
    #[must_use]
    pub fn report(&self) -> GuardReport {
        self.report.clone()
    }
}

impl<S> FrameGuard<S>
where
    S: Stream<Item = Result<Bytes, PayloadError>> + Unpin,
{
    /// Reads and drops; ends with `inner`.
    fn discard(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, PayloadError>>> {
        loop {
            match self.inner.poll_next_unpin(context) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(_)) | None) => {
                    self.is_over = true;
                    return Poll::Ready(None);
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// The part of a chunk that belongs to the current frame; the rest is held.
    fn pass(&mut self, mut chunk: Bytes) -> Result<Bytes, PayloadError> {
        match self.scanner.step(&chunk) {
            Ok(step) => {
                let piece = chunk.split_to(step.bytes);
                self.is_frame_due = step.ends_frame;
                if !chunk.is_empty() {
                    self.held = Some(Ok(chunk));
                }
                Ok(piece)
            }
            Err(violation) => {
                self.report.0.set(Some(Cause::Refused(violation)));
                Err(PayloadError::Overflow)
            }
        }
    }
}

impl<S> Stream for FrameGuard<S>
where
    S: Stream<Item = Result<Bytes, PayloadError>> + Unpin,
{
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        if self.report.violation().is_some() {
            return self.discard(context);
        }
        let item = match self.held.take() {
            Some(item) => item,
            None => match self.inner.poll_next_unpin(context) {
                Poll::Ready(Some(item)) => item,
                Poll::Ready(None) => {
                    self.is_over = true;
                    return Poll::Ready(None);
                }
                Poll::Pending => {
                    self.is_frame_due = false;
                    return Poll::Pending;
                }
            },
        };
        if self.is_frame_due {
            self.is_frame_due = false;
            self.held = Some(item);
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        match item {
            Ok(chunk) => Poll::Ready(Some(self.pass(chunk))),
            Err(error) => {
                self.is_over = true;
                self.report.0.set(Some(Cause::Lost));
                Poll::Ready(Some(Err(error)))
            }
        }
    }
}
