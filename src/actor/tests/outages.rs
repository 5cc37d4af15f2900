//! The mirror is away, loses a room, or says that somebody else owns it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{client::TestClient, stage::Stage};
use crate::{protocol::EndReason, room::record::Snapshot};

/// Longest time without an answer of the mirror, for tests in which it stalls.
const STALL_MS: u64 = 300;

/// The mirror has exactly what a person sees of the room.
#[track_caller]
fn assert_mirrors(snapshot: &Snapshot, person: &TestClient) {
    let view = person.look();
    assert_eq!(snapshot.seq.0, view.seq);
    assert_eq!(snapshot.head.is_locked, view.room["isLocked"] == true);
    let mirrored: Vec<(String, bool, bool)> = snapshot
        .participants
        .iter()
        .map(|(user_id, record)| (user_id.to_string(), record.flags.is_muted, record.is_away))
        .collect();
    let participants = view.participants.without_connections();
    let seen: Vec<(String, bool, bool)> = participants
        .iter()
        .map(|(user_id, person)| {
            let is = |field: &str| person[field] == true;
            (user_id.clone(), is("isMuted"), is("isAway"))
        })
        .collect();
    assert_eq!(mirrored, seen);
    let tail: Vec<Value> = snapshot
        .tail
        .iter()
        .map(|event| serde_json::from_str(&event.frame).unwrap())
        .collect();
    for event in &tail {
        let seq = event["seq"].as_u64().unwrap();
        if let Some(seen) = view.events.get(&seq) {
            assert_eq!(event, seen);
        }
    }
}

async fn until_durable(person: &TestClient, durable: bool) {
    person
        .until("DurabilityChanged", |view| {
            (view.is_durable == durable).then_some(())
        })
        .await;
}

#[actix_web::test]
async fn stalled_mirror_makes_a_room_degraded_and_then_gets_everything() {
    let stage = Stage::with(|plan| plan.actors.owner.stall_ms = STALL_MS).await;
    let (mut alice, mut bob) = stage.alice_and_bob().await;
    stage.mirror.pause();
    let ack = alice
        .command(json!({"type": "UpdateState", "isMuted": true}))
        .await;
    assert_eq!(ack["durable"], false);
    until_durable(&bob, false).await;
    let ack = bob
        .command(json!({"type": "SendMessage", "text": "we go on"}))
        .await;
    assert_eq!(ack["durable"], false);
    alice
        .command(json!({"type": "LockRoom", "isLocked": true}))
        .await;
    assert_eq!(stage.node.metrics.rooms_degraded.get(), 1);

    stage.mirror.resume();
    until_durable(&alice, true).await;
    until_durable(&bob, true).await;
    let ack = bob
        .command(json!({"type": "UpdateState", "isHandRaised": true}))
        .await;
    assert_eq!(ack["durable"], true);
    alice.until_seq(bob.seq()).await;
    assert_eq!(stage.node.metrics.rooms_degraded.get(), 0);
    alice.check();
    bob.check();
    assert_mirrors(&stage.claim_elsewhere().await, &alice);
}

#[actix_web::test]
async fn stall_is_noticed_in_time_in_a_busy_room() {
    let stage = Stage::with(|plan| plan.actors.owner.stall_ms = STALL_MS).await;
    let (mut alice, bob) = stage.alice_and_bob().await;
    stage.mirror.pause();
    let begun = Instant::now();
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    while bob.look().is_durable {
        pace.tick().await;
        alice
            .post(json!({"type": "SendMessage", "text": "again"}))
            .await;
        assert!(
            begun.elapsed() < Duration::from_millis(STALL_MS + 1_500),
            "every message put the look at the clock off"
        );
    }
    stage.mirror.resume();
    until_durable(&bob, true).await;
    bob.check();
}

#[actix_web::test]
async fn session_that_ends_while_the_mirror_is_away_is_recorded_after_its_return_only() {
    let stage = Stage::with(|plan| plan.actors.owner.stall_ms = STALL_MS).await;
    let (mut alice, mut bob) = stage.alice_and_bob().await;
    let session_id = alice.look().session_id.clone();
    stage
        .until("the opened session", async || {
            let open = stage.node.store.open_sessions_of(stage.room_id);
            !open.await.unwrap().is_empty()
        })
        .await;
    stage.mirror.pause();
    alice
        .post(json!({"type": "RemoveParticipant", "userId": bob.user_id(), "ban": true}))
        .await;
    bob.expect_goodbye("banned", 1008, "stop").await;
    alice.post(json!({"type": "EndRoom"})).await;
    // People are told, without durability.
    let ended = alice.next_of("RoomEnded").await;
    assert_eq!(ended["reason"], "ended");
    alice.expect_goodbye("ended", 4004, "stop").await;
    // What waits for the mirror cannot be seen, so the recorder is given every chance to be wrong.
    stage.node.recorder.session_closed();
    bob.connect().await;
    let store = &stage.node.store;
    assert_eq!(stage.end_reason(&session_id).await, None);
    assert!(store.bans(stage.room_id).await.unwrap().is_empty());
    assert!(stage.rooms.is_live(stage.room_id));

    stage.mirror.resume();
    stage
        .until("the session in SQL", async || {
            stage.end_reason(&session_id).await == Some(EndReason::Ended)
        })
        .await;
    assert_eq!(store.bans(stage.room_id).await.unwrap().len(), 1);
    stage
        .until("the room's end", async || {
            !stage.rooms.is_live(stage.room_id)
        })
        .await;
    assert_eq!(stage.ownership().await, None);
}

#[actix_web::test]
async fn room_that_the_mirror_lost_is_written_again_without_anybody_noticing() {
    let stage = Stage::new().await;
    let (mut alice, bob) = stage.alice_and_bob().await;
    let epoch = stage.ownership().await.unwrap().epoch;
    stage.mirror.lose_room(stage.room_id);
    let ack = alice
        .command(json!({"type": "UpdateState", "isMuted": true}))
        .await;
    assert_eq!(ack["durable"], true);
    bob.until_seq(alice.seq()).await;
    let after = stage.ownership().await.unwrap().epoch;
    assert!(after > epoch);
    for person in [&alice, &bob] {
        person.check();
        let view = person.look();
        assert!(view.closed.is_none());
        let noticed = view
            .frames
            .iter()
            .any(|frame| frame["type"] == "DurabilityChanged");
        assert!(!noticed);
    }
    // An idle room notices by itself when it is told to look.
    stage.mirror.lose_everything();
    stage.rooms.verify_all();
    stage
        .until("the room in the mirror", async || {
            stage.ownership().await.is_some()
        })
        .await;
    // Tokens of the former epochs are still good for a replay.
    alice.drop_abruptly().await;
    let resumed = alice.resume().await;
    assert_eq!(resumed["relaysLost"], false);
    // The resume itself was committed, so this is the whole truth.
    bob.until_seq(alice.seq()).await;
    assert_mirrors(&stage.claim_elsewhere().await, &bob);
}

#[actix_web::test]
async fn fenced_room_publishes_nothing_and_sends_everybody_away() {
    let stage = Stage::new().await;
    let (mut alice, bob) = stage.alice_and_bob().await;
    let (alice_seq, bob_seq) = (alice.seq(), bob.seq());
    stage.claim_elsewhere().await;
    let says = alice
        .post(json!({"type": "SendMessage", "text": "nobody owns me"}))
        .await;
    for person in [&alice, &bob] {
        let goodbye = person.expect_goodbye("moved", 4009, "reconnect").await;
        assert!(goodbye["retryAfterMs"].is_u64());
        person.check();
    }
    assert_eq!((alice.seq(), bob.seq()), (alice_seq, bob_seq));
    assert!(!alice.look().answers.contains_key(&says));
    stage
        .until("the room's end", async || {
            !stage.rooms.is_live(stage.room_id)
        })
        .await;
    assert_eq!(stage.node.metrics.room_restarts_total.get(), 0);
}

#[actix_web::test]
async fn room_without_its_mirror_goes_on_when_the_mirror_lost_it_meanwhile() {
    let stage = Stage::with(|plan| plan.actors.owner.stall_ms = STALL_MS).await;
    let (mut alice, bob) = stage.alice_and_bob().await;
    stage.mirror.fail_all(true);
    let ack = alice
        .command(json!({"type": "UpdateState", "isMuted": true}))
        .await;
    assert_eq!(ack["durable"], false);
    until_durable(&bob, false).await;
    stage.mirror.lose_everything();
    stage.mirror.fail_all(false);
    until_durable(&bob, true).await;
    bob.until_seq(alice.seq()).await;
    bob.check();
    assert_mirrors(&stage.claim_elsewhere().await, &bob);
}
