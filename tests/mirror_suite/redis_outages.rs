//! Redis goes away and comes back.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use callboard::mirror::{
    CommitOutcome, RoomMirror,
    redis::{RedisMirror, RedisOptions},
    sqlite::{SqliteMirror, SqliteSync},
    writer::{MirrorMetrics, MirrorWriter, WriterLimits},
};
use tokio::sync::mpsc;

use crate::{
    redis_server::{Data, RedisServer},
    sample::*,
};

/// Bound of every wait here.
const PATIENCE: Duration = Duration::from_secs(20);

/// A mirror on a connection that many share, and one on a thread's own.
async fn start_both() -> (RedisServer, [Arc<dyn RoomMirror>; 2]) {
    let (server, shared) = start().await;
    let dedicated = shared.for_this_thread().unwrap();
    (server, [shared, dedicated])
}

async fn start() -> (RedisServer, Arc<RedisMirror>) {
    let server = RedisServer::start();
    let mirror = RedisMirror::connect(&RedisOptions::new(server.url())).await;
    (server, Arc::new(mirror.unwrap()))
}

#[tokio::test]
async fn call_works_soon_after_the_server_is_back() {
    let (mut server, mirrors) = start_both().await;
    for mirror in mirrors {
        let (owned, snapshot) = Owned::rich(&*mirror).await;
        server.save();
        server.kill();
        for _ in 0..3 {
            assert!(mirror.ownership(owned.room_id).await.is_err());
        }
        server.start_again(Data::Saved);
        let back = Instant::now();
        while mirror.ownership(owned.room_id).await.is_err() {
            assert!(back.elapsed() < Duration::from_millis(500), "no call works");
        }
        // The new server was told the scripts.
        let (_, _, room) =
            Owned::claim(&*mirror, owned.room_id, Some(owned.ownership()), node_id()).await;
        assert_eq!(room, Some(Box::new(snapshot)));
    }
}

#[tokio::test]
async fn server_that_lost_everything_shows_a_new_generation() {
    let (mut server, mirror) = start().await;
    let (owned, _) = Owned::rich(&*mirror).await;
    let node = callboard::mirror::NodeRecord {
        node_id: owned.owner,
        url: "http://node".to_owned(),
        region: "local".to_owned(),
        version: "0.1.0".to_owned(),
        database_id: "db".to_owned(),
        rooms: 1,
        connections: 0,
        state: "ready".to_owned(),
        heartbeat: 1,
        seen_at: callboard::ids::Timestamp(1_795_376_000_120),
    };
    let before = mirror.heartbeat(&node).await.unwrap();
    server.start_again(Data::Lost);
    let back = Instant::now();
    let after = loop {
        match mirror.heartbeat(&node).await {
            Ok(generation) => break generation,
            Err(_) => assert!(back.elapsed() < PATIENCE),
        }
    };
    assert_ne!(before, after);
    let outcome = owned.try_write(&*mirror, empty_changes(1, 2, 5)).await;
    assert_eq!(outcome, CommitOutcome::Missing);
}

#[tokio::test]
async fn server_that_lost_the_last_commits_makes_them_behind() {
    let (mut server, mirror) = start().await;
    let (owned, _) = Owned::rich(&*mirror).await;
    server.save();
    owned.write(&*mirror, empty_changes(1, 2, 5)).await;
    server.start_again(Data::Saved);
    let back = Instant::now();
    let commit = owned.commit(empty_changes(2, 3, 5));
    let outcome = loop {
        match mirror.commit(std::slice::from_ref(&commit)).await.remove(0) {
            Ok(outcome) => break outcome,
            Err(_) => assert!(back.elapsed() < PATIENCE),
        }
    };
    assert_eq!(outcome, CommitOutcome::Behind);
}

#[tokio::test]
async fn forgotten_scripts_are_loaded_again() {
    let (server, mirrors) = start_both().await;
    for mirror in mirrors {
        let (owned, _) = Owned::rich(&*mirror).await;
        let _: String = server.command(&["SCRIPT", "FLUSH"]);
        owned.write(&*mirror, empty_changes(1, 2, 5)).await;
        let _: String = server.command(&["SCRIPT", "FLUSH"]);
        Owned::claim(&*mirror, owned.room_id, Some(owned.ownership()), node_id()).await;
    }
}

#[tokio::test]
async fn error_of_one_room_is_not_that_of_its_neighbours() {
    let (server, mirrors) = start_both().await;
    for mirror in mirrors {
        let (first, _) = Owned::rich(&*mirror).await;
        let (second, _) = Owned::rich(&*mirror).await;
        let (third, _) = Owned::rich(&*mirror).await;
        let key = format!("room:{{{}}}", second.room_id);
        let _: u64 = server.command(&["DEL", &key]);
        let _: String = server.command(&["SET", &key, "a string"]);
        let commits = [first, second, third].map(|owned| owned.commit(empty_changes(1, 2, 5)));
        let results = mirror.commit(&commits).await;
        assert_eq!(*results[0].as_ref().unwrap(), CommitOutcome::Ok);
        assert!(results[1].is_err());
        assert_eq!(*results[2].as_ref().unwrap(), CommitOutcome::Ok);
    }
}

#[tokio::test]
async fn frozen_server_ends_a_call_in_time() {
    let server = RedisServer::start();
    let mut options = RedisOptions::new(server.url());
    options.timeout = Duration::from_millis(200);
    let shared = Arc::new(RedisMirror::connect(&options).await.unwrap());
    let dedicated = shared.for_this_thread().unwrap();
    let mirrors: [Arc<dyn RoomMirror>; 2] = [shared, dedicated];
    for mirror in mirrors {
        let (owned, _) = Owned::rich(&*mirror).await;
        server.freeze();
        let began = Instant::now();
        let fault = mirror.ownership(owned.room_id).await.unwrap_err();
        assert!(fault.to_string().contains("200 ms"), "{fault}");
        assert!(began.elapsed() < Duration::from_secs(2));
        server.thaw();
        let back = Instant::now();
        while mirror.ownership(owned.room_id).await.is_err() {
            assert!(back.elapsed() < PATIENCE);
        }
    }
}

/// A call that nobody waits for any more must not leave its answer to the next one.
#[tokio::test]
async fn dropped_call_gives_its_answer_to_nobody() {
    let (server, mirrors) = start_both().await;
    for mirror in mirrors {
        let (owned, _) = Owned::rich(&*mirror).await;
        let other = Owned::new(&*mirror).await;
        server.freeze();
        let call = mirror.ownership(other.room_id);
        let is_late = tokio::time::timeout(Duration::from_millis(50), call).await;
        assert!(is_late.is_err());
        server.thaw();
        let back = Instant::now();
        let stored = loop {
            match mirror.ownership(owned.room_id).await {
                Ok(stored) => break stored,
                Err(_) => assert!(back.elapsed() < PATIENCE),
            }
        };
        assert_eq!(stored, Some(owned.ownership()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pause_of_the_server_loses_no_commit() {
    let (server, mirror) = start().await;
    let server = Arc::new(server);
    let runtime = tokio::runtime::Handle::current();
    let writer = MirrorWriter::start(
        mirror.clone(),
        WriterLimits::default(),
        &runtime,
        MirrorMetrics::new(),
    );
    let pausing = {
        let server = Arc::clone(&server);
        tokio::task::spawn_blocking(move || server.pause(300))
    };
    let mut rooms = Vec::new();
    for _ in 0..20 {
        let mirror = mirror.clone();
        let writer = writer.clone();
        rooms.push(tokio::spawn(async move {
            let (owned, _) = Owned::rich(&*mirror).await;
            for version in 1..50 {
                let (done, mut outcome) = mpsc::unbounded_channel();
                let commit = owned.commit(empty_changes(version, version + 1, 5));
                let _token = writer
                    .submit(commit, Box::new(move |outcome| done.send(outcome).unwrap()))
                    .unwrap();
                assert_eq!(outcome.recv().await, Some(CommitOutcome::Ok));
            }
            owned
        }));
    }
    for room in rooms {
        let owned = room.await.unwrap();
        let key = format!("room:{{{}}}", owned.room_id);
        assert_eq!(server.command::<String>(&["HGET", &key, "version"]), "50");
    }
    pausing.await.unwrap();
    assert!(writer.health().is_up);
}

/// Not a limit, a look: prints what a commit costs on each adapter when many rooms write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousand_rooms_commit_together() {
    let (_server, redis) = start().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mirror.db");
    let sqlite = SqliteMirror::open(path, SqliteSync::Normal).unwrap();
    let adapters: [(&str, Arc<dyn RoomMirror>); 2] =
        [("redis", redis), ("sqlite", Arc::new(sqlite))];
    for (name, mirror) in adapters {
        let mut commits = Vec::new();
        for _ in 0..1_000 {
            let owned = Owned::new(&*mirror).await;
            commits.push(owned.commit(full_changes(&rich(owned.room_id), 0, 1)));
        }
        let began = Instant::now();
        for batch in commits.chunks(250) {
            for result in mirror.commit(batch).await {
                assert_eq!(result.unwrap(), CommitOutcome::Ok);
            }
        }
        println!(
            "{name}: {} µs a full commit",
            began.elapsed().as_micros() / 1_000
        );
    }
}
