//! What operators and other tools see in Redis: exact keys, fields and values.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use callboard::{
    ids::{SessionId, Version},
    mirror::{
        CommitOutcome, RoomMirror,
        redis::{ConnectError, RedisMirror, RedisOptions},
    },
};
use serde_json::json;
use uuid::Uuid;

use crate::{redis_server::RedisServer, sample::*};

const DAY_MS: i64 = 24 * 3600 * 1000;

async fn start() -> (RedisServer, RedisMirror) {
    let server = RedisServer::start();
    let mirror = RedisMirror::connect(&RedisOptions::new(server.url())).await;
    (server, mirror.unwrap())
}

fn fields(server: &RedisServer, key: &str) -> HashMap<String, String> {
    server.command(&["HGETALL", key])
}

#[tokio::test]
async fn room_hash_has_the_fields_of_the_data_model() {
    let (server, mirror) = start().await;
    let (owned, snapshot) = Owned::rich(&mirror).await;
    let session = snapshot.head.session.unwrap();
    let wanted = [
        ("owner", owned.owner.to_string()),
        ("epoch", owned.epoch.to_string()),
        ("version", "1".to_owned()),
        ("format", "1".to_owned()),
        ("seq", "5".to_owned()),
        ("participantCount", "2".to_owned()),
        ("sfuRegion", "eu-1".to_owned()),
        ("isRecording", "true".to_owned()),
        ("isLocked", "false".to_owned()),
        ("sessionId", session.session_id.to_string()),
        ("startTime", "2026-11-22T16:18:51.120Z".to_owned()),
        ("tenantId", "00000000-0000-0000-0000-000000000001".to_owned()),
        ("hostUserId", "00000000-0000-0000-0000-000000000002".to_owned()),
        (
            "settings",
            r#"{"isRecordingEnabled":true,"maxParticipants":12,"allowedRoles":["host"],"isLobbyEnabled":true,"duplicatePolicy":"reject","maxDurationSecs":90}"#.to_owned(),
        ),
        ("epochStarts", "3:0,1795364331120004:2".to_owned()),
        ("departAt", "2026-11-22T16:19:11.120Z".to_owned()),
        ("endsAt", "2026-11-22T16:20:21.120Z".to_owned()),
    ];
    let wanted: HashMap<String, String> =
        wanted.map(|(name, value)| (name.to_owned(), value)).into();
    let key = format!("room:{{{}}}", owned.room_id);
    assert_eq!(fields(&server, &key), wanted);
}

#[tokio::test]
async fn records_lie_beside_the_room_as_their_json() {
    let (server, mirror) = start().await;
    let (owned, snapshot) = Owned::rich(&mirror).await;
    let key = format!("room:{{{}}}", owned.room_id);
    let participants = fields(&server, &format!("{key}:participants"));
    assert_eq!(participants.len(), 2);
    let json: serde_json::Value =
        serde_json::from_str(&participants["00000000-0000-0000-0000-000000000002"]).unwrap();
    assert_eq!(
        json,
        json!({
            "connectionId": "00000000-0000-0000-0000-00000000004d",
            "role": "attendee",
            "isMuted": true,
            "isVideoOn": false,
            "joinedAt": "2026-11-22T16:18:51.120Z",
            "displayName": "Hanna",
            "isAway": true,
            "isHandRaised": false,
            "isScreenSharing": true,
            "stayId": "00000000-0000-0000-0000-00000000004e",
            "lostAt": "2026-11-22T16:18:51.127Z",
            "isRoleSet": true,
            "resumeTokenHashes": [{"hash": "ab12", "epoch": 1_795_364_331_120_004_u64}],
            "lastCommandId": 70,
            "commandBits": u64::MAX - 5,
        })
    );
    for (part, id) in [
        ("lobby", "00000000-0000-0000-0000-000000000004"),
        ("left", "00000000-0000-0000-0000-00000000000b"),
        ("bans", "00000000-0000-0000-0000-000000000005"),
    ] {
        let records = fields(&server, &format!("{key}:{part}"));
        assert_eq!(records.keys().collect::<Vec<_>>(), [id]);
    }
    let tail: Vec<String> = server.command(&["LRANGE", &format!("{key}:tail"), "0", "-1"]);
    let frames: Vec<String> = snapshot
        .tail
        .iter()
        .map(|event| event.frame.to_string())
        .collect();
    assert_eq!(tail, frames);
    let members: Vec<String> =
        server.command(&["SMEMBERS", &format!("node:{{{}}}:rooms", owned.owner)]);
    assert_eq!(members, [owned.room_id.to_string()]);
}

#[tokio::test]
async fn participant_count_is_that_of_the_hash() {
    let (server, mirror) = start().await;
    let (owned, _) = Owned::rich(&mirror).await;
    let key = format!("room:{{{}}}", owned.room_id);
    let steps = [(7, true), (7, true), (2, false), (99, false), (8, true)];
    for (version, (user, is_there)) in (1..).zip(steps) {
        let mut changes = empty_changes(version, version + 1, 5);
        changes
            .participants
            .insert(user_id(user), is_there.then(|| participant("Someone")));
        owned.write(&mirror, changes).await;
        let count: String = server.command(&["HGET", &key, "participantCount"]);
        let length: u64 = server.command(&["HLEN", &format!("{key}:participants")]);
        assert_eq!(count, length.to_string());
    }
}

#[tokio::test]
async fn live_keys_end_after_a_day_without_commits_and_the_outbox_never() {
    let (server, mirror) = start().await;
    let (owned, snapshot) = Owned::rich(&mirror).await;
    let key = format!("room:{{{}}}", owned.room_id);
    let keys = ["", ":participants", ":lobby", ":left", ":bans", ":tail"]
        .map(|part| format!("{key}{part}"));
    for key in &keys {
        let _: u64 = server.command(&["PEXPIRE", key, "50000"]);
    }
    owned.write(&mirror, empty_changes(1, 1, 5)).await;
    for key in &keys {
        let left_ms: i64 = server.command(&["PTTL", key]);
        assert!(
            (DAY_MS - 60_000..=DAY_MS).contains(&left_ms),
            "{key}: {left_ms}"
        );
    }
    let session_id = snapshot.head.session.unwrap().session_id;
    let session = closed_session(owned.room_id, session_id);
    owned
        .write(&mirror, closing_changes(1, 2, Some(session.clone())))
        .await;
    let entry = format!("{key}:closed:{session_id}");
    let all: BTreeSet<String> = server.command(&["KEYS", "*"]);
    assert_eq!(all, BTreeSet::from([entry.clone(), "outbox".to_owned()]));
    assert_eq!(server.command::<i64>(&["PTTL", &entry]), -1);
    assert_eq!(server.command::<i64>(&["PTTL", "outbox"]), -1);
    let json: String = server.command(&["GET", &entry]);
    assert_eq!(json, serde_json::to_string(&session).unwrap());
    mirror.recorded(owned.room_id, session_id).await.unwrap();
    assert_eq!(server.command::<u64>(&["DBSIZE"]), 0);
}

#[tokio::test]
async fn fields_of_another_release_are_kept() {
    let (server, mirror) = start().await;
    let (owned, mut snapshot) = Owned::rich(&mirror).await;
    let key = format!("room:{{{}}}", owned.room_id);
    let _: u64 = server.command(&["HSET", &key, "mood", "sunny"]);
    snapshot.head.is_locked = true;
    let mut changes = empty_changes(1, 2, 5);
    changes.head = Some(snapshot.head.clone());
    owned.write(&mirror, changes).await;
    owned.write(&mirror, full_changes(&snapshot, 2, 3)).await;
    let (next, version, room) =
        Owned::claim(&mirror, owned.room_id, Some(owned.ownership()), node_id()).await;
    assert_eq!(
        (version, room),
        (Version(3), Some(Box::new(snapshot.clone())))
    );
    let commit = next.commit(full_changes(&snapshot, 3, 4));
    mirror
        .restore(&commit, Some(next.ownership()))
        .await
        .unwrap();
    assert_eq!(server.command::<String>(&["HGET", &key, "mood"]), "sunny");
}

#[tokio::test]
async fn released_room_is_claimed_by_its_epoch() {
    let (server, mirror) = start().await;
    let (owned, snapshot) = Owned::rich(&mirror).await;
    let _: u64 = server.command(&["HDEL", &format!("room:{{{}}}", owned.room_id), "owner"]);
    let released = mirror.ownership(owned.room_id).await.unwrap().unwrap();
    assert_eq!((released.owner, released.epoch), (None, owned.epoch));
    let outcome = owned.try_write(&mirror, empty_changes(1, 2, 5)).await;
    let fenced = CommitOutcome::Fenced {
        epoch: owned.epoch,
        owner: None,
    };
    assert_eq!(outcome, fenced);
    let (_, _, room) = Owned::claim(&mirror, owned.room_id, Some(released), node_id()).await;
    assert_eq!(room, Some(Box::new(snapshot)));
}

#[tokio::test]
async fn hints_without_entry_go_unless_the_close_is_still_to_come() {
    let (server, mirror) = start().await;
    let (owned, snapshot) = Owned::rich(&mirror).await;
    let live = format!(
        "{}/{}",
        owned.room_id,
        snapshot.head.session.unwrap().session_id
    );
    let stale = format!("{}/{}", owned.room_id, SessionId(Uuid::new_v4()));
    let _: u64 = server.command(&["SADD", "outbox", &live, &stale, "nonsense"]);
    assert!(mirror.outbox(10).await.unwrap().is_empty());
    assert_eq!(
        server.command::<Vec<String>>(&["SMEMBERS", "outbox"]),
        [live]
    );
}

#[tokio::test]
async fn node_hash_has_its_fields_and_ends_when_it_is_silent() {
    let (server, mirror) = start().await;
    let node = callboard::mirror::NodeRecord {
        node_id: node_id(),
        url: "http://node:8080".to_owned(),
        region: "eu".to_owned(),
        version: "0.1.0".to_owned(),
        database_id: "db".to_owned(),
        rooms: 3,
        connections: 12,
        state: "ready".to_owned(),
        heartbeat: 41,
        seen_at: callboard::ids::Timestamp(1_795_376_000_120),
    };
    let generation = mirror.heartbeat(&node).await.unwrap();
    assert_eq!(
        server.command::<String>(&["GET", "mirror:generation"]),
        generation
    );
    let key = format!("node:{{{}}}", node.node_id);
    let wanted = [
        ("url", "http://node:8080"),
        ("region", "eu"),
        ("version", "0.1.0"),
        ("databaseId", "db"),
        ("rooms", "3"),
        ("connections", "12"),
        ("state", "ready"),
        ("heartbeat", "41"),
        ("seenAt", "2026-11-22T19:33:20.120Z"),
    ];
    let wanted: HashMap<String, String> = wanted
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    assert_eq!(fields(&server, &key), wanted);
    let left_ms: i64 = server.command(&["PTTL", &key]);
    assert!((3_590_000..=3_600_000).contains(&left_ms), "{left_ms}");
    let (seconds, _): (f64, u64) = server.command(&["TIME"]);
    let score: f64 = server.command(&["ZSCORE", "nodes", &node.node_id.to_string()]);
    assert!((seconds * 1000.0 - score).abs() < 5_000.0, "{score}");
}

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
