//! Frames no library would send: too long, endless, unmasked, reserved; and upgrades gone wrong.

use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::common::{
    raw::{RawSocket, header, opcode, upgrade, upgrade_instead},
    scenario::TestRoom,
    server::{Backend, Server},
};

/// What a few bad connections may cost in memory, allocator's habits included.
const MEMORY_GROWTH_MAX: u64 = 16 * 1024 * 1024;
/// One TiB.
const TEBIBYTE: u64 = 1 << 40;
/// Written behind the announcement, if the server takes it.
const PAYLOAD_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Largest message; the default of `limits.frame_bytes_max`.
const FRAME_BYTES_MAX: usize = 64 * 1024;

crate::on_both_backends!(
    a_frame_announced_as_a_tebibyte_is_refused_at_its_header,
    the_payload_of_a_giant_frame_is_never_kept,
    endless_fragments_are_cut_off,
    a_message_in_parts_is_put_together,
    a_message_over_the_limit_ends_the_connection,
    frames_against_the_protocol_end_the_connection,
    upgrades_are_checked,
);

async fn a_frame_announced_as_a_tebibyte_is_refused_at_its_header(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let mut alice = room.alice().await;
    for announced in [TEBIBYTE, FRAME_BYTES_MAX as u64 + 1, u64::MAX >> 1] {
        let mut raw = RawSocket::open(&server, &room.room_id).await;
        raw.write(&header(opcode::TEXT, true, announced)).await;
        let (texts, code) = raw.read_out().await;
        assert_eq!(code, Some(1009), "{announced}: {texts:?}");
        let goodbye = texts.last().cloned().unwrap_or_default();
        assert!(
            goodbye.contains("too_large") && goodbye.contains("reconnect"),
            "{goodbye}"
        );
    }
    alice
        .command(json!({"type": "SendMessage", "text": "undisturbed"}))
        .await;
}

async fn the_payload_of_a_giant_frame_is_never_kept(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let mut alice = room.alice().await;
    let before = server.memory_bytes();
    let chunk = vec![b'x'; 1024 * 1024];
    let mut raw = RawSocket::open(&server, &room.room_id).await;
    raw.write(&header(opcode::TEXT, true, TEBIBYTE)).await;
    let mut written = 0;
    while written < PAYLOAD_BYTES_MAX && raw.write(&chunk).await {
        written += chunk.len();
    }
    let grown = server.memory_bytes().saturating_sub(before);
    assert!(
        grown < MEMORY_GROWTH_MAX,
        "{grown} bytes for {written} written"
    );
    raw.read_out().await;
    alice
        .command(json!({"type": "SendMessage", "text": "undisturbed"}))
        .await;
}

async fn endless_fragments_are_cut_off(backend: Backend) {
    const PARTS_MAX: usize = 100_000;
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let before = server.memory_bytes();
    for part_bytes in [0, 1, 1024] {
        let mut raw = RawSocket::open(&server, &room.room_id).await;
        let part = vec![b'x'; part_bytes];
        raw.send(opcode::TEXT, false, &part).await;
        let mut sent = 1;
        while sent < PARTS_MAX && raw.send(opcode::CONTINUATION, false, &part).await {
            sent += 1;
        }
        // Small parts may all fit into the time that the client has to close by itself.
        let is_cut = sent < PARTS_MAX || raw.read_out().await.1 == Some(1009);
        assert!(is_cut, "{part_bytes} bytes each: taken without end");
    }
    let grown = server.memory_bytes().saturating_sub(before);
    assert!(grown < MEMORY_GROWTH_MAX, "memory grew by {grown} bytes");
}

async fn a_message_in_parts_is_put_together(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let join =
        json!({"type": "JoinRoom", "id": 1, "roomId": room.room_id, "token": room.host.token});
    let join = join.to_string().into_bytes();
    let (first, rest) = join.split_at(10);
    let (second, third) = rest.split_at(100);
    let mut raw = RawSocket::open(&server, &room.room_id).await;
    raw.send(opcode::TEXT, false, first).await;
    raw.send(opcode::PING, true, b"between").await;
    raw.send(opcode::CONTINUATION, false, second).await;
    raw.send(opcode::CONTINUATION, true, third).await;
    let mut opcodes = Vec::new();
    while !opcodes.contains(&opcode::TEXT) {
        let frame = raw.next().await.expect("the connection lives");
        opcodes.push(frame.opcode);
        if frame.opcode == opcode::TEXT {
            let text = String::from_utf8(frame.payload).expect("text");
            assert!(text.contains("RoomJoined"), "{text}");
        }
    }
    assert!(
        opcodes.contains(&opcode::PONG),
        "pings are answered: {opcodes:?}"
    );
}

async fn a_message_over_the_limit_ends_the_connection(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let (mut alice, mut bob) = room.alice_and_bob().await;
    bob.send_message(Message::text("x".repeat(FRAME_BYTES_MAX + 1)))
        .await;
    let closed = bob.closed().await;
    // A reset may overtake the Close frame: the rest of the message was never read.
    assert!(matches!(closed.code, Some(1009) | None), "{closed:?}");
    alice
        .next("away", |frame| {
            frame["isAway"] == true && frame["seq"].is_u64()
        })
        .await;
    bob.resume().await;
    // Five parts of sixteen KiB, each within the limit.
    let mut raw = RawSocket::open(&server, &room.room_id).await;
    let part = vec![b'x'; 16 * 1024];
    raw.send(opcode::TEXT, false, &part).await;
    for _ in 0..4 {
        raw.send(opcode::CONTINUATION, false, &part).await;
    }
    let (_, code) = raw.read_out().await;
    assert!(matches!(code, Some(1009) | None), "{code:?}");
}

async fn frames_against_the_protocol_end_the_connection(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let mut alice = room.alice().await;
    let unmasked = vec![0x81, 2, b'{', b'}'];
    let reserved_bit = [&[0xC1, 0x82, 0, 0, 0, 0][..], b"{}"].concat();
    let reserved_opcode = [&[0x83, 0x82, 0, 0, 0, 0][..], b"{}"].concat();
    let long_ping = [header(opcode::PING, true, 126), vec![0; 126]].concat();
    let ping_in_parts = header(opcode::PING, false, 0);
    let lonely_continuation = header(opcode::CONTINUATION, true, 0);
    let no_utf8 = [header(opcode::TEXT, true, 2), vec![0xff, 0xfe]].concat();
    for (name, bytes) in [
        ("unmasked", unmasked),
        ("reserved bit", reserved_bit),
        ("reserved opcode", reserved_opcode),
        ("long ping", long_ping),
        ("ping in parts", ping_in_parts),
        ("lonely continuation", lonely_continuation),
        ("no UTF-8", no_utf8),
    ] {
        let mut raw = RawSocket::open(&server, &room.room_id).await;
        raw.write(&bytes).await;
        let (_, code) = raw.read_out().await;
        assert!(
            matches!(code, Some(1002 | 1003 | 1007 | 1009)),
            "{name}: {code:?}"
        );
    }
    alice
        .command(json!({"type": "SendMessage", "text": "undisturbed"}))
        .await;
}

async fn upgrades_are_checked(backend: Backend) {
    let server = Server::on(backend)
        .set("HTTP__ALLOWED_ORIGINS", "https://app.example.org")
        .start()
        .await;
    let room = TestRoom::new(&server).await;
    for (headers, status) in [
        (&[][..], "101"),
        (&[("Sec-WebSocket-Protocol", "callboard.v1+json")], "101"),
        (
            &[(
                "Sec-WebSocket-Protocol",
                "callboard.v9+json, callboard.v1+json",
            )],
            "101",
        ),
        (&[("Sec-WebSocket-Protocol", "callboard.v9+json")], "400"),
        (&[("Origin", "https://app.example.org")], "101"),
        (&[("Origin", "https://evil.example.org")], "403"),
    ] {
        let (_stream, head) = upgrade(&server, &room.room_id, headers).await;
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status}")),
            "{headers:?}: {head}"
        );
        let head = head.to_lowercase();
        let is_named = head.contains("sec-websocket-protocol: callboard.v1+json");
        let is_asked = headers.iter().any(|(name, _)| name.contains("Protocol")) && status == "101";
        assert_eq!(is_named, is_asked, "{headers:?}: {head}");
    }
    for (name, value, status) in [
        ("Sec-WebSocket-Version", "13", "101"),
        ("Sec-WebSocket-Version", "8", "426"),
        ("Sec-WebSocket-Version", "x", "426"),
        ("Sec-WebSocket-Key", "", "400"),
        ("Sec-WebSocket-Key", "dG9vIHNob3J0", "400"),
    ] {
        let (_stream, head) = upgrade_instead(&server, &room.room_id, name, value).await;
        let is_as_expected = head.starts_with(&format!("HTTP/1.1 {status}"));
        assert!(is_as_expected, "{name}: {value}: {head}");
        let says_version = head.to_lowercase().contains("sec-websocket-version: 13");
        assert_eq!(says_version, status == "426", "{head}");
    }
    let (_stream, head) = upgrade(&server, "not-a-uuid", &[]).await;
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");
    let plain = server.api.get(&room.path("/signal")).await;
    assert!((400..500).contains(&plain.status), "{}", plain.text);
}
