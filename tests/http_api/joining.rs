//! `POST /v1/rooms/{id}/join`: users with the tenant's key, guests with it and without.

use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

use crate::common::{
    http::send,
    scenario::{Person, TestRoom},
    server::{Backend, Server},
    view::text,
};

crate::on_both_backends!(
    a_token_comes_with_what_a_client_needs,
    a_guest_joins_without_a_key,
    a_wrong_key_is_never_a_guest,
    kinds_follow_owner_and_settings,
    keyless_joins_are_limited_per_address,
    what_is_not_allowed_in_a_join_is_refused,
);

async fn a_token_comes_with_what_a_client_needs(backend: Backend) {
    let server = Server::on(backend)
        .config("[[ice_servers]]\nurls = [\"stun:stun.example.org:3478\"]\n")
        .start()
        .await;
    let room = TestRoom::new(&server).await;
    let body = json!({"userId": room.host.user_id});
    let join = room.api.post(&room.path("/join"), body).await.expect(200);
    assert_eq!(join["userId"], room.host.user_id);
    assert_eq!(join["signalUrl"], room.signal_url);
    assert_eq!(
        join["iceServers"][0]["urls"],
        json!(["stun:stun.example.org:3478"])
    );
    assert!(text(&join, "expiresAt").ends_with('Z'), "{join}");
    let host = Person {
        token: text(&join, "token").to_owned(),
        ..room.host.clone()
    };
    assert_eq!(room.joined(&host).await.sees(&host.user_id)["role"], "host");
}

async fn a_guest_joins_without_a_key(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let stranger = room.api.with_key(None);
    let body = json!({"displayName": "Visitor"});
    let join = stranger.post(&room.path("/join"), body).await.expect(200);
    let guest = Person {
        name: "Visitor".to_owned(),
        user_id: text(&join, "userId").to_owned(),
        token: text(&join, "token").to_owned(),
    };
    let visitor = room.joined(&guest).await;
    let seen = visitor.sees(&guest.user_id);
    assert_eq!(
        (&seen["displayName"], &seen["role"]),
        (&json!("Visitor"), &json!("attendee"))
    );
    // A user's identity is not for strangers.
    let body = json!({"userId": room.host.user_id});
    let answer = stranger.post(&room.path("/join"), body).await;
    let status = answer.status;
    assert!(matches!(status, 401 | 403), "{}", answer.text);
    answer.expect_any_problem(status);
    let hosts_only = json!({"settings": {"allowedRoles": ["host"]}});
    room.api.patch(&room.path(""), hosts_only).await.expect(200);
    let body = json!({"displayName": "Visitor"});
    let refused = stranger.post(&room.path("/join"), body.clone()).await;
    refused.expect_problem(403, "role_not_allowed");
    let nowhere = format!("/v1/rooms/{}/join", Uuid::new_v4());
    stranger.post(&nowhere, body).await.expect_any_problem(404);
}

async fn a_wrong_key_is_never_a_guest(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let body = json!({"displayName": "Visitor"});
    for authorization in ["Bearer wrong", "Bearer ", "Basic YTpi", "x"] {
        let request = room
            .api
            .with_key(None)
            .request(Method::POST, &room.path("/join"));
        let request = request.header("authorization", authorization).json(&body);
        send(request).await.expect_problem(401, "unauthorized");
    }
}

async fn kinds_follow_owner_and_settings(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let person = room.person("Bob").await;
    let body = json!({"userId": person.user_id, "role": "host"});
    let join = room.api.post(&room.path("/join"), body).await.expect(200);
    let person = Person {
        token: text(&join, "token").to_owned(),
        ..person
    };
    let bob = room.joined(&person).await;
    assert_eq!(
        bob.sees(&person.user_id)["role"],
        "host",
        "the tenant says so"
    );
    let guests_only = json!({"settings": {"allowedRoles": ["guest"]}});
    room.api
        .patch(&room.path(""), guests_only)
        .await
        .expect(200);
    let body = json!({"userId": person.user_id, "role": "host"});
    let refused = room.api.post(&room.path("/join"), body).await;
    refused.expect_problem(403, "role_not_allowed");
    let nobody = json!({"userId": Uuid::new_v4()});
    room.api
        .post(&room.path("/join"), nobody)
        .await
        .expect_problem(404, "user_not_found");
}

async fn keyless_joins_are_limited_per_address(backend: Backend) {
    const BURST: usize = 5;
    let server = Server::on(backend)
        .set("HTTP__KEYLESS_JOINS_PER_SECOND", 1)
        .set("HTTP__KEYLESS_JOINS_BURST", BURST)
        .start()
        .await;
    let room = TestRoom::new(&server).await;
    let stranger = room.api.with_key(None);
    let mut refused = None;
    for _ in 0..BURST * 10 {
        let body = json!({"displayName": "Visitor"});
        let answer = stranger.post(&room.path("/join"), body).await;
        if answer.status != 200 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("the limit holds");
    assert!(!refused.header("retry-after").is_empty());
    refused.expect_problem(429, "rate_limited");
    room.guest("With the tenant's key").await;
}

async fn what_is_not_allowed_in_a_join_is_refused(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    for bad in [
        json!({}),
        json!({"displayName": ""}),
        json!({"displayName": "x".repeat(129)}),
        json!({"displayName": "new\nline"}),
        json!({"displayName": "x", "userId": room.host.user_id}),
        json!({"userId": "x"}),
        json!({"userId": room.host.user_id, "role": "attendee"}),
    ] {
        room.api
            .post(&room.path("/join"), bad)
            .await
            .expect_any_problem(422);
    }
}
