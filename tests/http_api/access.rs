//! Who may call: keys, scopes, and walls between tenants.

use reqwest::Method;
use serde_json::json;

use crate::common::{
    http::Api,
    scenario::{TestRoom, create_key, create_tenant, create_user, eventually},
    server::{Backend, Server},
    view::{list, text},
};

crate::on_both_backends!(
    every_route_wants_a_key,
    tenants_do_not_see_each_other,
    a_revoked_key_is_worth_nothing,
    a_given_first_key_is_accepted_and_never_shown,
);

async fn every_route_wants_a_key(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let user = format!("/v1/users/{}", room.host.user_id);
    let participant = room.path(&format!("/participants/{}", room.host.user_id));
    let ban = room.path(&format!("/bans/{}", room.host.user_id));
    let routes = [
        (Method::POST, "/v1/users".to_owned()),
        (Method::GET, "/v1/users".to_owned()),
        (Method::GET, user.clone()),
        (Method::PATCH, user.clone()),
        (Method::DELETE, user),
        (Method::POST, "/v1/rooms".to_owned()),
        (Method::GET, "/v1/rooms".to_owned()),
        (Method::GET, room.path("")),
        (Method::PATCH, room.path("")),
        (Method::DELETE, room.path("")),
        (Method::POST, room.path("/end")),
        (Method::GET, room.path("/participants")),
        (Method::PATCH, participant.clone()),
        (Method::DELETE, participant),
        (Method::GET, room.path("/bans")),
        (Method::DELETE, ban),
        (Method::POST, room.path("/messages")),
        (Method::GET, room.path("/sessions")),
        (Method::GET, room.path("/recordings")),
        (Method::GET, "/metrics".to_owned()),
        (Method::GET, "/v1/nodes".to_owned()),
        (Method::POST, format!("/v1/nodes/{}/drain", room.room_id)),
    ];
    let given = server.api.key.clone().expect("the first key");
    let (head, _) = given.split_at(given.len() - 4);
    let forged = format!("{head}AAAA");
    for key in [None, Some(forged.as_str()), Some("cb_x_y"), Some("cb_")] {
        let caller = room.api.with_key(key);
        for (method, path) in &routes {
            let request = caller.request(method.clone(), path).json(&json!({}));
            let answer = crate::common::http::send(request).await;
            assert!(
                answer.header("www-authenticate").starts_with("Bearer"),
                "{method} {path}"
            );
            answer.expect_problem(401, "unauthorized");
        }
    }
    assert_eq!(room.show().await["status"], "SCHEDULED", "nothing happened");
}

async fn tenants_do_not_see_each_other(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let mut alice = room.alice().await;
    let tenant = create_tenant(&server, "Second");
    let key = create_key(&server, &tenant, "backend");
    let other: Api = server.api.with_key(Some(&key));
    for list_path in ["/v1/users", "/v1/rooms"] {
        let listed = other.get(list_path).await.expect(200);
        assert_eq!(list(&listed, "items").len(), 0, "{list_path}");
    }
    let session = alice.look().session_id.clone();
    let host = &room.host.user_id;
    for path in [
        room.path(""),
        room.path("/participants"),
        room.path("/bans"),
        room.path("/sessions"),
        room.path("/recordings"),
        format!("/v1/users/{host}"),
        format!("/v1/sessions/{session}"),
    ] {
        other.get(&path).await.expect_any_problem(404);
    }
    other
        .post(&room.path("/end"), json!({}))
        .await
        .expect_any_problem(404);
    other
        .post(&room.path("/messages"), json!({"text": "x"}))
        .await
        .expect_any_problem(404);
    other
        .post(&room.path("/join"), json!({"displayName": "x"}))
        .await
        .expect_any_problem(404);
    other
        .patch(&room.path(""), json!({"settings": {}}))
        .await
        .expect_any_problem(404);
    other.delete(&room.path("")).await.expect_any_problem(404);
    other
        .delete(&room.path(&format!("/participants/{host}")))
        .await
        .expect_any_problem(404);
    other
        .delete(&room.path(&format!("/bans/{host}")))
        .await
        .expect_any_problem(404);
    other
        .delete(&format!("/v1/users/{host}"))
        .await
        .expect_any_problem(404);
    let borrowed = json!({"hostUserId": host});
    other
        .post("/v1/rooms", borrowed)
        .await
        .expect_any_problem(404);
    // The same email and even the same id may not clash into somebody else's data.
    let user = server
        .api
        .get(&format!("/v1/users/{host}"))
        .await
        .expect(200);
    let same = json!({"email": text(&user, "email"), "displayName": "Own"});
    other.post("/v1/users", same).await.expect(201);
    let stolen = json!({"id": host, "email": text(&user, "email"), "displayName": "Alice"});
    other
        .post("/v1/users", stolen)
        .await
        .expect_any_problem(409);
    other.get("/metrics").await.expect_problem(403, "forbidden");
    alice
        .command(json!({"type": "SendMessage", "text": "undisturbed"}))
        .await;
}

async fn a_revoked_key_is_worth_nothing(backend: Backend) {
    let server = Server::on(backend).start().await;
    let tenant = create_tenant(&server, "Short");
    let key = create_key(&server, &tenant, "leaked");
    let caller = server.api.with_key(Some(&key));
    create_user(&caller, "Ada").await;
    let id = key.split('_').nth(1).expect("cb_<id>_<secret>");
    let revoked = server.command(&["keys", "revoke", id]);
    assert!(revoked.status.success(), "{revoked:?}");
    eventually("the key is refused", async || {
        (caller.probe("/v1/users").await == Some(401)).then_some(())
    })
    .await;
    let listed = server.command(&["keys", "list", "--json"]);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let secret = key.splitn(3, '_').nth(2).expect("a secret");
    assert!(!listed.contains(secret), "secrets are shown once only");
}

async fn a_given_first_key_is_accepted_and_never_shown(backend: Backend) {
    let key = "cb_00000000000040008000000000000001_0123456789abcdefghijABCDEFGHIJ0123456789";
    let server = Server::on(backend)
        .environment("CALLBOARD_BOOTSTRAP_API_KEY", key)
        .start()
        .await;
    create_user(&server.api, "Ada").await;
    assert!(!server.log().contains(key), "given ones are known already");
    assert!(!server.data().join("api-key").exists());
}
