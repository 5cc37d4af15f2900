//! Nothing is published before the mirror has it; what is not state does not wait; what waits is
//! bounded.

use std::time::{Duration, Instant};

use serde_json::json;
use uuid::Uuid;

use super::{client::TestClient, stage::Stage};
use crate::{actor::PacingLimits, ids::UserId, protocol::Kind, store::DEFAULT_TENANT};

/// Frames that a person has got so far.
fn frames(person: &TestClient) -> usize {
    person.look().frames.len()
}

#[actix_web::test]
async fn nothing_is_published_before_the_mirror_has_it() {
    let stage = Stage::new().await;
    let (mut alice, mut bob) = stage.alice_and_bob().await;
    let mute = json!({"type": "UpdateState", "isMuted": true});
    let mute = stage.hold_commit(&mut alice, mute).await;
    let says = bob
        .post(json!({"type": "SendMessage", "text": "hello"}))
        .await;
    let refused = bob.post(json!({"type": "EndRoom"})).await;
    // A relay proves that all of them were decided, without waiting itself.
    let before = frames(&alice);
    let relay = bob
        .post(json!({"type": "SendOffer", "targetUserId": alice.user_id(), "sdp": "v=0"}))
        .await;
    let offer = alice.next_of("ReceiveOffer").await;
    assert_eq!(offer["sdp"], "v=0");
    assert_eq!(frames(&alice), before + 1, "no event and no ack passed");
    assert_eq!(
        bob.look().answers.len(),
        1,
        "nothing but the join was answered"
    );

    stage.mirror.resume();
    for (person, id, kind) in [
        (&alice, mute, "Ack"),
        (&bob, says, "Ack"),
        (&bob, refused, "Error"),
        (&bob, relay, "Ack"),
    ] {
        assert_eq!(person.answer(id).await["type"], kind);
    }
    alice.until_seq(bob.seq()).await;
    alice.check();
    bob.check();
}

#[actix_web::test]
async fn relays_wait_for_the_join_of_their_target_only() {
    let stage = Stage::new().await;
    let (mut alice, mut bob) = stage.alice_and_bob().await;
    let carol_id = UserId(Uuid::new_v4());
    let mut carol = stage.person("Carol", carol_id, DEFAULT_TENANT, Kind::Guest);
    carol.connect().await;
    let join = json!({"type": "JoinRoom", "roomId": carol.room_id, "token": carol.token});
    stage.hold_commit(&mut carol, join).await;
    alice
        .post(json!({"type": "SendOffer", "targetUserId": carol_id, "sdp": "for Carol"}))
        .await;
    alice
        .post(json!({"type": "SendOffer", "targetUserId": bob.user_id(), "sdp": "for Bob"}))
        .await;
    bob.next_of("ReceiveOffer").await;
    assert_eq!(frames(&carol), 0, "nothing before the join");
    stage.mirror.resume();
    carol.next_of("RoomJoined").await;
    let offer = carol.next_of("ReceiveOffer").await;
    assert_eq!(offer["sdp"], "for Carol");
}

#[actix_web::test]
async fn full_fifo_refuses_commands_until_the_mirror_answers() {
    let stage = Stage::with(|plan| plan.actors.owner.queue.items_max = 20).await;
    let (mut alice, bob) = stage.alice_and_bob().await;
    stage.mirror.pause();
    let mut ids = Vec::new();
    for number in 0..40 {
        let text = format!("message {number}");
        ids.push(
            alice
                .post(json!({"type": "SendMessage", "text": text}))
                .await,
        );
    }
    // Those beyond the bound are refused at once.
    let refused = alice.answer(ids[39]).await;
    assert_eq!(refused["code"], "unavailable");
    stage.mirror.resume();
    let mut acked = 0;
    for id in &ids {
        acked += usize::from(alice.answer(*id).await["type"] == "Ack");
    }
    assert!((9..=20).contains(&acked), "{acked} of 40 within the bound");
    alice
        .command(json!({"type": "SendMessage", "text": "as before"}))
        .await;
    bob.until_seq(alice.seq()).await;
    bob.check();
}

#[actix_web::test]
async fn answer_that_the_mirror_lost_is_asked_for_again_and_published_once() {
    let stage = Stage::new().await;
    let (mut alice, bob) = stage.alice_and_bob().await;
    stage.mirror.lose_answer();
    alice
        .command(json!({"type": "SendMessage", "text": "once"}))
        .await;
    bob.until_seq(alice.seq()).await;
    alice.check();
    bob.check();
}

#[actix_web::test]
async fn what_happens_between_two_commits_goes_together_when_the_thread_is_busy() {
    let apart = Duration::from_secs(1);
    let stage = Stage::with(|plan| plan.actors.pacing = PacingLimits::always(apart)).await;
    let (mut alice, mut bob) = stage.alice_and_bob().await;
    let joined = stage.mirror.calls().batches;
    let mut ids = Vec::new();
    for number in 0..5 {
        let says = json!({"type": "SendMessage", "text": format!("message {number}")});
        ids.push(bob.post(says).await);
        // A relay proves that it was decided, and that what is not state does not wait.
        bob.post(json!({"type": "SendOffer", "targetUserId": alice.user_id(), "sdp": "v=0"}))
            .await;
        alice.next_of("ReceiveOffer").await;
    }
    for id in ids {
        assert_eq!(bob.answer(id).await["type"], "Ack");
    }
    assert_eq!(stage.mirror.calls().batches, joined + 1, "one for all five");

    tokio::time::sleep(apart).await;
    let asked = Instant::now();
    let mute = json!({"type": "UpdateState", "isMuted": true});
    alice.command(mute).await;
    assert!(asked.elapsed() < apart / 2, "the first one does not wait");
    bob.until_seq(alice.seq()).await;
    alice.check();
    bob.check();
}
