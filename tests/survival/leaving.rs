//! Nodes that drain: their meetings continue elsewhere, and nothing is lost.

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
    setup::{SHORT, Setup, say, settle, signal_url, times_heard},
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
        let setup = Setup::start(2, &SHORT).await;
        let (alice, mut bob) = (setup.alice(0).await, setup.joined("Bob", 0).await);
        let carol = setup.joined("Carol", 1).await;
        settle(&[&alice, &bob, &carol]).await;
        let session = alice.look().session_id.clone();
        let before = setup.ownership().await;

        let mut said = Vec::new();
        for number in 0..SENT_BEFORE {
            said.push(post(&mut bob, number).await);
        }
        drain(&setup, 0).await;
        for number in SENT_BEFORE..COMMANDS {
            said.push(post(&mut bob, number).await);
        }
        let ended = setup.node(0).server.lock().await.ended().await;
        assert_eq!(ended.code(), Some(0));
        let mut people = [alice, bob, carol];
        for person in &people {
            let goodbye = person.expect_goodbye("draining", 1001, "reconnect").await;
            assert_eq!(text(&goodbye, "url"), setup.url(1), "{}", person.name);
            assert!(goodbye["retryAfterMs"].is_u64(), "{goodbye}");
        }
        join_all(people.iter_mut().map(|person| setup.resume(person, &[1]))).await;
        for (id, message) in &said {
            people[1].post_as(*id, message.clone()).await;
            assert_eq!(people[1].answer(*id).await["durable"], true);
        }
        expect_each_once(&people, &said).await;
        let after = setup.ownership().await;
        assert_eq!(after.owner, setup.node_id(1).await);
        assert!(after.epoch > before.epoch);
        assert_eq!(people[0].look().session_id, session);

        leave_to_nobody(&setup, &mut people).await;
        assert_eq!(people[0].look().session_id, session);
        assert_eq!(setup.sessions_in_sql().await, 1);
        people[0].command(json!({"type": "EndRoom"})).await;
        people[2].expect_goodbye("ended", 4004, "stop").await;
    })
    .await;
}

/// The last node leaves: the room waits in Redis, owned by nobody, for the next process.
async fn leave_to_nobody(setup: &Setup, people: &mut [TestClient; 3]) {
    let before = setup.ownership().await;
    drain(setup, 1).await;
    let ended = setup.node(1).server.lock().await.ended().await;
    assert_eq!(ended.code(), Some(0));
    for person in &*people {
        let goodbye = person.expect_goodbye("draining", 1001, "reconnect").await;
        assert!(goodbye["url"].is_null(), "nowhere to go: {goodbye}");
        assert!(goodbye["retryAfterMs"].is_u64(), "{goodbye}");
    }
    let left = setup.ownership().await;
    assert_eq!((left.owner.as_str(), left.epoch), ("", before.epoch));
    setup.node(0).start_again().await.expect("it starts");
    join_all(people.iter_mut().map(|person| setup.resume(person, &[0]))).await;
    let ack = say(&mut people[1], "on we go").await;
    assert_eq!(ack["durable"], true);
    for person in &*people {
        person.until_seq(seq_of(&ack)).await;
        assert_same_events(&people[0], person);
    }
    assert!(setup.ownership().await.epoch > before.epoch);
}

/// Tells a node to leave, as an operator does at the last node.
async fn drain(setup: &Setup, number: usize) {
    let path = format!("/v1/nodes/{}/drain", setup.node_id(number).await);
    setup.room.api.post(&path, json!({})).await.expect(202);
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
        let setup = Arc::new(Setup::start(3, &SHORT).await);
        let is_over = Arc::new(AtomicBool::new(false));
        let (mut rooms, mut talkers) = (Vec::new(), Vec::new());
        for number in 0..ROOMS {
            let (room, clients) = pair_at(&setup, number).await;
            rooms.push(room);
            talkers.extend(clients.map(|client| {
                tokio::spawn(talk(Arc::clone(&setup), client, Arc::clone(&is_over)))
            }));
        }
        tokio::time::sleep(STEADY).await;
        for number in 0..ROOMS {
            let ended = setup.node(number).terminate().await;
            assert_eq!(ended.and_then(|status| status.code()), Some(0));
            setup.node(number).start_again().await.expect("it starts");
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
            let api = &setup.room.api;
            api.post(&room.path("/end"), json!({})).await.expect(200);
            let session = room.closed_session().await;
            assert_eq!(session["id"], pair[0].client.look().session_id.as_str());
            assert_eq!(list(&session, "attendances").len(), 2);
        }
    })
    .await;
}

/// A room with two clients, one of them at another node than the owner.
async fn pair_at(setup: &Setup, number: usize) -> (TestRoom, [TestClient; 2]) {
    let room = TestRoom::new(&*setup.node(number).server.lock().await).await;
    let bob = room.person("Bob").await;
    let mut clients = [(&room.host, number), (&bob, (number + 1) % ROOMS)].map(|(person, node)| {
        let url = signal_url(setup.node(node), &room.room_id);
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

/// Sends one message after the other until the end. Repeats unanswered ones under their ids.
async fn talk(setup: Arc<Setup>, mut client: TestClient, is_over: Arc<AtomicBool>) -> Talked {
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
                    setup.resume(&mut client, &[0, 1, 2]).await;
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
