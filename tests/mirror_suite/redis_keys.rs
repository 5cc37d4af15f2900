//! What operators and other tools see in Redis: exact keys, fields and values.

use std::collections::{BTreeSet, HashMap};

use callboard::{
    ids::{NodeId, SessionId, StayId, Version},
    mirror::{
        CommitOutcome, NodeRecord, RoomMirror,
        redis::{RedisMirror, RedisOptions},
    },
    room::record::BanRecord,
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

fn node_record(node_id: NodeId) -> NodeRecord {
    NodeRecord {
        node_id,
        url: "http://node:8080".to_owned(),
        region: "eu".to_owned(),
        version: "0.1.0".to_owned(),
        database_id: "db".to_owned(),
        rooms: 3,
        connections: 12,
        state: "ready".to_owned(),
        heartbeat: 41,
        seen_at: callboard::ids::Timestamp(1_795_376_000_120),
    }
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
    mirror
        .recorded(&[(owned.room_id, session_id)])
        .await
        .unwrap();
    assert_eq!(server.command::<u64>(&["DBSIZE"]), 0);
}

#[tokio::test]
async fn keys_that_a_small_change_makes_end_by_themselves_too() {
    let (server, mirror) = start().await;
    let (owned, _) = Owned::rich(&mirror).await;
    let keys = [":participants", ":lobby", ":left", ":bans", ":tail"]
        .map(|part| format!("room:{{{}}}{part}", owned.room_id));
    for key in &keys {
        assert_eq!(server.command::<u64>(&["DEL", key]), 1);
    }
    let mut changes = empty_changes(1, 2, 6);
    let ban = BanRecord { created_at: NOW };
    changes
        .participants
        .insert(user_id(1), Some(participant("Olga")));
    changes.lobby.insert(user_id(2), Some(lobby_record()));
    changes
        .left
        .insert(StayId(Uuid::from_u128(3)), Some(left_record()));
    changes.bans.insert(user_id(4), Some(ban));
    changes.tail = vec![event(6)];
    changes.tail_keep = 1;
    owned.write(&mirror, changes).await;
    for key in &keys {
        let left_ms: i64 = server.command(&["PTTL", key]);
        let wanted = DAY_MS - 60_000..=DAY_MS;
        assert!(wanted.contains(&left_ms), "{key}: {left_ms}");
    }
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
async fn release_takes_the_owner_off_the_hash_and_leaves_the_room_on_its_list() {
    let (server, mirror) = start().await;
    let (owned, _) = Owned::rich(&mirror).await;
    let key = format!("room:{{{}}}", owned.room_id);
    let list = format!("node:{{{}}}:rooms", owned.owner);
    let keys = |parts: &[&str]| -> BTreeSet<String> {
        parts.iter().map(|part| format!("{key}{part}")).collect()
    };
    let live = keys(&["", ":participants", ":lobby", ":left", ":bans", ":tail"]);
    let mut wanted = fields(&server, &key);
    wanted.remove("owner");
    for _ in 0..2 {
        for key in &live {
            let _: u64 = server.command(&["PEXPIRE", key, "50000"]);
        }
        let outcome = mirror.release(owned.room_id, owned.owner, owned.epoch);
        assert_eq!(outcome.await.unwrap(), CommitOutcome::Ok);
        assert_eq!(fields(&server, &key), wanted);
        for key in &live {
            let left_ms: i64 = server.command(&["PTTL", key]);
            assert!(left_ms > DAY_MS - 60_000, "{key}: {left_ms}");
        }
        // Other nodes find the rooms of the node there.
        let listed: Vec<String> = server.command(&["SMEMBERS", &list]);
        assert_eq!(listed, [owned.room_id.to_string()]);
    }
    // An owner that another tool emptied instead is none either.
    let _: u64 = server.command(&["HSET", &key, "owner", ""]);
    let outcome = mirror.release(owned.room_id, owned.owner, owned.epoch);
    assert_eq!(outcome.await.unwrap(), CommitOutcome::Ok);
    assert_eq!(fields(&server, &key), wanted);
    let mut all = live;
    all.insert(list);
    assert_eq!(server.command::<BTreeSet<String>>(&["KEYS", "*"]), all);
}

#[tokio::test]
async fn node_whose_own_line_has_ended_is_listed_for_its_rooms() {
    let (server, mirror) = start().await;
    let (owned, _) = Owned::rich(&mirror).await;
    mirror.heartbeat(&node_record(owned.owner)).await.unwrap();
    let _: u64 = server.command(&["DEL", &format!("node:{{{}}}", owned.owner)]);
    let nodes = mirror.nodes().await.unwrap();
    assert_eq!(nodes.len(), 1);
    assert_eq!((nodes[0].node_id, nodes[0].url.as_str()), (owned.owner, ""));
    assert_eq!(mirror.rooms_of(owned.owner).await.unwrap(), [owned.room_id]);
    mirror.forget_node(owned.owner).await.unwrap();
    assert!(mirror.nodes().await.unwrap().is_empty());
}

#[tokio::test]
async fn asking_writes_nothing() {
    let (server, mirror) = start().await;
    let session_id = SessionId(Uuid::from_u128(5));
    let owned = Owned {
        room_id: room_id(),
        owner: node_id(),
        epoch: callboard::ids::Epoch(7),
    };
    assert_eq!(mirror.generation().await.unwrap(), None);
    assert!(!mirror.is_finished(owned.room_id, session_id).await.unwrap());
    let outcome = mirror.release(owned.room_id, owned.owner, owned.epoch);
    assert_eq!(outcome.await.unwrap(), CommitOutcome::Missing);
    assert_eq!(server.command::<u64>(&["DBSIZE"]), 0);
    let entry = format!("room:{{{}}}:closed:{session_id}", owned.room_id);
    let _: String = server.command(&["SET", &entry, "{}"]);
    let _: String = server.command(&["SET", "mirror:generation", "third"]);
    assert_eq!(mirror.generation().await.unwrap(), Some("third".to_owned()));
    assert!(mirror.is_finished(owned.room_id, session_id).await.unwrap());
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
    let node = node_record(node_id());
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
