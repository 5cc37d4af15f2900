//! Nodes that die: other nodes take their rooms over, also when nobody returns and when SQL is
//! down.

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{
    common::{
        client::{TestClient, assert_same_events},
        proxy::Cut,
        redis::Data,
        scenario::{TestRoom, attendance_of, eventually, within_deadline},
        view::{list, seq_of, text},
    },
    setup::{SHORT, SHORT_EXPIRY, SHORT_OWN_DEADLINE, Setup, say, settle, signal_url},
};

/// Age of a killed node's last sign of life, at most.
const LAST_SIGN_MAX: TimeDelta = TimeDelta::seconds(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orphaned_rooms_run_out_their_grace_and_are_recorded_once() {
    within_deadline(async {
        let mut set = SHORT.to_vec();
        set.push(("ROOM__TAKEOVER_QUIET_MS", "300"));
        set.push(("ROOM__RECONNECT_GRACE_MS", "2000"));
        set.push(("ROOM__DEPARTURE_TIMEOUT_MS", "500"));
        let setup = Setup::start(2, &set).await;
        let (mut alice, bob) = (setup.alice(0).await, setup.joined("Bob", 0).await);
        settle(&[&alice, &bob]).await;
        let orphan = TestRoom::new(&*setup.node(1).server.lock().await).await;
        let (carol, dave) = people_of(&setup, &orphan).await;
        assert_eq!(
            setup.node(0).metric("callboard_rooms", &[]).await,
            Some(2.0)
        );

        setup.node(0).kill9().await;
        let killed_at = Utc::now();
        // Somebody returns to one room, so that it can be seen how the others leave.
        setup.resume(&mut alice, &[1]).await;
        let left = alice.next_of("ParticipantLeft").await;
        assert_eq!(left["userId"], bob.user_id());
        assert_eq!(left["reason"], "timeout");
        let session = orphan.closed_session().await;
        assert_eq!(session["id"], carol.look().session_id.as_str());
        assert_eq!(session["endReason"], "empty");
        expect_last_sign_of_life(text(&session, "endTime"), killed_at);
        for person in [&carol, &dave] {
            let stay = attendance_of(&session, &person.user_id());
            assert_eq!(stay["leaveReason"], "timeout");
            expect_last_sign_of_life(text(&stay, "leftAt"), killed_at);
        }
        let keys = format!("room:{{{}}}*", orphan.room_id);
        let keys: Vec<String> = setup.cluster.redis(&["KEYS", &keys]).await.unwrap();
        assert_eq!(keys, [""; 0], "nothing is left");

        setup.node(0).start_again().await.expect("it starts");
        assert_eq!(orphan.closed_session().await, session, "and not once more");
        assert_eq!(setup.sessions_in_sql().await, 1);
        let recorded = setup.end().await;
        let stay = attendance_of(&recorded, &bob.user_id());
        expect_last_sign_of_life(text(&stay, "leftAt"), killed_at);
    })
    .await;
}

async fn people_of(setup: &Setup, room: &TestRoom) -> (TestClient, TestClient) {
    let url = signal_url(setup.node(0), &room.room_id);
    let dave = room.person("Dave").await;
    let [mut host, mut other] = [&room.host, &dave]
        .map(|person| TestClient::new(&person.name, &url, &room.room_id, &person.token));
    host.join().await;
    other.join().await;
    (host, other)
}

#[track_caller]
fn expect_last_sign_of_life(time: &str, killed_at: DateTime<Utc>) {
    let time: DateTime<Utc> = time.parse().expect("a time");
    let early = killed_at - time;
    assert!(
        early >= TimeDelta::zero() && early <= LAST_SIGN_MAX,
        "killed at {killed_at}, {time} was recorded"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn meeting_goes_on_while_sql_is_away_and_its_owner_dies() {
    within_deadline(async {
        let setup = Setup::start(2, &SHORT).await;
        let (mut alice, bob) = (setup.alice(0).await, setup.joined("Bob", 0).await);
        let mut late = setup.client(&setup.room.person("Late").await, 1);
        let banned = setup.joined("Banned", 0).await;
        let ban = json!({"type": "RemoveParticipant", "userId": banned.user_id(), "ban": true});
        alice.command(ban).await;
        settle(&[&alice, &bob]).await;
        let session = alice.look().session_id.clone();
        let before = setup.ownership().await;
        for node in &setup.cluster.nodes {
            node.postgres.cut(Cut::Refuse);
        }
        setup.until_status(1, "degraded").await;
        let up = setup.node(1).metric("callboard_store_up", &[]).await;
        assert_eq!(up, Some(0.0));

        setup.node(0).kill9().await;
        let mut people = [alice, bob];
        join_all(people.iter_mut().map(|person| setup.resume(person, &[1]))).await;
        let ack = say(&mut people[0], "who needs SQL?").await;
        assert_eq!(ack["durable"], true);
        let joined = late.join().await;
        assert_eq!(joined["sessionId"], session.as_str());
        settle(&[&people[0], &people[1], &late]).await;
        assert_eq!(people[0].look().people(), late.look().people());
        assert_same_events(&people[0], &people[1]);
        let mut banned = setup.client(&person_of(&banned), 1);
        banned.join_expect_error("banned", 1008, "stop").await;
        let after = setup.ownership().await;
        assert!(after.epoch > before.epoch);
        let ack: Value = people[0].command(json!({"type": "EndRoom"})).await;
        assert_eq!(ack["durable"], true);
        late.until_seq(seq_of(&ack)).await;

        for node in &setup.cluster.nodes {
            node.postgres.heal();
        }
        setup.until_status(1, "ready").await;
        let recorded = setup.room.closed_session().await;
        assert_eq!(recorded["id"], session.as_str());
        assert_eq!(list(&recorded, "attendances").len(), 4);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn meeting_that_redis_and_its_owner_lost_begins_anew() {
    within_deadline(async {
        let setup = Setup::start(2, &SHORT).await;
        let mut alice = setup.alice(0).await;
        let lost = alice.look().session_id.clone();
        setup.until_session_in_sql().await;
        setup.node(0).kill9().await;
        let flushed = setup.cluster.redis::<String>(&["FLUSHALL"]);
        assert_eq!(flushed.await.as_deref(), Ok("OK"));

        let joined = setup.come_back(&mut alice, &[1]).await;
        assert_eq!(joined["type"], "RoomJoined");
        assert_ne!(joined["sessionId"], lost.as_str());
        assert_eq!(say(&mut alice, "is anybody there?").await["durable"], true);
        let ended = format!("SELECT end_reason FROM sessions WHERE id = '{lost}'");
        eventually("the lost session is closed", async || {
            (setup.cluster.sql(&ended).await == "lost").then_some(())
        })
        .await;
        assert_eq!(setup.sessions_in_sql().await, 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owner_that_stood_still_while_redis_was_emptied_writes_its_meeting_again() {
    within_deadline(async {
        let setup = Setup::start(2, &SHORT).await;
        let mut alice = setup.alice(0).await;
        let session = alice.look().session_id.clone();
        say(&mut alice, "remember this").await;
        setup.until_session_in_sql().await;
        setup.node(0).freeze().await;
        {
            let mut redis = setup.cluster.redis.lock().await;
            redis.kill();
            tokio::task::block_in_place(|| redis.start_again(Data::Lost));
        }
        // By then the other node has seen the new Redis for long enough to take this node for lost.
        tokio::time::sleep(SHORT_EXPIRY + SHORT_OWN_DEADLINE / 2).await;
        setup.node(0).thaw().await;
        let ack = say(&mut alice, "what was that?").await;
        assert_eq!(ack["durable"], true);
        assert_eq!(alice.look().session_id, session);
        setup.until_mirrored(&alice).await;
        assert!(setup.tail().await.contains("remember this"));
        assert_eq!(setup.sessions_in_sql().await, 1);
    })
    .await;
}

/// The same person, to come once more.
fn person_of(client: &TestClient) -> crate::common::scenario::Person {
    crate::common::scenario::Person {
        name: client.name.clone(),
        user_id: client.user_id(),
        token: client.token.clone(),
    }
}
