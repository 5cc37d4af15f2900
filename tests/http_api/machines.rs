//! What machines read: health, readiness, metrics, the API's description; and errors of the
//! protocol itself.

use std::{collections::BTreeSet, os::unix::fs::PermissionsExt};

use reqwest::Method;
use serde_json::json;

use crate::common::{
    http::send,
    scenario::TestRoom,
    server::{Backend, Server, free_port},
};

/// Every route of the contract.
const ROUTES: [(&str, &str); 28] = [
    ("post", "/v1/users"),
    ("get", "/v1/users"),
    ("get", "/v1/users/{}"),
    ("patch", "/v1/users/{}"),
    ("delete", "/v1/users/{}"),
    ("post", "/v1/rooms"),
    ("get", "/v1/rooms"),
    ("get", "/v1/rooms/{}"),
    ("patch", "/v1/rooms/{}"),
    ("delete", "/v1/rooms/{}"),
    ("post", "/v1/rooms/{}/join"),
    ("post", "/v1/rooms/{}/end"),
    ("get", "/v1/rooms/{}/participants"),
    ("patch", "/v1/rooms/{}/participants/{}"),
    ("delete", "/v1/rooms/{}/participants/{}"),
    ("get", "/v1/rooms/{}/bans"),
    ("delete", "/v1/rooms/{}/bans/{}"),
    ("post", "/v1/rooms/{}/messages"),
    ("get", "/v1/rooms/{}/sessions"),
    ("get", "/v1/sessions/{}"),
    ("patch", "/v1/sessions/{}"),
    ("get", "/v1/rooms/{}/recordings"),
    ("get", "/v1/nodes"),
    ("post", "/v1/nodes/{}/drain"),
    ("get", "/healthz"),
    ("get", "/readyz"),
    ("get", "/metrics"),
    ("get", "/openapi.json"),
];

crate::on_both_backends!(
    the_description_lists_every_route,
    health_and_metrics_tell_what_goes_on,
    errors_of_the_protocol_are_problems_too,
    browsers_may_call_from_allowed_origins_only,
);

async fn the_description_lists_every_route(backend: Backend) {
    let server = Server::on(backend).start().await;
    let document = server
        .api
        .with_key(None)
        .get("/openapi.json")
        .await
        .expect(200);
    assert!(document["openapi"].is_string());
    let mut listed = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().expect("paths") {
        let mut shape = String::new();
        for (number, part) in path.split(['{', '}']).enumerate() {
            shape.push_str(if number % 2 == 0 { part } else { "{}" });
        }
        for method in operations.as_object().expect("operations").keys() {
            listed.insert((method.clone(), shape.clone()));
        }
    }
    for (method, path) in ROUTES {
        let is_listed = listed.contains(&(method.to_owned(), path.to_owned()));
        assert!(is_listed, "{method} {path} is missing in {listed:?}");
    }
}

async fn health_and_metrics_tell_what_goes_on(backend: Backend) {
    let admin_port = free_port();
    let server = Server::on(backend)
        .set("ADMIN_LISTEN", format!("127.0.0.1:{admin_port}"))
        .start()
        .await;
    let room = TestRoom::new(&server).await;
    let (_alice, _bob) = room.alice_and_bob().await;
    let anybody = server.api.with_key(None);
    anybody.get("/healthz").await.expect(200);
    let ready = anybody.get("/readyz").await.expect(200);
    assert_eq!(ready["status"], "ready");
    assert!(
        ready["components"]
            .as_object()
            .is_some_and(|all| all.len() >= 2),
        "{ready}"
    );
    for (name, value) in [
        ("callboard_rooms", 1.0),
        ("callboard_participants", 2.0),
        ("callboard_connections", 2.0),
        ("callboard_mirror_up", 1.0),
        ("callboard_store_up", 1.0),
        ("callboard_rooms_degraded", 0.0),
        ("callboard_room_restarts_total", 0.0),
    ] {
        assert_eq!(server.metric(name, &[]).await, value, "{name}");
    }
    assert!(
        server
            .metric("callboard_commands_total", &["JoinRoom"])
            .await
            >= 2.0
    );
    let operator = crate::common::http::Api::new(&format!("http://127.0.0.1:{admin_port}"), None);
    let text = operator.get("/metrics").await;
    assert_eq!(text.status, 200, "no key is needed there");
    assert!(text.header("content-type").starts_with("text/plain"));
    assert!(text.text.contains("commit"), "commit latency is told");
}

async fn errors_of_the_protocol_are_problems_too(backend: Backend) {
    let server = Server::on(backend).start().await;
    let api = &server.api;
    api.get("/v1/nothing")
        .await
        .expect_problem(404, "not_found");
    api.get("/v1/rooms/not-a-uuid")
        .await
        .expect_any_problem(404);
    let wrong_method = send(api.request(Method::PUT, "/v1/users")).await;
    let allowed = wrong_method.header("allow").to_owned();
    assert!(
        allowed.contains("GET") && allowed.contains("POST"),
        "{allowed}"
    );
    wrong_method.expect_problem(405, "method_not_allowed");
    let post = || api.request(Method::POST, "/v1/users");
    let json = "application/json";
    for broken in ["{", "", "{\"email\": }", "\u{0}"] {
        let request = post().header("content-type", json).body(broken.to_owned());
        send(request).await.expect_any_problem(400);
    }
    let deep = "[".repeat(60_000);
    send(post().header("content-type", json).body(deep))
        .await
        .expect_any_problem(400);
    let xml = post().header("content-type", "text/xml").body("<a/>");
    send(xml)
        .await
        .expect_problem(415, "unsupported_media_type");
    let huge = json!({"email": "a@example.org", "displayName": "x".repeat(100_000)});
    send(post().json(&huge))
        .await
        .expect_problem(413, "too_large");
    let nul = json!({"email": "a@example.org", "displayName": "a\u{0}b"});
    send(post().json(&nul)).await.expect_any_problem(422);
}

async fn browsers_may_call_from_allowed_origins_only(backend: Backend) {
    let server = Server::on(backend)
        .set("HTTP__ALLOWED_ORIGINS", "https://app.example.org")
        .start()
        .await;
    for (origin, is_allowed) in [
        ("https://app.example.org", true),
        ("https://evil.example.org", false),
    ] {
        let preflight = server
            .api
            .with_key(None)
            .request(Method::OPTIONS, "/v1/rooms");
        let preflight = preflight
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header(
                "access-control-request-headers",
                "authorization,content-type",
            );
        let answer = send(preflight).await;
        let allowed = answer.header("access-control-allow-origin");
        assert_eq!(allowed == origin, is_allowed, "{origin}: {allowed}");
        assert_eq!(answer.header("access-control-allow-credentials"), "");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_readable_by_their_owner_only_and_the_key_is_shown_once() {
    let mut server = Server::on(Backend::Embedded).start().await;
    let key = server.api.key.clone().expect("the first key");
    let mode = |name: &str| {
        let path = server.data().join(name);
        let metadata = std::fs::metadata(&path).unwrap_or_else(|_| panic!("{name} exists"));
        metadata.permissions().mode() & 0o777
    };
    assert_eq!(mode("."), 0o700);
    for name in ["signing.key", "api-key", "callboard.db", "mirror.db"] {
        assert_eq!(mode(name) & 0o077, 0, "{name} is for its owner only");
    }
    assert_eq!(mode("signing.key"), 0o600);
    assert_eq!(mode("api-key"), 0o600);
    assert_eq!(
        server.log().matches(&key).count(),
        1,
        "shown at the first start"
    );
    server.restart().await;
    assert_eq!(server.log().matches(&key).count(), 1, "and never again");
    assert_eq!(server.api.key.as_ref(), Some(&key));
    server.api.get("/v1/users").await.expect(200);
}
