//! What a stay is worth at another node than the one where it began.

use futures_util::future::join_all;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    common::{
        client::{TestClient, assert_same_events},
        scenario::within_deadline,
        view::text,
    },
    setup::{SHORT, Setup, say, settle, times_heard},
};

/// Commands of which some are unanswered at a node's death; below the window of 64.
const COMMANDS: usize = 50;
/// Those of them whose answer is waited for.
const ANSWERED_BEFORE: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removed_and_superseded_people_cannot_resume_at_another_node() {
    within_deadline(async {
        let setup = Setup::start(2, &SHORT).await;
        let mut alice = setup.alice(0).await;
        let removed = setup.joined("Removed", 0).await;
        let banned = setup.joined("Banned", 0).await;
        let dave = setup.room.person("Dave").await;
        let (mut first, mut second) = (setup.client(&dave, 0), setup.client(&dave, 1));
        first.join().await;
        second.join().await;
        first.expect_goodbye("superseded", 4001, "stop").await;
        for (person, is_banned) in [(&removed, false), (&banned, true)] {
            let user_id = person.user_id();
            let command = json!({"type": "RemoveParticipant", "userId": user_id, "ban": is_banned});
            alice.command(command).await;
        }
        removed.expect_goodbye("removed", 4002, "stop").await;
        banned.expect_goodbye("banned", 1008, "stop").await;
        let mut ended = [
            (removed, "forbidden", "removed", 4002),
            (banned, "banned", "banned", 1008),
            (first, "superseded", "superseded", 4001),
        ];
        expect_no_way_back(&setup, &mut ended).await;
        // Nor at the node that takes over from the one that decided it.
        setup.node(0).kill9().await;
        setup.resume(&mut alice, &[1]).await;
        setup.resume(&mut second, &[1]).await;
        expect_no_way_back(&setup, &mut ended).await;
        say(&mut second, "still here").await;
        settle(&[&alice, &second]).await;
        let people: Vec<String> = alice.look().participants.keys().cloned().collect();
        let mut expected = [alice.user_id(), second.user_id()];
        expected.sort();
        assert_eq!(people, expected);
        assert_same_events(&alice, &second);
    })
    .await;
}

async fn expect_no_way_back(setup: &Setup, ended: &mut [(TestClient, &str, &str, u16)]) {
    for (person, code, reason, close) in ended {
        person.url = setup.url(1);
        let refused = person.try_resume().await;
        assert_eq!(refused["type"], "Error", "{}: {refused}", person.name);
        assert_eq!(refused["code"], *code, "{}: {refused}", person.name);
        person.expect_goodbye(reason, *close, "stop").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resume_token_is_rotated_and_only_its_hash_is_mirrored() {
    within_deadline(async {
        let setup = Setup::start(2, &SHORT).await;
        let alice = setup.alice(0).await;
        let mut bob = setup.joined("Bob", 0).await;
        let mut tokens = vec![bob.look().resume_token.clone()];
        expect_hash_alone(&setup, &bob, &tokens).await;
        for number in [1, 0] {
            bob.drop_abruptly().await;
            bob.url = setup.url(number);
            bob.resume().await;
            tokens.push(bob.look().resume_token.clone());
            expect_hash_alone(&setup, &bob, &tokens).await;
        }
        setup.node(0).kill9().await;
        setup.resume(&mut bob, &[1]).await;
        tokens.push(bob.look().resume_token.clone());
        expect_hash_alone(&setup, &bob, &tokens).await;
        let mut different = tokens.clone();
        different.sort();
        different.dedup();
        assert_eq!(
            different.len(),
            tokens.len(),
            "new at every join and resume"
        );

        // Once the newest one is used and a message arrives, no node accepts an older one.
        bob.drop_abruptly().await;
        bob.resume().await;
        say(&mut bob, "here").await;
        let seq = bob.seq();
        let connection = bob.look().connection_id.clone();
        for old in &tokens[..tokens.len() - 1] {
            let resume = json!({"connectionId": connection, "resumeToken": old, "lastSeq": seq});
            let mut thief = setup.client(&setup.room.token_for("Bob", &bob.user_id()).await, 1);
            let answer = thief.resume_with(resume).await;
            assert_eq!(answer["type"], "RoomJoined", "a new stay: {answer}");
        }
        bob.expect_goodbye("superseded", 4001, "stop").await;
        drop(alice);
        for number in [0, 1] {
            let log = setup.node(number).log().await;
            assert!(tokens.iter().all(|token| !log.contains(token)));
        }
    })
    .await;
}

/// Nothing in Redis tells the tokens; the hash of the newest one is there.
async fn expect_hash_alone(setup: &Setup, person: &TestClient, tokens: &[String]) {
    let all = everything_in_redis(setup).await;
    for token in tokens {
        assert!(!all.contains(token.as_str()), "{token} in {all}");
    }
    let newest = Sha256::digest(tokens.last().expect("one at least").as_bytes());
    let hash: String = newest.iter().map(|byte| format!("{byte:02x}")).collect();
    let key = format!("room:{{{}}}:participants", setup.room.room_id);
    let seat: String = setup
        .cluster
        .redis(&["HGET", &key, &person.user_id()])
        .await
        .expect("the seat");
    let seat: Value = serde_json::from_str(&seat).expect("JSON");
    let hashes = seat["resumeTokenHashes"].as_array().expect("a list");
    let last = hashes.last().expect("one at least");
    assert_eq!(text(last, "hash"), hash);
    assert!(hashes.len() <= 3, "{seat}");
}

async fn everything_in_redis(setup: &Setup) -> String {
    let keys: Vec<String> = setup
        .cluster
        .redis(&["KEYS", "*"])
        .await
        .expect("Redis answers");
    let mut all = String::new();
    for key in keys {
        let kind: String = setup
            .cluster
            .redis(&["TYPE", &key])
            .await
            .expect("Redis answers");
        let words: Vec<&str> = match kind.as_str() {
            "hash" => vec!["HGETALL", &key],
            "list" => vec!["LRANGE", &key, "0", "-1"],
            "set" => vec!["SMEMBERS", &key],
            "zset" => vec!["ZRANGE", &key, "0", "-1"],
            "string" => vec!["GET", &key],
            // It went in between.
            _ => continue,
        };
        let held = setup.cluster.redis::<redis::Value>(&words).await;
        all.push_str(&format!(
            "{key}: {:?}\n",
            flat(held.expect("Redis answers"))
        ));
    }
    all
}

/// All texts of an answer.
fn flat(value: redis::Value) -> Vec<String> {
    match value {
        redis::Value::Array(values) => values.into_iter().flat_map(flat).collect(),
        other => vec![redis::from_redis_value(other).unwrap_or_default()],
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_repeated_at_another_node_take_effect_once() {
    within_deadline(async {
        let setup = Setup::start(2, &SHORT).await;
        let (alice, mut bob) = (setup.alice(0).await, setup.joined("Bob", 0).await);
        let mut carol = setup.joined("Carol", 1).await;
        settle(&[&alice, &bob, &carol]).await;
        let mut said = Vec::new();
        for number in 0..COMMANDS {
            for person in [&mut bob, &mut carol] {
                let words = format!("{} says {number}", person.name);
                let message = json!({"type": "SendMessage", "text": words});
                said.push((
                    person.name.clone(),
                    person.post(message.clone()).await,
                    message,
                ));
            }
        }
        bob.answer(said[ANSWERED_BEFORE * 2].1).await;
        setup.node(0).kill9().await;
        let mut people = [alice, bob, carol];
        for person in &people {
            person.closed().await;
        }
        join_all(people.iter_mut().map(|person| setup.resume(person, &[1]))).await;
        // All of them, also those that were answered, and once more.
        for (name, id, message) in said.iter().chain(&said) {
            let person = people.iter_mut().find(|person| person.name == *name);
            let person = person.expect("one of them");
            person.post_as(*id, message.clone()).await;
            let ack = person.answer(*id).await;
            assert_eq!(
                (&ack["type"], &ack["durable"]),
                (&json!("Ack"), &json!(true))
            );
        }
        settle(&people.each_ref()).await;
        for person in &people {
            for (_, _, message) in &said {
                assert_eq!(times_heard(person, text(message, "text")), 1, "{message}");
            }
            assert_same_events(&people[0], person);
        }
        setup.until_mirrored(&people[0]).await;
    })
    .await;
}
