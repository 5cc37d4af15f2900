//! A whole meeting: from the first user to the rows of its history, on both backends.

mod common;

use std::collections::BTreeMap;

use callboard::load::client::Participants;
use common::{
    client::{TestClient, assert_same_events},
    scenario::{TestRoom, attendance_of, eventually, within_deadline},
    server::{Backend, Server},
    view::{list, seq_of, text},
};
use serde_json::{Value, json};

on_both_backends!(
    two_people_meet_and_their_history_is_in_sql,
    a_completed_room_begins_a_new_session,
    fifty_of_two_hundred_simultaneous_joins_get_a_seat,
    everybody_sees_the_same_events,
);

async fn two_people_meet_and_their_history_is_in_sql(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    assert_eq!(room.show().await["status"], "SCHEDULED");

    let mut alice = room.alice().await;
    let bob_person = room.person("Bob").await;
    let mut bob = room.client(&bob_person);
    let joined = bob.join().await;
    expect_complete_snapshot(&joined, &room, &bob_person.user_id);
    let seen = alice.next_of("ParticipantJoined").await;
    assert_eq!(seen["userId"], bob_person.user_id);
    assert_eq!(seen["displayName"], "Bob");
    assert_eq!(seen["role"], "attendee");
    assert_eq!(seen["seq"], joined["seq"]);
    let shown = room.show().await;
    assert_eq!(shown["status"], "ACTIVE");
    assert_eq!(shown["live"]["participantCount"], 2);

    let was_muted = joined["self"]["isMuted"].as_bool().expect("a flag");
    let ack = bob
        .command(json!({"type": "UpdateState", "isMuted": !was_muted}))
        .await;
    assert_eq!(ack["durable"], true);
    for person in [&mut alice, &mut bob] {
        let changed = person.next_of("StateChanged").await;
        assert_eq!(changed["seq"], seq_of(&joined) + 1);
        assert_eq!(changed["seq"], ack["seq"]);
        assert_eq!(changed["userId"], bob_person.user_id);
        assert_eq!(changed["isMuted"], !was_muted);
    }

    end_for_all(&mut alice, &bob).await;
    assert_same_events(&alice, &bob);
    expect_history(&room, &alice, &bob).await;
}

fn expect_complete_snapshot(joined: &Value, room: &TestRoom, user_id: &str) {
    for field in ["sessionId", "connectionId", "resumeToken"] {
        assert!(joined[field].is_string(), "{field}: {joined}");
    }
    assert_eq!(joined["durable"], true, "{joined}");
    assert_eq!(joined["isSnapshotAfterGap"], false, "{joined}");
    assert_eq!(joined["room"]["roomId"], room.room_id);
    assert_eq!(joined["room"]["isLocked"], false);
    assert_eq!(joined["room"]["isRecording"], false);
    assert_eq!(joined["room"]["settings"]["maxParticipants"], 100);
    assert_eq!(joined["room"]["sfuRegion"], "local");
    assert!(joined["room"]["startTime"].is_string());
    assert_eq!(joined["self"]["userId"], user_id);
    assert_eq!(joined["self"]["connectionId"], joined["connectionId"]);
    for field in ["isVideoOn", "isScreenSharing", "isHandRaised", "isAway"] {
        assert!(joined["self"][field].is_boolean(), "{field}: {joined}");
    }
    let everybody = list(joined, "participants");
    assert_eq!(everybody.len(), 2);
    assert!(everybody.contains(&joined["self"]), "oneself is included");
}

/// Event, then `Ack`, then `Goodbye`, then the close.
async fn end_for_all(alice: &mut TestClient, bob: &TestClient) {
    let ack = alice.command(json!({"type": "EndRoom"})).await;
    for person in [&*alice, bob] {
        person.expect_goodbye("ended", 4004, "stop").await;
        let view = person.look();
        let ended = view.events.last_key_value().expect("there were events").1;
        assert_eq!(ended["type"], "RoomEnded");
        assert_eq!(ended["reason"], "ended");
        assert_eq!(ended["seq"], ack["seq"]);
    }
    let view = alice.look();
    let last: Vec<&str> = view
        .frames
        .iter()
        .map(|frame| text(frame, "type"))
        .collect();
    assert_eq!(last[last.len() - 3..], ["RoomEnded", "Ack", "Goodbye"]);
}

async fn expect_history(room: &TestRoom, alice: &TestClient, bob: &TestClient) {
    let session = room.closed_session().await;
    assert_eq!(session["id"], alice.look().session_id);
    assert_eq!(session["roomId"], room.room_id);
    assert_eq!(session["endReason"], "ended");
    assert_eq!(session["recordingUrl"], Value::Null);
    assert_eq!(list(&session, "attendances").len(), 2);
    let host = attendance_of(&session, &alice.user_id());
    let guest = attendance_of(&session, &bob.user_id());
    assert_eq!(
        (&host["role"], &guest["role"]),
        (&json!("host"), &json!("attendee"))
    );
    assert_eq!(guest["displayName"], "Bob");
    assert_eq!(session["startTime"], host["joinedAt"]);
    for attendance in [&host, &guest] {
        assert_eq!(attendance["leaveReason"], "ended");
        assert_eq!(attendance["leftAt"], session["endTime"]);
        assert!(text(attendance, "joinedAt") <= text(attendance, "leftAt"));
    }
    assert!(text(&session, "endTime") > text(&session, "startTime"));
    let listed = &room.sessions().await[0];
    assert!(
        listed["attendances"].is_null(),
        "only in the single session"
    );
    room.until_status("COMPLETED").await;
}

async fn a_completed_room_begins_a_new_session(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let mut ids = Vec::new();
    for count in 1..=2 {
        let mut alice = room.alice().await;
        ids.insert(0, alice.look().session_id.clone());
        assert_eq!(room.show().await["status"], "ACTIVE");
        alice.command(json!({"type": "EndRoom"})).await;
        alice.expect_goodbye("ended", 4004, "stop").await;
        let sessions = room.closed_sessions(count).await;
        let listed: Vec<_> = sessions.iter().map(|one| text(one, "id")).collect();
        assert_eq!(listed, ids, "newest first");
    }
}

async fn fifty_of_two_hundred_simultaneous_joins_get_a_seat(backend: Backend) {
    const ASKING: usize = 200;
    const SEATS: usize = 50;
    let server = Server::on(backend).start().await;
    let room = TestRoom::with(&server, json!({"maxParticipants": SEATS})).await;
    let mut clients = Vec::new();
    for number in 0..ASKING {
        clients.push(room.client(&room.guest(&format!("Guest {number}")).await));
    }
    let asking = clients.into_iter().map(|mut client| {
        tokio::spawn(async move {
            let first = client.try_join().await;
            (client, first)
        })
    });
    let mut inside = Vec::new();
    let mut refused = 0;
    for (client, first) in futures_util::future::join_all(asking)
        .await
        .into_iter()
        .map(|joined| joined.expect("no panic"))
    {
        match text(&first, "type") {
            "RoomJoined" => inside.push(client),
            _ => {
                assert_eq!(first["code"], "room_full", "{first}");
                client.expect_goodbye("room_full", 1008, "rejoin").await;
                refused += 1;
            }
        }
    }
    assert_eq!((inside.len(), refused), (SEATS, ASKING - SEATS));
    assert_eq!(room.show().await["live"]["participantCount"], SEATS);
    let last = inside.iter().map(TestClient::seq).max();
    let last = last.expect("somebody is inside");
    assert_eq!(last, SEATS as u64, "one event per seat");
    for client in &inside {
        client.until_seq(last).await;
        assert_eq!(client.look().participants.len(), SEATS);
    }
}

async fn everybody_sees_the_same_events(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let mut people = vec![room.alice().await];
    for name in ["Bob", "Carol", "Dave"] {
        people.push(room.attendee(name).await);
    }
    for round in 0..10 {
        for person in &mut people {
            person
                .post(json!({"type": "SendMessage", "text": format!("round {round}")}))
                .await;
            person
                .post(json!({"type": "UpdateState", "isHandRaised": round % 2 == 0}))
                .await;
        }
    }
    let last = 4 + 10 * 4 * 2;
    people[0].until_seq(last).await;
    let everybody = people[0].look().participants.clone();
    for person in &people {
        person.until_seq(last).await;
        assert_same_events(&people[0], person);
        assert_eq!(person.look().participants, everybody);
    }
    let listed = room.api.get(&room.path("/participants")).await.expect(200);
    let listed = Participants::of(&list(&listed, "items"));
    assert_eq!(listed, everybody);
}

/// `examples/meeting.py`, as README shows it, by Python's `websockets`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_python_client_holds_the_meeting_of_the_readme() {
    let Some(python) = std::env::var_os("CALLBOARD_TEST_PYTHON") else {
        eprintln!("skipped: CALLBOARD_TEST_PYTHON names no Python that has `websockets`");
        return;
    };
    within_deadline(async {
        let server = Server::on(Backend::Embedded).start().await;
        let mut command = tokio::process::Command::new(python);
        command
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/meeting.py"))
            .args(["--url", &server.api.base, "--key-file"])
            .arg(server.data().join("api-key"))
            .kill_on_drop(true);
        let output = command.output().await.expect("Python runs");
        assert!(output.status.success(), "{output:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_shows_the_live_room_with_the_fields_of_the_data_model() {
    within_deadline(async {
        let server = Server::on(Backend::RedisPostgres).start().await;
        let room = TestRoom::with(&server, json!({"isRecordingEnabled": true})).await;
        let (mut alice, mut bob) = room.alice_and_bob().await;
        bob.command(json!({"type": "UpdateState", "isMuted": true, "isVideoOn": true}))
            .await;
        alice.command(json!({"type": "StartRecording"})).await;
        alice
            .command(json!({"type": "LockRoom", "isLocked": true}))
            .await;

        let key = format!("room:{{{}}}", room.room_id);
        expect_room_hash(&server.outside().hash(&key), &room, &alice);
        let seats = server.outside().hash(&format!("{key}:participants"));
        assert_eq!(seats.len(), 2);
        for person in [&alice, &bob] {
            let seat: Value = serde_json::from_str(&seats[&person.user_id()]).expect("JSON");
            let seen = alice.sees(&person.user_id());
            for (field, value) in seen.as_object().expect("an object") {
                let is_key = field == "userId";
                assert!(is_key || &seat[field] == value, "{field} of {seat}");
            }
            assert!(seat["stayId"].is_string());
            let raw = seats[&person.user_id()].clone();
            assert!(!raw.contains(&person.look().resume_token), "hashes only");
        }
        assert!(server.outside().seconds_to_live(&key) > 0);

        alice.command(json!({"type": "EndRoom"})).await;
        room.closed_session().await;
        eventually("no key of the room is left", async || {
            let left = server.outside().keys(&format!("*{}*", room.room_id));
            left.is_empty().then_some(())
        })
        .await;
    })
    .await;
}

fn expect_room_hash(hash: &BTreeMap<String, String>, room: &TestRoom, alice: &TestClient) {
    let view = alice.look();
    let is = |field: &str, value: &str| assert_eq!(hash[field], value, "{field} of {hash:?}");
    is("sfuRegion", "local");
    is("participantCount", "2");
    is("isRecording", "true");
    is("isLocked", "true");
    is("seq", &view.seq.to_string());
    is("sessionId", &view.session_id);
    is("startTime", text(&view.room, "startTime"));
    is("hostUserId", &room.host.user_id);
    let settings: Value = serde_json::from_str(&hash["settings"]).expect("JSON");
    assert_eq!(settings, view.room["settings"]);
    for number in ["epoch", "version"] {
        assert!(
            hash[number].parse::<u64>().is_ok_and(|value| value > 0),
            "{number}: {hash:?}"
        );
    }
    for field in ["owner", "tenantId", "epochStarts", "format"] {
        assert!(hash.contains_key(field), "{field}: {hash:?}");
    }
    let start = &hash["startTime"];
    assert!(
        start.ends_with('Z') && start.len() == "2026-11-22T16:18:51.120Z".len(),
        "{start}"
    );
}
