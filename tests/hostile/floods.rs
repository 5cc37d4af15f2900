//! Too many commands: refused first, then the door.

use serde_json::json;

use crate::common::{
    scenario::TestRoom,
    server::{Backend, Server},
};

/// What a flood may cost in memory.
const MEMORY_GROWTH_MAX: u64 = 32 * 1024 * 1024;

crate::on_both_backends!(
    commands_over_the_rate_are_refused,
    a_flood_ends_the_connection,
    a_flood_of_rubbish_ends_the_connection,
);

async fn commands_over_the_rate_are_refused(backend: Backend) {
    const BURST: usize = 10;
    let server = Server::on(backend)
        .set("LIMITS__COMMANDS_PER_SECOND", 1)
        .set("LIMITS__COMMANDS_BURST", BURST)
        .start()
        .await;
    let room = TestRoom::new(&server).await;
    let (mut alice, mut bob) = room.alice_and_bob().await;
    let mut ids = Vec::new();
    for _ in 0..BURST * 4 {
        ids.push(
            alice
                .post(json!({"type": "SendMessage", "text": "x"}))
                .await,
        );
    }
    let mut refused = 0;
    for id in ids {
        let answer = alice.answer(id).await;
        refused += usize::from(answer["code"] == "rate_limited");
    }
    assert!(refused >= BURST, "only {refused} were refused");
    bob.command(json!({"type": "SendMessage", "text": "the others do not notice"}))
        .await;
    assert_eq!(alice.look().closed, None, "not yet a reason to close");
}

async fn a_flood_ends_the_connection(backend: Backend) {
    flood(
        backend,
        "{\"type\":\"UpdateState\",\"id\":1,\"isMuted\":true}",
    )
    .await;
}

async fn a_flood_of_rubbish_ends_the_connection(backend: Backend) {
    flood(backend, "{\"type\":").await;
}

async fn flood(backend: Backend, text: &str) {
    const MESSAGES_MAX: usize = 200_000;
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let (mut alice, mut bob) = room.alice_and_bob().await;
    let before = server.memory_bytes();
    for _ in 0..MESSAGES_MAX {
        bob.send_text(text).await;
        if bob.look().goodbye.is_some() {
            break;
        }
    }
    bob.closed().await;
    let goodbye = bob
        .look()
        .goodbye
        .clone()
        .expect("an orderly close has one");
    assert_eq!(
        (&goodbye["reason"], &goodbye["action"]),
        (&json!("rate_limited"), &json!("reconnect"))
    );
    let grown = server.memory_bytes().saturating_sub(before);
    assert!(grown < MEMORY_GROWTH_MAX, "memory grew by {grown} bytes");
    let me = alice.user_id();
    alice
        .command(json!({"type": "UpdateState", "isHandRaised": true}))
        .await;
    assert_eq!(alice.sees(&me)["isHandRaised"], true, "the others continue");
}
