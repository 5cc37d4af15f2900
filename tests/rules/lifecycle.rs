//! The life of a room and of a seat: away, grace, departure, the longest duration, the ends.

use serde_json::{Value, json};

use crate::common::{
    scenario::{TestRoom, attendance_of},
    server::{Backend, Server},
    view::text,
};

crate::on_both_backends!(
    an_away_participant_leaves_when_the_grace_ends,
    a_session_closes_when_everybody_is_gone,
    somebody_returning_in_time_keeps_the_session_open,
    a_session_ends_at_its_longest_duration,
    leaving_is_acknowledged_and_ends_the_connection,
    ending_over_http_is_idempotent,
    deleting_a_room_ends_it_and_keeps_its_history,
    a_silent_connection_is_lost,
);

async fn an_away_participant_leaves_when_the_grace_ends(backend: Backend) {
    let plan = Server::on(backend).set("ROOM__RECONNECT_GRACE_MS", 500);
    let server = plan.start().await;
    let room = TestRoom::new(&server).await;
    let (mut alice, mut bob) = room.alice_and_bob().await;
    bob.command(json!({"type": "UpdateState", "isHandRaised": true}))
        .await;
    bob.drop_abruptly().await;
    let away = alice
        .next("away", |frame| {
            frame["isAway"] == true && frame["seq"].is_u64()
        })
        .await;
    assert_eq!(away["userId"], bob.user_id());
    assert_eq!(
        alice.sees(&bob.user_id())["isHandRaised"],
        true,
        "the state is kept"
    );
    let left = alice.next_of("ParticipantLeft").await;
    assert_eq!(
        (&left["userId"], &left["reason"]),
        (&json!(bob.user_id()), &json!("timeout"))
    );
    alice.command(json!({"type": "EndRoom"})).await;
    let session = room.closed_session().await;
    let stay = attendance_of(&session, &bob.user_id());
    assert_eq!(stay["leaveReason"], "timeout");
    // The leave time is when the connection was lost, half a second before the end of the grace
    // period.
    assert!(
        text(&stay, "leftAt") < text(&session, "endTime"),
        "{session}"
    );
}

async fn a_session_closes_when_everybody_is_gone(backend: Backend) {
    let plan = Server::on(backend).set("ROOM__DEPARTURE_TIMEOUT_MS", 300);
    let server = plan.start().await;
    let room = TestRoom::new(&server).await;
    let (mut alice, mut bob) = room.alice_and_bob().await;
    bob.command(json!({"type": "LeaveRoom"})).await;
    alice.command(json!({"type": "LeaveRoom"})).await;
    let session = room.closed_session().await;
    assert_eq!(session["endReason"], "empty");
    let last = attendance_of(&session, &alice.user_id());
    assert_eq!(last["leaveReason"], "left");
    assert_eq!(
        last["leftAt"], session["endTime"],
        "not the end of the wait"
    );
    room.until_status("COMPLETED").await;
}

async fn somebody_returning_in_time_keeps_the_session_open(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let mut alice = room.alice().await;
    let session = alice.look().session_id.clone();
    alice.command(json!({"type": "LeaveRoom"})).await;
    alice.closed().await;
    let joined = alice.join().await;
    assert_eq!(joined["sessionId"], session);
    assert_eq!(joined["seq"], 3, "joined, left, joined");
    alice.command(json!({"type": "EndRoom"})).await;
    let session = room.closed_session().await;
    assert_eq!(
        session["attendances"].as_array().map(Vec::len),
        Some(2),
        "{session}"
    );
}

async fn a_session_ends_at_its_longest_duration(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::with(&server, json!({"maxDurationSecs": 1})).await;
    let mut alice = room.alice().await;
    let ended = alice.next_of("RoomEnded").await;
    assert_eq!(ended["reason"], "max_duration");
    alice.expect_goodbye("ended", 4004, "stop").await;
    assert_eq!(room.closed_session().await["endReason"], "max_duration");
}

async fn leaving_is_acknowledged_and_ends_the_connection(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let (mut alice, mut bob) = room.alice_and_bob().await;
    let ack = bob.command(json!({"type": "LeaveRoom"})).await;
    bob.expect_goodbye("left", 1000, "stop").await;
    let left = alice.next_of("ParticipantLeft").await;
    assert_eq!(
        (&left["reason"], &left["seq"]),
        (&json!("left"), &ack["seq"])
    );
    assert_eq!(alice.sees(&bob.user_id()), Value::Null);
}

async fn ending_over_http_is_idempotent(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let nothing = room
        .api
        .post(&room.path("/end"), json!({}))
        .await
        .expect(200);
    assert_eq!(nothing["ended"], false);
    let (alice, bob) = room.alice_and_bob().await;
    let ended = room
        .api
        .post(&room.path("/end"), json!({}))
        .await
        .expect(200);
    assert_eq!(ended["ended"], true);
    for person in [&alice, &bob] {
        person.expect_goodbye("ended", 4004, "stop").await;
    }
    let again = room
        .api
        .post(&room.path("/end"), json!({}))
        .await
        .expect(200);
    assert_eq!(again["ended"], false);
    assert_eq!(room.closed_session().await["endReason"], "ended");
}

async fn deleting_a_room_ends_it_and_keeps_its_history(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let mut alice = room.alice().await;
    room.api.delete(&room.path("")).await.expect(204);
    let ended = alice.next_of("RoomEnded").await;
    assert_eq!(ended["reason"], "deleted");
    alice.expect_goodbye("ended", 4004, "stop").await;
    let session = room.closed_session().await;
    assert_eq!(session["endReason"], "deleted");
    room.api.get(&room.path("")).await.expect_any_problem(404);
    room.client(&room.host)
        .join_expect_error("room_not_found", 4004, "stop")
        .await;
}

/// A socket that is open but answers no ping: the network ate the peer.
async fn a_silent_connection_is_lost(backend: Backend) {
    let plan = Server::on(backend)
        .set("CONNECTION__PING_INTERVAL_MS", 200)
        .set("CONNECTION__PING_TIMEOUT_MS", 800);
    let server = plan.start().await;
    let room = TestRoom::new(&server).await;
    let (mut alice, bob) = room.alice_and_bob().await;
    bob.stop_reading();
    let away = alice
        .next("away", |frame| {
            frame["isAway"] == true && frame["seq"].is_u64()
        })
        .await;
    assert_eq!(away["userId"], bob.user_id());
    alice
        .command(json!({"type": "SendMessage", "text": "whoever answers pings stays"}))
        .await;
}
