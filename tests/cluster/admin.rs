//! The HTTP API of one node for a room of another.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::common::{
    pair::Pair,
    scenario::{TestRoom, within_deadline},
    view::list,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_are_managed_through_any_node() {
    within_deadline(async {
        let pair = Pair::start().await;
        let (room, mut alice) = pair.room_with_alice().await;
        let bob = room.attendee("Bob").await;
        let bob_id = bob.user_id();
        let entry = pair.through_entry(&room);
        let shown = entry.show().await;
        assert_eq!(shown["status"], "ACTIVE");
        assert_eq!(shown["live"]["participantCount"], 2);
        let listed = entry.api.get("/v1/rooms").await.expect(200);
        assert_eq!(listed["items"][0]["live"]["participantCount"], 2);
        let people = entry
            .api
            .get(&entry.path("/participants"))
            .await
            .expect(200);
        assert_eq!(list(&people, "items").len(), 2);
        let path = entry.path(&format!("/participants/{bob_id}"));
        let changed = entry
            .api
            .patch(&path, json!({"isMuted": true, "role": "host"}))
            .await;
        let changed = changed.expect(200);
        assert_eq!(
            (&changed["isMuted"], &changed["role"]),
            (&json!(true), &json!("host"))
        );
        alice
            .until("Bob is muted", |view| {
                (view.participants.get(&bob_id)?["isMuted"] == true).then_some(())
            })
            .await;
        let said = json!({"text": "from the other node"});
        let sent = entry.api.post(&entry.path("/messages"), said).await;
        assert!(sent.status < 300, "{}", sent.text);
        let heard = alice.next_of("MessageReceived").await;
        assert_eq!(heard["text"], "from the other node");
        let nobody = entry.path("/participants/00000000-0000-4000-8000-000000000000");
        entry
            .api
            .patch(&nobody, json!({"isMuted": true}))
            .await
            .expect_problem(404, "target_not_found");
        assert!(
            pair.entry
                .metric("callboard_forwarded_asks_total", &["answered"])
                .await
                >= 6.0
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removals_and_bans_hold_at_both_nodes() {
    within_deadline(async {
        let pair = Pair::start().await;
        let (room, _alice) = pair.room_with_alice().await;
        let entry = pair.through_entry(&room);
        let bob = room.attendee("Bob").await;
        let path = entry.path(&format!("/participants/{}", bob.user_id()));
        let removed = entry.api.delete(&path).await;
        assert!(removed.status < 300, "{}", removed.text);
        bob.expect_goodbye("removed", 4002, "stop").await;
        let person = room.person("Eve").await;
        let eve = pair.at_entry(&room, &person);
        let path = entry.path(&format!("/participants/{}?ban=true", person.user_id));
        let banned = entry.api.delete(&path).await;
        assert!(banned.status < 300, "{}", banned.text);
        for mut client in [eve, room.client(&person)] {
            client.join_expect_error("banned", 1008, "stop").await;
        }
        for api in [&entry.api, &room.api] {
            let bans = api.get(&room.path("/bans")).await.expect(200);
            assert_eq!(list(&bans, "items").len(), 1);
        }
        let ban = entry.path(&format!("/bans/{}", person.user_id));
        let lifted = entry.api.delete(&ban).await;
        assert!(lifted.status < 300, "{}", lifted.text);
        pair.at_entry(&room, &person).join().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_follow_and_tags_agree_on_both_nodes() {
    within_deadline(async {
        let pair = Pair::start().await;
        let (room, alice) = pair.room_with_alice().await;
        let entry = pair.through_entry(&room);
        let tag = room.api.get(&room.path("")).await.header("etag").to_owned();
        let body = json!({"settings": {"maxParticipants": 1}});
        let changed = entry
            .api
            .patch_if(&entry.path(""), &tag, body.clone())
            .await;
        let new_tag = changed.header("etag").to_owned();
        assert_eq!(changed.expect(200)["settings"]["maxParticipants"], 1);
        assert_ne!(new_tag, tag);
        room.api
            .patch_if(&room.path(""), &tag, body)
            .await
            .expect_problem(412, "precondition_failed");
        let person = room.person("Bob").await;
        let mut bob = pair.at_entry(&room, &person);
        bob.join_expect_error("room_full", 1008, "rejoin").await;
        let body = json!({"settings": {"maxParticipants": 2}});
        let widened = room.api.patch_if(&room.path(""), &new_tag, body).await;
        widened.expect(200);
        bob.join().await;
        assert_eq!(alice.look().closed, None);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn meetings_are_ended_and_rooms_deleted_from_any_node() {
    within_deadline(async {
        let pair = Pair::start().await;
        let (room, alice) = pair.room_with_alice().await;
        let entry = pair.through_entry(&room);
        let ended = entry.api.post(&entry.path("/end"), json!({})).await;
        assert_eq!(ended.expect(200)["ended"], true);
        alice.expect_goodbye("ended", 4004, "stop").await;
        let again = entry.api.post(&entry.path("/end"), json!({})).await;
        assert_eq!(again.expect(200)["ended"], false);
        let (second, alice) = pair.room_with_alice().await;
        let path = pair.through_entry(&second).path("");
        assert_eq!(pair.entry.api.delete(&path).await.status, 204);
        let goodbye = alice.closed().await;
        assert_eq!(goodbye.code, Some(4004));
        room.closed_session().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_whose_owner_died_is_taken_over_by_the_first_who_asks() {
    within_deadline(async {
        let mut pair = Pair::start().await;
        let (room, _alice) = pair.room_with_alice().await;
        pair.home.kill9();
        let entry = pair.through_entry(&room);
        let shown = entry.show().await;
        assert_eq!(shown["status"], "ACTIVE");
        assert_eq!(shown["live"]["participantCount"], 1);
        let ended = entry.api.post(&entry.path("/end"), json!({})).await;
        assert_eq!(ended.expect(200)["ended"], true);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_does_not_answer_makes_its_room_unavailable_for_a_while() {
    const ANSWER_MAX: Duration = Duration::from_secs(15);
    within_deadline(async {
        let pair = Pair::start().await;
        let (room, _alice) = pair.room_with_alice().await;
        let other = TestRoom::new(&pair.home).await;
        let entry = pair.through_entry(&room);
        pair.home.freeze();
        let started = Instant::now();
        let said = json!({"text": "x"});
        let answer = entry.api.post(&entry.path("/messages"), said).await;
        assert!(started.elapsed() < ANSWER_MAX);
        assert!(!answer.header("retry-after").is_empty());
        answer.expect_problem(503, "unavailable");
        let other = pair.through_entry(&other).show().await;
        assert_eq!(other["status"], "SCHEDULED", "others are not held up");
        pair.home.thaw();
    })
    .await;
}
