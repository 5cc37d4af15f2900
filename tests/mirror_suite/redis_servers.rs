//! Which Redis servers are taken, and how they are reached: policies, passwords, replicas, TLS, sentinels.

use std::time::Duration;

use callboard::mirror::{
    RoomMirror,
    redis::{ConnectError, RedisMirror, RedisOptions},
};

use crate::{redis_server::RedisServer, sample::*};

#[tokio::test]
async fn server_that_evicts_is_refused() {
    let server = RedisServer::start_with(&["--maxmemory-policy", "allkeys-lru"]);
    let result = RedisMirror::connect(&RedisOptions::new(server.url())).await;
    assert!(matches!(result, Err(ConnectError::Eviction(policy)) if policy == "allkeys-lru"));
}

#[tokio::test]
async fn server_whose_policy_cannot_be_read_is_taken() {
    let server = RedisServer::start_with(&["--rename-command", "CONFIG", ""]);
    let mirror = RedisMirror::connect(&RedisOptions::new(server.url()))
        .await
        .unwrap();
    Owned::rich(&mirror).await;
}

#[tokio::test]
async fn password_of_the_url_is_used() {
    let server = RedisServer::start();
    let _: String = server.command(&[
        "ACL",
        "SETUSER",
        "board",
        "on",
        ">p@ss/word",
        "~*",
        "&*",
        "+@all",
    ]);
    let url = |credentials: &str| format!("redis://{credentials}@127.0.0.1:{}", server.port());
    let mirror = RedisMirror::connect(&RedisOptions::new(url("board:p%40ss%2Fword")))
        .await
        .unwrap();
    Owned::rich(&mirror).await;
    let refused = RedisMirror::connect(&RedisOptions::new(url("board:hunter2"))).await;
    let error = refused.err().unwrap();
    assert!(matches!(error, ConnectError::Fault(_)) && !error.to_string().contains("hunter2"));
}

#[tokio::test]
async fn commit_counts_only_when_enough_replicas_have_it() {
    let primary = RedisServer::start();
    let mut options = RedisOptions::new(primary.url());
    options.wait_replicas = 1;
    options.wait_replicas_timeout = Duration::from_millis(100);
    let mirror = RedisMirror::connect(&options).await.unwrap();
    let owned = Owned::new(&mirror).await;
    let commit = owned.commit(full_changes(&rich(owned.room_id), 0, 1));
    let result = mirror.commit(std::slice::from_ref(&commit)).await.remove(0);
    assert!(result.unwrap_err().to_string().contains("0 of 1 replicas"));

    let replica = RedisServer::start_with(&[
        "--replicaof",
        "127.0.0.1",
        &primary.port().to_string(),
        "--repl-diskless-sync-delay",
        "0",
    ]);
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    // The repeat waits for the replica; it is there once its first copy is done.
    while mirror
        .commit(std::slice::from_ref(&commit))
        .await
        .remove(0)
        .is_err()
    {
        assert!(
            std::time::Instant::now() < deadline,
            "the replica never had it"
        );
    }
    let key = format!("room:{{{}}}", owned.room_id);
    assert_eq!(replica.command::<String>(&["HGET", &key, "version"]), "1");
}

#[tokio::test]
async fn server_without_tls_is_a_fault_for_a_tls_url() {
    let server = RedisServer::start();
    let url = format!("rediss://127.0.0.1:{}", server.port());
    let error = RedisMirror::connect(&RedisOptions::new(url)).await.err();
    let text = error.unwrap().to_string();
    assert!(!text.contains("broken off"), "{text}");
    println!("{text}");
}

#[tokio::test]
async fn sentinel_names_the_primary() {
    let primary = RedisServer::start();
    let monitor = format!("sentinel monitor main 127.0.0.1 {} 1\n", primary.port());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("sentinel.conf");
    std::fs::write(&file, monitor).unwrap();
    let sentinel = RedisServer::start_sentinel(&file);
    let url = format!("redis+sentinel://127.0.0.1:{}/main", sentinel.port());
    let mirror = RedisMirror::connect(&RedisOptions::new(url)).await.unwrap();
    let (owned, _) = Owned::rich(&mirror).await;
    let key = format!("room:{{{}}}", owned.room_id);
    assert_eq!(primary.command::<String>(&["HGET", &key, "version"]), "1");
}
