//! Who gets in: bans, locks, kinds, seats, and the same user again.

use serde_json::json;

use crate::common::{
    scenario::{Person, TestRoom},
    server::{Backend, Server},
};

crate::on_both_backends!(
    refusals_come_in_their_order,
    a_ban_holds_until_it_is_lifted,
    a_removed_participant_may_return,
    a_locked_room_admits_nobody_new,
    kinds_not_allowed_are_refused,
    away_participants_keep_their_seats,
    a_newer_join_supersedes_the_older,
    a_duplicate_is_refused_while_the_seat_is_connected,
    wrong_tokens_are_unauthorized,
);

/// Adds one reason after the other, from the last one asked to the first.
async fn refusals_come_in_their_order(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::with(&server, json!({"maxParticipants": 1})).await;
    let bob = room.person("Bob").await;
    let mut alice = room.alice().await;

    room.client(&bob)
        .join_expect_error("room_full", 1008, "rejoin")
        .await;

    change_settings(&room, json!({"allowedRoles": ["host"]})).await;
    room.client(&bob)
        .join_expect_error("role_not_allowed", 1008, "stop")
        .await;

    alice
        .command(json!({"type": "LockRoom", "isLocked": true}))
        .await;
    room.client(&bob)
        .join_expect_error("room_locked", 1008, "rejoin")
        .await;

    let path = room.path(&format!("/participants/{}?ban=true", bob.user_id));
    room.api.delete(&path).await.expect(204);
    room.client(&bob)
        .join_expect_error("banned", 1008, "stop")
        .await;

    let foreign = Person {
        token: "no token".to_owned(),
        ..bob
    };
    room.client(&foreign)
        .join_expect_error("unauthorized", 4003, "rejoin")
        .await;
    assert_eq!(alice.look().participants.len(), 1, "nobody got in");
}

async fn a_ban_holds_until_it_is_lifted(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let (mut alice, bob) = room.alice_and_bob().await;
    let user_id = bob.user_id();
    let ban = json!({"type": "RemoveParticipant", "userId": user_id, "ban": true});
    alice.command(ban).await;
    bob.expect_goodbye("banned", 1008, "stop").await;
    let left = alice.next_of("ParticipantLeft").await;
    assert_eq!(
        (&left["userId"], &left["reason"]),
        (&json!(user_id), &json!("banned"))
    );
    assert_eq!(left["byUserId"], alice.user_id());

    let again = room.token_for("Bob", &user_id).await;
    room.client(&again)
        .join_expect_error("banned", 1008, "stop")
        .await;
    alice.command(json!({"type": "EndRoom"})).await;
    room.closed_session().await;
    let mut alice = room.alice().await;
    room.client(&again)
        .join_expect_error("banned", 1008, "stop")
        .await;

    let bans = room.api.get(&room.path("/bans")).await.expect(200);
    assert_eq!(bans["items"].as_array().map(Vec::len), Some(1), "{bans}");
    assert_eq!(bans["items"][0]["userId"], user_id);
    let path = room.path(&format!("/bans/{user_id}"));
    room.api.delete(&path).await.expect(204);
    room.api.delete(&path).await.expect_any_problem(404);
    room.joined(&again).await;
    alice.next_of("ParticipantJoined").await;
}

async fn a_removed_participant_may_return(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let (mut alice, mut bob) = room.alice_and_bob().await;
    alice
        .command(json!({"type": "RemoveParticipant", "userId": bob.user_id()}))
        .await;
    bob.expect_goodbye("removed", 4002, "stop").await;
    let left = alice.next_of("ParticipantLeft").await;
    assert_eq!(left["reason"], "removed");
    bob.join().await;
    let joined = alice.next_of("ParticipantJoined").await;
    assert_eq!(joined["userId"], bob.user_id());
}

async fn a_locked_room_admits_nobody_new(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let (mut alice, mut bob) = room.alice_and_bob().await;
    alice
        .command(json!({"type": "LockRoom", "isLocked": true}))
        .await;
    let locked = bob.next_of("RoomLocked").await;
    assert_eq!(
        (&locked["isLocked"], &locked["byUserId"]),
        (&json!(true), &json!(alice.user_id()))
    );
    let carol = room.person("Carol").await;
    room.client(&carol)
        .join_expect_error("room_locked", 1008, "rejoin")
        .await;

    bob.drop_abruptly().await;
    bob.resume().await;
    alice
        .command(json!({"type": "LockRoom", "isLocked": false}))
        .await;
    let carol = room.joined(&carol).await;
    assert_eq!(carol.look().room["isLocked"], false);
}

async fn kinds_not_allowed_are_refused(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let bob = room.person("Bob").await;
    change_settings(&room, json!({"allowedRoles": ["host"]})).await;
    room.client(&bob)
        .join_expect_error("role_not_allowed", 1008, "stop")
        .await;
    let body = json!({"userId": bob.user_id});
    let refused = room.api.post(&room.path("/join"), body).await;
    refused.expect_problem(403, "role_not_allowed");
    room.alice().await;
}

async fn away_participants_keep_their_seats(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::with(&server, json!({"maxParticipants": 2})).await;
    let (mut alice, mut bob) = room.alice_and_bob().await;
    let carol = room.person("Carol").await;
    bob.drop_abruptly().await;
    let away = alice.next_of("StateChanged").await;
    assert_eq!(
        (&away["userId"], &away["isAway"]),
        (&json!(bob.user_id()), &json!(true))
    );
    room.client(&carol)
        .join_expect_error("room_full", 1008, "rejoin")
        .await;
    bob.resume().await;
    let back = alice.next_of("StateChanged").await;
    assert_eq!(
        (&back["userId"], &back["isAway"]),
        (&json!(bob.user_id()), &json!(false))
    );
    room.client(&carol)
        .join_expect_error("room_full", 1008, "rejoin")
        .await;
    bob.command(json!({"type": "LeaveRoom"})).await;
    room.joined(&carol).await;
}

async fn a_newer_join_supersedes_the_older(backend: Backend) {
    let server = Server::on(backend).start().await;
    // Bob holds the only seat: the holder of a seat is never refused as `room_full`.
    let room = TestRoom::with(&server, json!({"maxParticipants": 2})).await;
    let mut alice = room.alice().await;
    let person = room.person("Bob").await;
    let older = room.joined(&person).await;
    alice.next_of("ParticipantJoined").await;
    let newer = room.joined(&person).await;
    older.expect_goodbye("superseded", 4001, "stop").await;
    let left = alice.next_of("ParticipantLeft").await;
    let joined = alice.next_of("ParticipantJoined").await;
    assert_eq!(
        (&left["userId"], &left["reason"]),
        (&json!(person.user_id), &json!("superseded"))
    );
    assert_eq!(joined["userId"], person.user_id);
    assert_eq!(
        joined["seq"].as_u64(),
        left["seq"].as_u64().map(|seq| seq + 1)
    );
    assert_eq!(joined["seq"], newer.seq());
    assert_ne!(older.look().connection_id, newer.look().connection_id);
    assert_eq!(alice.sees(&person.user_id)["isAway"], false);
}

async fn a_duplicate_is_refused_while_the_seat_is_connected(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::with(&server, json!({"duplicatePolicy": "reject"})).await;
    let mut alice = room.alice().await;
    let person = room.person("Bob").await;
    let mut first = room.joined(&person).await;
    room.client(&person)
        .join_expect_error("duplicate", 1008, "rejoin")
        .await;
    first.drop_abruptly().await;
    alice
        .next("Bob away", |frame| frame["isAway"] == true)
        .await;
    let second = room.joined(&person).await;
    alice.until_seq(second.seq()).await;
    assert_eq!(alice.sees(&person.user_id)["isAway"], false);
}

async fn wrong_tokens_are_unauthorized(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let elsewhere = TestRoom::new(&server).await;
    let stranger = elsewhere.person("Stranger").await;
    let tampered = format!("{}A", room.host.token);
    for token in [stranger.token.as_str(), &tampered, "", "a.b.c"] {
        let person = Person {
            token: token.to_owned(),
            ..stranger.clone()
        };
        room.client(&person)
            .join_expect_error("unauthorized", 4003, "rejoin")
            .await;
    }
    let unknown = "00000000-0000-4000-8000-000000000000";
    let mut lost = room.client(&room.host);
    lost.url = server.signal_url(unknown);
    unknown.clone_into(&mut lost.room_id);
    let refused = lost.try_join().await;
    let code = refused["code"].as_str();
    assert!(
        matches!(code, Some("room_not_found" | "unauthorized")),
        "{refused}"
    );
    room.alice().await;
}

async fn change_settings(room: &TestRoom, settings: serde_json::Value) {
    let body = json!({"settings": settings});
    room.api.patch(&room.path(""), body).await.expect(200);
}
