//! People whose room is on another node than the one they came to: for them nothing is different.

use serde_json::json;

use crate::common::{
    client::{TestClient, assert_same_events},
    pair::Pair,
    raw::{self, RawSocket, opcode},
    scenario::{TestRoom, eventually, within_deadline},
    view::text,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_on_two_nodes_are_in_one_meeting() {
    within_deadline(async {
        let pair = Pair::start().await;
        let (room, mut alice) = pair.room_with_alice().await;
        let mut bob = pair.joined_at_entry(&room, "Bob").await;
        alice.until_seq(bob.seq()).await;
        talk(&mut alice, &mut bob).await;
        relay(&mut alice, &mut bob).await;
        bob.send_text(r#"{"type":"KeepAlive"}"#).await;
        let alive = bob.next_of("KeepAlive").await;
        assert_eq!(alive["seq"], bob.seq());
        bob.refused(
            json!({"type": "MuteParticipant", "userId": alice.user_id()}),
            "forbidden",
        )
        .await;
        bob.send_text("{\"type\":\"Dance\",\"id\":999}").await;
        assert_eq!(bob.answer(999).await["code"], "bad_request");
        assert_same_events(&alice, &bob);
        assert_eq!(bob.look().people(), alice.look().people());
        let open = "callboard_forwarded_connections";
        assert_eq!(pair.entry.metric(open, &[]).await, 1.0);
        assert_eq!(pair.entry.metric("callboard_rooms", &[]).await, 0.0);
        assert_eq!(pair.home.metric("callboard_rooms", &[]).await, 1.0);
    })
    .await;
}

async fn talk(alice: &mut TestClient, bob: &mut TestClient) {
    for number in 0..20 {
        bob.command(json!({"type": "SendMessage", "text": format!("bob {number}")}))
            .await;
        alice
            .command(json!({"type": "SendMessage", "text": format!("alice {number}")}))
            .await;
    }
    let ack = bob
        .command(json!({"type": "UpdateState", "isMuted": true, "isHandRaised": true}))
        .await;
    assert_eq!(ack["durable"], true);
    let seq = ack["seq"].as_u64().expect("a number");
    assert!(bob.seq() >= seq, "the own event comes before its Ack");
    alice.until_seq(seq).await;
    assert_eq!(alice.sees(&bob.user_id())["isHandRaised"], true);
    bob.until_seq(alice.seq()).await;
}

async fn relay(alice: &mut TestClient, bob: &mut TestClient) {
    let (alice_id, bob_id) = (alice.user_id(), bob.user_id());
    alice
        .command(json!({"type": "SendOffer", "targetUserId": bob_id, "sdp": "o"}))
        .await;
    let offer = bob.next_of("ReceiveOffer").await;
    assert_eq!(offer["sourceUserId"], alice_id);
    bob.command(json!({"type": "SendAnswer", "targetUserId": alice_id, "sdp": "a"}))
        .await;
    assert_eq!(alice.next_of("ReceiveAnswer").await["sdp"], "a");
    bob.command(json!({"type": "SendMessage", "text": "psst", "targetUserId": alice_id}))
        .await;
    let direct = alice
        .next("the direct message", |frame| frame["text"] == "psst")
        .await;
    assert_eq!(direct["targetUserId"], alice_id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_end_has_its_close_code_behind_the_hop() {
    within_deadline(async {
        let pair = Pair::start().await;
        let (room, mut alice) = pair.room_with_alice().await;
        let mut leaver = pair.joined_at_entry(&room, "Leaver").await;
        leaver.command(json!({"type": "LeaveRoom"})).await;
        leaver.expect_goodbye("left", 1000, "stop").await;
        let removed = pair.joined_at_entry(&room, "Removed").await;
        alice
            .command(json!({"type": "RemoveParticipant", "userId": removed.user_id()}))
            .await;
        removed.expect_goodbye("removed", 4002, "stop").await;
        let person = room.person("Twice").await;
        let mut first = pair.at_entry(&room, &person);
        first.join().await;
        let mut second = pair.at_entry(&room, &person);
        second.join().await;
        first.expect_goodbye("superseded", 4001, "stop").await;
        alice.command(json!({"type": "EndRoom"})).await;
        second.expect_goodbye("ended", 4004, "stop").await;
        let session = room.closed_session().await;
        assert_eq!(session["endReason"], "ended");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_led_to_another_node_takes_two_files_of_the_entry() {
    within_deadline(async {
        /// As many as leave 138 to lasting connections.
        const FILES: usize = 600;
        const LED: usize = 60;
        let pair = Pair::with(|plan| plan.open_files_max(FILES).set("HTTP__WORKERS", 2)).await;
        let room = TestRoom::with(&pair.home, json!({"maxParticipants": FILES})).await;
        let mut alice = room.alice().await;
        let mut led = Vec::new();
        for number in 0..LED {
            let person = room.guest(&format!("Guest {number}")).await;
            let mut guest = pair.at_entry(&room, &person);
            guest.join().await;
            led.push(guest);
        }
        let mut others = Vec::new();
        loop {
            let (stream, head) = raw::upgrade(&pair.entry, &room.room_id, &[]).await;
            if !head.starts_with("HTTP/1.1 101") {
                break;
            }
            others.push(RawSocket { stream });
        }
        // What asks for the metrics and the like has one or two.
        assert!((14..=18).contains(&others.len()), "{}", others.len());

        // The last one has a file of its own, and none for the socket to the room.
        let mut last = others.pop().expect("one of them");
        let person = room.guest("Last").await;
        let join =
            json!({"type": "JoinRoom", "id": 1, "roomId": room.room_id, "token": person.token});
        assert!(
            last.send(opcode::TEXT, true, join.to_string().as_bytes())
                .await
        );
        let (said, _) = last.read_out().await;
        assert!(said[0].contains(r#""code":"unavailable""#), "{said:?}");
        let refused = "callboard_refused_connections_total";
        assert_eq!(pair.entry.metric(refused, &["full"]).await, 2.0);

        alice
            .command(json!({"type": "SendMessage", "text": "to all"}))
            .await;
        for guest in &led {
            guest.until_seq(alice.seq()).await;
        }
        let mut gone = led.pop().expect("one of them");
        gone.drop_abruptly().await;
        drop((last, others));
        eventually("there are files again", async || {
            let (_, head) = raw::upgrade(&pair.entry, &room.room_id, &[]).await;
            head.starts_with("HTTP/1.1 101").then_some(())
        })
        .await;
        pair.joined_at_entry(&room, "Bob").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stay_goes_on_at_either_node() {
    within_deadline(async {
        let pair = Pair::start().await;
        let (room, mut alice) = pair.room_with_alice().await;
        let mut bob = pair.joined_at_entry(&room, "Bob").await;
        let connection = bob.look().connection_id.clone();
        bob.drop_abruptly().await;
        let bob_id = bob.user_id();
        alice
            .next("Bob is away", |frame| {
                frame["userId"] == bob_id.as_str() && frame["isAway"] == true
            })
            .await;
        alice
            .command(json!({"type": "SendMessage", "text": "missed"}))
            .await;
        bob.url = pair.home.signal_url(&room.room_id);
        let resumed = bob.resume().await;
        assert!(
            resumed["missed"].to_string().contains("missed"),
            "{resumed}"
        );
        assert_ne!(bob.look().connection_id, connection);
        alice.drop_abruptly().await;
        bob.command(json!({"type": "SendMessage", "text": "and now"}))
            .await;
        alice.url = pair.entry.signal_url(&room.room_id);
        let resumed = alice.resume().await;
        assert!(
            resumed["missed"].to_string().contains("and now"),
            "{resumed}"
        );
        alice
            .command(json!({"type": "UpdateState", "isMuted": true}))
            .await;
        bob.until_seq(alice.seq()).await;
        assert_same_events(&alice, &bob);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_at_the_door_are_those_of_the_room() {
    within_deadline(async {
        let pair = Pair::start().await;
        let (room, mut alice) = pair.room_with_alice().await;
        let other = TestRoom::new(&pair.home).await;
        let mut stranger = pair.at_entry(&room, &other.host);
        stranger
            .join_expect_error("unauthorized", 4003, "rejoin")
            .await;
        let person = room.person("Late").await;
        let mut forger = pair.at_entry(&room, &person);
        forger.token.push('x');
        forger
            .join_expect_error("unauthorized", 4003, "rejoin")
            .await;
        alice
            .command(json!({"type": "LockRoom", "isLocked": true}))
            .await;
        let mut late = pair.at_entry(&room, &person);
        late.join_expect_error("room_locked", 1008, "rejoin").await;
        alice
            .command(json!({"type": "LockRoom", "isLocked": false}))
            .await;
        late.join().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lobby_reaches_those_who_wait_behind_the_hop() {
    within_deadline(async {
        let pair = Pair::start().await;
        let room = TestRoom::with(&pair.home, json!({"isLobbyEnabled": true})).await;
        let mut alice = room.alice().await;
        let person = room.person("Bob").await;
        let mut bob = pair.at_entry(&room, &person);
        assert_eq!(bob.try_join().await["type"], "LobbyWaiting");
        alice.next_of("LobbyChanged").await;
        alice
            .command(json!({"type": "AdmitParticipant", "userId": person.user_id}))
            .await;
        let joined = bob.next_of("RoomJoined").await;
        assert_eq!(joined["self"]["userId"], person.user_id);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_names_the_node_that_owns_the_room() {
    within_deadline(async {
        let pair = Pair::start().await;
        let room = TestRoom::new(&pair.home).await;
        let entry = pair.through_entry(&room);
        let body = json!({"displayName": "Guest"});
        let before = entry
            .api
            .post(&entry.path("/join"), body.clone())
            .await
            .expect(200);
        assert_eq!(
            text(&before, "signalUrl"),
            entry.signal_url,
            "nobody owns it yet"
        );
        let _alice = room.alice().await;
        let during = entry.api.post(&entry.path("/join"), body).await.expect(200);
        assert_eq!(text(&during, "signalUrl"), room.signal_url);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_only_leads_people_on_sends_them_to_their_room_when_it_leaves() {
    within_deadline(async {
        let mut pair = Pair::start().await;
        let (room, mut alice) = pair.room_with_alice().await;
        let mut bob = pair.joined_at_entry(&room, "Bob").await;
        alice.until_seq(bob.seq()).await;
        let said = bob
            .post(json!({"type": "SendMessage", "text": "before"}))
            .await;
        let status = pair.entry.terminate().await;
        assert_eq!(status.code(), Some(0));
        let goodbye = bob.expect_goodbye("draining", 1001, "reconnect").await;
        let home = pair.home.signal_url(&room.room_id);
        assert_eq!(text(&goodbye, "url"), home);
        bob.url = home;
        bob.resume().await;
        // Whether or not it was carried out before: once.
        bob.post_as(said, json!({"type": "SendMessage", "text": "before"}))
            .await;
        assert_eq!(bob.answer(said).await["durable"], true);
        alice
            .command(json!({"type": "UpdateState", "isMuted": true}))
            .await;
        bob.until_seq(alice.seq()).await;
        alice.until_seq(bob.seq()).await;
        let heard = |person: &TestClient| {
            let view = person.look();
            let heard = view.events.values();
            heard.filter(|event| event["text"] == "before").count()
        };
        assert_eq!((heard(&alice), heard(&bob)), (1, 1));
        assert_same_events(&alice, &bob);
    })
    .await;
}
