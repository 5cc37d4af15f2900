//! What a call makes of every kind of neighbour.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::oneshot,
};
use uuid::Uuid;

use super::*;
use crate::{protocol::Code, secrets::SIGNING_KEY_BYTES_MIN};

/// Longest head of a request in these tests.
const HEAD_BYTES_MAX: usize = 8 * 1024;

fn signing() -> SigningKey {
    SigningKey::from_text(&"s".repeat(SIGNING_KEY_BYTES_MIN)).unwrap()
}

fn client() -> NodeClient {
    NodeClient::new(NodeId(Uuid::from_u128(1)), signing()).unwrap()
}

fn neighbour(url: &str) -> Neighbour {
    Neighbour {
        node_id: NodeId(Uuid::from_u128(2)),
        url: Url::parse(url).unwrap(),
    }
}

/// A neighbour that answers any one question, and that question.
async fn answering(status: &str, body: &str) -> (Neighbour, oneshot::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/prefix/", listener.local_addr().unwrap());
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let (asked, request) = oneshot::channel();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut head = vec![0; HEAD_BYTES_MAX];
        let length = socket.read(&mut head).await.unwrap();
        let _ = asked.send(String::from_utf8_lossy(&head[..length]).into_owned());
        let _ = socket.write_all(answer.as_bytes()).await;
    });
    (neighbour(&url), request)
}

async fn asked(status: &str, body: &str) -> Result<Result<AdminReply, Rejection>, CallFault> {
    let (neighbour, _request) = answering(status, body).await;
    let room = RoomId(Uuid::nil());
    client()
        .ask(&neighbour, room, &AdminCommand::Describe)
        .await
}

#[tokio::test]
async fn a_command_travels_with_a_token_for_that_node_and_room() {
    let body = serde_json::to_string(&AskAnswer::Reply(AdminReply::Ended(true))).unwrap();
    let (neighbour, request) = answering("200 OK", &body).await;
    let room = RoomId(Uuid::from_u128(3));
    let answer = client()
        .ask(&neighbour, room, &AdminCommand::Describe)
        .await;
    assert_eq!(answer, Ok(Ok(AdminReply::Ended(true))));
    let request = request.await.unwrap();
    let path = format!("POST /prefix/internal/rooms/{room}/ask HTTP/1.1");
    assert!(request.starts_with(&path), "{request}");
    let token = request
        .lines()
        .find_map(|line| line.strip_prefix("authorization: Bearer "))
        .unwrap();
    let now = crate::clock::wall_time();
    let claims = node_token::verify(token, neighbour.node_id, &signing(), now).unwrap();
    assert_eq!(claims.issuer, NodeId(Uuid::from_u128(1)));
    assert_eq!(claims.grant, Grant::Ask { room });
}

#[tokio::test]
async fn a_refusal_of_the_room_comes_back_as_it_is() {
    let rejection = Rejection::new(Code::TargetNotFound, "nobody");
    let body = serde_json::to_string(&AskAnswer::Rejection(rejection.clone())).unwrap();
    assert_eq!(asked("200 OK", &body).await, Ok(Err(rejection)));
}

#[tokio::test]
async fn every_other_answer_is_one_of_the_four_faults() {
    for (status, body, fault) in [
        ("421 Misdirected Request", "{}", CallFault::Moved),
        ("503 Service Unavailable", "{}", CallFault::Silent),
        ("401 Unauthorized", "{}", CallFault::Failed),
        ("302 Found", "", CallFault::Failed),
        ("500 Internal Server Error", "oops", CallFault::Failed),
        ("200 OK", "no JSON", CallFault::Failed),
        ("200 OK", "{}", CallFault::Failed),
    ] {
        assert_eq!(asked(status, body).await, Err(fault), "{status}");
    }
}

#[tokio::test]
async fn an_answer_over_the_bound_is_not_read_to_its_end() {
    let body = "x".repeat(ANSWER_BYTES_MAX + 1);
    assert_eq!(asked("200 OK", &body).await, Err(CallFault::Failed));
}

#[tokio::test]
async fn only_a_refused_connection_proves_that_nothing_was_done() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let refused = neighbour(&url);
    let room = RoomId(Uuid::nil());
    let answer = client().ask(&refused, room, &AdminCommand::Describe).await;
    assert_eq!(answer, Err(CallFault::Refused));
    let patience = Duration::from_secs(1);
    let mirror = client().mirror_of(&refused, patience).await;
    assert_eq!(mirror, MirrorAnswer::Refused);
    let socket = client().signal(&refused, room, Grant::Mirror).await;
    assert_eq!(socket.err(), Some(CallFault::Refused));
}

#[tokio::test]
async fn a_neighbour_that_takes_the_connection_and_says_nothing_is_silent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = neighbour(&format!("http://{}", listener.local_addr().unwrap()));
    let patience = Duration::from_millis(200);
    let mirror = client().mirror_of(&silent, patience).await;
    assert_eq!(mirror, MirrorAnswer::Silent);
    let socket = client()
        .signal(&silent, RoomId(Uuid::nil()), Grant::Mirror)
        .await;
    assert_eq!(socket.err(), Some(CallFault::Silent));
}

#[tokio::test]
async fn a_node_is_known_by_the_name_it_gives() {
    let id = NodeId(Uuid::from_u128(4));
    let body = format!(r#"{{"status":"ok","nodeId":"{id}"}}"#);
    for (status, body, found) in [
        ("200 OK", body.as_str(), Some(id)),
        ("200 OK", r#"{"status":"ok"}"#, None),
        ("200 OK", "<html>", None),
        ("404 Not Found", "", None),
    ] {
        let (neighbour, request) = answering(status, body).await;
        assert_eq!(client().identity(&neighbour.url).await, Ok(found));
        let request = request.await.unwrap();
        assert!(request.starts_with("GET /prefix/healthz "), "{request}");
        assert!(!request.contains("authorization"), "no token for strangers");
    }
}

#[tokio::test]
async fn the_mirror_of_a_neighbour_is_as_it_says() {
    for (body, answer) in [
        (r#"{"hasForMs":12}"#, MirrorAnswer::Has { for_ms: 12 }),
        (r#"{"hasForMs":null}"#, MirrorAnswer::HasNot),
    ] {
        let (neighbour, _request) = answering("200 OK", body).await;
        let patience = Duration::from_secs(1);
        assert_eq!(client().mirror_of(&neighbour, patience).await, answer);
    }
}
