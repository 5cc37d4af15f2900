//! Redis fails during a meeting and returns with all, old or no data.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::common::{
    client::{TestClient, assert_same_events},
    redis::Data,
    scenario::{TestRoom, eventually, within_deadline},
    server::{Backend, Server},
    view::list,
};

/// How long Redis is away: more than twice the own deadline.
const OUTAGE: Duration = Duration::from_secs(10);
/// Interval of commands during an outage.
const TALK_INTERVAL: Duration = Duration::from_millis(250);

/// The data of Redis when it is back.
#[derive(Clone, Copy, Debug)]
enum Return {
    /// All: it was only frozen.
    Thawed,
    /// An old copy.
    Stale,
    /// None.
    Empty,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_go_on_talking_while_redis_stands_still() {
    within_deadline(redis_away(Return::Thawed)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_go_on_talking_until_redis_is_back_with_old_data() {
    within_deadline(redis_away(Return::Stale)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_go_on_talking_until_redis_is_back_with_nothing() {
    within_deadline(redis_away(Return::Empty)).await;
}

async fn redis_away(how: Return) {
    let mut server = Server::on(Backend::RedisPostgres).start().await;
    let room = TestRoom::new(&server).await;
    let (mut alice, mut bob) = room.alice_and_bob().await;
    server.outside().redis.save();
    bob.command(json!({"type": "UpdateState", "isVideoOn": true}))
        .await;
    let redis = &mut server.outside_mut().redis;
    match how {
        Return::Thawed => redis.freeze(),
        Return::Stale | Return::Empty => redis.kill(),
    }
    talk_through_the_outage(&server, &mut alice, &mut bob).await;
    let redis = &mut server.outside_mut().redis;
    match how {
        Return::Thawed => redis.thaw(),
        Return::Stale => redis.start_again(Data::Saved),
        Return::Empty => redis.start_again(Data::Lost),
    }
    for person in [&alice, &bob] {
        let is_back = person.until("durable again", |view| view.is_durable.then_some(()));
        is_back.await;
    }
    let ack = bob
        .command(json!({"type": "UpdateState", "isHandRaised": true}))
        .await;
    assert_eq!(ack["durable"], true);
    expect_mirror_to_equal(&server, &room, &bob);
    eventually("/readyz says ready", async || {
        let ready = server.api.get("/readyz").await.expect(200);
        (ready["status"] == "ready").then_some(())
    })
    .await;
    alice.until_seq(bob.seq()).await;
    assert_same_events(&alice, &bob);

    server.restart().await;
    join_all([&mut alice, &mut bob].map(TestClient::resume)).await;
    alice.command(json!({"type": "EndRoom"})).await;
    assert_eq!(list(&room.closed_session().await, "attendances").len(), 2);
}

async fn talk_through_the_outage(server: &Server, alice: &mut TestClient, bob: &mut TestClient) {
    let started = Instant::now();
    let mut talking = tokio::time::interval(TALK_INTERVAL);
    let mut last = Value::Null;
    while started.elapsed() < OUTAGE {
        talking.tick().await;
        let message = json!({"type": "SendMessage", "text": "can you hear me?"});
        last = alice.command(message).await;
        last = match last["durable"] == true {
            true => last, // answered before anybody could know
            false => {
                bob.command(json!({"type": "SendMessage", "text": "yes"}))
                    .await
            }
        };
    }
    assert_eq!(last["durable"], false, "{last}");
    for person in [&*alice, &*bob] {
        person
            .until("no longer durable", |view| (!view.is_durable).then_some(()))
            .await;
        let closed = person.look().closed.clone();
        assert_eq!(closed, None, "{} is still in the meeting", person.name);
    }
    let ready = server.api.get("/readyz").await.expect(200);
    assert_eq!(ready["status"], "degraded", "{ready}");
    assert!(server.metric("callboard_rooms_degraded", &[]).await >= 1.0);
    assert_eq!(server.metric("callboard_mirror_up", &[]).await, 0.0);
}

/// After a durable ack the mirror has what its receiver has seen.
fn expect_mirror_to_equal(server: &Server, room: &TestRoom, person: &TestClient) {
    let key = format!("room:{{{}}}", room.room_id);
    let hash = server.outside().hash(&key);
    let seats = server.outside().hash(&format!("{key}:participants"));
    let view = person.look();
    assert_eq!(hash["seq"], view.seq.to_string());
    assert_eq!(hash["sessionId"], view.session_id);
    assert_eq!(
        hash["participantCount"],
        view.participants.len().to_string()
    );
    assert_eq!(seats.len(), view.participants.len());
    for (user_id, seen) in view.people() {
        let seat: Value = serde_json::from_str(&seats[&user_id]).expect("JSON");
        for (field, value) in seen.as_object().expect("an object") {
            assert!(
                field == "userId" || &seat[field] == value,
                "{field}: {seat}"
            );
        }
    }
}
