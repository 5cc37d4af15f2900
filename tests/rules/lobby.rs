//! The lobby: waiting, being admitted, being denied.

use serde_json::json;

use crate::common::{
    client::TestClient,
    scenario::{Person, TestRoom},
    server::{Backend, Server},
    view::text,
};

crate::on_both_backends!(
    hosts_admit_from_the_lobby,
    hosts_deny_from_the_lobby,
    once_admitted_nobody_waits_again,
    waiting_begins_no_session_and_takes_no_seat,
    the_waiting_are_sent_away_when_no_host_comes,
    a_full_lobby_refuses,
);

async fn with_lobby(server: &Server) -> TestRoom {
    TestRoom::with(server, json!({"isLobbyEnabled": true})).await
}

/// Knocks and must wait.
async fn wait_in_lobby(room: &TestRoom, person: &Person) -> TestClient {
    let mut client = room.client(person);
    let waiting = client.try_join().await;
    assert_eq!(waiting["type"], "LobbyWaiting", "{waiting}");
    client
}

async fn until_waiting(host: &TestClient, expected: &[&str]) {
    host.until(&format!("{expected:?} in the lobby"), |view| {
        let names: Vec<_> = view.waiting.iter().map(|one| text(one, "userId")).collect();
        (names == expected).then_some(())
    })
    .await;
}

async fn hosts_admit_from_the_lobby(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = with_lobby(&server).await;
    let mut alice = room.alice().await;
    let person = room.person("Bob").await;
    let mut bob = wait_in_lobby(&room, &person).await;
    let lobby = alice.next_of("LobbyChanged").await;
    assert!(lobby["seq"].is_null(), "{lobby}");
    assert_eq!(lobby["waiting"][0]["displayName"], "Bob");
    assert_eq!(lobby["waiting"][0]["userId"], person.user_id);
    assert!(lobby["waiting"][0]["since"].is_string());

    alice
        .command(json!({"type": "SendMessage", "text": "not for the lobby"}))
        .await;
    bob.refused(
        json!({"type": "SendMessage", "text": "hello"}),
        "not_in_room",
    )
    .await;
    alice
        .command(json!({"type": "AdmitParticipant", "userId": person.user_id}))
        .await;
    let waiting = bob.next_of("LobbyWaiting").await;
    let joined = bob.next_of("RoomJoined").await;
    assert_eq!(joined["id"], waiting["id"]);
    assert_eq!(bob.look().events.len(), 0, "nothing was heard in the lobby");
    until_waiting(&alice, &[]).await;
    let seen = alice.next_of("ParticipantJoined").await;
    assert_eq!(seen["seq"], joined["seq"]);
    bob.command(json!({"type": "SendMessage", "text": "thank you"}))
        .await;
}

async fn hosts_deny_from_the_lobby(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = with_lobby(&server).await;
    let mut alice = room.alice().await;
    let person = room.person("Bob").await;
    let mut bob = wait_in_lobby(&room, &person).await;
    until_waiting(&alice, &[&person.user_id]).await;
    alice
        .command(json!({"type": "DenyParticipant", "userId": person.user_id}))
        .await;
    let waiting = bob.next_of("LobbyWaiting").await;
    let denied = bob.next_of("LobbyDenied").await;
    assert_eq!(denied["id"], waiting["id"]);
    bob.expect_goodbye("denied", 1008, "stop").await;
    until_waiting(&alice, &[]).await;
    assert_eq!(alice.look().participants.len(), 1);
    let absent = json!({"type": "AdmitParticipant", "userId": person.user_id});
    alice.refused(absent, "target_not_found").await;
}

async fn once_admitted_nobody_waits_again(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = with_lobby(&server).await;
    let mut alice = room.alice().await;
    let person = room.person("Bob").await;
    let mut bob = wait_in_lobby(&room, &person).await;
    alice
        .command(json!({"type": "AdmitParticipant", "userId": person.user_id}))
        .await;
    bob.next_of("RoomJoined").await;
    bob.command(json!({"type": "LeaveRoom"})).await;
    bob.expect_goodbye("left", 1000, "stop").await;
    bob.join().await;
    bob.drop_abruptly().await;
    bob.resume().await;
}

async fn waiting_begins_no_session_and_takes_no_seat(backend: Backend) {
    let server = Server::on(backend).start().await;
    let settings = json!({"isLobbyEnabled": true, "maxParticipants": 1});
    let room = TestRoom::with(&server, settings).await;
    let person = room.person("Bob").await;
    let bob = wait_in_lobby(&room, &person).await;
    assert_eq!(room.show().await["status"], "SCHEDULED");
    assert!(room.sessions().await.is_empty());
    let mut alice = room.alice().await;
    until_waiting(&alice, &[&person.user_id]).await;
    assert_eq!(alice.seq(), 1, "the first event of the room");
    assert_eq!(room.show().await["live"]["lobbyCount"], 1);
    // The seats are gone by now: admitting cannot exceed them.
    let admit = json!({"type": "AdmitParticipant", "userId": person.user_id});
    let answer = alice.send(admit).await;
    assert_eq!(alice.look().participants.len(), 1, "{answer}");
    drop(bob);
}

async fn the_waiting_are_sent_away_when_no_host_comes(backend: Backend) {
    let plan = Server::on(backend).set("ROOM__EMPTY_TIMEOUT_MS", 300);
    let server = plan.start().await;
    let room = with_lobby(&server).await;
    let person = room.person("Bob").await;
    let bob = wait_in_lobby(&room, &person).await;
    bob.closed().await;
    assert!(bob.look().goodbye.is_some(), "every orderly close has one");
    assert_eq!(room.show().await["status"], "SCHEDULED");
    assert!(room.sessions().await.is_empty());
}

async fn a_full_lobby_refuses(backend: Backend) {
    let server = Server::on(backend)
        .set("LIMITS__LOBBY_MAX", 1)
        .start()
        .await;
    let room = with_lobby(&server).await;
    let alice = room.alice().await;
    let bob = room.person("Bob").await;
    let carol = room.person("Carol").await;
    let waiting = wait_in_lobby(&room, &bob).await;
    room.client(&carol)
        .join_expect_error("room_full", 1008, "rejoin")
        .await;
    until_waiting(&alice, &[&bob.user_id]).await;
    drop(waiting);
}
