//! Properties of the header check, the frame reader, the reassembly and the decoder for any input.
//! `PROPTEST_CASES=100000 cargo test --test wire_properties` for a long run.

use actix_http::ws::{Item, Message};
use bytes::Bytes;
use bytestring::ByteString;
use callboard::{
    protocol::{self, ClientMessage, ID_MAX, JoinRequest, MessageType},
    ws::{FrameReader, Incoming, Reassembly, Violation, frame_bytes},
};
use proptest::{collection::vec, prelude::*};
use serde_json::{Value, json};

const LIMIT: usize = 300;
const TEXT_MAX: usize = 4096;

/// Frames as clients sent them, with the result at a limit of 300 bytes; the first is from RFC 6455
/// section 5.7.
const RECORDED: [(&[u8], Result<(), Violation>); 11] = [
    (b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", Ok(())),
    (b"\x89\x80\x01\x02\x03\x04", Ok(())),
    (b"\x88\x82\x00\x00\x00\x00\x03\xe8", Ok(())),
    (
        b"\x01\x81\x00\x00\x00\x00a\x80\x81\x00\x00\x00\x00b",
        Ok(()),
    ),
    (b"\x81\xfe\x01\x2c", Ok(())),
    (b"\x81\xfe\x01\x2d", Err(Violation::TooLarge)),
    (
        b"\x81\xff\x00\x00\x01\x00\x00\x00\x00\x00",
        Err(Violation::TooLarge),
    ),
    (b"\x81\xff\xff", Err(Violation::BadLength)),
    (b"\x81\x05Hello", Err(Violation::Unmasked)),
    (b"\x09\x80", Err(Violation::BadControl)),
    (b"\xc1", Err(Violation::ReservedBit)),
];

/// A frame that a client may send.
#[derive(Clone, Debug)]
struct Frame {
    first: u8,
    mask: [u8; 4],
    payload: Vec<u8>,
}

impl Frame {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = header(self.first, self.payload.len() as u64, self.mask);
        bytes.extend(
            self.payload
                .iter()
                .zip(self.mask.iter().cycle())
                .map(|(byte, mask)| byte ^ mask),
        );
        bytes
    }
}

fn header(first: u8, length: u64, mask: [u8; 4]) -> Vec<u8> {
    let mut bytes = vec![first];
    match length {
        0..=125 => bytes.push(0x80 | length as u8),
        126..=0xFFFF => {
            bytes.push(0xFE);
            bytes.extend((length as u16).to_be_bytes());
        }
        _ => {
            bytes.push(0xFF);
            bytes.extend(length.to_be_bytes());
        }
    }
    bytes.extend(mask);
    bytes
}

prop_compose! {
    fn data_frame()(first in prop::sample::select(vec![0x00, 0x01, 0x02, 0x80, 0x81, 0x82]),
                    mask: [u8; 4], payload in vec(any::<u8>(), 0..=LIMIT)) -> Frame {
        Frame { first, mask, payload }
    }
}
prop_compose! {
    fn control_frame()(first in 0x89..=0x8A_u8, mask: [u8; 4], payload in vec(any::<u8>(), 0..=125)) -> Frame {
        Frame { first, mask, payload }
    }
}

fn good_frame() -> impl Strategy<Value = Frame> {
    prop_oneof![3 => data_frame(), 1 => control_frame()]
}

/// Random bytes seldom get past a header; bytes of good frames with some of them changed do.
fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    let spoilt = (
        vec(good_frame(), 1..6),
        vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    )
        .prop_map(|(frames, changes)| {
            let mut bytes = frames.iter().flat_map(Frame::bytes).collect::<Vec<_>>();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes
        });
    prop_oneof![vec(any::<u8>(), 0..600), spoilt]
}

/// Cuts bytes at the given places; empty chunks included.
fn cut(bytes: &[u8], places: &[prop::sample::Index]) -> Vec<Bytes> {
    let mut places = places
        .iter()
        .map(|place| place.index(bytes.len() + 1))
        .collect::<Vec<_>>();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places
        .windows(2)
        .map(|pair| Bytes::copy_from_slice(&bytes[pair[0]..pair[1]]))
        .collect()
}

/// Checks the headers of all frames.
fn scan(mut bytes: &[u8]) -> Result<(), Violation> {
    while let Some(length) = frame_bytes(bytes.iter().copied(), LIMIT)? {
        match bytes.get(length..) {
            Some(rest) => bytes = rest,
            None => break,
        }
    }
    Ok(())
}

fn scan_chunks(chunks: &[Bytes]) -> Result<(), Violation> {
    let mut seen = Vec::new();
    chunks.iter().try_for_each(|chunk| {
        seen.extend_from_slice(chunk);
        scan(&seen)
    })
}

/// What was read of chunks, up to the first violation.
#[derive(Debug, PartialEq)]
struct Read {
    frames: Vec<Message>,
    violation: Option<Violation>,
    /// Most bytes that the reader ever kept.
    kept_bytes_max: usize,
}

fn read(chunks: Vec<Bytes>) -> Read {
    let mut reader = FrameReader::new(LIMIT);
    let mut read = Read {
        frames: Vec::new(),
        violation: None,
        kept_bytes_max: 0,
    };
    for chunk in chunks {
        let mut rest = &chunk[..];
        loop {
            let frame = reader.read(&mut rest);
            read.kept_bytes_max = read.kept_bytes_max.max(reader.buffered_bytes());
            match frame {
                Ok(Some(frame)) => read.frames.push(frame),
                Ok(None) => break,
                Err(violation) => {
                    read.violation = Some(violation);
                    return read;
                }
            }
        }
        assert!(rest.is_empty());
    }
    read
}

/// What frames are when they are read, up to the first that is out of order or no UTF-8.
fn meant(frames: &[Frame]) -> (Vec<Message>, Option<Violation>) {
    let mut is_inside = false;
    let mut messages = Vec::new();
    for frame in frames {
        let bytes = Bytes::from(frame.payload.clone());
        let is_out_of_order = match frame.first & 0x0F {
            0x0 => !is_inside,
            0x1 | 0x2 => is_inside,
            _ => false,
        };
        if is_out_of_order {
            return (messages, Some(Violation::BadFragment));
        }
        let message = match frame.first {
            0x00 => Message::Continuation(Item::Continue(bytes)),
            0x01 => Message::Continuation(Item::FirstText(bytes)),
            0x02 => Message::Continuation(Item::FirstBinary(bytes)),
            0x80 => Message::Continuation(Item::Last(bytes)),
            0x81 => match ByteString::try_from(bytes) {
                Ok(text) => Message::Text(text),
                Err(_) => return (messages, Some(Violation::InvalidText)),
            },
            0x82 => Message::Binary(bytes),
            0x89 => Message::Ping(bytes),
            _ => Message::Pong(bytes),
        };
        is_inside = match frame.first {
            0x01 | 0x02 => true,
            0x80 => false,
            _ => is_inside,
        };
        messages.push(message);
    }
    (messages, None)
}

#[test]
fn recorded_frames_keep_their_verdict() {
    for (bytes, verdict) in RECORDED {
        assert_eq!(scan(bytes), verdict, "{bytes:x?}");
        let single = bytes
            .chunks(1)
            .map(Bytes::copy_from_slice)
            .collect::<Vec<_>>();
        assert_eq!(scan_chunks(&single), verdict, "{bytes:x?}");
    }
}

proptest! {
    #[test]
    fn verdict_does_not_depend_on_how_bytes_are_cut(bytes in any_bytes(), places in vec(any::<prop::sample::Index>(), 0..12)) {
        let whole = scan(&bytes);
        prop_assert_eq!(scan_chunks(&cut(&bytes, &places)), whole);
        let single = bytes.chunks(1).map(Bytes::copy_from_slice).collect::<Vec<_>>();
        prop_assert_eq!(scan_chunks(&single), whole);
    }

    #[test]
    fn good_frames_are_read_unchanged_and_in_order(
        frames in vec(good_frame(), 1..12),
        places in vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let bytes = frames.iter().flat_map(Frame::bytes).collect::<Vec<_>>();
        prop_assert_eq!(scan(&bytes), Ok(()));
        let read = read(cut(&bytes, &places));
        prop_assert_eq!((read.frames, read.violation), meant(&frames));
    }

    #[test]
    fn refused_frame_is_stopped_at_its_header(
        first in prop::sample::select(vec![0x01, 0x02, 0x81, 0x82]),
        length in prop_oneof![(LIMIT as u64 + 1)..70_000, any::<u64>().prop_map(|length| (length >> 1).max(70_000))],
        flood in vec(any::<u8>(), 0..2_000),
        places in vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let header = header(first, length, [0; 4]);
        let read = read(cut(&[header.as_slice(), &flood].concat(), &places));
        prop_assert_eq!((read.frames, read.violation), (Vec::new(), Some(Violation::TooLarge)));
        prop_assert!(read.kept_bytes_max < header.len());
    }

    #[test]
    fn reader_never_keeps_more_than_one_frame(bytes in any_bytes(), places in vec(any::<prop::sample::Index>(), 0..12)) {
        let read = read(cut(&bytes, &places));
        prop_assert!(read.kept_bytes_max <= LIMIT + 14);
        // The codec checks what the headers do not show.
        if let Err(violation) = scan(&bytes) {
            let other = [Violation::BadFragment, Violation::InvalidText, Violation::Codec];
            prop_assert!(read.violation.is_some_and(|found| found == violation || other.contains(&found)));
        }
    }

    #[test]
    fn reassembly_stays_within_its_bounds_and_joins_what_it_accepts(
        messages in vec((0..6_u8, vec(prop_oneof![9 => 0x20..0x7F_u8, 1 => any::<u8>()], 0..40)), 0..30),
    ) {
        let mut reassembly = Reassembly::new(64, 5);
        let mut joined = Vec::new();
        for (kind, payload) in messages {
            let bytes = Bytes::from(payload.clone());
            let message = match kind {
                0 => Message::Continuation(Item::FirstText(bytes)),
                1 => Message::Continuation(Item::FirstBinary(bytes)),
                2 => Message::Continuation(Item::Continue(bytes)),
                3 => Message::Continuation(Item::Last(bytes)),
                4 => Message::Ping(bytes),
                _ => Message::Binary(bytes),
            };
            if kind == 0 {
                joined.clear();
            }
            if matches!(kind, 0 | 2 | 3) {
                joined.extend(payload);
            }
            let outcome = reassembly.accept(message);
            prop_assert!(reassembly.buffered_bytes() <= 64);
            match outcome {
                Ok(Incoming::Text(text)) => prop_assert_eq!(text.as_bytes(), &joined[..]),
                Ok(_) => {}
                Err(_) => prop_assert_eq!(reassembly.buffered_bytes(), 0),
            }
        }
    }

    #[test]
    fn any_text_is_decoded_or_refused(text in ".{0,200}") {
        drop(protocol::decode(&text, TEXT_MAX));
    }

    #[test]
    fn any_message_is_decoded_or_refused_with_its_id(message in any_message()) {
        let text = message.to_string();
        let id = message.get("id").and_then(Value::as_u64).filter(|id| (1..=ID_MAX).contains(id));
        match protocol::decode(&text, TEXT_MAX) {
            Ok(ClientMessage::KeepAlive) => {}
            Ok(ClientMessage::Join(JoinRequest { id: read, .. }) | ClientMessage::Command { id: read, .. }) => {
                prop_assert_eq!(Some(read), id);
            }
            Err(error) => {
                prop_assert_eq!(error.id, id);
                prop_assert_eq!(error.message_type, message["type"].as_str().and_then(MessageType::from_name));
            }
        }
    }

    #[test]
    fn message_cut_short_or_spoilt_is_no_panic(message in any_message(), at: prop::sample::Index, byte: char) {
        let text = message.to_string();
        let mut at = at.index(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        prop_assert!(protocol::decode(&text[..at], TEXT_MAX).is_err());
        drop(protocol::decode(&format!("{}{byte}{}", &text[..at], &text[at..]), TEXT_MAX));
    }

    #[test]
    fn command_that_was_decoded_says_the_same_when_encoded(message in any_message()) {
        if let Ok(ClientMessage::Command { id, command }) = protocol::decode(&message.to_string(), TEXT_MAX) {
            // Texts are compared: a number that is read as `f64` need not come out as it went in.
            let encoded = serde_json::to_string(&command).unwrap();
            let with_id = encoded.replacen('{', &format!("{{\"id\":{id},"), 1);
            let again = protocol::decode(&with_id, TEXT_MAX);
            let Ok(ClientMessage::Command { id: id_again, command: command_again }) = again else {
                panic!("{encoded}: {again:?}");
            };
            prop_assert_eq!(id, id_again);
            prop_assert_eq!(encoded, serde_json::to_string(&command_again).unwrap());
        }
    }
}

/// JSON of any shape, a few levels deep.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(".{0,5}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Mostly what a field may hold, sometimes anything.
fn mostly(good: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Value> {
    prop_oneof![8 => good, 1 => any_json()].boxed()
}

/// An object with any of the fields of the wire, often a good message.
fn any_message() -> impl Strategy<Value = Value> {
    let user = || mostly(any::<u128>().prop_map(|id| json!(uuid::Uuid::from_u128(id))));
    let flag = || mostly(any::<bool>().prop_map(Value::from));
    let opaque = || {
        mostly(prop_oneof![
            Just(json!({"a": [1, null]})),
            Just(json!("v=0"))
        ])
    };
    let fields: Vec<(&'static str, BoxedStrategy<Value>)> = vec![
        (
            "type",
            mostly(
                prop::sample::select(MessageType::ALL.to_vec())
                    .prop_map(|known| json!(known.name())),
            ),
        ),
        ("id", mostly((1..=ID_MAX).prop_map(Value::from))),
        ("roomId", user()),
        ("token", mostly(".{0,30}".prop_map(Value::from))),
        (
            "resume",
            mostly(Just(
                json!({"connectionId": uuid::Uuid::nil(), "resumeToken": "r", "lastSeq": 3}),
            )),
        ),
        ("region", mostly("[a-z0-9._-]{1,64}".prop_map(Value::from))),
        ("isMuted", flag()),
        ("isHandRaised", flag()),
        ("targetUserId", user()),
        ("userId", user()),
        ("sdp", opaque()),
        ("candidate", opaque()),
        ("text", mostly(".{0,40}".prop_map(Value::from))),
        ("ban", flag()),
        ("role", mostly(Just(json!("host")))),
        ("isLocked", flag()),
        ("another", any_json().boxed()),
    ];
    let maybe = fields
        .into_iter()
        .map(|(name, value)| {
            prop::option::weighted(0.9, value).prop_map(move |value| (name, value))
        })
        .collect::<Vec<_>>();
    maybe.prop_map(|fields| {
        Value::Object(
            fields
                .into_iter()
                .filter_map(|(name, value)| Some((name.to_owned(), value?)))
                .collect(),
        )
    })
}
