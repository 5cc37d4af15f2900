//! A node that would harm the others does not start, and says why.

use std::{process::Stdio, time::Duration};

use tempfile::TempDir;
use tokio::{process::Command, time::timeout};

use crate::common::{
    pair::{Pair, beside},
    scenario::within_deadline,
    server::{SIGNING_KEY, Server, free_port},
};

/// Longest life of a process that must not start.
const REFUSAL_DEADLINE: Duration = Duration::from_secs(40);

/// What a node says that is started beside another and must not.
async fn refusal(server: &Server, database: &str, advertise: &str) -> String {
    let data = TempDir::new().expect("a directory for the test");
    let listen = format!("127.0.0.1:{}", free_port());
    let mut command = Command::new(env!("CARGO_BIN_EXE_callboard"));
    // What runs the tests may have variables of its own.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CALLBOARD_")) {
        command.env_remove(name);
    }
    let child = command
        .args(["serve", "--listen", &listen, "--advertise", advertise])
        .arg("--data")
        .arg(data.path())
        .env("CALLBOARD_DATABASE", database)
        .env("CALLBOARD_REDIS", server.outside().redis.url())
        .env("CALLBOARD_SIGNING_KEY", SIGNING_KEY)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the binary can be run");
    let ended = timeout(REFUSAL_DEADLINE, child.wait_with_output()).await;
    let output = ended
        .expect("it ends by itself")
        .expect("the child is ours");
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_address_of_another_node_is_refused() {
    within_deadline(async {
        let pair = Pair::start().await;
        let (_room, mut alice) = pair.room_with_alice().await;
        let url = format!("http://127.0.0.1:{}", pair.home.port);
        let said = refusal(&pair.home, &pair.home.outside().database, &url).await;
        assert!(said.contains("another node"), "{said}");
        assert!(said.contains(&url), "{said}");
        alice
            .command(serde_json::json!({"type": "SendMessage", "text": "undisturbed"}))
            .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_database_on_the_same_mirror_is_refused() {
    within_deadline(async {
        let pair = Pair::start().await;
        let (_room, mut alice) = pair.room_with_alice().await;
        let postgres = &pair.home.outside().postgres;
        let other = postgres.url(&postgres.create_database());
        let url = format!("http://127.0.0.1:{}", free_port());
        let said = refusal(&pair.home, &other, &url).await;
        assert!(
            said.contains("nodes with different databases refuse each other"),
            "{said}"
        );
        alice
            .command(serde_json::json!({"type": "SendMessage", "text": "undisturbed"}))
            .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_nobody_answers_at_is_a_warning() {
    within_deadline(async {
        let pair = Pair::start().await;
        let nowhere = format!("http://127.0.0.1:{}", free_port());
        let third = beside(&pair.home, &pair.home.outside().database)
            .environment("CALLBOARD_ADVERTISE", nowhere)
            .start()
            .await;
        assert!(third.log().contains("does not lead to this node"));
    })
    .await;
}
