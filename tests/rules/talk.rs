//! What people say to each other: chat, direct messages, relays, messages of the system.

use serde_json::{Value, json};

use crate::common::{
    client::TestClient,
    scenario::TestRoom,
    server::{Backend, Server},
};

/// Relays held for one person; the default of `limits.held_relays_max`.
const HELD_RELAYS_MAX: u64 = 64;

crate::on_both_backends!(
    chat_reaches_everybody_as_an_event,
    a_direct_message_reaches_its_target_alone,
    descriptions_and_candidates_travel_both_ways_unchanged,
    relays_wait_for_an_away_target_in_order,
    too_many_held_relays_are_told_as_lost,
    the_system_speaks_to_all,
    keep_alive_is_answered_with_seq,
    media_servers_are_told_when_the_region_has_them,
);

async fn chat_reaches_everybody_as_an_event(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let (mut alice, mut bob) = room.alice_and_bob().await;
    let ack = alice
        .command(json!({"type": "SendMessage", "text": "hello \u{1F44B}"}))
        .await;
    for person in [&mut alice, &mut bob] {
        let heard = person.next_of("MessageReceived").await;
        assert_eq!(
            (&heard["seq"], &heard["text"]),
            (&ack["seq"], &json!("hello \u{1F44B}"))
        );
        assert!(
            heard["sentAt"].is_string() && heard["targetUserId"].is_null(),
            "{heard}"
        );
    }
    assert_eq!(ack["seq"], 3);
    let too_long = json!({"type": "SendMessage", "text": "x".repeat(4097)});
    let error = bob.send(too_long).await;
    assert!(
        matches!(error["code"].as_str(), Some("too_large" | "bad_request")),
        "{error}"
    );
    bob.refused(json!({"type": "SendMessage", "text": ""}), "bad_request")
        .await;
    bob.command(json!({"type": "SendMessage", "text": "x".repeat(4096)}))
        .await;
}

async fn a_direct_message_reaches_its_target_alone(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let (mut alice, mut bob) = room.alice_and_bob().await;
    let mut carol = room.attendee("Carol").await;
    let whisper = json!({"type": "SendMessage", "text": "psst", "targetUserId": bob.user_id()});
    let ack = alice.command(whisper).await;
    assert!(
        ack["durable"].is_null(),
        "a relay promises no durability: {ack}"
    );
    let heard = bob.next_of("MessageReceived").await;
    assert!(heard["seq"].is_null(), "{heard}");
    assert_eq!(
        (&heard["text"], &heard["targetUserId"]),
        (&json!("psst"), &json!(bob.user_id()))
    );
    assert_eq!(heard["sourceUserId"], alice.user_id());
    alice
        .command(json!({"type": "SendMessage", "text": "to all"}))
        .await;
    let first = carol.next_of("MessageReceived").await;
    assert_eq!(first["text"], "to all", "Carol heard nothing before");
}

async fn descriptions_and_candidates_travel_both_ways_unchanged(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let (mut alice, mut bob) = room.alice_and_bob().await;
    let sdp = json!({"type": "offer", "sdp": "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\n", "odd": [1, null, "\u{e9}"]});
    let candidate =
        json!({"candidate": "candidate:1 1 udp 1 192.0.2.1 5000 typ host", "sdpMLineIndex": 0});
    relay(
        &mut alice,
        &mut bob,
        "SendOffer",
        "ReceiveOffer",
        "sdp",
        sdp,
    )
    .await;
    relay(
        &mut bob,
        &mut alice,
        "SendAnswer",
        "ReceiveAnswer",
        "sdp",
        json!("v=0\r\n"),
    )
    .await;
    relay(
        &mut alice,
        &mut bob,
        "SendIceCandidate",
        "IceCandidate",
        "candidate",
        candidate.clone(),
    )
    .await;
    relay(
        &mut bob,
        &mut alice,
        "SendIceCandidate",
        "IceCandidate",
        "candidate",
        candidate,
    )
    .await;
    relay(
        &mut bob,
        &mut alice,
        "SendIceCandidate",
        "IceCandidate",
        "candidate",
        Value::Null,
    )
    .await;
    assert_eq!(alice.seq(), 2, "relays are no events");
}

async fn relay(
    from: &mut TestClient,
    to: &mut TestClient,
    said: &str,
    heard: &str,
    field: &str,
    content: Value,
) {
    let mut command = json!({"type": said, "targetUserId": to.user_id()});
    command[field] = content.clone();
    let ack = from.command(command).await;
    assert!(ack["durable"].is_null(), "accepted, not delivered: {ack}");
    let received = to.next_of(heard).await;
    assert_eq!(received["sourceUserId"], from.user_id());
    assert_eq!(received[field], content);
    assert!(received["seq"].is_null(), "{received}");
}

async fn go_away(person: &mut TestClient, watcher: &mut TestClient) {
    person.drop_abruptly().await;
    watcher
        .next("away", |frame| {
            frame["isAway"] == true && frame["seq"].is_u64()
        })
        .await;
}

async fn relays_wait_for_an_away_target_in_order(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let (mut alice, mut bob) = room.alice_and_bob().await;
    go_away(&mut bob, &mut alice).await;
    for number in 0..10 {
        let candidate = json!({"type": "SendIceCandidate", "targetUserId": bob.user_id(), "candidate": number.to_string()});
        alice.command(candidate).await;
    }
    let resumed = bob.resume().await;
    assert_eq!(resumed["relaysLost"], false);
    for number in 0..10 {
        let received = bob.next_of("IceCandidate").await;
        assert_eq!(received["candidate"], number.to_string());
    }
}

async fn too_many_held_relays_are_told_as_lost(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let (mut alice, mut bob) = room.alice_and_bob().await;
    go_away(&mut bob, &mut alice).await;
    let mut last = 0;
    for number in 0..=HELD_RELAYS_MAX {
        let offer =
            json!({"type": "SendOffer", "targetUserId": bob.user_id(), "sdp": number.to_string()});
        last = alice.post(offer).await;
    }
    alice.answer(last).await;
    let resumed = bob.resume().await;
    assert_eq!(resumed["relaysLost"], true);
    bob.command(json!({"type": "UpdateState", "isVideoOn": true}))
        .await;
}

async fn the_system_speaks_to_all(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let (mut alice, mut bob) = room.alice_and_bob().await;
    let body = json!({"text": "five minutes left"});
    let answer = room.api.post(&room.path("/messages"), body).await;
    assert!((200..300).contains(&answer.status), "{}", answer.text);
    for person in [&mut alice, &mut bob] {
        let heard = person.next_of("MessageReceived").await;
        assert_eq!(
            (&heard["seq"], &heard["text"]),
            (&json!(3), &json!("five minutes left"))
        );
        assert!(heard["sourceUserId"].is_null(), "{heard}");
    }
}

async fn keep_alive_is_answered_with_seq(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let mut alice = room.alice().await;
    alice.send_text(r#"{"type":"KeepAlive"}"#).await;
    let answer = alice.next_of("KeepAlive").await;
    assert_eq!(answer["seq"], 1);
}

async fn media_servers_are_told_when_the_region_has_them(backend: Backend) {
    let server = Server::on(backend)
        .config("[[sfu]]\nregion = \"eu\"\nip = \"203.0.113.10\"\nport = 5000\n")
        .start()
        .await;
    let room = TestRoom::new(&server).await;
    let mut alice = room.client(&room.host);
    alice.connect().await;
    let join = json!({"type": "JoinRoom", "roomId": room.room_id, "token": room.host.token, "region": "eu"});
    let join = alice.post(join).await;
    assert_eq!(alice.answer(join).await["room"]["sfuRegion"], "eu");
    // The first joiner's region is the room's: Bob names none and gets the same.
    let mut bob = room.attendee("Bob").await;
    for person in [&mut alice, &mut bob] {
        let endpoint = person.next_of("SfuEndpoint").await;
        assert_eq!(endpoint["ip"], "203.0.113.10");
        assert_eq!(
            (&endpoint["port"], &endpoint["region"]),
            (&json!(5000), &json!("eu"))
        );
        assert!(endpoint["transportId"].is_string(), "{endpoint}");
        assert!(endpoint["seq"].is_null(), "{endpoint}");
    }
}
