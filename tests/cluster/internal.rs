//! What nodes ask of each other is for nodes only, and is never passed on.

use callboard::{
    ids::{NodeId, RoomId, TenantId, UserId},
    protocol::Kind,
    secrets::node_token::Grant,
};
use futures_util::{SinkExt, StreamExt};
use reqwest::{Method, header::AUTHORIZATION};
use serde_json::{Value, json};
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest},
};
use uuid::Uuid;

use crate::common::{
    http::{Answer, send},
    pair::{Pair, node_id, room_id, token},
    scenario::within_deadline,
    server::Server,
};

/// Every question between nodes, for a room.
fn questions(room: &str) -> Vec<(Method, String)> {
    vec![
        (Method::POST, format!("/internal/rooms/{room}/ask")),
        (Method::POST, format!("/internal/rooms/{room}/take")),
        (Method::GET, format!("/internal/rooms/{room}/signal")),
        (Method::GET, "/internal/mirror".to_owned()),
        (Method::POST, "/internal/drain".to_owned()),
    ]
}

async fn ask(server: &Server, method: &Method, path: &str, bearer: Option<&str>) -> Answer {
    let request = server.api.with_key(bearer).request(method.clone(), path);
    send(request.json(&json!({"kind": "describe"}))).await
}

fn join(room: RoomId) -> Grant {
    Grant::Join {
        tenant: TenantId(Uuid::from_u128(1)),
        room,
        user: UserId(Uuid::from_u128(2)),
        name: "Mallory".to_owned(),
        role: Kind::Host,
        is_expired: false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_token_for_this_node_and_this_question_is_accepted() {
    within_deadline(async {
        let pair = Pair::start().await;
        let (room, mut alice) = pair.room_with_alice().await;
        let (home, entry) = (node_id(&pair.home).await, node_id(&pair.entry).await);
        let other_room = RoomId(Uuid::from_u128(7));
        let id = room_id(&room);
        let right = [
            Grant::Ask { room: id },
            Grant::Take { room: id },
            join(id),
            Grant::Mirror,
            Grant::Drain,
        ];
        let elsewhere = NodeId(Uuid::from_u128(9));
        for ((method, path), right) in questions(&room.room_id).iter().zip(right) {
            let mut refused = vec![
                None,
                pair.home.api.key.clone(),
                Some(room.host.token.clone()),
                Some("x".repeat(5_000)),
                Some(token(right.clone(), entry, elsewhere)),
                Some(token(Grant::Ask { room: other_room }, entry, home)),
                Some(token(Grant::Take { room: other_room }, entry, home)),
                Some(token(join(other_room), entry, home)),
            ];
            for other in [Grant::Mirror, Grant::Drain] {
                if right != other {
                    refused.push(Some(token(other, entry, home)));
                }
            }
            for bearer in refused {
                let answer = ask(&pair.home, method, path, bearer.as_deref()).await;
                let body = answer.expect_problem(401, "unauthorized");
                assert_eq!(body["detail"], "this is for nodes of the cluster only");
            }
        }
        let node = token(Grant::Mirror, entry, home);
        let stranger = pair.home.api.with_key(Some(&node));
        stranger
            .get("/v1/rooms")
            .await
            .expect_problem(401, "unauthorized");
        alice
            .command(json!({"type": "SendMessage", "text": "undisturbed"}))
            .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_that_was_passed_on_is_not_passed_on_again() {
    within_deadline(async {
        let pair = Pair::start().await;
        let (room, _alice) = pair.room_with_alice().await;
        let (home, entry) = (node_id(&pair.home).await, node_id(&pair.entry).await);
        let id = room_id(&room);
        // The room is at home; the entry node is asked as if it were there.
        let bearer = token(Grant::Ask { room: id }, home, entry);
        let path = format!("/internal/rooms/{id}/ask");
        let answer = ask(&pair.entry, &Method::POST, &path, Some(&bearer)).await;
        answer.expect_problem(421, "moved");
        let said = join_as(&pair.entry, id, home, entry)
            .await
            .expect("upgraded");
        assert_eq!(said[0]["type"], "Error");
        assert_eq!(said[0]["code"], "unavailable");
        assert_eq!(said[1]["type"], "Goodbye");
        assert_eq!(said[1]["reason"], "moved");
        assert_eq!(said[2], json!({"close": 4009}));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_each_believe_the_other_has_the_room_do_not_loop() {
    within_deadline(async {
        let pair = Pair::start().await;
        let (room, alice) = pair.room_with_alice().await;
        let (home, entry) = (node_id(&pair.home).await, node_id(&pair.entry).await);
        let key = format!("room:{{{}}}", room.room_id);
        let redis = &pair.home.outside().redis;
        // A copy of the room under another id. Each node is told that the other owns it.
        let ghost = Uuid::new_v4();
        let () = redis.command(&["COPY", &key, &format!("room:{{{ghost}}}")]);
        for (owner, asked, server) in [(home, entry, &pair.entry), (entry, home, &pair.home)] {
            let owner = owner.to_string();
            let () = redis.command(&["HSET", &format!("room:{{{ghost}}}"), "owner", &owner]);
            let bearer = token(
                Grant::Ask {
                    room: RoomId(ghost),
                },
                asked,
                asked,
            );
            let path = format!("/internal/rooms/{ghost}/ask");
            let answer = ask(server, &Method::POST, &path, Some(&bearer)).await;
            answer.expect_problem(421, "moved");
        }
        for server in [&pair.entry, &pair.home] {
            let asked = "callboard_forwarded_asks_total";
            assert_eq!(server.metric(asked, &[]).await, 0.0, "nobody passed it on");
        }
        assert_eq!(alice.look().closed, None);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_says_since_when_it_has_the_mirror() {
    within_deadline(async {
        let pair = Pair::start().await;
        let (home, entry) = (node_id(&pair.home).await, node_id(&pair.entry).await);
        let bearer = token(Grant::Mirror, entry, home);
        let answer = ask(&pair.home, &Method::GET, "/internal/mirror", Some(&bearer)).await;
        assert!(answer.expect(200)["hasForMs"].is_u64());
    })
    .await;
}

/// Joins over the internal WebSocket; everything that is said.
async fn join_as(
    server: &Server,
    room: RoomId,
    issuer: NodeId,
    audience: NodeId,
) -> Result<Vec<Value>, Error> {
    let url = format!(
        "ws://127.0.0.1:{}/internal/rooms/{room}/signal",
        server.port
    );
    let mut request = url.into_client_request()?;
    let bearer = format!("Bearer {}", token(join(room), issuer, audience));
    request.headers_mut().insert(
        AUTHORIZATION,
        bearer.parse().expect("a token is header text"),
    );
    let (mut socket, _) = connect_async(request).await?;
    let hello = json!({"type": "JoinRoom", "id": 1, "roomId": room, "token": ""});
    socket.send(Message::text(hello.to_string())).await?;
    let mut said = Vec::new();
    while let Some(Ok(frame)) = socket.next().await {
        match frame {
            Message::Text(text) => said.push(serde_json::from_str(&text).expect("JSON")),
            Message::Close(Some(close)) => said.push(json!({"close": u16::from(close.code)})),
            _ => {}
        }
    }
    Ok(said)
}
