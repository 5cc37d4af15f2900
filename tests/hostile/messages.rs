//! Texts that are no commands: an `Error` each, and the connection lives.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::common::{
    client::TestClient,
    scenario::TestRoom,
    server::{Backend, Server},
};

crate::on_both_backends!(
    unreadable_messages_are_answered_and_the_connection_lives,
    the_id_is_echoed_whenever_it_can_be_read,
    binary_messages_are_answered_and_the_connection_lives,
    unknown_fields_are_ignored,
    what_only_some_parsers_read_is_not_relayed,
    joining_is_done_once_and_for_the_room_of_the_path,
    whoever_does_not_join_in_time_is_sent_away,
);

/// Sends something that cannot be read; the error that answers it.
async fn expect_bad_request(client: &mut TestClient, text: &str) -> Value {
    client.send_text(text).await;
    let error = client.next_of("Error").await;
    assert_eq!(error["code"], "bad_request", "{text}: {error}");
    error
}

async fn unreadable_messages_are_answered_and_the_connection_lives(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let mut alice = room.alice().await;
    let deep = "[".repeat(50_000);
    for text in [
        "",
        "{",
        "null",
        "7",
        "[]",
        "\"JoinRoom\"",
        "{}",
        "{\"type\":7}",
        "{\"type\":\"Unknown\"}",
        "{\"type\":\"EndRoom\"}",
        "{\"type\":\"EndRoom\",\"id\":\"1\"}",
        "{\"type\":\"EndRoom\",\"id\":-1}",
        "{\"type\":\"EndRoom\",\"id\":1.5}",
        "{\"type\":\"EndRoom\",\"id\":18446744073709551616}",
        "{\"type\":\"RoomJoined\",\"id\":9}",
        &deep,
    ] {
        let error = expect_bad_request(&mut alice, text).await;
        let shown = error["message"].as_str().expect("a message");
        assert!(!shown.contains("src/") && shown.len() < 500, "{shown}");
    }
    alice
        .command(json!({"type": "UpdateState", "isHandRaised": true}))
        .await;
    assert_eq!(alice.seq(), 2, "nothing else happened");
}

async fn the_id_is_echoed_whenever_it_can_be_read(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let mut alice = room.alice().await;
    let me = alice.user_id();
    for command in [
        json!({"type": "Unknown"}),
        json!({"type": "UpdateState"}),
        json!({"type": "UpdateState", "isMuted": "yes"}),
        json!({"type": "SendOffer", "sdp": "x"}),
        json!({"type": "SendOffer", "targetUserId": "nobody", "sdp": "x"}),
        json!({"type": "SetRole", "userId": me, "role": "guest"}),
        json!({"type": "LockRoom"}),
        json!({"type": "LockRoom", "isLocked": null}),
        json!({"type": "SendMessage", "text": ["x"]}),
        json!({"type": "MuteParticipant"}),
    ] {
        alice.refused(command, "bad_request").await;
    }
    assert_eq!(alice.seq(), 1, "nothing happened");
}

async fn binary_messages_are_answered_and_the_connection_lives(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let mut alice = room.alice().await;
    for bytes in [
        vec![],
        vec![0xff; 1000],
        b"{\"type\":\"EndRoom\",\"id\":1}".to_vec(),
    ] {
        alice.send_message(Message::binary(bytes)).await;
        let error = alice.next_of("Error").await;
        assert_eq!(error["code"], "bad_request", "{error}");
    }
    alice
        .command(json!({"type": "UpdateState", "isHandRaised": true}))
        .await;
}

async fn what_only_some_parsers_read_is_not_relayed(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let (mut alice, mut bob) = room.alice_and_bob().await;
    let target = bob.user_id();
    for sdp in [r#""\ud800""#, r#"{"a":"\udc00x"}"#, r#"{"a":1e400}"#] {
        expect_bad_request(
            &mut alice,
            &format!(
                "{{\"type\":\"SendOffer\",\"id\":2,\"targetUserId\":\"{target}\",\"sdp\":{sdp}}}"
            ),
        )
        .await;
    }
    alice
        .send(json!({"type": "SendOffer", "targetUserId": target, "sdp": "v=0"}))
        .await;
    let offer = bob.next_of("ReceiveOffer").await;
    assert_eq!(offer["sdp"], "v=0", "the first that came through");
}

async fn unknown_fields_are_ignored(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let mut alice = room.alice().await;
    let command =
        json!({"type": "UpdateState", "isVideoOn": true, "newInV2": {"a": [1]}, "isAway": true});
    alice.command(command).await;
    let me = alice.user_id();
    assert_eq!(alice.sees(&me)["isVideoOn"], true);
    assert_eq!(alice.sees(&me)["isAway"], false, "not for clients to set");
}

async fn joining_is_done_once_and_for_the_room_of_the_path(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let elsewhere = TestRoom::new(&server).await;
    let mut alice = room.alice().await;
    let again = json!({"type": "JoinRoom", "roomId": room.room_id, "token": room.host.token});
    alice.refused(again.clone(), "bad_request").await;
    alice
        .command(json!({"type": "UpdateState", "isHandRaised": true}))
        .await;

    let mut astray = elsewhere.client(&elsewhere.host);
    astray.connect().await;
    astray
        .refused(json!({"type": "LockRoom", "isLocked": true}), "not_in_room")
        .await;
    let other_room = astray.send(again).await;
    assert_eq!(other_room["code"], "bad_request", "{other_room}");
    assert_eq!(room.show().await["live"]["participantCount"], 1);
}

async fn whoever_does_not_join_in_time_is_sent_away(backend: Backend) {
    let plan = Server::on(backend).set("CONNECTION__JOIN_TIMEOUT_MS", 300);
    let server = plan.start().await;
    let room = TestRoom::new(&server).await;
    let mut silent = room.client(&room.host);
    silent.connect().await;
    silent.expect_goodbye("timeout", 1008, "reconnect").await;
    // Talking is not joining.
    silent.connect().await;
    silent.send_text("{\"type\":\"KeepAlive\"}").await;
    silent.expect_goodbye("timeout", 1008, "reconnect").await;
    let mut alice = room.alice().await;
    alice
        .command(json!({"type": "UpdateState", "isHandRaised": true}))
        .await;
}
