//! SQL fails while sessions end.

use serde_json::json;

use crate::common::{
    scenario::{TestRoom, eventually, within_deadline},
    server::{Backend, Server},
    view::{list, text},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_end_while_sql_is_down_are_recorded_once() {
    within_deadline(sessions_end_without_sql(false)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_end_while_sql_is_down_survive_the_process() {
    within_deadline(sessions_end_without_sql(true)).await;
}

async fn sessions_end_without_sql(is_killed_in_between: bool) {
    let plan = Server::on(Backend::RedisPostgres).own_postgres();
    let mut server = plan.start().await;
    let room = TestRoom::new(&server).await;
    let (mut alice, bob) = room.alice_and_bob().await;
    let mut ids = vec![alice.look().session_id.clone()];
    server.outside().postgres.stop();

    let ack = alice.command(json!({"type": "EndRoom"})).await;
    assert_eq!(ack["durable"], true, "the mirror keeps it");
    bob.expect_goodbye("ended", 4004, "stop").await;
    alice.closed().await;
    let joined = alice.join().await;
    ids.insert(0, text(&joined, "sessionId").to_owned());
    assert_ne!(ids[0], ids[1], "a new session begins at once");
    alice.command(json!({"type": "EndRoom"})).await;
    alice.closed().await;
    let away = server.api.get("/v1/users").await;
    assert!(!away.header("retry-after").is_empty(), "{:?}", away.headers);
    away.expect_problem(503, "unavailable");

    if is_killed_in_between {
        server.kill9();
        server.outside().postgres.start_again();
        server.restart().await;
    } else {
        eventually("/readyz says degraded", async || {
            let ready = server.api.get("/readyz").await.expect(200);
            (ready["status"] == "degraded").then_some(())
        })
        .await;
        server.outside().postgres.start_again();
    }
    let sessions = room.closed_sessions(2).await;
    let listed: Vec<&str> = sessions.iter().map(|session| text(session, "id")).collect();
    assert_eq!(listed, ids);
    assert_eq!(list(&sessions[1], "attendances").len(), 2);
    assert_eq!(list(&sessions[0], "attendances").len(), 1);
    for session in &sessions {
        assert_eq!(session["endReason"], "ended");
    }
    room.until_status("COMPLETED").await;
}
