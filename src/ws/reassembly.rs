//! Joins the fragments of a message (RFC 6455 section 5.4). Bounds their bytes and their number.

use actix_http::ws::{CloseReason, Item, Message};
use bytes::{Bytes, BytesMut};
use bytestring::ByteString;

use super::violation::Violation;

/// Input that a connection handles.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A whole text message.
    Text(ByteString),
    /// A whole binary message without its bytes. The protocol has none, so the answer is an
    /// `Error`.
    Binary,
    /// A part of a message, or nothing.
    Partial,
    /// A ping, to be answered with a pong of the same bytes.
    Ping(Bytes),
    /// The answer to a ping.
    Pong,
    /// The client closes the connection.
    Close(Option<CloseReason>),
}

/// A message whose last fragment has not arrived.
#[derive(Debug)]
struct Unfinished {
    /// None for a binary message, of which only the size is kept.
    text: Option<BytesMut>,
    bytes: usize,
    parts: usize,
}

/// Joins the fragments of one client's messages.
#[derive(Debug)]
pub struct Reassembly {
    bytes_max: usize,
    parts_max: usize,
    unfinished: Option<Unfinished>,
}

impl Reassembly {
    /// Refuses messages with more bytes or more fragments.
    #[must_use]
    pub const fn new(bytes_max: usize, parts_max: usize) -> Self {
        Self {
            bytes_max,
            parts_max,
            unfinished: None,
        }
    }

    /// Bytes kept of an unfinished message, at most the limit.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.unfinished
            .as_ref()
            .and_then(|unfinished| unfinished.text.as_ref())
            .map_or(0, BytesMut::len)
    }

    /// Adds one decoded frame.
    ///
    /// # Errors
    /// Fails with a [`Violation`] that ends the connection. The buffered fragments are dropped.
    pub fn accept(&mut self, message: Message) -> Result<Incoming, Violation> {
        match message {
            Message::Text(text) => {
                self.whole(text.len())?;
                Ok(Incoming::Text(text))
            }
            Message::Binary(bytes) => {
                self.whole(bytes.len())?;
                Ok(Incoming::Binary)
            }
            Message::Continuation(Item::FirstText(bytes)) => self.begin(true, &bytes),
            Message::Continuation(Item::FirstBinary(bytes)) => self.begin(false, &bytes),
            Message::Continuation(Item::Continue(bytes)) => self.extend(&bytes),
            Message::Continuation(Item::Last(bytes)) => self.finish(&bytes),
            Message::Ping(bytes) => Ok(Incoming::Ping(bytes)),
            Message::Pong(_) => Ok(Incoming::Pong),
            Message::Close(reason) => Ok(Incoming::Close(reason)),
            Message::Nop => Ok(Incoming::Partial),
        }
    }

    /// Checks a message in one frame: it may not come inside another and has the same size limit.
    fn whole(&mut self, bytes: usize) -> Result<(), Violation> {
        if self.unfinished.take().is_some() {
            return Err(Violation::BadFragment);
        }
        if bytes > self.bytes_max {
            return Err(Violation::TooLarge);
        }
        Ok(())
    }

    fn begin(&mut self, is_text: bool, bytes: &[u8]) -> Result<Incoming, Violation> {
        if self.unfinished.take().is_some() {
            return Err(Violation::BadFragment);
        }
        self.join(
            Unfinished {
                text: is_text.then(BytesMut::new),
                bytes: 0,
                parts: 0,
            },
            bytes,
        )
        .map(|begun| self.keep(begun))
    }

    fn extend(&mut self, bytes: &[u8]) -> Result<Incoming, Violation> {
        let unfinished = self.unfinished.take().ok_or(Violation::BadFragment)?;
        self.join(unfinished, bytes)
            .map(|extended| self.keep(extended))
    }

    fn finish(&mut self, bytes: &[u8]) -> Result<Incoming, Violation> {
        let unfinished = self.unfinished.take().ok_or(Violation::BadFragment)?;
        match self.join(unfinished, bytes)?.text {
            Some(text) => ByteString::try_from(text.freeze())
                .map(Incoming::Text)
                .map_err(|_| Violation::InvalidText),
            None => Ok(Incoming::Binary),
        }
    }

    /// Appends a fragment. Fails when the message exceeds a bound.
    fn join(&self, mut unfinished: Unfinished, bytes: &[u8]) -> Result<Unfinished, Violation> {
        unfinished.bytes += bytes.len();
        unfinished.parts += 1;
        if unfinished.bytes > self.bytes_max || unfinished.parts > self.parts_max {
            return Err(Violation::TooLarge);
        }
        if let Some(text) = &mut unfinished.text {
            text.extend_from_slice(bytes);
        }
        Ok(unfinished)
    }

    fn keep(&mut self, unfinished: Unfinished) -> Incoming {
        self.unfinished = Some(unfinished);
        Incoming::Partial
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(bytes: &'static [u8]) -> Message {
        Message::Continuation(Item::Continue(Bytes::from_static(bytes)))
    }
    fn first(bytes: &'static [u8]) -> Message {
        Message::Continuation(Item::FirstText(Bytes::from_static(bytes)))
    }
    fn first_binary(bytes: &'static [u8]) -> Message {
        Message::Continuation(Item::FirstBinary(Bytes::from_static(bytes)))
    }
    fn last(bytes: &'static [u8]) -> Message {
        Message::Continuation(Item::Last(Bytes::from_static(bytes)))
    }

    /// The last outcome of a sequence whose other members are parts.
    fn outcome(messages: Vec<Message>) -> Result<Incoming, Violation> {
        let mut reassembly = Reassembly::new(8, 4);
        let mut outcome = Ok(Incoming::Partial);
        for message in messages {
            assert_eq!(outcome, Ok(Incoming::Partial));
            outcome = reassembly.accept(message);
            assert!(reassembly.buffered_bytes() <= 8);
        }
        outcome
    }

    #[test]
    fn fragments_become_one_text_checked_as_a_whole() {
        let text = Ok(Incoming::Text("aéb".into()));
        assert_eq!(outcome(vec![first(b"a\xC3"), last(b"\xA9b")]), text);
        assert_eq!(
            outcome(vec![first(b"a"), part(b"\xC3"), part(b""), last(b"\xA9b")]),
            text
        );
        assert_eq!(
            outcome(vec![first(b"a\xC3"), last(b"b")]),
            Err(Violation::InvalidText)
        );
    }

    #[test]
    fn bytes_and_parts_are_bounded_and_the_bound_is_allowed() {
        assert!(outcome(vec![first(b"1234"), last(b"5678")]).is_ok());
        let too_large = Err(Violation::TooLarge);
        assert_eq!(outcome(vec![first(b"1234"), last(b"56789")]), too_large);
        assert_eq!(outcome(vec![Message::Text("123456789".into())]), too_large);
        assert_eq!(
            outcome(vec![first_binary(b"1234"), part(b"56789")]),
            too_large
        );
        let endless = [first(b""), part(b""), part(b""), part(b"")];
        let mut parts = Vec::from(endless);
        parts.push(part(b""));
        assert_eq!(outcome(parts), too_large);
    }

    #[test]
    fn binary_messages_are_reported_once_however_many_fragments_they_have() {
        assert_eq!(
            outcome(vec![Message::Binary(Bytes::from_static(b"\xFF"))]),
            Ok(Incoming::Binary)
        );
        assert_eq!(
            outcome(vec![first_binary(b"\xFF"), part(b"\xFF"), last(b"")]),
            Ok(Incoming::Binary)
        );
    }

    #[test]
    fn fragments_out_of_order_are_refused() {
        let refused = Err(Violation::BadFragment);
        assert_eq!(outcome(vec![part(b"a")]), refused);
        assert_eq!(outcome(vec![last(b"a")]), refused);
        assert_eq!(outcome(vec![first(b"a"), first(b"b")]), refused);
        assert_eq!(
            outcome(vec![first(b"a"), Message::Text("b".into())]),
            refused
        );
    }

    #[test]
    fn control_frames_may_come_between_fragments() {
        let mut reassembly = Reassembly::new(8, 4);
        assert_eq!(reassembly.accept(first(b"a")), Ok(Incoming::Partial));
        let ping = Bytes::from_static(b"p");
        assert_eq!(
            reassembly.accept(Message::Ping(ping.clone())),
            Ok(Incoming::Ping(ping.clone()))
        );
        assert_eq!(reassembly.accept(Message::Pong(ping)), Ok(Incoming::Pong));
        assert_eq!(
            reassembly.accept(last(b"b")),
            Ok(Incoming::Text("ab".into()))
        );
    }
}
