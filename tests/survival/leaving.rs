//! Nodes that are told to leave: their meetings go on elsewhere, and nothing is missing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{
    common::{
        client::{TestClient, assert_same_events},
        scenario::{TestRoom, within_deadline},
        view::{list, seq_of, text},
    },
    stage::{SHORT, Stage, say, settle, signal_url, times_heard},
};

/// Commands on their way while a node leaves; the window of repeated commands is 64.
const COMMANDS: usize = 50;
/// Those of them sent before the node is told.
const SENT_BEFORE: usize = 25;
/// Rooms of the rolling restart.
const ROOMS: usize = 3;
/// Between two commands of a talker.
const TALK_INTERVAL: Duration = Duration::from_millis(40);
/// Traffic before the first restart and after the last.
const STEADY: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drained_node_hands_its_meetings_over() {
    within_deadline(async {
        let stage = Stage::start(2, &SHORT).await;
        let (alice, mut bob) = (stage.alice(0).await, stage.joined("Bob", 0).await);
        let carol = stage.joined("Carol", 1).await;
        settle(&[&alice, &bob, &carol]).await;
        let session = alice.look().session_id.clone();
        let before = stage.ownership().await;

        let mut said = Vec::new();
        for number in 0..SENT_BEFORE {
            said.push(post(&mut bob, number).await);
        }
        drain(&stage, 0).await;
        for number in SENT_BEFORE..COMMANDS {
            said.push(post(&mut bob, number).await);
        }
        let ended = stage.node(0).server.lock().await.ended().await;
        assert_eq!(ended.code(), Some(0));
        let mut people = [alice, bob, carol];
        for person in &people {
            let goodbye = person.expect_goodbye("draining", 1001, "reconnect").await;
            assert_eq!(text(&goodbye, "url"), stage.url(1), "{}", person.name);
            assert!(goodbye["retryAfterMs"].is_u64(), "{goodbye}");
        }
        join_all(people.iter_mut().map(|person| stage.resume(person, &[1]))).await;
        for (id, message) in &said {
            people[1].post_as(*id, message.clone()).await;
            assert_eq!(people[1].answer(*id).await["durable"], true);
        }
        expect_each_once(&people, &said).await;
        let after = stage.ownership().await;
        assert_eq!(after.owner, stage.node_id(1).await);
        assert!(after.epoch > before.epoch);
        assert_eq!(people[0].look().session_id, session);

        leave_to_nobody(&stage, &mut people).await;
        assert_eq!(people[0].look().session_id, session);
        assert_eq!(stage.sessions_in_sql().await, 1);
        people[0].command(json!({"type": "EndRoom"})).await;
        people[2].expect_goodbye("ended", 4004, "stop").await;
    })
    .await;
}

/// The last node leaves: the room waits in Redis, owned by nobody, for the next process.
async fn leave_to_nobody(stage: &Stage, people: &mut [TestClient; 3]) {
    let before = stage.ownership().await;
    drain(stage, 1).await;
    let ended = stage.node(1).server.lock().await.ended().await;
    assert_eq!(ended.code(), Some(0));
    for person in &*people {
        let goodbye = person.expect_goodbye("draining", 1001, "reconnect").await;
        assert!(goodbye["url"].is_null(), "nowhere to go: {goodbye}");
        assert!(goodbye["retryAfterMs"].is_u64(), "{goodbye}");
    }
    let left = stage.ownership().await;
    assert_eq!((left.owner.as_str(), left.epoch), ("", before.epoch));
    stage.node(0).start_again().await.expect("it starts");
    join_all(people.iter_mut().map(|person| stage.resume(person, &[0]))).await;
    let ack = say(&mut people[1], "on we go").await;
    assert_eq!(ack["durable"], true);
    for person in &*people {
        person.until_seq(seq_of(&ack)).await;
        assert_same_events(&people[0], person);
    }
    assert!(stage.ownership().await.epoch > before.epoch);
}

/// Tells a node to leave, as an operator does at the last node.
async fn drain(stage: &Stage, number: usize) {
    let path = format!("/v1/nodes/{}/drain", stage.node_id(number).await);
    stage.room.api.post(&path, json!({})).await.expect(202);
}

async fn post(person: &mut TestClient, number: usize) -> (u64, Value) {
    let message = json!({"type": "SendMessage", "text": format!("message {number}")});
    (person.post(message.clone()).await, message)
}

async fn expect_each_once(people: &[TestClient], said: &[(u64, Value)]) {
    settle(&people.iter().collect::<Vec<_>>()).await;
    for person in people {
        for (_, message) in said {
            let heard = times_heard(person, text(message, "text"));
            assert_eq!(heard, 1, "{} heard {message}", person.name);
        }
        assert_same_events(&people[0], person);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolling_restart_loses_nothing() {
    within_deadline(async {
        let stage = Arc::new(Stage::start(3, &SHORT).await);
        let is_over = Arc::new(AtomicBool::new(false));
        let (mut rooms, mut talkers) = (Vec::new(), Vec::new());
        for number in 0..ROOMS {
            let (room, clients) = pair_at(&stage, number).await;
            rooms.push(room);
            talkers.extend(clients.map(|client| {
                tokio::spawn(talk(Arc::clone(&stage), client, Arc::clone(&is_over)))
            }));
        }
        tokio::time::sleep(STEADY).await;
        for number in 0..ROOMS {
            let ended = stage.node(number).terminate().await;
            assert_eq!(ended.and_then(|status| status.code()), Some(0));
            stage.node(number).start_again().await.expect("it starts");
        }
        tokio::time::sleep(STEADY).await;
        is_over.store(true, Ordering::Relaxed);
        let people: Vec<Talked> = join_all(talkers)
            .await
            .into_iter()
            .map(|talked| talked.expect("the talker came through"))
            .collect();
        let returns: usize = people.iter().map(|talked| talked.returns).sum();
        assert!(returns >= ROOMS * 2, "everybody moved: {returns}");
        for (room, pair) in rooms.iter().zip(people.chunks(2)) {
            settle(&[&pair[0].client, &pair[1].client]).await;
            assert_same_events(&pair[0].client, &pair[1].client);
            for (person, words) in pair.iter().flat_map(|person| {
                pair.iter()
                    .flat_map(|speaker| &speaker.said)
                    .map(move |words| (person, words))
            }) {
                assert_eq!(times_heard(&person.client, words), 1, "{words}");
            }
            let api = &stage.room.api;
            api.post(&room.path("/end"), json!({})).await.expect(200);
            let session = room.closed_session().await;
            assert_eq!(session["id"], pair[0].client.look().session_id.as_str());
            assert_eq!(list(&session, "attendances").len(), 2);
        }
    })
    .await;
}

/// A room with two people in it, of whom one came to another node than its owner.
async fn pair_at(stage: &Stage, number: usize) -> (TestRoom, [TestClient; 2]) {
    let room = TestRoom::new(&*stage.node(number).server.lock().await).await;
    let bob = room.person("Bob").await;
    let mut clients = [(&room.host, number), (&bob, (number + 1) % ROOMS)].map(|(person, node)| {
        let url = signal_url(stage.node(node), &room.room_id);
        TestClient::new(&person.name, &url, &room.room_id, &person.token)
    });
    for client in &mut clients {
        client.join().await;
    }
    (room, clients)
}

/// Somebody who talked all the time.
struct Talked {
    client: TestClient,
    /// Everything acknowledged.
    said: Vec<String>,
    /// How often the connection was lost.
    returns: usize,
}

/// Says one thing after the other until all is over; whatever is not answered is repeated under its id.
async fn talk(stage: Arc<Stage>, mut client: TestClient, is_over: Arc<AtomicBool>) -> Talked {
    let (mut said, mut returns) = (Vec::new(), 0);
    while !is_over.load(Ordering::Relaxed) {
        let words = format!("{} says {}", client.name, said.len());
        let message = json!({"type": "SendMessage", "text": words});
        let id = client.post(message.clone()).await;
        loop {
            let answer = client.until("an answer or the end", |view| {
                let answer = view.answers.get(&id).and_then(|all| all.first().cloned());
                answer.or_else(|| view.closed.as_ref().map(|_| Value::Null))
            });
            let answer = answer.await;
            match text(&answer, "type") {
                "Ack" => break,
                "Error" => assert_eq!(answer["code"], "unavailable", "{answer}"),
                _ => {
                    stage.resume(&mut client, &[0, 1, 2]).await;
                    returns += 1;
                }
            }
            tokio::time::sleep(TALK_INTERVAL).await;
            client.post_as(id, message.clone()).await;
        }
        said.push(words);
        tokio::time::sleep(TALK_INTERVAL).await;
    }
    Talked {
        client,
        said,
        returns,
    }
}
