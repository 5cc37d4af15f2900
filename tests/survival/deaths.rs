//! Nodes that die without a word: survivors go on with their rooms, also when nobody returns and when SQL is away.

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
    stage::{SHORT, SHORT_EXPIRY, SHORT_OWN_DEADLINE, Stage, say, settle, signal_url},
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
        let stage = Stage::start(2, &set).await;
        let (mut alice, bob) = (stage.alice(0).await, stage.joined("Bob", 0).await);
        settle(&[&alice, &bob]).await;
        let orphan = TestRoom::new(&*stage.node(1).server.lock().await).await;
        let (carol, dave) = people_of(&stage, &orphan).await;
        assert_eq!(
            stage.node(0).metric("callboard_rooms", &[]).await,
            Some(2.0)
        );

        stage.node(0).kill9().await;
        let killed_at = Utc::now();
        // Somebody returns to one room, so that it can be seen how the others leave.
        stage.resume(&mut alice, &[1]).await;
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
        let keys: Vec<String> = stage.cluster.redis(&["KEYS", &keys]).await.unwrap();
        assert_eq!(keys, [""; 0], "nothing is left");

        stage.node(0).start_again().await.expect("it starts");
        assert_eq!(orphan.closed_session().await, session, "and not once more");
        assert_eq!(stage.sessions_in_sql().await, 1);
        let recorded = stage.end().await;
        let stay = attendance_of(&recorded, &bob.user_id());
        expect_last_sign_of_life(text(&stay, "leftAt"), killed_at);
    })
    .await;
}

async fn people_of(stage: &Stage, room: &TestRoom) -> (TestClient, TestClient) {
    let url = signal_url(stage.node(0), &room.room_id);
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
        let stage = Stage::start(2, &SHORT).await;
        let (mut alice, bob) = (stage.alice(0).await, stage.joined("Bob", 0).await);
        let mut late = stage.client(&stage.room.person("Late").await, 1);
        let banned = stage.joined("Banned", 0).await;
        let ban = json!({"type": "RemoveParticipant", "userId": banned.user_id(), "ban": true});
        alice.command(ban).await;
        settle(&[&alice, &bob]).await;
        let session = alice.look().session_id.clone();
        let before = stage.ownership().await;
        for node in &stage.cluster.nodes {
            node.postgres.cut(Cut::Refuse);
        }
        stage.until_status(1, "degraded").await;
        let up = stage.node(1).metric("callboard_store_up", &[]).await;
        assert_eq!(up, Some(0.0));

        stage.node(0).kill9().await;
        let mut people = [alice, bob];
        join_all(people.iter_mut().map(|person| stage.resume(person, &[1]))).await;
        let ack = say(&mut people[0], "who needs SQL?").await;
        assert_eq!(ack["durable"], true);
        let joined = late.join().await;
        assert_eq!(joined["sessionId"], session.as_str());
        settle(&[&people[0], &people[1], &late]).await;
        assert_eq!(people[0].look().people(), late.look().people());
        assert_same_events(&people[0], &people[1]);
        let mut banned = stage.client(&person_of(&banned), 1);
        banned.join_expect_error("banned", 1008, "stop").await;
        let after = stage.ownership().await;
        assert!(after.epoch > before.epoch);
        let ack: Value = people[0].command(json!({"type": "EndRoom"})).await;
        assert_eq!(ack["durable"], true);
        late.until_seq(seq_of(&ack)).await;

        for node in &stage.cluster.nodes {
            node.postgres.heal();
        }
        stage.until_status(1, "ready").await;
        let recorded = stage.room.closed_session().await;
        assert_eq!(recorded["id"], session.as_str());
        assert_eq!(list(&recorded, "attendances").len(), 4);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn meeting_that_redis_and_its_owner_lost_begins_anew() {
    within_deadline(async {
        let stage = Stage::start(2, &SHORT).await;
        let mut alice = stage.alice(0).await;
        let lost = alice.look().session_id.clone();
        stage.until_session_in_sql().await;
        stage.node(0).kill9().await;
        let flushed = stage.cluster.redis::<String>(&["FLUSHALL"]);
        assert_eq!(flushed.await.as_deref(), Ok("OK"));

        let joined = stage.come_back(&mut alice, &[1]).await;
        assert_eq!(joined["type"], "RoomJoined");
        assert_ne!(joined["sessionId"], lost.as_str());
        assert_eq!(say(&mut alice, "is anybody there?").await["durable"], true);
        let ended = format!("SELECT end_reason FROM sessions WHERE id = '{lost}'");
        eventually("the lost session is closed", async || {
            (stage.cluster.sql(&ended).await == "lost").then_some(())
        })
        .await;
        assert_eq!(stage.sessions_in_sql().await, 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owner_that_stood_still_while_redis_was_emptied_writes_its_meeting_again() {
    within_deadline(async {
        let stage = Stage::start(2, &SHORT).await;
        let mut alice = stage.alice(0).await;
        let session = alice.look().session_id.clone();
        say(&mut alice, "remember this").await;
        stage.until_session_in_sql().await;
        stage.node(0).freeze().await;
        {
            let mut redis = stage.cluster.redis.lock().await;
            redis.kill();
            tokio::task::block_in_place(|| redis.start_again(Data::Lost));
        }
        // By then the other node has had the new Redis for as long as it takes to call this one cut off.
        tokio::time::sleep(SHORT_EXPIRY + SHORT_OWN_DEADLINE / 2).await;
        stage.node(0).thaw().await;
        let ack = say(&mut alice, "what was that?").await;
        assert_eq!(ack["durable"], true);
        assert_eq!(alice.look().session_id, session);
        stage.until_mirrored(&alice).await;
        assert!(stage.tail().await.contains("remember this"));
        assert_eq!(stage.sessions_in_sql().await, 1);
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
