//! A panic costs the room a restart from its mirror, nothing else.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{client::TestClient, stage::Stage, view::View};
use crate::{
    ids::UserId,
    protocol::{EndReason, Kind},
    store::DEFAULT_TENANT,
};

/// A chat text at which the rules panic.
const FAIL: &str = "fail in the rules";
/// A chat text at whose telling the room panics.
const FAIL_LATER: &str = "fail outside the rules";

/// A command that meets the restart may be answered with `timeout`; repeated with the same id it is
/// carried out, once.
async fn insist(person: &mut TestClient, command: Value) {
    let id = person.post(command.clone()).await;
    loop {
        let answer = person.answer(id).await;
        if answer["type"] == "Ack" {
            return;
        }
        assert_eq!(answer["code"], "timeout", "{answer}");
        person.post_as(id, command.clone()).await;
    }
}

#[actix_web::test]
async fn room_that_panics_is_restarted_and_everybody_stays() {
    let stage = Stage::new().await;
    let (mut alice, mut bob) = stage.alice_and_bob().await;
    bob.command(json!({"type": "UpdateState", "isMuted": true}))
        .await;
    stage.break_rules().await;
    let crashing_command = bob.post(json!({"type": "SendMessage", "text": FAIL})).await;
    let error = bob.answer(crashing_command).await;
    assert_eq!(
        (&error["type"], &error["code"]),
        (&json!("Error"), &json!("internal"))
    );
    let before = stage.ownership().await.unwrap().epoch;
    // The next command of each is carried out, by the successor.
    insist(
        &mut alice,
        json!({"type": "SendMessage", "text": "still here"}),
    )
    .await;
    insist(&mut bob, json!({"type": "UpdateState", "isMuted": false})).await;
    // The command that made it fail is decided: acknowledged, and not run.
    bob.post_as(
        crashing_command,
        json!({"type": "SendMessage", "text": "again"}),
    )
    .await;
    assert_eq!(bob.answer(crashing_command).await["type"], "Ack");
    alice
        .command(json!({"type": "SendMessage", "text": "last"}))
        .await;
    bob.until_seq(alice.seq()).await;
    for person in [&alice, &bob] {
        person.check();
        let view = person.look();
        assert!(view.closed.is_none());
        let texts: Vec<&str> = view
            .events
            .values()
            .filter_map(|event| event["text"].as_str())
            .collect();
        assert_eq!(texts, ["still here", "last"]);
    }
    assert_eq!(alice.sees(&bob.user_id())["isMuted"], false);
    assert!(stage.ownership().await.unwrap().epoch >= before);
    assert_eq!(stage.node.metrics.room_restarts_total.get(), 1);
    let claims = stage.mirror.calls().claims;
    assert_eq!(claims, 2, "one at the start, one at the restart");
}

#[actix_web::test]
async fn unanswered_commands_of_others_time_out_and_may_be_repeated() {
    let stage = Stage::new().await;
    let (mut alice, mut bob) = stage.alice_and_bob().await;
    let asked = stage
        .hold_commit(
            &mut alice,
            json!({"type": "UpdateState", "isHandRaised": true}),
        )
        .await;
    stage.break_rules().await;
    let crashing_command = bob.post(json!({"type": "SendMessage", "text": FAIL})).await;
    stage
        .until("the restart", async || {
            stage.node.metrics.room_restarts_total.get() == 1
        })
        .await;
    stage.mirror.resume();
    assert_eq!(bob.answer(crashing_command).await["code"], "internal");
    assert_eq!(alice.answer(asked).await["code"], "timeout");
    alice
        .post_as(asked, json!({"type": "UpdateState", "isHandRaised": true}))
        .await;
    assert_eq!(alice.answer(asked).await["type"], "Ack");
    bob.until("the raised hand", |view| {
        (view.participants.get(&alice.user_id())?["isHandRaised"] == true).then_some(())
    })
    .await;
    alice.check();
    bob.check();
}

#[actix_web::test]
async fn event_that_was_committed_before_a_panic_is_seen_once_after_it() {
    let stage = Stage::new().await;
    let (mut alice, mut bob) = stage.alice_and_bob().await;
    stage
        .hold_commit(
            &mut alice,
            json!({"type": "SendMessage", "text": FAIL_LATER}),
        )
        .await;
    stage.break_telling(FAIL_LATER).await;
    stage.mirror.resume();
    for person in [&mut alice, &mut bob] {
        let event = person.next_of("MessageReceived").await;
        assert_eq!(event["text"], FAIL_LATER);
    }
    insist(&mut bob, json!({"type": "UpdateState", "isMuted": true})).await;
    alice.until_seq(bob.seq()).await;
    alice.check();
    bob.check();
    assert_eq!(stage.node.metrics.room_restarts_total.get(), 1);
}

#[actix_web::test]
async fn event_that_was_about_to_be_told_when_the_room_panicked_is_told_by_its_successor() {
    let stage = Stage::new().await;
    let (mut alice, mut bob) = stage.alice_and_bob().await;
    stage
        .hold_commit(
            &mut bob,
            json!({"type": "SendMessage", "text": "on its way"}),
        )
        .await;
    // Both go with the next commit: the first is handed to the links when the second makes the room
    // fail.
    bob.post(json!({"type": "SendMessage", "text": "about to be told"}))
        .await;
    bob.post(json!({"type": "SendMessage", "text": FAIL_LATER}))
        .await;
    // A relay proves that all of them were decided.
    bob.post(json!({"type": "SendOffer", "targetUserId": alice.user_id(), "sdp": "v=0"}))
        .await;
    alice.next_of("ReceiveOffer").await;
    stage.break_telling(FAIL_LATER).await;
    stage.mirror.resume();
    for text in ["on its way", "about to be told", FAIL_LATER] {
        for person in [&mut alice, &mut bob] {
            assert_eq!(person.next_of("MessageReceived").await["text"], text);
        }
    }
    insist(
        &mut alice,
        json!({"type": "SendMessage", "text": "going on"}),
    )
    .await;
    bob.until_seq(alice.seq()).await;
    alice.check();
    bob.check();
}

#[actix_web::test]
async fn fourth_panic_within_a_minute_ends_the_session_as_failed() {
    let stage = Stage::new().await;
    let (mut alice, mut bob) = stage.alice_and_bob().await;
    for _ in 0..3 {
        stage.break_rules().await;
        bob.refused(json!({"type": "SendMessage", "text": FAIL}), "internal")
            .await;
        insist(
            &mut alice,
            json!({"type": "SendMessage", "text": "going on"}),
        )
        .await;
    }
    stage.break_rules().await;
    bob.post(json!({"type": "SendMessage", "text": FAIL})).await;
    for person in [&mut alice, &mut bob] {
        let ended = person.next_of("RoomEnded").await;
        assert_eq!(ended["reason"], "failed");
        person.expect_goodbye("failed", 1011, "rejoin").await;
        person.check();
    }
    let session_id = alice.look().session_id.clone();
    stage
        .until("the session in SQL", async || {
            stage.end_reason(&session_id).await == Some(EndReason::Failed)
        })
        .await;
    assert!(!stage.rooms.is_live(stage.room_id));
    // A new session has a new budget.
    alice.join().await;
    assert_ne!(alice.look().session_id, session_id);
}

#[actix_web::test]
async fn who_is_removed_when_the_room_panics_hears_nothing_of_what_comes_after() {
    let stage = Stage::new().await;
    let (mut alice, bob) = stage.alice_and_bob().await;
    let carol_id = UserId(Uuid::new_v4());
    let mut carol = stage.person("Carol", carol_id, DEFAULT_TENANT, Kind::Guest);
    carol.join().await;
    stage
        .hold_commit(&mut alice, json!({"type": "UpdateState", "isMuted": true}))
        .await;
    // Both go into the next commit, and what it releases ends at the panic: before anything is
    // written.
    alice
        .post(json!({"type": "RemoveParticipant", "userId": bob.user_id()}))
        .await;
    alice
        .post(json!({"type": "SendMessage", "text": FAIL_LATER}))
        .await;
    // A relay proves that they were decided, without waiting itself.
    alice
        .post(json!({"type": "SendOffer", "targetUserId": carol_id, "sdp": "v=0"}))
        .await;
    carol.next_of("ReceiveOffer").await;
    stage.break_telling(FAIL_LATER).await;
    stage.mirror.resume();
    bob.expect_goodbye("removed", 4002, "stop").await;
    let is_told = |view: &View| {
        let mut events = view.events.values();
        events.any(|event| event["text"] == FAIL_LATER)
    };
    carol
        .until("the message", |view| is_told(view).then_some(()))
        .await;
    assert!(!is_told(&bob.look()));
    assert_eq!(stage.node.metrics.room_restarts_total.get(), 1);
    carol.check();
}
