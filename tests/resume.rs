//! Resume over the wire: what a person finds who lost the connection and comes back.

mod common;

use common::{
    client::{TestClient, assert_same_events},
    scenario::{Person, TestRoom, eventually},
    server::{Backend, Server},
    view::{list, seq_of, text},
};
use serde_json::{Value, json};

on_both_backends!(
    missed_events_are_replayed_in_order,
    a_tail_too_short_is_told_by_a_snapshot,
    a_client_ahead_of_the_room_gets_a_snapshot,
    a_repeated_command_takes_effect_once,
    an_unmarked_id_in_the_window_is_executed,
    the_previous_token_is_valid_until_the_newer_connection_speaks,
    a_wrong_resume_token_begins_a_new_stay,
    an_ended_stay_cannot_be_resumed,
    a_resume_replaces_an_open_connection_silently,
    a_resume_asks_no_second_admission,
    commands_right_behind_the_join_are_handled_after_it,
);

async fn drop_seen_by(person: &mut TestClient, watcher: &mut TestClient) {
    person.drop_abruptly().await;
    let user_id = person.user_id();
    watcher
        .next("away", |frame| {
            frame["isAway"] == true && frame["userId"] == user_id && frame["seq"].is_u64()
        })
        .await;
}

async fn missed_events_are_replayed_in_order(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let (mut alice, mut bob) = room.alice_and_bob().await;
    let (stay, token) = {
        let view = bob.look();
        (view.connection_id.clone(), view.resume_token.clone())
    };
    drop_seen_by(&mut bob, &mut alice).await;
    alice
        .command(json!({"type": "SendMessage", "text": "did you hear this?"}))
        .await;
    alice
        .command(json!({"type": "LockRoom", "isLocked": true}))
        .await;
    let resumed = bob.resume().await;
    let missed = list(&resumed, "missed");
    let kinds: Vec<&str> = missed.iter().map(|event| text(event, "type")).collect();
    assert!(
        kinds.starts_with(&["StateChanged", "MessageReceived", "RoomLocked"]),
        "{kinds:?}"
    );
    assert_ne!(resumed["connectionId"], stay);
    assert_ne!(resumed["resumeToken"], token, "new at every resume");
    assert_eq!(bob.look().room["isLocked"], true);
    let ack = bob
        .command(json!({"type": "SendMessage", "text": "yes"}))
        .await;
    alice.until_seq(seq_of(&ack)).await;
    assert_same_events(&alice, &bob);
    assert_eq!(alice.look().people(), bob.look().people());
}

async fn a_tail_too_short_is_told_by_a_snapshot(backend: Backend) {
    let plan = Server::on(backend).set("LIMITS__TAIL_EVENTS_MAX", 4);
    let server = plan.start().await;
    let room = TestRoom::new(&server).await;
    let (mut alice, mut bob) = room.alice_and_bob().await;
    drop_seen_by(&mut bob, &mut alice).await;
    for number in 0..6 {
        alice
            .command(json!({"type": "SendMessage", "text": format!("{number}")}))
            .await;
    }
    let session = bob.look().session_id.clone();
    let joined = bob.try_resume().await;
    assert_eq!(joined["type"], "RoomJoined", "{joined}");
    assert_eq!(joined["isSnapshotAfterGap"], true);
    assert_eq!(joined["sessionId"], session);
    let ack = bob
        .command(json!({"type": "SendMessage", "text": "back"}))
        .await;
    alice.until_seq(seq_of(&ack)).await;
    assert_eq!(alice.look().people(), bob.look().people());
}

async fn a_client_ahead_of_the_room_gets_a_snapshot(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let (alice, mut bob) = room.alice_and_bob().await;
    bob.drop_abruptly().await;
    let resume = {
        let view = bob.look();
        json!({"connectionId": view.connection_id, "resumeToken": view.resume_token, "lastSeq": 1_000})
    };
    let joined = bob.resume_with(resume).await;
    assert_eq!(joined["type"], "RoomJoined", "{joined}");
    assert_eq!(joined["isSnapshotAfterGap"], true);
    alice.until_seq(bob.seq()).await;
    assert_eq!(alice.look().participants.len(), 2, "the same stay");
}

async fn a_repeated_command_takes_effect_once(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let (alice, mut bob) = room.alice_and_bob().await;
    let once = json!({"type": "SendMessage", "text": "only once"});
    let id = bob.post(once.clone()).await;
    let first = bob.answer(id).await;
    assert_eq!(first["type"], "Ack");
    bob.drop_abruptly().await;
    bob.resume().await;
    bob.post_as(id, once.clone()).await;
    let second = bob.answer(id).await;
    assert_eq!(second["type"], "Ack", "{second}");
    assert!(second["seq"].as_u64() >= first["seq"].as_u64());
    bob.post_as(id, once).await;
    bob.answer(id).await;
    let after = bob
        .command(json!({"type": "SendMessage", "text": "after"}))
        .await;
    alice.until_seq(seq_of(&after)).await;
    assert_eq!(times_heard(&alice, "only once"), 1);
}

fn times_heard(client: &TestClient, words: &str) -> usize {
    let view = client.look();
    view.events
        .values()
        .filter(|event| event["text"] == words)
        .count()
}

async fn an_unmarked_id_in_the_window_is_executed(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let (alice, mut bob) = room.alice_and_bob().await;
    bob.post_as(50, json!({"type": "SendMessage", "text": "fifty"}))
        .await;
    bob.answer(50).await;
    bob.post_as(49, json!({"type": "SendMessage", "text": "forty-nine"}))
        .await;
    assert_eq!(bob.answer(49).await["type"], "Ack");
    // Refused commands do not count: the same id may be used again.
    bob.post_as(51, json!({"type": "EndRoom"})).await;
    assert_eq!(bob.answer(51).await["code"], "forbidden");
    bob.post_as(51, json!({"type": "SendMessage", "text": "fifty-one"}))
        .await;
    assert_eq!(bob.answer(51).await["type"], "Ack");
    bob.post_as(200, json!({"type": "SendMessage", "text": "two hundred"}))
        .await;
    let last = bob.answer(200).await;
    bob.post_as(100, json!({"type": "SendMessage", "text": "too late"}))
        .await;
    assert_eq!(
        bob.answer(100).await["code"],
        "bad_request",
        "below the window"
    );
    alice.until_seq(seq_of(&last)).await;
    for (words, times) in [
        ("fifty", 1),
        ("forty-nine", 1),
        ("fifty-one", 1),
        ("too late", 0),
    ] {
        assert_eq!(times_heard(&alice, words), times, "{words}");
    }
}

async fn the_previous_token_is_valid_until_the_newer_connection_speaks(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let (mut alice, mut bob) = room.alice_and_bob().await;
    let (old, seq) = {
        let view = bob.look();
        (view.resume_token.clone(), view.seq)
    };
    let connection = bob.look().connection_id.clone();
    let with_old = json!({"connectionId": connection, "resumeToken": old, "lastSeq": seq});
    bob.drop_abruptly().await;
    bob.resume().await;
    // The answer may have been lost: the old token still works, from what had been seen with it.
    bob.drop_abruptly().await;
    bob.look().seq = seq;
    let resumed = bob.resume_with(with_old.clone()).await;
    assert_eq!(resumed["type"], "RoomResumed", "{resumed}");
    // Now the newest is presented: the old one is worth nothing any more.
    bob.drop_abruptly().await;
    bob.resume().await;
    bob.command(json!({"type": "UpdateState", "isVideoOn": true}))
        .await;
    bob.drop_abruptly().await;
    let joined = bob.resume_with(with_old).await;
    assert_eq!(joined["type"], "RoomJoined", "a new stay: {joined}");
    assert_eq!(joined["isSnapshotAfterGap"], false);
    alice.until_seq(bob.seq()).await;
    let left = alice.next_of("ParticipantLeft").await;
    assert_eq!(left["reason"], "superseded");
}

async fn a_wrong_resume_token_begins_a_new_stay(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let (mut alice, mut bob) = room.alice_and_bob().await;
    bob.drop_abruptly().await;
    "wrong".clone_into(&mut bob.look().resume_token);
    let joined = bob.try_resume().await;
    assert_eq!(joined["type"], "RoomJoined", "{joined}");
    assert_eq!(
        alice.next_of("ParticipantLeft").await["reason"],
        "superseded"
    );
    alice.next_of("ParticipantJoined").await;
    // A token is good for its own holder only.
    let stolen = bob.look().resume_token.clone();
    alice.drop_abruptly().await;
    alice.look().resume_token = stolen;
    let joined = alice.try_resume().await;
    assert_eq!(joined["type"], "RoomJoined", "{joined}");
    assert_eq!(joined["self"]["userId"], alice.user_id());
}

async fn an_ended_stay_cannot_be_resumed(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let mut alice = room.alice().await;
    for (how, code) in [
        ("left", "forbidden"),
        ("removed", "forbidden"),
        ("superseded", "superseded"),
        ("banned", "banned"),
    ] {
        let person = room.person(how).await;
        let mut gone = room.joined(&person).await;
        let remove =
            json!({"type": "RemoveParticipant", "userId": person.user_id, "ban": how == "banned"});
        match how {
            "left" => drop(gone.command(json!({"type": "LeaveRoom"})).await),
            "superseded" => drop(room.joined(&person).await),
            _ => drop(alice.command(remove).await),
        }
        gone.closed().await;
        let refused = gone.try_resume().await;
        assert_eq!(
            (&refused["type"], &refused["code"]),
            (&json!("Error"), &json!(code)),
            "{how}"
        );
        gone.closed().await;
        let goodbye = gone
            .look()
            .goodbye
            .clone()
            .expect("an orderly close has one");
        assert_eq!(goodbye["action"], "stop", "{how}: {goodbye}");
    }
}

async fn a_resume_replaces_an_open_connection_silently(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let (mut alice, bob) = room.alice_and_bob().await;
    let mut newer = room.client(&room.host);
    newer.token = bob.token.clone();
    let resume = {
        let view = bob.look();
        json!({"connectionId": view.connection_id, "resumeToken": view.resume_token, "lastSeq": 1})
    };
    newer.look().seq = 1;
    let alice_seen = alice.look().participants.clone();
    newer.look().participants = alice_seen;
    newer.look().participants.remove(&bob.user_id());
    let resumed = newer.resume_with(resume).await;
    assert_eq!(resumed["type"], "RoomResumed", "{resumed}");
    bob.expect_goodbye("superseded", 4001, "stop").await;
    let ack = newer
        .command(json!({"type": "UpdateState", "isVideoOn": true}))
        .await;
    assert_eq!(
        ack["seq"], 3,
        "two joins and this: nobody was told of the resume"
    );
    alice.next_of("StateChanged").await;
}

async fn a_resume_asks_no_second_admission(backend: Backend) {
    let server = Server::on(backend).start().await;
    let settings = json!({"isLobbyEnabled": true, "maxParticipants": 2});
    let room = TestRoom::with(&server, settings).await;
    let mut alice = room.alice().await;
    let person = room.person("Bob").await;
    let mut bob = room.client(&person);
    let carol = room.person("Carol").await;
    // Long enough to join in, short enough to wait for its end.
    bob.token = short_token(&server, &room, &person);
    let mut late = room.client(&carol);
    late.token = short_token(&server, &room, &carol);
    assert_eq!(bob.try_join().await["type"], "LobbyWaiting");
    alice
        .command(json!({"type": "AdmitParticipant", "userId": person.user_id}))
        .await;
    bob.next_of("RoomJoined").await;
    alice
        .command(json!({"type": "LockRoom", "isLocked": true}))
        .await;
    bob.drop_abruptly().await;
    let body = json!({"settings": {"allowedRoles": ["host"], "maxParticipants": 1}});
    room.api.patch(&room.path(""), body).await.expect(200);
    eventually("tokens of that age are expired", async || {
        let refused = late.try_join().await;
        (refused["code"] == "unauthorized").then_some(())
    })
    .await;
    bob.resume().await;
    bob.command(json!({"type": "UpdateState", "isHandRaised": true}))
        .await;
    alice
        .next("the hand", |frame| {
            frame["isHandRaised"] == true && frame["seq"].is_u64()
        })
        .await;
}

/// A join token of three seconds, minted on the command line.
fn short_token(server: &Server, room: &TestRoom, person: &Person) -> String {
    let arguments = ["token", "--room", &room.room_id, "--user", &person.user_id];
    let rest = ["--role", "guest", "--name", &person.name, "--ttl-secs", "3"];
    let output = server.command(&[&arguments[..], &rest[..]].concat());
    assert!(output.status.success(), "{output:?}");
    let printed = String::from_utf8(output.stdout).expect("text");
    printed.trim().to_owned()
}

async fn commands_right_behind_the_join_are_handled_after_it(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let mut alice = room.client(&room.host);
    alice.connect().await;
    let join = json!({"type": "JoinRoom", "roomId": room.room_id, "token": room.host.token});
    let join = alice.post(join).await;
    let raise = alice
        .post(json!({"type": "UpdateState", "isHandRaised": true}))
        .await;
    let say = alice
        .post(json!({"type": "SendMessage", "text": "hi"}))
        .await;
    assert_eq!(alice.answer(say).await["type"], "Ack");
    let order: Vec<Value> = {
        let view = alice.look();
        view.frames
            .iter()
            .filter_map(|frame| frame.get("id").cloned())
            .collect()
    };
    assert_eq!(order, [json!(join), json!(raise), json!(say)]);
    assert_eq!(alice.seq(), 3);
}
