//! A node that cannot reach Redis or is frozen: at most one node answers for a room.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;

use crate::{
    common::{
        client::{TestClient, assert_same_events},
        proxy::Cut,
        scenario::within_deadline,
        view::{list, seq_of, text},
    },
    setup::{SHORT, SHORT_EXPIRY, SHORT_OWN_DEADLINE, Setup, say, settle, times_heard},
};

/// The own deadline by default: nobody takes a room over before its owner has stopped.
const OWN_DEADLINE: Duration = Duration::from_secs(4);
/// Between two commands during a cut.
const TALK_INTERVAL: Duration = Duration::from_millis(100);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frozen_owner_that_thaws_changes_nothing() {
    within_deadline(async {
        let setup = Setup::start(2, &[]).await;
        let (mut alice, mut bob) = (setup.alice(0).await, setup.joined("Bob", 0).await);
        let mut carol = setup.joined("Carol", 0).await;
        settle(&[&alice, &bob, &carol]).await;
        let session = alice.look().session_id.clone();
        let (old, new) = (setup.node_id(0).await, setup.node_id(1).await);
        let watch = setup.watch_ownership().await;

        setup.node(0).freeze().await;
        let frozen_at = Instant::now();
        // It stays in the socket until the node thaws.
        let unheard = json!({"type": "SendMessage", "text": "said to a frozen node"});
        let unheard_id = carol.post(unheard.clone()).await;
        let frames = carol.look().frames.len();
        tokio::join!(setup.resume(&mut alice, &[1]), setup.resume(&mut bob, &[1]));
        assert!(frozen_at.elapsed() > OWN_DEADLINE);
        for number in 0..5 {
            let ack = say(&mut alice, &format!("{number} without the frozen node")).await;
            assert_eq!(ack["durable"], true);
        }
        assert_eq!(setup.ownership().await.owner, new);

        setup.node(0).thaw().await;
        let goodbye = carol.expect_goodbye("moved", 4009, "reconnect").await;
        assert_eq!(text(&goodbye, "url"), setup.url(1));
        assert_eq!(carol.look().frames[frames..], [goodbye]);
        setup.until_rooms(0, 0.0).await;
        setup.resume(&mut carol, &[1]).await;
        carol.post_as(unheard_id, unheard).await;
        assert_eq!(carol.answer(unheard_id).await["durable"], true);
        settle(&[&alice, &bob, &carol]).await;
        for person in [&alice, &bob, &carol] {
            assert_eq!(times_heard(person, "said to a frozen node"), 1);
            assert_eq!(person.look().session_id, session);
            assert_same_events(&alice, person);
        }
        // The node that was frozen leads to the new owner.
        let dave = setup.joined("Dave", 0).await;
        assert_eq!(dave.look().session_id, session);
        setup.until_mirrored(&dave).await;
        let owners: Vec<String> = watch.finish().into_iter().map(|seen| seen.owner).collect();
        assert_eq!(owners, [old, new]);
        assert_eq!(setup.sessions_in_sql().await, 1);
        let recorded = setup.end().await;
        assert_eq!(list(&recorded, "attendances").len(), 4);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_cut_off_from_redis_alone_stops() {
    within_deadline(async {
        let setup = Setup::start(2, &SHORT).await;
        let (mut alice, bob) = (setup.alice(0).await, setup.joined("Bob", 0).await);
        let carol = setup.joined("Carol", 1).await;
        let session = alice.look().session_id.clone();
        for number in 0..5 {
            let ack = say(&mut alice, &format!("durable {number}")).await;
            assert_eq!(ack["durable"], true);
        }
        settle(&[&alice, &bob, &carol]).await;
        let before = setup.ownership().await;

        setup.node(0).redis.cut(Cut::Silent);
        let cut_at = Instant::now();
        let ack = say(&mut alice, "may be lost").await;
        assert_eq!(ack["durable"], false);
        assert!(cut_at.elapsed() < SHORT_OWN_DEADLINE, "degraded first");
        setup.until_status(0, "degraded").await;
        let mut people = [alice, bob, carol];
        for person in &people {
            let goodbye = person.expect_goodbye("moved", 4009, "reconnect").await;
            assert_eq!(text(&goodbye, "url"), setup.url(1));
            expect_durability_told_first(person, "may be lost");
        }
        assert_eq!(
            setup.ownership().await,
            before,
            "it stops before others continue"
        );
        setup.until_rooms(0, 0.0).await;
        assert_eq!(setup.status(1).await, "ready");

        let back = join_all(people.iter_mut().map(async |person| {
            // What was not durable is of another history: from here on all must see one.
            person.look().events.clear();
            setup.come_back(person, &[1]).await
        }))
        .await;
        for snapshot in back {
            assert_eq!(snapshot["isSnapshotAfterGap"], true, "{snapshot}");
        }
        let ack = say(&mut people[2], "all there?").await;
        assert_eq!(ack["durable"], true);
        let seen = people[2].look().people();
        for person in &people {
            person.until_seq(seq_of(&ack)).await;
            assert_eq!(person.look().session_id, session);
            assert_eq!(person.look().people(), seen);
            assert_same_events(&people[0], person);
        }
        setup.until_mirrored(&people[0]).await;
        let tail = setup.tail().await;
        for number in 0..5 {
            assert!(tail.contains(&format!("durable {number}")), "{tail}");
        }
        let after = setup.ownership().await;
        assert_eq!(after.owner, setup.node_id(1).await);
        assert!(after.epoch > before.epoch);

        setup.node(0).redis.heal();
        setup.until_status(0, "ready").await;
        let dave = setup.joined("Dave", 0).await;
        assert_eq!(dave.look().session_id, session);
        assert_eq!(setup.ownership().await, after);
        // The commit that was on its way has arrived by now.
        setup.until_mirrored(&dave).await;
        assert!(!setup.tail().await.contains("may be lost"));
        assert_eq!(list(&setup.end().await, "attendances").len(), 4);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_cut_off_from_redis_learns_of_one_that_came_up_since() {
    within_deadline(async {
        let setup = Setup::start(2, &SHORT).await;
        let mut alice = setup.alice(0).await;
        let ended = setup.node(1).terminate().await.expect("it ends");
        assert!(ended.success());
        setup.node(0).redis.cut(Cut::Silent);
        let cut_at = Instant::now();
        while cut_at.elapsed() < SHORT_OWN_DEADLINE * 2 {
            say(&mut alice, "anybody?").await;
            tokio::time::sleep(TALK_INTERVAL).await;
        }
        let ack = say(&mut alice, "alone").await;
        assert_eq!(ack["durable"], false, "for all it knows, nobody has Redis");
        let before = setup.ownership().await;

        let started = setup.node(1).start_again().await;
        assert_eq!(started, Ok(()));
        alice.expect_goodbye("moved", 4009, "reconnect").await;
        let now = setup.ownership().await;
        assert_eq!(now, before, "it stops before the other continues");
        setup.come_back(&mut alice, &[1]).await;
        assert_eq!(say(&mut alice, "back").await["durable"], true);
        assert_eq!(setup.sessions_in_sql().await, 1);
    })
    .await;
}

/// An event that is not durable comes after the news that none is.
#[track_caller]
fn expect_durability_told_first(person: &TestClient, words: &str) {
    let view = person.look();
    let place =
        |is_meant: &dyn Fn(&serde_json::Value) -> bool| view.frames.iter().position(is_meant);
    let told = place(&|frame| frame["type"] == "DurabilityChanged" && frame["durable"] == false);
    let said = place(&|frame| frame["text"] == words);
    assert!(
        told.is_some() && told < said,
        "{}: {told:?}, {said:?}",
        person.name
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_neighbour_decides_by_policy() {
    within_deadline(async {
        tokio::join!(stops_beside_a_silent_node(), serves_beside_a_silent_node());
    })
    .await;
}

async fn cut_beside_a_silent_node(policy: &str) -> (Setup, TestClient, TestClient) {
    let mut set = SHORT.to_vec();
    set.push(("MIRROR__PARTITION", policy));
    let setup = Setup::start(2, &set).await;
    let (alice, bob) = (setup.alice(0).await, setup.joined("Bob", 0).await);
    settle(&[&alice, &bob]).await;
    setup.node(1).freeze().await;
    for node in &setup.cluster.nodes {
        node.redis.cut(Cut::Silent);
    }
    (setup, alice, bob)
}

async fn end_silence(setup: &Setup) {
    for node in &setup.cluster.nodes {
        node.redis.heal();
    }
    setup.node(1).thaw().await;
}

async fn stops_beside_a_silent_node() {
    let (setup, mut alice, bob) = cut_beside_a_silent_node("stop").await;
    let session = alice.look().session_id.clone();
    assert_eq!(say(&mut alice, "alone?").await["durable"], false);
    let mut people = [alice, bob];
    for person in &people {
        person.expect_goodbye("moved", 4009, "reconnect").await;
    }
    setup.until_rooms(0, 0.0).await;
    end_silence(&setup).await;
    join_all(people.iter_mut().map(async |person| {
        person.look().events.clear();
        setup.come_back(person, &[0, 1]).await
    }))
    .await;
    let ack = say(&mut people[0], "again").await;
    people[1].until_seq(seq_of(&ack)).await;
    assert_eq!(people[1].look().session_id, session);
    assert_same_events(&people[0], &people[1]);
    setup.end().await;
}

async fn serves_beside_a_silent_node() {
    let (setup, mut alice, bob) = cut_beside_a_silent_node("serve").await;
    let before = setup.ownership().await;
    let started = Instant::now();
    let mut last = serde_json::Value::Null;
    while started.elapsed() < SHORT_EXPIRY + SHORT_OWN_DEADLINE {
        last = say(&mut alice, "anybody?").await;
        tokio::time::sleep(TALK_INTERVAL).await;
    }
    assert_eq!(last["durable"], false);
    bob.until_seq(seq_of(&last)).await;
    assert_eq!(bob.look().closed, None);
    end_silence(&setup).await;
    for person in [&alice, &bob] {
        let is_back = person.until("durable again", |view| view.is_durable.then_some(()));
        is_back.await;
    }
    setup.until_mirrored(&alice).await;
    assert_eq!(setup.ownership().await, before);
    assert_same_events(&alice, &bob);
    setup.end().await;
}
