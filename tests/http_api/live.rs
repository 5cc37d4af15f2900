//! What an admin sees and does in a live room: participants, removals, bans, messages.

use serde_json::json;
use uuid::Uuid;

use crate::common::{
    scenario::TestRoom,
    server::{Backend, Server},
    view::{list, text},
};

crate::on_both_backends!(
    participants_are_shown_as_people_see_them,
    an_admin_changes_and_removes_participants,
    an_admin_bans_somebody_who_is_not_there,
    an_empty_room_has_no_participants,
);

async fn participants_are_shown_as_people_see_them(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let (alice, mut bob) = room.alice_and_bob().await;
    bob.command(json!({"type": "UpdateState", "isScreenSharing": true}))
        .await;
    let listed = room.api.get(&room.path("/participants")).await.expect(200);
    assert_eq!(listed["nextCursor"], json!(null));
    let listed = list(&listed, "items");
    assert_eq!(listed.len(), 2);
    for person in [&alice, &bob] {
        assert!(listed.contains(&bob.sees(&person.user_id())), "{listed:?}");
    }
    let live = room.show().await["live"].clone();
    assert_eq!(live["sessionId"], bob.look().session_id);
    assert_eq!((&live["seq"], &live["durable"]), (&json!(3), &json!(true)));
    assert_eq!(
        (&live["isLocked"], &live["lobbyCount"]),
        (&json!(false), &json!(0))
    );
}

async fn an_admin_changes_and_removes_participants(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let (mut alice, mut bob) = room.alice_and_bob().await;
    let path = room.path(&format!("/participants/{}", bob.user_id()));
    let changed = room
        .api
        .patch(&path, json!({"isMuted": true, "role": "host"}))
        .await
        .expect(200);
    assert_eq!(
        (&changed["isMuted"], &changed["role"]),
        (&json!(true), &json!("host"))
    );
    let role = bob.next_of("RoleChanged").await;
    assert_eq!(role["role"], "host");
    assert!(
        role["byUserId"].is_null(),
        "nobody of the room did it: {role}"
    );
    for bad in [
        json!({"isMuted": false}),
        json!({"role": "guest"}),
        json!({"isVideoOn": true}),
        json!({}),
    ] {
        let answer = room.api.patch(&path, bad).await;
        answer.expect_any_problem(422);
    }
    room.api.delete(&path).await.expect(204);
    bob.expect_goodbye("removed", 4002, "stop").await;
    assert_eq!(alice.next_of("ParticipantLeft").await["reason"], "removed");
    room.api.delete(&path).await.expect_any_problem(404);
    room.api
        .patch(&path, json!({"isMuted": true}))
        .await
        .expect_any_problem(404);
    bob.join().await;
}

async fn an_admin_bans_somebody_who_is_not_there(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let bob = room.person("Bob").await;
    let path = room.path(&format!("/participants/{}?ban=true", bob.user_id));
    room.api.delete(&path).await.expect(204); // the room sleeps
    room.client(&bob)
        .join_expect_error("banned", 1008, "stop")
        .await;
    let _alice = room.alice().await;
    let carol = room.person("Carol").await;
    let path = room.path(&format!("/participants/{}?ban=true", carol.user_id));
    room.api.delete(&path).await.expect(204); // the room lives
    room.client(&carol)
        .join_expect_error("banned", 1008, "stop")
        .await;
    let listed = room.api.get(&room.path("/bans")).await.expect(200);
    let mut banned: Vec<_> = list(&listed, "items")
        .iter()
        .map(|ban| text(ban, "userId").to_owned())
        .collect();
    banned.sort();
    let mut expected = vec![bob.user_id.clone(), carol.user_id];
    expected.sort();
    assert_eq!(banned, expected);
    room.api
        .delete(&room.path(&format!("/bans/{}", bob.user_id)))
        .await
        .expect(204);
    room.joined(&bob).await;
}

async fn an_empty_room_has_no_participants(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let listed = room.api.get(&room.path("/participants")).await.expect(200);
    assert_eq!(listed, json!({"items": [], "nextCursor": null}));
    let path = room.path(&format!("/participants/{}", Uuid::new_v4()));
    room.api.delete(&path).await.expect_any_problem(404);
    let words = json!({"text": "is anybody there?"});
    room.api
        .post(&room.path("/messages"), words)
        .await
        .expect_any_problem(409);
    for bad in [json!({}), json!({"text": ""}), json!({"text": 1})] {
        let answer = room.api.post(&room.path("/messages"), bad).await;
        answer.expect_any_problem(422);
    }
}
