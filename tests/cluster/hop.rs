//! The limits of a connection hold behind a hop as well, and its loss is noticed.

use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::common::{
    client::TestClient,
    pair::Pair,
    scenario::{eventually, within_deadline},
};

/// Receive buffer of the client that stops reading: fills at once.
const SMALL_BUFFER_BYTES: u32 = 4096;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_too_large_ends_the_connection_where_it_came_in() {
    within_deadline(async {
        let pair = Pair::start().await;
        let (room, mut alice) = pair.room_with_alice().await;
        let mut bob = pair.joined_at_entry(&room, "Bob").await;
        let bob_id = bob.user_id();
        let text = "x".repeat(70_000);
        bob.send_message(Message::text(text)).await;
        bob.expect_goodbye("too_large", 1009, "reconnect").await;
        until_away(&mut alice, &bob_id).await;
        let evictions = "callboard_evictions_total";
        let reason = &["too_large"];
        assert_eq!(pair.entry.metric(evictions, reason).await, 1.0);
        assert_eq!(pair.home.metric(evictions, reason).await, 0.0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_ends_at_the_entry_node() {
    const MESSAGES_MAX: usize = 200_000;
    within_deadline(async {
        let pair = Pair::start().await;
        let (room, mut alice) = pair.room_with_alice().await;
        let mut bob = pair.joined_at_entry(&room, "Bob").await;
        for _ in 0..MESSAGES_MAX {
            bob.send_text(r#"{"type":"UpdateState","id":1,"isMuted":true}"#)
                .await;
            if bob.look().goodbye.is_some() {
                break;
            }
        }
        bob.closed().await;
        let goodbye = bob.look().goodbye.clone().expect("an orderly close");
        assert_eq!(goodbye["reason"], "rate_limited");
        assert_eq!(
            pair.entry
                .metric("callboard_evictions_total", &["flood"])
                .await,
            1.0
        );
        assert_eq!(
            pair.home.metric("callboard_evictions_total", &[]).await,
            0.0
        );
        alice
            .command(json!({"type": "UpdateState", "isHandRaised": true}))
            .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_stops_reading_behind_the_hop_is_cut_off_and_away() {
    const ROUNDS_MAX: usize = 600;
    const AT_ONCE: usize = 16;
    within_deadline(async {
        let pair = Pair::with(|plan| {
            plan.set("LIMITS__COMMANDS_PER_SECOND", 100_000)
                .set("LIMITS__COMMANDS_BURST", 100_000)
                .set("LIMITS__SLOW_MS", 1_000)
        })
        .await;
        let (room, mut alice) = pair.room_with_alice().await;
        let person = room.person("Sleepy").await;
        let mut sleepy = pair.at_entry(&room, &person);
        sleepy.receive_buffer_bytes = Some(SMALL_BUFFER_BYTES);
        sleepy.join().await;
        let mut reader = pair.joined_at_entry(&room, "Reader").await;
        sleepy.stop_reading();
        let text = "x".repeat(4096);
        for _ in 0..ROUNDS_MAX {
            let mut last = 0;
            for _ in 0..AT_ONCE {
                last = alice
                    .post(json!({"type": "SendMessage", "text": text}))
                    .await;
            }
            assert_eq!(alice.answer(last).await["type"], "Ack");
            if alice.sees(&person.user_id)["isAway"] == true {
                break;
            }
        }
        until_away(&mut alice, &person.user_id).await;
        eventually("its connection is gone from the entry node", async || {
            let open = pair.entry.metric("callboard_connections", &[]).await;
            (open == 1.0).then_some(())
        })
        .await;
        reader
            .command(json!({"type": "UpdateState", "isMuted": true}))
            .await;
        reader.until_seq(alice.seq()).await;
        assert_eq!(reader.look().closed, None, "nobody else notices");
        sleepy.drop_abruptly().await;
        let back = sleepy.try_resume().await;
        assert!(
            back["type"] == "RoomResumed" || back["isSnapshotAfterGap"] == true,
            "{back}"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_vanishes_behind_the_hop_is_away_at_once() {
    within_deadline(async {
        let pair = Pair::start().await;
        let (room, mut alice) = pair.room_with_alice().await;
        let mut bob = pair.joined_at_entry(&room, "Bob").await;
        let bob_id = bob.user_id();
        bob.drop_abruptly().await;
        until_away(&mut alice, &bob_id).await;
        eventually("no forwarded connection is left", async || {
            let open = pair.entry.metric("callboard_forwarded_connections", &[]);
            (open.await == 0.0).then_some(())
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_client_behind_the_hop_is_cut_off() {
    within_deadline(async {
        let pair = Pair::with(|plan| {
            plan.set("CONNECTION__PING_INTERVAL_MS", 1_000)
                .set("CONNECTION__PING_TIMEOUT_MS", 3_000)
        })
        .await;
        let (room, mut alice) = pair.room_with_alice().await;
        let bob = pair.joined_at_entry(&room, "Bob").await;
        let bob_id = bob.user_id();
        // A client that does not read answers no ping either.
        bob.stop_reading();
        until_away(&mut alice, &bob_id).await;
        assert_eq!(
            pair.entry
                .metric("callboard_evictions_total", &["silent"])
                .await,
            1.0
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_words_of_a_client_reach_the_room() {
    within_deadline(async {
        let pair = Pair::start().await;
        let (room, mut alice) = pair.room_with_alice().await;
        let mut bob = pair.joined_at_entry(&room, "Bob").await;
        let bob_id = bob.user_id();
        bob.post(json!({"type": "LeaveRoom"})).await;
        bob.send_message(Message::Close(None)).await;
        let left = alice
            .next("Bob has left", |frame| frame["type"] == "ParticipantLeft")
            .await;
        assert_eq!(
            (&left["userId"], &left["reason"]),
            (&json!(bob_id), &json!("left"))
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_dies_sends_its_people_away_to_come_back_at_once() {
    within_deadline(async {
        let mut pair = Pair::start().await;
        let (room, _alice) = pair.room_with_alice().await;
        let mut bob = pair.joined_at_entry(&room, "Bob").await;
        pair.home.kill9();
        let goodbye = bob.expect_goodbye("moved", 4009, "reconnect").await;
        assert!(goodbye["retryAfterMs"].is_u64(), "{goodbye}");
        bob.try_resume().await;
        bob.command(json!({"type": "SendMessage", "text": "we continue here"}))
            .await;
        assert_eq!(pair.entry.metric("callboard_rooms", &[]).await, 1.0);
    })
    .await;
}

async fn until_away(observer: &mut TestClient, user_id: &str) {
    observer
        .until("somebody is away", |view| {
            let seen = view.participants.get(user_id)?;
            (seen["isAway"] == true).then_some(())
        })
        .await;
}
