//! What people notice when the process, SQL or Redis goes away in the middle of a meeting.

mod common;

use std::time::{Duration, Instant};

use common::{
    client::{TestClient, assert_same_events},
    redis::Data,
    scenario::{TestRoom, attendance_of, eventually, within_deadline},
    server::{Backend, Server},
    view::{list, seq_of, text},
};
use futures_util::future::join_all;
use serde_json::{Value, json};

on_both_backends!(
    a_meeting_survives_kill_nine,
    whoever_does_not_return_after_a_crash_leaves,
    a_meeting_that_nobody_returns_to_is_closed_once,
    sigterm_says_goodbye_and_exits_with_zero,
);

/// How long Redis stays away: more than twice the own deadline.
const OUTAGE: Duration = Duration::from_secs(10);
/// How long a killed server stays away, so that its death and its successor's start are told apart.
const DEAD_FOR: Duration = Duration::from_secs(3);
/// Age of the last heartbeat of a killed server, at most.
const LAST_HEARTBEAT_MAX: chrono::TimeDelta = chrono::TimeDelta::milliseconds(2_500);
/// Between two commands during an outage.
const TALK_INTERVAL: Duration = Duration::from_millis(250);

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

async fn whoever_does_not_return_after_a_crash_leaves(backend: Backend) {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_end_while_sql_is_down_are_recorded_once() {
    within_deadline(sessions_end_without_sql(false)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_end_while_sql_is_down_survive_the_process() {
    within_deadline(sessions_end_without_sql(true)).await;
}

async fn sessions_end_without_sql(is_killed_in_between: bool) {
    let plan = Server::on(Backend::RedisPostgres).own_postgres();
    let mut server = plan.start().await;
    let room = TestRoom::new(&server).await;
    let (mut alice, bob) = room.alice_and_bob().await;
    let mut ids = vec![alice.look().session_id.clone()];
    server.outside().postgres.stop();

    let ack = alice.command(json!({"type": "EndRoom"})).await;
    assert_eq!(ack["durable"], true, "the mirror keeps it");
    bob.expect_goodbye("ended", 4004, "stop").await;
    alice.closed().await;
    let joined = alice.join().await;
    ids.insert(0, text(&joined, "sessionId").to_owned());
    assert_ne!(ids[0], ids[1], "a new session begins at once");
    alice.command(json!({"type": "EndRoom"})).await;
    alice.closed().await;
    let away = server.api.get("/v1/users").await;
    assert!(!away.header("retry-after").is_empty(), "{:?}", away.headers);
    away.expect_problem(503, "unavailable");

    if is_killed_in_between {
        server.kill9();
        server.outside().postgres.start_again();
        server.restart().await;
    } else {
        eventually("/readyz says degraded", async || {
            let ready = server.api.get("/readyz").await.expect(200);
            (ready["status"] == "degraded").then_some(())
        })
        .await;
        server.outside().postgres.start_again();
    }
    let sessions = room.closed_sessions(2).await;
    let listed: Vec<&str> = sessions.iter().map(|session| text(session, "id")).collect();
    assert_eq!(listed, ids);
    assert_eq!(list(&sessions[1], "attendances").len(), 2);
    assert_eq!(list(&sessions[0], "attendances").len(), 1);
    for session in &sessions {
        assert_eq!(session["endReason"], "ended");
    }
    room.until_status("COMPLETED").await;
}

/// What Redis is like when it is back.
#[derive(Clone, Copy, Debug)]
enum Return {
    /// It only stood still: nothing is lost.
    Thawed,
    /// It started again from an old copy: behind.
    Stale,
    /// It started again with nothing.
    Empty,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_go_on_talking_while_redis_stands_still() {
    within_deadline(redis_away(Return::Thawed)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_go_on_talking_until_redis_is_back_with_old_data() {
    within_deadline(redis_away(Return::Stale)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_go_on_talking_until_redis_is_back_with_nothing() {
    within_deadline(redis_away(Return::Empty)).await;
}

async fn redis_away(how: Return) {
    let mut server = Server::on(Backend::RedisPostgres).start().await;
    let room = TestRoom::new(&server).await;
    let (mut alice, mut bob) = room.alice_and_bob().await;
    server.outside().redis.save();
    bob.command(json!({"type": "UpdateState", "isVideoOn": true}))
        .await;
    let redis = &mut server.outside_mut().redis;
    match how {
        Return::Thawed => redis.freeze(),
        Return::Stale | Return::Empty => redis.kill(),
    }
    talk_through_the_outage(&server, &mut alice, &mut bob).await;
    let redis = &mut server.outside_mut().redis;
    match how {
        Return::Thawed => redis.thaw(),
        Return::Stale => redis.start_again(Data::Saved),
        Return::Empty => redis.start_again(Data::Lost),
    }
    for person in [&alice, &bob] {
        let is_back = person.until("durable again", |view| view.is_durable.then_some(()));
        is_back.await;
    }
    let ack = bob
        .command(json!({"type": "UpdateState", "isHandRaised": true}))
        .await;
    assert_eq!(ack["durable"], true);
    expect_mirror_to_equal(&server, &room, &bob);
    eventually("/readyz says ready", async || {
        let ready = server.api.get("/readyz").await.expect(200);
        (ready["status"] == "ready").then_some(())
    })
    .await;
    alice.until_seq(bob.seq()).await;
    assert_same_events(&alice, &bob);

    server.restart().await;
    join_all([&mut alice, &mut bob].map(TestClient::resume)).await;
    alice.command(json!({"type": "EndRoom"})).await;
    assert_eq!(list(&room.closed_session().await, "attendances").len(), 2);
}

async fn talk_through_the_outage(server: &Server, alice: &mut TestClient, bob: &mut TestClient) {
    let started = Instant::now();
    let mut talking = tokio::time::interval(TALK_INTERVAL);
    let mut last = Value::Null;
    while started.elapsed() < OUTAGE {
        talking.tick().await;
        let message = json!({"type": "SendMessage", "text": "can you hear me?"});
        last = alice.command(message).await;
        last = match last["durable"] == true {
            true => last, // answered before anybody could know
            false => {
                bob.command(json!({"type": "SendMessage", "text": "yes"}))
                    .await
            }
        };
    }
    assert_eq!(last["durable"], false, "{last}");
    for person in [&*alice, &*bob] {
        person
            .until("no longer durable", |view| (!view.is_durable).then_some(()))
            .await;
        let closed = person.look().closed.clone();
        assert_eq!(closed, None, "{} is still in the meeting", person.name);
    }
    let ready = server.api.get("/readyz").await.expect(200);
    assert_eq!(ready["status"], "degraded", "{ready}");
    assert!(server.metric("callboard_rooms_degraded", &[]).await >= 1.0);
    assert_eq!(server.metric("callboard_mirror_up", &[]).await, 0.0);
}

/// After a durable ack the mirror has what its receiver has seen.
fn expect_mirror_to_equal(server: &Server, room: &TestRoom, person: &TestClient) {
    let key = format!("room:{{{}}}", room.room_id);
    let hash = server.outside().hash(&key);
    let seats = server.outside().hash(&format!("{key}:participants"));
    let view = person.look();
    assert_eq!(hash["seq"], view.seq.to_string());
    assert_eq!(hash["sessionId"], view.session_id);
    assert_eq!(
        hash["participantCount"],
        view.participants.len().to_string()
    );
    assert_eq!(seats.len(), view.participants.len());
    for (user_id, seen) in view.people() {
        let seat: Value = serde_json::from_str(&seats[&user_id]).expect("JSON");
        for (field, value) in seen.as_object().expect("an object") {
            assert!(
                field == "userId" || &seat[field] == value,
                "{field}: {seat}"
            );
        }
    }
}
