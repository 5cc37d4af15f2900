//! `/v1/rooms` and what hangs below: settings, lists, history, recordings.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::common::{
    scenario::{TestRoom, create_user},
    server::{Backend, Server},
    view::{list, text},
};

crate::on_both_backends!(
    a_room_has_default_settings_and_a_token_for_its_host,
    a_room_is_made_once_however_often_it_is_asked_for,
    settings_out_of_bounds_are_refused,
    settings_are_patched_under_an_etag_while_people_meet,
    rooms_are_listed_by_status,
    a_deleted_room_is_gone_but_its_sessions_are_not,
    a_recording_url_is_set_and_listed,
    sessions_are_listed_in_pages_newest_first,
);

async fn a_room_has_default_settings_and_a_token_for_its_host(backend: Backend) {
    let server = Server::on(backend).start().await;
    let host = create_user(&server.api, "Alice").await;
    let room = server
        .api
        .post("/v1/rooms", json!({"hostUserId": host}))
        .await
        .expect(201);
    assert_eq!(room["hostUserId"], host);
    assert_eq!(room["status"], "SCHEDULED");
    assert!(
        room["joinToken"].is_string() && room["createdAt"].is_string(),
        "{room}"
    );
    let settings = &room["settings"];
    assert_eq!(settings["isRecordingEnabled"], false);
    assert_eq!(settings["maxParticipants"], 100);
    assert_eq!(settings["allowedRoles"], json!(["host", "guest"]));
    assert_eq!(settings["isLobbyEnabled"], false);
    assert_eq!(settings["duplicatePolicy"], "replace");
    assert!(settings["maxDurationSecs"].is_null());
    let read = server
        .api
        .get(&format!("/v1/rooms/{}", text(&room, "roomId")))
        .await;
    assert!(read.header("etag").starts_with('"'));
    let read = read.expect(200);
    assert!(read["joinToken"].is_null(), "told once: {read}");
    assert!(read["live"].is_null(), "nobody is there: {read}");
    let nobody = json!({"hostUserId": Uuid::new_v4()});
    server
        .api
        .post("/v1/rooms", nobody)
        .await
        .expect_any_problem(404);
}

async fn a_room_is_made_once_however_often_it_is_asked_for(backend: Backend) {
    let server = Server::on(backend).start().await;
    let host = create_user(&server.api, "Alice").await;
    let id = Uuid::new_v4().to_string();
    let body = json!({"id": id, "hostUserId": host, "settings": {"maxParticipants": 7}});
    let first = server.api.post("/v1/rooms", body.clone()).await.expect(201);
    assert_eq!(first["roomId"], id);
    let again = server.api.post("/v1/rooms", body).await.expect(200);
    assert_eq!(again["createdAt"], first["createdAt"]);
    assert_eq!(again["settings"]["maxParticipants"], 7);
    let other = json!({"id": id, "hostUserId": host, "settings": {"maxParticipants": 8}});
    server
        .api
        .post("/v1/rooms", other)
        .await
        .expect_problem(409, "conflict");
}

async fn settings_out_of_bounds_are_refused(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    for bad in [
        json!({"maxParticipants": 0}),
        json!({"maxParticipants": 10_001}),
        json!({"maxParticipants": -1}),
        json!({"maxParticipants": "many"}),
        json!({"allowedRoles": []}),
        json!({"allowedRoles": ["host", "host"]}),
        json!({"allowedRoles": ["attendee"]}),
        json!({"duplicatePolicy": "both"}),
        json!({"maxDurationSecs": 0}),
        json!({"isLobbyEnabled": 1}),
        json!({"unknownKey": true}),
    ] {
        let create = json!({"hostUserId": room.host.user_id, "settings": bad});
        server
            .api
            .post("/v1/rooms", create)
            .await
            .expect_any_problem(422);
        let patch = json!({ "settings": bad });
        room.api
            .patch(&room.path(""), patch)
            .await
            .expect_any_problem(422);
    }
    assert_eq!(room.show().await["settings"]["maxParticipants"], 100);
}

async fn settings_are_patched_under_an_etag_while_people_meet(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::with(&server, json!({"maxDurationSecs": 3600})).await;
    let before = room.api.get(&room.path("")).await.header("etag").to_owned();
    let (_alice, _bob) = room.alice_and_bob().await;
    let carol = room.person("Carol").await;

    let patch = json!({"settings": {"maxParticipants": 1, "maxDurationSecs": null}});
    let patched = room
        .api
        .patch_if(&room.path(""), &before, patch.clone())
        .await;
    let after = patched.header("etag").to_owned();
    assert_ne!(after, before);
    let patched = patched.expect(200);
    assert_eq!(patched["settings"]["maxParticipants"], 1);
    assert!(patched["settings"]["maxDurationSecs"].is_null());
    assert_eq!(
        patched["settings"]["allowedRoles"],
        json!(["host", "guest"]),
        "untouched"
    );
    let stale = room.api.patch_if(&room.path(""), &before, patch).await;
    stale.expect_problem(412, "precondition_failed");

    assert_eq!(
        room.show().await["live"]["participantCount"],
        2,
        "nobody is thrown out"
    );
    room.client(&carol)
        .join_expect_error("room_full", 1008, "rejoin")
        .await;
    let more = json!({"settings": {"maxParticipants": 3}});
    room.api
        .patch_if(&room.path(""), &after, more)
        .await
        .expect(200);
    room.joined(&carol).await;
}

async fn rooms_are_listed_by_status(backend: Backend) {
    let server = Server::on(backend).start().await;
    let scheduled = TestRoom::new(&server).await;
    let active = TestRoom::new(&server).await;
    let completed = TestRoom::new(&server).await;
    let mut alice = completed.alice().await;
    alice.command(json!({"type": "EndRoom"})).await;
    completed.closed_session().await;
    completed.until_status("COMPLETED").await;
    let _alice = active.alice().await;
    active.until_status("ACTIVE").await;
    for (status, room) in [
        ("SCHEDULED", &scheduled),
        ("ACTIVE", &active),
        ("COMPLETED", &completed),
    ] {
        crate::common::scenario::eventually(&format!("{status} is listed"), async || {
            let listed = server
                .api
                .get(&format!("/v1/rooms?status={status}"))
                .await
                .expect(200);
            let ids: Vec<_> = list(&listed, "items")
                .iter()
                .map(|one| text(one, "roomId").to_owned())
                .collect();
            (ids == [room.room_id.clone()]).then_some(())
        })
        .await;
    }
    let all = server.api.get("/v1/rooms").await.expect(200);
    assert_eq!(list(&all, "items").len(), 3);
    server
        .api
        .get("/v1/rooms?status=LOST")
        .await
        .expect_any_problem(400);
}

async fn a_deleted_room_is_gone_but_its_sessions_are_not(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let mut alice = room.alice().await;
    alice.command(json!({"type": "EndRoom"})).await;
    let session = room.closed_session().await;
    room.api.delete(&room.path("")).await.expect(204);
    room.api
        .delete(&room.path(""))
        .await
        .expect_any_problem(404);
    room.api.get(&room.path("")).await.expect_any_problem(404);
    room.api
        .patch(&room.path(""), json!({"settings": {}}))
        .await
        .expect_any_problem(404);
    let join = json!({"userId": room.host.user_id});
    room.api
        .post(&room.path("/join"), join)
        .await
        .expect_any_problem(404);
    let listed = server.api.get("/v1/rooms").await.expect(200);
    assert_eq!(list(&listed, "items").len(), 0);
    assert_eq!(room.closed_session().await, session);
}

async fn a_recording_url_is_set_and_listed(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let mut alice = room.alice().await;
    alice.command(json!({"type": "EndRoom"})).await;
    let session = room.closed_session().await;
    let path = format!("/v1/sessions/{}", text(&session, "id"));
    let url = "https://recordings.example.org/1.mp4";
    let patched = room
        .api
        .patch(&path, json!({"recordingUrl": url}))
        .await
        .expect(200);
    assert_eq!(patched["recordingUrl"], url);
    let recordings = room.api.get(&room.path("/recordings")).await.expect(200);
    assert_eq!(recordings[0]["url"], url, "{recordings}");
    assert!(recordings[0]["duration"].is_u64(), "{recordings}");
    for bad in [
        json!("no url"),
        json!("ftp://example.org/"),
        json!(7),
        json!("https://x/".repeat(300)),
    ] {
        let answer = room.api.patch(&path, json!({ "recordingUrl": bad })).await;
        answer.expect_any_problem(422);
    }
    let removed = room
        .api
        .patch(&path, json!({"recordingUrl": null}))
        .await
        .expect(200);
    assert_eq!(removed["recordingUrl"], Value::Null);
    let recordings = room.api.get(&room.path("/recordings")).await.expect(200);
    assert_eq!(recordings, json!([]));
}

async fn sessions_are_listed_in_pages_newest_first(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let mut made = Vec::new();
    for count in 1..=3 {
        let mut alice = room.alice().await;
        made.insert(0, alice.look().session_id.clone());
        alice.command(json!({"type": "EndRoom"})).await;
        room.closed_sessions(count).await;
    }
    let first = room
        .api
        .get(&room.path("/sessions?limit=2"))
        .await
        .expect(200);
    let cursor = text(&first, "nextCursor");
    let rest = room.path(&format!("/sessions?limit=2&cursor={cursor}"));
    let rest = room.api.get(&rest).await.expect(200);
    assert!(rest["nextCursor"].is_null());
    let mut listed = list(&first, "items");
    listed.extend(list(&rest, "items"));
    let listed: Vec<&str> = listed.iter().map(|one| text(one, "id")).collect();
    assert_eq!(listed, made);
}
