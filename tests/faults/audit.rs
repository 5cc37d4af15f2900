//! Compares Redis and SQL with what the clients see.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use callboard::load::client::{Participants, Violation};

use crate::common::{
    cluster::Cluster,
    crowd::{Crowd, CrowdRoom, ask_any},
    view::text,
};

/// Longest wait until the mirror shows what people see, or SQL what has ended.
const SETTLE_DEADLINE: Duration = Duration::from_secs(30);
/// Interval of polling.
const LOOK: Duration = Duration::from_millis(100);
/// What the contract calls true times: to the second.
const TRUE_WITHIN: TimeDelta = TimeDelta::seconds(1);
/// Everything of a participant that goes over the wire, without the connection.
const SHOWN: [&str; 8] = [
    "displayName",
    "role",
    "isMuted",
    "isVideoOn",
    "isScreenSharing",
    "isHandRaised",
    "isAway",
    "joinedAt",
];

/// Checks while nobody acts that all clients of a room see the same and that the mirror holds it.
pub async fn compare_mirror(cluster: &Cluster, crowd: &Crowd) -> Vec<Violation> {
    let mut violations = Vec::new();
    for room in &crowd.rooms {
        let started = Instant::now();
        loop {
            let Err(what) = compare_room(cluster, room).await else {
                break;
            };
            if started.elapsed() > SETTLE_DEADLINE {
                violations.push(Violation::new(
                    "mirror",
                    &format!("room {}: {what}", room.room_id),
                ));
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
    violations
}

async fn compare_room(cluster: &Cluster, room: &CrowdRoom) -> Result<(), String> {
    let seen: Vec<_> = room.people.iter().map(|mark| mark.seen()).collect();
    let first = seen.first().ok_or("nobody inside")?;
    if let Some(other) = seen.iter().find(|seen| *seen != first) {
        return Err(format!("people see different rooms: {first:?}, {other:?}"));
    }
    let key = format!("room:{{{}}}", room.room_id);
    let head: BTreeMap<String, String> = cluster.redis(&["HGETALL", &key]).await?;
    let people: BTreeMap<String, String> = cluster
        .redis(&["HGETALL", &format!("{key}:participants")])
        .await?;
    let count = room.people.len().to_string();
    if head.get("participantCount") != Some(&count) {
        let has = head.get("participantCount");
        return Err(format!("participantCount is {has:?} and not {count}"));
    }
    if head.get("seq") != Some(&first.seq.to_string()) {
        let has = head.get("seq");
        return Err(format!("seq is {has:?} and not {}", first.seq));
    }
    let shown: Vec<Value> = people
        .iter()
        .map(|(user_id, record)| as_shown(user_id, record))
        .collect();
    if Participants::of(&shown).digest() != first.digest {
        return Err(format!("people see other participants than {shown:?}"));
    }
    Ok(())
}

/// A mirrored participant as it goes over the wire.
fn as_shown(user_id: &str, record: &str) -> Value {
    let record: Value = serde_json::from_str(record).unwrap_or_default();
    let mut shown = json!({"userId": user_id});
    for field in SHOWN {
        shown[field] = record[field].clone();
    }
    shown
}

/// Waits until the mirror has every room again. Returns how long that took.
pub async fn until_mirrored(cluster: &Cluster, crowd: &Crowd) -> Result<Duration, Violation> {
    let started = Instant::now();
    loop {
        let mut missing = 0;
        for room in &crowd.rooms {
            let key = format!("room:{{{}}}", room.room_id);
            let exists = cluster.redis::<u64>(&["EXISTS", &key]).await;
            missing += usize::from(exists != Ok(1));
        }
        if missing == 0 {
            return Ok(started.elapsed());
        }
        if started.elapsed() > SETTLE_DEADLINE {
            return Err(Violation::new(
                "mirror",
                &format!("{missing} rooms are not in Redis after {SETTLE_DEADLINE:?}"),
            ));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Ends all rooms over HTTP, each through another node, which need not be its owner. Returns
/// between which times each was ended.
pub async fn end_rooms(
    cluster: &Cluster,
    crowd: &Crowd,
    violations: &mut Vec<Violation>,
) -> BTreeMap<String, (DateTime<Utc>, DateTime<Utc>)> {
    let apis = cluster.apis();
    let mut times = BTreeMap::new();
    for (index, room) in crowd.rooms.iter().enumerate() {
        let before = Utc::now();
        let path = format!("/v1/rooms/{}/end", room.room_id);
        // The next nodes are asked only so that the rest of the audit means something.
        for node in index..index + apis.len() {
            if ask_any(&apis, node, &path, &json!({})).await["ended"] == true {
                break;
            }
            let what = format!(
                "room {} is live, node {} says it ended nothing",
                room.room_id,
                node % apis.len()
            );
            violations.push(Violation::new("any-node", &what));
        }
        times.insert(room.room_id.clone(), (before, Utc::now()));
    }
    times
}

/// Checks after the end of all rooms that SQL holds one session per room with true times and all
/// attendances, and that Redis holds nothing.
pub async fn compare_store(
    cluster: &Cluster,
    rooms: &[CrowdRoom],
    ended: &BTreeMap<String, (DateTime<Utc>, DateTime<Utc>)>,
) -> Vec<Violation> {
    let mut violations = Vec::new();
    let started = Instant::now();
    let mut left: Vec<String>;
    loop {
        left = cluster.redis(&["KEYS", "room:*"]).await.unwrap_or_default();
        if left.is_empty() || started.elapsed() > SETTLE_DEADLINE {
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    if !left.is_empty() {
        violations.push(Violation::new(
            "one-session",
            &format!("Redis still holds {left:?}"),
        ));
    }
    for room in rooms {
        for what in compare_sessions(cluster, room, ended.get(&room.room_id)).await {
            violations.push(Violation::new(
                "one-session",
                &format!("room {}: {what}", room.room_id),
            ));
        }
    }
    violations
}

async fn compare_sessions(
    cluster: &Cluster,
    room: &CrowdRoom,
    ended: Option<&(DateTime<Utc>, DateTime<Utc>)>,
) -> Vec<String> {
    let query = format!(
        "SELECT coalesce(json_agg(json_build_object('id', s.id, 'start', s.start_time, 'end', s.end_time, 'reason', s.end_reason, \
         'people', (SELECT json_agg(json_build_object('user', a.user_id, 'joined', a.joined_at, 'left', a.left_at)) FROM attendances a \
         WHERE a.session_id = s.id))), '[]') FROM sessions s WHERE s.room_id = '{}'",
        room.room_id
    );
    let rows: Value = serde_json::from_str(&cluster.sql(&query).await).unwrap_or_default();
    let rows = rows.as_array().cloned().unwrap_or_default();
    let (seen, is_strict, begun) = {
        let log = room.log();
        let seen: Vec<String> = log.session_ids().into_iter().map(str::to_owned).collect();
        let begun = log.first_join_at.zip(log.first_joined);
        (seen, log.losses == 0, begun)
    };
    let mut wrong = Vec::new();
    if rows.len() != 1 && (is_strict || rows.is_empty()) {
        wrong.push(format!("{} sessions in SQL instead of one", rows.len()));
    }
    for row in &rows {
        let id = text(row, "id");
        if !seen.iter().any(|seen| seen == id) {
            wrong.push(format!("nobody saw session {id}"));
        }
        if row["end"].is_null() {
            wrong.push(format!("session {id} is not closed"));
        }
    }
    // After an allowed loss the times of a session that was cut are not known.
    if let [row] = rows.as_slice()
        && is_strict
    {
        wrong.extend(compare_times(row, begun, ended));
        let attended = row["people"].as_array().map_or(0, Vec::len);
        let users: std::collections::BTreeSet<&str> = row["people"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|person| text(person, "user"))
            .collect();
        let people = room.people.len();
        if attended != people || users.len() != people {
            wrong.push(format!(
                "{attended} attendances of {} users for {people} people who never left",
                users.len()
            ));
        }
    }
    wrong
}

fn compare_times(
    row: &Value,
    begun: Option<(DateTime<Utc>, DateTime<Utc>)>,
    ended: Option<&(DateTime<Utc>, DateTime<Utc>)>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    let time = |field: &str| text(row, field).parse::<DateTime<Utc>>().ok();
    // The session began between the first join and the first `RoomJoined` of our clients.
    if let (Some(start), Some((from, to))) = (time("start"), begun)
        && (start < from - TRUE_WITHIN || start > to + TRUE_WITHIN)
    {
        wrong.push(format!(
            "it began between {from} and {to}, SQL says {start}"
        ));
    }
    if let (Some(end), Some((from, to))) = (time("end"), ended)
        && (end < *from - TRUE_WITHIN || end > *to + TRUE_WITHIN)
    {
        wrong.push(format!("it ended at {to}, SQL says {end}"));
    }
    if text(row, "reason") != "ended" {
        wrong.push(format!("end_reason is {}", row["reason"]));
    }
    wrong
}
