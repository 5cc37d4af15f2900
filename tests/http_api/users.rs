//! `/v1/users`: creates, pages, patches, deletes.

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::common::{
    http::{Api, send},
    scenario::{TestRoom, attendance_of, create_user},
    server::{Backend, Server},
    view::{list, text},
};

crate::on_both_backends!(
    a_user_is_made_once_however_often_it_is_asked_for,
    users_are_listed_in_pages,
    a_user_is_changed_by_merge_patch_under_an_etag,
    a_user_who_owns_rooms_cannot_be_deleted,
    deleting_a_user_erases_the_name_in_the_history,
    what_is_not_allowed_in_a_user_is_refused,
);

async fn a_user_is_made_once_however_often_it_is_asked_for(backend: Backend) {
    let server = Server::on(backend).start().await;
    let id = Uuid::new_v4().to_string();
    let body = json!({"id": id, "email": "Ada@Example.org", "displayName": "Ada"});
    let first = server.api.post("/v1/users", body.clone()).await.expect(201);
    assert_eq!(first["id"], id);
    assert_eq!(first["displayName"], "Ada");
    assert!(first["createdAt"].is_string());
    let again = server.api.post("/v1/users", body).await.expect(200);
    assert_eq!(again, first);
    let other = json!({"id": id, "email": "ada@example.org", "displayName": "Another"});
    server
        .api
        .post("/v1/users", other)
        .await
        .expect_problem(409, "conflict");
    let taken = json!({"email": "ADA@example.ORG", "displayName": "Second"});
    server
        .api
        .post("/v1/users", taken)
        .await
        .expect_any_problem(409);
    let read = server.api.get(&format!("/v1/users/{id}")).await.expect(200);
    assert_eq!(read, first);
}

async fn users_are_listed_in_pages(backend: Backend) {
    let server = Server::on(backend).start().await;
    let mut made = Vec::new();
    for number in 0..5 {
        made.push(create_user(&server.api, &format!("User{number}")).await);
    }
    assert_eq!(
        page_through(&server.api, "/v1/users?limit=2", 3).await,
        made
    );
    assert_eq!(page_through(&server.api, "/v1/users", 1).await, made);
    for bad in ["limit=0", "limit=501", "limit=x", "cursor=no-cursor"] {
        let answer = server.api.get(&format!("/v1/users?{bad}")).await;
        answer.expect_any_problem(400);
    }
}

/// The ids of a list, page by page; the number of pages must be as expected.
async fn page_through(api: &Api, path: &str, pages: usize) -> Vec<String> {
    let mut ids = Vec::new();
    let mut cursor = Value::Null;
    for page in 1..=pages {
        let mut request = api.request(Method::GET, path);
        if let Some(cursor) = cursor.as_str() {
            request = request.query(&[("cursor", cursor)]);
        }
        let listed = send(request).await.expect(200);
        let items = list(&listed, "items");
        ids.extend(items.iter().map(|item| text(item, "id").to_owned()));
        cursor = listed["nextCursor"].clone();
        assert_eq!(cursor.is_null(), page == pages, "page {page}: {listed}");
    }
    ids
}

async fn a_user_is_changed_by_merge_patch_under_an_etag(backend: Backend) {
    let server = Server::on(backend).start().await;
    let path = format!("/v1/users/{}", create_user(&server.api, "Ada").await);
    let read = server.api.get(&path).await;
    let etag = read.header("etag").to_owned();
    assert!(etag.starts_with('"'), "a strong one: {etag}");
    let unchanged = server.api.request(Method::GET, &path);
    let unchanged = send(unchanged.header("if-none-match", &etag)).await;
    assert_eq!(unchanged.status, 304);

    let patch = json!({"displayName": "Ada Lovelace"});
    let patched = server.api.patch_if(&path, &etag, patch.clone()).await;
    let newer = patched.header("etag").to_owned();
    assert_ne!(newer, etag);
    let patched = patched.expect(200);
    assert_eq!(patched["displayName"], "Ada Lovelace");
    let stale = server.api.patch_if(&path, &etag, patch).await;
    stale.expect_problem(412, "precondition_failed");
    let read = server.api.get(&path).await;
    assert_eq!(read.header("etag"), newer);
    assert_eq!(read.expect(200), patched);
    server
        .api
        .patch(&path, json!({"displayName": null}))
        .await
        .expect_any_problem(422);
    server
        .api
        .patch(&path, json!({"id": Uuid::new_v4()}))
        .await
        .expect_any_problem(422);
}

async fn a_user_who_owns_rooms_cannot_be_deleted(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let path = format!("/v1/users/{}", room.host.user_id);
    server
        .api
        .delete(&path)
        .await
        .expect_problem(409, "owns_rooms");
    room.api.delete(&room.path("")).await.expect(204);
    let path = format!("/v1/users/{}", create_user(&server.api, "Free").await);
    server.api.delete(&path).await.expect(204);
    server.api.get(&path).await.expect_any_problem(404);
    server.api.delete(&path).await.expect_any_problem(404);
}

async fn deleting_a_user_erases_the_name_in_the_history(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let (mut alice, bob) = room.alice_and_bob().await;
    alice.command(json!({"type": "EndRoom"})).await;
    let before = room.closed_session().await;
    assert_eq!(attendance_of(&before, &bob.user_id())["displayName"], "Bob");
    let path = format!("/v1/users/{}", bob.user_id());
    server.api.delete(&path).await.expect(204);
    let after = room.closed_session().await;
    assert!(!after.to_string().contains("Bob"), "{after}");
    assert_eq!(
        list(&after, "attendances").len(),
        2,
        "the stay itself remains"
    );
}

async fn what_is_not_allowed_in_a_user_is_refused(backend: Backend) {
    let server = Server::on(backend).start().await;
    for bad in [
        json!({"displayName": "No email"}),
        json!({"email": "a@example.org"}),
        json!({"email": "no address", "displayName": "x"}),
        json!({"email": "a@example.org", "displayName": ""}),
        json!({"email": "a@example.org", "displayName": "x".repeat(129)}),
        json!({"email": "a@example.org", "displayName": 7}),
        json!({"email": "a@example.org", "displayName": "x", "admin": true}),
        json!({"id": "7", "email": "a@example.org", "displayName": "x"}),
        json!([]),
    ] {
        let answer = server.api.post("/v1/users", bad).await;
        answer.expect_any_problem(422);
    }
    let listed = server.api.get("/v1/users").await.expect(200);
    assert_eq!(list(&listed, "items").len(), 0);
}
