//! A large room is told in several goes: the other rooms of its thread have their turns in between.

use std::{cell::RefCell, collections::HashMap, rc::Rc};

use actix_web::rt;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{client::TestClient, socket::open, stage::Stage};

/// People in the large room.
const MANY: usize = 250;
/// Only one turn need show it: on a busy machine the small room may be asked when the large one has
/// been told.
const TURNS: usize = 50;

/// A chat text at whose telling the room panics.
const FAIL_LATER: &str = "fail outside the rules";

/// Who heard what of messages and goodbyes, in the order in which it was read, which is that in
/// which the kernel had it.
type Heard = Rc<RefCell<Vec<(String, Value)>>>;

fn kind(frame: &Value) -> &str {
    frame["type"].as_str().unwrap_or_default()
}

/// A large room with its host.
async fn fill(stage: &Stage, heard: &Heard) -> TestClient {
    let mut alice = stage.owner();
    alice.join().await;
    for number in 0..MANY {
        listen(&stage.guest(&format!("guest {number}")), heard).await;
    }
    alice
}

/// What each of them heard.
fn by_guest(heard: &Heard) -> HashMap<String, Vec<Value>> {
    let mut by_guest: HashMap<String, Vec<Value>> = HashMap::new();
    for (name, frame) in heard.borrow().iter() {
        by_guest
            .entry(name.clone())
            .or_default()
            .push(frame.clone());
    }
    by_guest
}

/// Joins and listens in a task of this thread.
async fn listen(person: &TestClient, heard: &Heard) {
    let mut socket = open(&person.url, None).await;
    let join =
        json!({"type": "JoinRoom", "id": 1, "roomId": person.room_id, "token": person.token});
    socket.send(Message::text(join.to_string())).await.unwrap();
    while let Some(Ok(frame)) = socket.next().await {
        if frame.to_text().unwrap().contains("RoomJoined") {
            break;
        }
    }
    let (name, heard) = (person.name.clone(), Rc::clone(heard));
    rt::spawn(async move {
        while let Some(Ok(frame)) = socket.next().await {
            let Ok(frame) = serde_json::from_str::<Value>(frame.to_text().unwrap_or_default())
            else {
                continue;
            };
            if ["MessageReceived", "Goodbye"].contains(&kind(&frame)) {
                heard.borrow_mut().push((name.clone(), frame));
            }
        }
    });
}

#[actix_web::test]
async fn small_room_is_told_before_all_of_a_large_one_are() {
    let stage = Stage::with(|plan| {
        plan.settings.max_participants = 300;
        plan.workers = 1;
    })
    .await;
    let heard = Heard::default();
    let mut alice = fill(&stage, &heard).await;
    let [mut olga, paul] = stage.room_beside().await;
    olga.join().await;
    listen(&paul, &heard).await;
    let says = json!({"type": "SendMessage", "text": "hello"});
    let mut was_between = false;
    for _ in 0..TURNS {
        heard.borrow_mut().clear();
        stage.hold_commit(&mut alice, says.clone()).await;
        olga.post(says.clone()).await;
        stage
            .until("two commits", async || stage.node.writer.backlog() == 2)
            .await;
        stage.mirror.resume();
        stage
            .until("all told", async || heard.borrow().len() > MANY)
            .await;
        was_between |= heard
            .borrow()
            .last()
            .is_some_and(|(who, _)| *who != paul.name);
        if was_between {
            break;
        }
    }
    assert!(
        was_between,
        "the small room waited for all of the large one"
    );
}

#[actix_web::test]
async fn large_room_that_ends_is_told_everything_first() {
    let stage = Stage::with(|plan| plan.settings.max_participants = 300).await;
    let heard = Heard::default();
    let mut alice = fill(&stage, &heard).await;
    alice
        .post(json!({"type": "SendMessage", "text": "last words"}))
        .await;
    alice.post(json!({"type": "EndRoom"})).await;
    stage
        .until("all told", async || heard.borrow().len() == 2 * MANY)
        .await;
    for (name, frames) in by_guest(&heard) {
        let kinds: Vec<&str> = frames.iter().map(kind).collect();
        assert_eq!(kinds, ["MessageReceived", "Goodbye"], "{name}");
    }
}

#[actix_web::test]
async fn large_room_that_fails_is_told_everything_once() {
    let stage = Stage::with(|plan| plan.settings.max_participants = 300).await;
    let heard = Heard::default();
    let mut alice = fill(&stage, &heard).await;
    let says = |text| json!({"type": "SendMessage", "text": text});
    stage.hold_commit(&mut alice, says("before")).await;
    for text in [FAIL_LATER, "after"] {
        alice.post(says(text)).await;
    }
    stage.break_telling(FAIL_LATER).await;
    stage.mirror.resume();
    // What the room had not decided when it failed is asked again.
    let is_told = |text: &str| {
        let heard = heard.borrow();
        heard
            .iter()
            .filter(|(_, frame)| frame["text"] == text)
            .count()
            == MANY
    };
    stage
        .until("all told", async || {
            is_told("before") && is_told(FAIL_LATER)
        })
        .await;
    for (name, frames) in by_guest(&heard) {
        let seqs: Vec<u64> = frames
            .iter()
            .filter_map(|frame| frame["seq"].as_u64())
            .collect();
        let is_gapless = seqs.windows(2).all(|pair| pair[0] + 1 == pair[1]);
        assert!(is_gapless && seqs.len() >= 2, "{name}: {seqs:?}");
    }
}
