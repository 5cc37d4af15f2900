//! The process of the server ends: killed, or stopped by a signal.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::common::{
    client::{TestClient, assert_same_events},
    scenario::{TestRoom, attendance_of, within_deadline},
    server::{Backend, Server},
    view::{list, seq_of, text},
};

crate::on_both_backends!(
    a_meeting_survives_kill_nine,
    a_participant_that_does_not_return_after_a_crash_leaves,
    a_meeting_that_nobody_returns_to_is_closed_once,
    sigterm_says_goodbye_and_exits_with_zero,
);

/// Time without a server, so that its death and its successor's start differ.
const DEAD_FOR: Duration = Duration::from_secs(3);
/// The age of the last heartbeat of a killed server, at most.
const LAST_HEARTBEAT_MAX: chrono::TimeDelta = chrono::TimeDelta::milliseconds(2_500);

async fn a_meeting_survives_kill_nine(backend: Backend) {
    const COMMANDS: usize = 60;
    const ANSWERED_BEFORE: usize = 20;
    let mut server = Server::on(backend)
        .set("ROOM__TAKEOVER_QUIET_MS", 20_000)
        .start()
        .await;
    let room = TestRoom::new(&server).await;
    let (mut alice, mut bob) = room.alice_and_bob().await;
    let mut carol = room.attendee("Carol").await;
    alice
        .command(json!({"type": "SetRole", "userId": carol.user_id(), "role": "host"}))
        .await;
    carol
        .command(json!({"type": "UpdateState", "isMuted": true, "isHandRaised": true}))
        .await;
    carol
        .command(json!({"type": "LockRoom", "isLocked": true}))
        .await;
    bob.until_seq(carol.seq()).await;
    let session = alice.look().session_id.clone();
    let people = alice.look().people();

    let mut said = Vec::new();
    for number in 0..COMMANDS {
        let message = json!({"type": "SendMessage", "text": format!("message {number}")});
        said.push((bob.post(message.clone()).await, message));
    }
    bob.answer(said[ANSWERED_BEFORE].0).await;
    server.kill9();
    for person in [&alice, &bob, &carol] {
        person.closed().await;
    }
    let acked = acknowledged(&bob, &said);
    assert!(acked.len() > ANSWERED_BEFORE);
    server.restart().await;
    join_all([&mut alice, &mut bob, &mut carol].map(TestClient::resume)).await;

    for (id, message) in &said {
        if !acked.contains(id) {
            bob.post_as(*id, message.clone()).await;
            assert_eq!(bob.answer(*id).await["type"], "Ack");
        }
    }
    let last = bob
        .command(json!({"type": "SendMessage", "text": "all there?"}))
        .await;
    for person in [&alice, &bob, &carol] {
        person.until_seq(seq_of(&last)).await;
        expect_nothing_lost(person, &said, &session);
        assert_eq!(person.look().people(), people);
        assert_same_events(&alice, person);
    }
    carol.command(json!({"type": "EndRoom"})).await;
    let recorded = room.closed_session().await;
    assert_eq!(recorded["id"], session);
    assert_eq!(list(&recorded, "attendances").len(), 3);
    let stay = attendance_of(&recorded, &carol.user_id());
    assert_eq!(
        (&stay["role"], &stay["leaveReason"]),
        (&json!("host"), &json!("ended"))
    );
    assert_eq!(stay["joinedAt"], people[&carol.user_id()]["joinedAt"]);
}

fn acknowledged(client: &TestClient, said: &[(u64, Value)]) -> Vec<u64> {
    let view = client.look();
    let ids = said.iter().map(|(id, _)| *id);
    ids.filter(|id| view.answers.contains_key(id)).collect()
}

fn expect_nothing_lost(person: &TestClient, said: &[(u64, Value)], session: &str) {
    let view = person.look();
    assert_eq!(view.session_id, session);
    assert_eq!(view.room["isLocked"], true);
    for (_, message) in said {
        let heard = view
            .events
            .values()
            .filter(|event| event["text"] == message["text"]);
        assert_eq!(heard.count(), 1, "{} heard {message}", person.name);
    }
    let away = view
        .events
        .values()
        .find(|event| event["isAway"] == true && event["type"] == "StateChanged");
    assert_eq!(
        away, None,
        "everybody was back before anybody was shown as away"
    );
}

async fn a_participant_that_does_not_return_after_a_crash_leaves(backend: Backend) {
    let mut server = Server::on(backend)
        .set("ROOM__TAKEOVER_QUIET_MS", 500)
        .set("ROOM__RECONNECT_GRACE_MS", 1_500)
        .start()
        .await;
    let room = TestRoom::new(&server).await;
    let (mut alice, bob) = room.alice_and_bob().await;
    server.restart().await;
    alice.resume().await;
    let away = alice
        .next("Bob away", |frame| {
            frame["isAway"] == true && frame["seq"].is_u64()
        })
        .await;
    assert_eq!(away["userId"], bob.user_id());
    let left = alice.next_of("ParticipantLeft").await;
    assert_eq!(
        (&left["userId"], &left["reason"]),
        (&json!(bob.user_id()), &json!("timeout"))
    );
    alice.command(json!({"type": "EndRoom"})).await;
    assert_eq!(list(&room.closed_session().await, "attendances").len(), 2);
}

async fn a_meeting_that_nobody_returns_to_is_closed_once(backend: Backend) {
    let mut server = Server::on(backend)
        .set("ROOM__TAKEOVER_QUIET_MS", 100)
        .set("ROOM__RECONNECT_GRACE_MS", 500)
        .set("ROOM__DEPARTURE_TIMEOUT_MS", 300)
        .start()
        .await;
    let room = TestRoom::new(&server).await;
    let (alice, bob) = room.alice_and_bob().await;
    server.kill9();
    let died_at = chrono::Utc::now();
    tokio::time::sleep(DEAD_FOR).await;
    server.restart().await;
    let session = room.closed_session().await;
    for time in ["endTime"]
        .map(|field| text(&session, field))
        .into_iter()
        .chain(
            list(&session, "attendances")
                .iter()
                .map(|stay| text(stay, "leftAt")),
        )
    {
        let ended_at: chrono::DateTime<chrono::Utc> = time.parse().expect("a time");
        let early = died_at - ended_at;
        assert!(
            early >= chrono::TimeDelta::zero() && early <= LAST_HEARTBEAT_MAX,
            "died at {died_at}, ended at {ended_at}"
        );
    }
    assert_eq!(session["id"], alice.look().session_id);
    assert_eq!(session["endReason"], "empty");
    for person in [&alice, &bob] {
        let stay = attendance_of(&session, &person.user_id());
        assert_eq!(stay["leaveReason"], "timeout");
        assert!(text(&stay, "joinedAt") <= text(&stay, "leftAt"));
    }
    room.until_status("COMPLETED").await;
    server.restart().await;
    room.closed_session().await;
}

async fn sigterm_says_goodbye_and_exits_with_zero(backend: Backend) {
    let mut server = Server::on(backend)
        .set("ROOM__TAKEOVER_QUIET_MS", 20_000)
        .start()
        .await;
    let room = TestRoom::new(&server).await;
    let (mut alice, mut bob) = room.alice_and_bob().await;
    let status = server.terminate().await;
    assert_eq!(status.code(), Some(0), "{}", server.log());
    for person in [&alice, &bob] {
        person.expect_goodbye("draining", 1001, "reconnect").await;
    }
    server.restart().await;
    join_all([&mut alice, &mut bob].map(TestClient::resume)).await;
    let ack = bob
        .command(json!({"type": "SendMessage", "text": "on we go"}))
        .await;
    alice.until_seq(seq_of(&ack)).await;
    assert_same_events(&alice, &bob);
    assert_eq!(alice.look().participants.len(), 2);
    assert_eq!(
        server.signal("INT").await.code(),
        Some(0),
        "{}",
        server.log()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_in_a_big_room_is_told_before_the_process_ends() {
    within_deadline(goodbye_to_many()).await;
}

async fn goodbye_to_many() {
    const PEOPLE: usize = 300;
    let mut server = Server::on(Backend::RedisPostgres)
        .set("HTTP__WORKERS", 1)
        .start()
        .await;
    let room = TestRoom::with(&server, json!({"maxParticipants": PEOPLE})).await;
    let mut people = Vec::new();
    for number in 0..PEOPLE {
        let guest = room.guest(&format!("Guest {number}")).await;
        people.push(room.joined(&guest).await);
    }
    let status = server.terminate().await;
    assert_eq!(status.code(), Some(0), "{}", server.log());
    for person in &people {
        person.expect_goodbye("draining", 1001, "reconnect").await;
    }
}
