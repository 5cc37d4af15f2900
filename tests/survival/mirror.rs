//! Redis is down for all nodes or returns with lost data: live rooms continue and write it again.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    common::{
        client::{TestClient, assert_same_events},
        proxy::Cut,
        redis::Data,
        scenario::{eventually, within_deadline},
        view::{list, seq_of},
    },
    setup::{SHORT, SHORT_EXPIRY, SHORT_OWN_DEADLINE, Setup, say, settle},
};

/// What "right again" may take after a loss of everything.
const WRITTEN_AGAIN: Duration = Duration::from_secs(2);
/// What it may take after an outage, on a busy machine.
const HEALED_WITHIN: Duration = Duration::from_secs(5);
/// Longest time until an owner sees by its heartbeat that the mirror went back in time, and has
/// written its rooms again.
const NOTICED_WITHIN: Duration = Duration::from_secs(5);
/// Between two commands during an outage.
const TALK_INTERVAL: Duration = Duration::from_millis(150);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_cut_off_go_on_and_keep_what_was_acked() {
    within_deadline(async {
        let setup = Setup::start(2, &SHORT).await;
        let (mut alice, mut bob) = (setup.alice(0).await, setup.joined("Bob", 1).await);
        settle(&[&alice, &bob]).await;
        let session = alice.look().session_id.clone();
        let before = setup.ownership().await;
        for node in &setup.cluster.nodes {
            node.redis.cut(Cut::Silent);
        }
        talk_without_redis(&mut alice, &mut bob).await;
        for number in [0, 1] {
            setup.until_status(number, "degraded").await;
            let up = setup.node(number).metric("callboard_mirror_up", &[]).await;
            assert_eq!(up, Some(0.0));
        }
        let degraded = setup.node(0).metric("callboard_rooms_degraded", &[]).await;
        assert_eq!(degraded, Some(1.0));

        for node in &setup.cluster.nodes {
            node.redis.heal();
        }
        let healed_at = Instant::now();
        for person in [&alice, &bob] {
            let is_back = person.until("durable again", |view| view.is_durable.then_some(()));
            is_back.await;
            assert_eq!(person.look().closed, None);
            assert_eq!(person.look().session_id, session);
        }
        setup.until_mirrored(&alice).await;
        assert!(
            healed_at.elapsed() < HEALED_WITHIN,
            "{:?}",
            healed_at.elapsed()
        );
        assert_eq!(setup.ownership().await, before, "nobody took it over");
        let ack = say(&mut bob, "that was it").await;
        assert_eq!(ack["durable"], true);
        alice.until_seq(seq_of(&ack)).await;
        assert_same_events(&alice, &bob);
        for number in [0, 1] {
            setup.until_status(number, "ready").await;
        }
        assert_eq!(setup.sessions_in_sql().await, 1);
        assert_eq!(list(&setup.end().await, "attendances").len(), 2);
    })
    .await;
}

/// For longer than anybody waits before a room is taken over.
async fn talk_without_redis(alice: &mut TestClient, bob: &mut TestClient) {
    let started = Instant::now();
    let mut last = Value::Null;
    while started.elapsed() < SHORT_EXPIRY + SHORT_OWN_DEADLINE {
        last = say(alice, "can you hear me?").await;
        bob.command(json!({"type": "UpdateState", "isMuted": true}))
            .await;
        tokio::time::sleep(TALK_INTERVAL).await;
    }
    assert_eq!(last["durable"], false);
    bob.command(json!({"type": "UpdateState", "isHandRaised": true}))
        .await;
    settle(&[alice, bob]).await;
    for person in [&*alice, &*bob] {
        assert!(!person.look().is_durable, "{} was told", person.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flushed_redis_is_right_again_within_two_seconds() {
    within_deadline(async {
        let setup = Setup::start(2, &[]).await;
        let (alice, bob) = (setup.alice(0).await, setup.joined("Bob", 0).await);
        let mut carol = setup.client(&setup.room.person("Carol").await, 1);
        settle(&[&alice, &bob]).await;
        setup.until_session_in_sql().await;
        let before = setup.ownership().await;
        let frames = [&alice, &bob].map(|person| person.look().frames.len());

        let flushed = setup.cluster.redis::<String>(&["FLUSHALL"]);
        assert_eq!(flushed.await.as_deref(), Ok("OK"));
        let flushed_at = Instant::now();
        let right = async {
            let mut took = None;
            while took.is_none() && flushed_at.elapsed() < WRITTEN_AGAIN * 4 {
                let is_there = !setup.head().await.is_empty();
                if is_there && setup.compare(&alice).await.is_ok() {
                    took = Some(flushed_at.elapsed());
                }
                tokio::time::sleep(TALK_INTERVAL / 10).await;
            }
            took
        };
        let (took, joined) = tokio::join!(right, carol.join());
        let took = took.expect("Redis is right again");
        assert!(took < WRITTEN_AGAIN, "it took {took:?}");

        assert_eq!(joined["sessionId"], alice.look().session_id.as_str());
        for (person, frames) in [&alice, &bob].into_iter().zip(frames) {
            person.until_seq(carol.seq()).await;
            let view = person.look();
            let kinds: Vec<&Value> = view.frames[frames..]
                .iter()
                .map(|frame| &frame["type"])
                .collect();
            assert_eq!(kinds, ["ParticipantJoined"], "{}", person.name);
        }
        setup.until_mirrored(&carol).await;
        let after = setup.ownership().await;
        assert_eq!(after.owner, before.owner);
        assert!(after.epoch > before.epoch);
        assert_eq!(setup.sessions_in_sql().await, 1);
        eventually("both nodes are registered again", async || {
            let nodes = setup.room.api.get("/v1/nodes").await.expect(200);
            (list(&nodes, "items").len() == 2).then_some(())
        })
        .await;
        assert_eq!(list(&setup.end().await, "attendances").len(), 3);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_redis_is_written_again() {
    within_deadline(async {
        let setup = Setup::start(2, &[]).await;
        let (mut alice, mut bob) = (setup.alice(0).await, setup.joined("Bob", 0).await);
        setup.cluster.redis.lock().await.save();
        let carol = setup.joined("Carol", 1).await;
        say(&mut bob, "not saved").await;
        bob.command(json!({"type": "UpdateState", "isMuted": true}))
            .await;
        let ack = alice
            .command(json!({"type": "LockRoom", "isLocked": true}))
            .await;
        assert_eq!(ack["durable"], true);
        settle(&[&alice, &bob, &carol]).await;
        let before = setup.ownership().await;
        let frames = [&alice, &bob, &carol].map(|person| person.look().frames.len());

        setup.cluster.redis.lock().await.start_again(Data::Saved);
        assert!(setup.compare(&alice).await.is_err(), "the old data is back");
        // Nobody does anything: the owner notices by itself.
        let took = setup.until_mirrored(&alice).await;
        assert!(took < NOTICED_WITHIN, "it took {took:?}");
        for (person, frames) in [&alice, &bob, &carol].into_iter().zip(frames) {
            let view = person.look();
            assert!(view.frames[frames..].is_empty(), "{}", person.name);
            assert_eq!(view.closed, None);
        }
        let after = setup.ownership().await;
        assert_eq!(after.owner, before.owner);
        assert!(after.epoch > before.epoch, "{before:?} {after:?}");
        assert!(setup.tail().await.contains("not saved"));
        let ack = say(&mut bob, "as if nothing had happened").await;
        assert_eq!(ack["durable"], true);
        for person in [&alice, &carol] {
            person.until_seq(seq_of(&ack)).await;
            assert_same_events(&bob, person);
        }
        assert_eq!(setup.sessions_in_sql().await, 1);
        assert_eq!(list(&setup.end().await, "attendances").len(), 3);
    })
    .await;
}
