//! Limits of connections: how many, how long they may be silent, what they may leave unread.

use std::time::Duration;

use serde_json::json;
use tokio_tungstenite::{connect_async, tungstenite};

use super::{plan::Plan, stage::Stage};
use crate::metrics::EvictionReason;

/// A peer is silent after this long.
const SILENCE_MS: u64 = 600;

fn impatient(plan: &mut Plan) {
    plan.actors.ping_timeout_ms = SILENCE_MS;
    plan.actors.ping_interval_ms = 100;
}

fn evictions(stage: &Stage, reason: EvictionReason) -> u64 {
    let line = format!(
        "callboard_evictions_total{{reason=\"{}\"}} ",
        reason.as_str()
    );
    let text = stage.node.metrics.render();
    text.lines()
        .find_map(|found| found.strip_prefix(&line))
        .map_or(0, |count| count.parse().unwrap())
}

#[actix_web::test]
async fn connection_beyond_the_limit_is_refused_with_503() {
    let stage = Stage::with(|plan| plan.connections.connections_max = 2).await;
    let (alice, mut bob) = stage.alice_and_bob().await;
    let refused = connect_async(&stage.url).await;
    match refused {
        Err(tungstenite::Error::Http(answer)) => assert_eq!(answer.status(), 503),
        other => panic!("no place was left: {:?}", other.map(|_| ())),
    }
    bob.drop_abruptly().await;
    alice
        .until("Bob away", |view| {
            (view.participants.get(&bob.user_id())?["isAway"] == true).then_some(())
        })
        .await;
    stage
        .until("the place given back", async || {
            stage.node.metrics.connections.get() == 1
        })
        .await;
    bob.resume().await;
}

#[actix_web::test]
async fn connection_that_does_not_join_in_time_is_sent_away() {
    let stage =
        Stage::with(|plan| plan.connections.join_timeout = Duration::from_millis(100)).await;
    let mut late = stage.guest("Late");
    late.connect().await;
    late.expect_goodbye("timeout", 1008, "reconnect").await;
    assert_eq!(evictions(&stage, EvictionReason::JoinTimeout), 1);
}

#[actix_web::test]
async fn silent_peer_is_away_for_the_others_and_may_come_back() {
    let stage = Stage::with(impatient).await;
    let (alice, mut bob) = stage.alice_and_bob().await;
    // It answers no ping any more.
    bob.stop_reading();
    alice
        .until("Bob away", |view| {
            (view.participants.get(&bob.user_id())?["isAway"] == true).then_some(())
        })
        .await;
    assert_eq!(evictions(&stage, EvictionReason::Silent), 1);
    bob.resume().await;
    alice
        .until("Bob back", |view| {
            (view.participants.get(&bob.user_id())?["isAway"] == false).then_some(())
        })
        .await;
    alice.check();
}

#[actix_web::test]
async fn who_answers_stays_however_close_the_timeout_is_to_the_pings() {
    let stage = Stage::with(|plan| {
        plan.actors.ping_interval_ms = 100;
        plan.actors.ping_timeout_ms = 200;
    })
    .await;
    let (alice, mut bob) = stage.alice_and_bob().await;
    for evicted in 1..=3 {
        bob.stop_reading();
        alice
            .until("Bob away", |view| {
                (view.participants.get(&bob.user_id())?["isAway"] == true).then_some(())
            })
            .await;
        bob.resume().await;
        assert_eq!(evictions(&stage, EvictionReason::Silent), evicted);
    }
    alice.check();
}

#[actix_web::test]
async fn only_who_says_nothing_is_asked_for_a_sign_of_life() {
    let stage = Stage::with(|plan| plan.actors.ping_interval_ms = 1_000).await;
    let (mut alice, bob) = stage.alice_and_bob().await;
    while bob.look().pings < 2 {
        alice.post(json!({"type": "KeepAlive"})).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let asked = alice.look().pings;
    assert!(asked < 2, "{asked} times");
    alice.check();
}

#[actix_web::test]
async fn silent_peer_in_the_lobby_loses_its_place_after_the_grace() {
    let stage = Stage::with(|plan| {
        impatient(plan);
        plan.settings.is_lobby_enabled = true;
        plan.rules.reconnect_grace_ms = 300;
    })
    .await;
    let mut alice = stage.owner();
    alice.join().await;
    let mut bob = stage.guest("Bob");
    let waits = bob.try_join().await;
    assert_eq!(waits["type"], "LobbyWaiting");
    let waiting =
        |count: usize| move |view: &super::view::View| (view.waiting.len() == count).then_some(());
    alice.until("Bob in the lobby", waiting(1)).await;
    bob.stop_reading();
    alice.until("an empty lobby", waiting(0)).await;
    assert_eq!(evictions(&stage, EvictionReason::Silent), 1);
}

#[actix_web::test]
async fn peer_that_leaves_its_goodbye_unread_is_cut_off() {
    let stage = Stage::with(|plan| {
        plan.actors.link.slow_ms = 4_000;
        plan.actors.link.outgoing_bytes_max = 64 << 20;
    })
    .await;
    let mut alice = stage.owner();
    alice.join().await;
    let mut sleepy = stage.guest("Sleepy");
    sleepy.receive_buffer_bytes = Some(4096);
    sleepy.join().await;
    sleepy.stop_reading();
    let text = "x".repeat(4096);
    // More than sockets hold: the goodbye waits, too.
    for _ in 0..1_500 {
        alice
            .post(json!({"type": "SendMessage", "text": text}))
            .await;
    }
    alice.post(json!({"type": "EndRoom"})).await;
    alice.expect_goodbye("ended", 4004, "stop").await;
    // Neither reads nor closes: only the cut ends it.
    stage
        .until("both connections gone", async || {
            stage.node.metrics.connections.get() == 0
        })
        .await;
    assert!(!stage.rooms.is_live(stage.room_id));
}
