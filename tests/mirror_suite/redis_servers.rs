//! Which Redis servers are taken, and how they are reached: policies, passwords, replicas, TLS,
//! sentinels.

use std::time::Duration;

use callboard::mirror::{
    CommitOutcome, RoomMirror,
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
    let url = |credentials: &str| format!("redis://{credentials}@127.0.0.1:{}/3", server.port());
    let mirror = RedisMirror::connect(&RedisOptions::new(url("board:p%40ss%2Fword")))
        .await
        .unwrap();
    let (owned, _) = Owned::rich(&mirror).await;
    // So does a thread's own connection, in the same database.
    let own = mirror.for_this_thread().unwrap();
    let outcome = owned.try_write(&*own, empty_changes(1, 2, 5)).await;
    assert_eq!(outcome, CommitOutcome::Ok);
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
    let own = mirror.for_this_thread().unwrap();
    let owned = Owned::new(&mirror).await;
    let commit = owned.commit(full_changes(&rich(owned.room_id), 0, 1));
    for mirror in [&mirror as &dyn RoomMirror, &*own] {
        let result = mirror.commit(std::slice::from_ref(&commit)).await.remove(0);
        assert!(result.unwrap_err().to_string().contains("0 of 1 replicas"));
    }

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
    let commit = owned.commit(empty_changes(1, 2, 5));
    let result = own.commit(std::slice::from_ref(&commit)).await.remove(0);
    assert_eq!(result.unwrap(), CommitOutcome::Ok);
}

#[tokio::test]
async fn replica_confirms_no_room() {
    let server = RedisServer::start();
    let mirror = RedisMirror::connect(&RedisOptions::new(server.url()))
        .await
        .unwrap();
    let own = mirror.for_this_thread().unwrap();
    let (owned, _) = Owned::rich(&mirror).await;
    let question = owned.commit(empty_changes(1, 1, 5));
    let ask = async |mirror: &dyn RoomMirror| {
        mirror
            .commit(std::slice::from_ref(&question))
            .await
            .remove(0)
    };
    assert_eq!(ask(&*own).await.unwrap(), CommitOutcome::Ok);
    let _: String = server.command(&["REPLICAOF", "127.0.0.1", "1"]);
    for mirror in [&mirror as &dyn RoomMirror, &*own] {
        let error = ask(mirror).await.unwrap_err().to_string();
        assert!(error.to_lowercase().contains("read only"), "{error}");
    }
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
    let own = mirror.for_this_thread().unwrap();
    owned.write(&*own, empty_changes(1, 2, 5)).await;
    let key = format!("room:{{{}}}", owned.room_id);
    assert_eq!(primary.command::<String>(&["HGET", &key, "version"]), "2");
}

/// Two servers, each with half of the slots of a cluster.
async fn cluster_of_two() -> [RedisServer; 2] {
    let options = [
        "--cluster-enabled",
        "yes",
        "--cluster-node-timeout",
        "60000",
    ];
    let servers = [(); 2].map(|()| RedisServer::start_with(&options));
    for (server, slots) in servers.iter().zip([["0", "8191"], ["8192", "16383"]]) {
        let _: String = server.command(&["CLUSTER", "ADDSLOTSRANGE", slots[0], slots[1]]);
    }
    let port = servers[1].port().to_string();
    let _: String = servers[0].command(&["CLUSTER", "MEET", "127.0.0.1", &port]);
    for server in &servers {
        let is_complete = || {
            let info: String = server.command(&["CLUSTER", "INFO"]);
            info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:2")
        };
        while !is_complete() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    servers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frozen_shard_delays_the_rooms_of_the_others_for_half_a_second() {
    let servers = cluster_of_two().await;
    let url = format!("redis+cluster://127.0.0.1:{}", servers[0].port());
    let mirror = RedisMirror::connect(&RedisOptions::new(url)).await.unwrap();
    let mut rooms = Vec::new();
    for _ in 0..16 {
        rooms.push(Owned::rich(&mirror).await.0);
    }
    servers[1].freeze();
    let commits: Vec<_> = rooms
        .iter()
        .map(|owned| owned.commit(empty_changes(1, 2, 5)))
        .collect();
    let began = std::time::Instant::now();
    let results = mirror.commit(&commits).await;
    let took = began.elapsed();
    servers[1].thaw();
    assert!(took < Duration::from_millis(1_500), "{took:?}");
    let (done, late): (Vec<_>, Vec<_>) = results.iter().partition(|result| result.is_ok());
    assert!(!done.is_empty() && !late.is_empty(), "{results:?}");
    for (owned, result) in rooms.iter().zip(&results) {
        let slot =
            servers[0].command::<u32>(&["CLUSTER", "KEYSLOT", &format!("{{{}}}", owned.room_id)]);
        let is_frozen = slot > 8_191;
        assert_eq!(result.is_err(), is_frozen, "{result:?}");
    }
}
