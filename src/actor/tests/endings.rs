//! The end of a room and of the node: joins that meet it, and the last commit.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::json;
use uuid::Uuid;

use super::stage::Stage;
use crate::{
    ids::{Epoch, Seq, SessionId, Timestamp, UserId, Version},
    mirror::{Commit, CommitOutcome},
    owner::{Loss, Recovery},
    protocol::Settings,
    room::record::{ChangeSet, Closing, Head, SessionHead},
    store::DEFAULT_TENANT,
};

#[actix_web::test]
async fn join_that_meets_a_closing_room_gets_the_next_session() {
    let stage = Stage::new().await;
    let (mut alice, bob) = stage.alice_and_bob().await;
    let first = alice.look().session_id.clone();
    stage
        .hold_commit(&mut alice, json!({"type": "EndRoom"}))
        .await;
    let mut carol = stage.guest("Carol");
    carol.connect().await;
    let join = json!({"type": "JoinRoom", "roomId": carol.room_id, "token": carol.token});
    let joins = carol.post(join).await;
    // The end is told first, so the join has met a room that was closing, or came after it.
    stage.mirror.resume();
    bob.expect_goodbye("ended", 4004, "stop").await;
    let joined = carol.answer(joins).await;
    assert_eq!(joined["type"], "RoomJoined", "{joined}");
    assert_ne!(joined["sessionId"], first.as_str());
    assert_eq!(carol.look().participants.len(), 1);
}

#[actix_web::test]
async fn node_that_stops_commits_first_and_then_says_goodbye() {
    let stage = Stage::new().await;
    let (mut alice, bob) = stage.alice_and_bob().await;
    let mute = stage
        .hold_commit(&mut alice, json!({"type": "UpdateState", "isMuted": true}))
        .await;
    let stop = stage.stop_rooms(Duration::from_secs(15));
    let resume = async {
        tokio::task::yield_now().await;
        stage.mirror.resume();
    };
    let (stopped, ()) = tokio::join!(stop, resume);
    assert_eq!(stopped, Some(1));
    for person in [&alice, &bob] {
        person.expect_goodbye("draining", 1001, "reconnect").await;
        person.check();
    }
    assert_eq!(alice.answer(mute).await["type"], "Ack");
    let snapshot = stage.claim_elsewhere().await;
    assert!(snapshot.participants[&stage.host].flags.is_muted);
    // No room starts any more.
    let mut carol = stage.guest("Carol");
    carol
        .join_expect_error("unavailable", 1013, "reconnect")
        .await;
}

#[actix_web::test]
async fn node_that_stops_while_its_mirror_is_away_says_goodbye_all_the_same() {
    let stage = Stage::new().await;
    let (mut alice, bob) = stage.alice_and_bob().await;
    stage
        .hold_commit(&mut alice, json!({"type": "UpdateState", "isMuted": true}))
        .await;
    assert_eq!(stage.stop_rooms(Duration::from_millis(300)).await, None);
    for person in [&alice, &bob] {
        person.expect_goodbye("draining", 1001, "reconnect").await;
        person.check();
    }
}

#[actix_web::test]
async fn live_session_is_touched_while_it_lives() {
    let stage = Stage::new().await;
    let (alice, _bob) = stage.alice_and_bob().await;
    let id = alice.look().session_id.parse().unwrap();
    let store = &stage.node.store;
    stage
        .until("the opened session", async || {
            !store
                .open_sessions_of(stage.room_id)
                .await
                .unwrap()
                .is_empty()
        })
        .await;
    let seen_at = async || {
        let open = store.open_sessions(None, 10).await.unwrap();
        let session = open.into_iter().find(|open| open.session_id == id);
        session.expect("the session is open")
    };
    let begun = seen_at().await;
    stage
        .until("time to pass", async || {
            stage.node.clock.now() > begun.last_seen_at
        })
        .await;
    // A recorder that starts says at once what lives here.
    stage.start_recorder(stage.node.recorder.clone());
    stage
        .until("a later sign of life", async || {
            seen_at().await.last_seen_at > begun.last_seen_at
        })
        .await;
}

#[actix_web::test]
async fn close_that_was_recorded_before_its_answer_came_is_a_close() {
    let stage = Stage::new().await;
    let (mut alice, _bob) = stage.alice_and_bob().await;
    let session_id = alice.look().session_id.clone();
    alice.command(json!({"type": "EndRoom"})).await;
    stage
        .until("the session is in SQL", async || {
            stage.end_reason(&session_id).await.is_some()
        })
        .await;
    let closing = |closing| Commit {
        room_id: stage.room_id,
        owner: stage.node.node_id,
        epoch: Epoch(1),
        changes: changes_of(session_id.parse().unwrap(), closing),
    };
    let alive = Arc::new(());
    let alive = Arc::downgrade(&alive);
    for (commit, is_close) in [
        (closing(Some(Closing { session: None })), true),
        (closing(None), false),
    ] {
        let loss = Loss {
            commit,
            outcome: CommitOutcome::Missing,
        };
        let became = stage.node.claimant.restore(&loss, &alive).await;
        assert_eq!(became == Recovery::Closed, is_close);
        assert_eq!(became == Recovery::Lost, !is_close);
    }
}

/// A full snapshot of a room without people, in this session.
fn changes_of(session_id: SessionId, closing: Option<Closing>) -> ChangeSet {
    let head = Head {
        tenant_id: DEFAULT_TENANT,
        host_user_id: UserId(Uuid::nil()),
        settings: Settings::default(),
        sfu_region: None,
        is_recording: false,
        is_locked: false,
        session: Some(SessionHead {
            session_id,
            start_time: Timestamp(0),
        }),
        epoch_starts: Vec::new(),
        empty_at: None,
        depart_at: None,
        ends_at: None,
    };
    ChangeSet {
        from: Version(0),
        to: Version(1),
        seq: Seq(0),
        is_full: true,
        head: Some(head),
        participants: BTreeMap::new(),
        lobby: BTreeMap::new(),
        left: BTreeMap::new(),
        bans: BTreeMap::new(),
        tail: Vec::new(),
        tail_keep: 0,
        closing,
    }
}
