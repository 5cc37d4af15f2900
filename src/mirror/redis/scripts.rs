//! The Lua scripts, their arguments and their answers.

use std::{collections::HashMap, sync::LazyLock, time::Duration};

use redis::{Cmd, FromRedisValue, Script, Value, cmd, from_redis_value};

use super::keys;
use crate::{
    ids::{Epoch, NodeId, RoomId, SessionId, Version},
    mirror::{
        Claim, ClaimOutcome, Commit, CommitOutcome, MirrorFault, Ownership,
        fields::{FORMAT, Stored, Writes, parse, to_json},
        rules,
    },
};

const COMMIT: &str = concat!(include_str!("shared.lua"), include_str!("commit.lua"));
const CHECK: &str = include_str!("check.lua");
const CLAIM: &str = concat!(include_str!("shared.lua"), include_str!("claim.lua"));
const RESTORE: &str = concat!(include_str!("shared.lua"), include_str!("restore.lua"));
const RELEASE: &str = concat!(include_str!("shared.lua"), include_str!("release.lua"));
const OUTBOX: &str = include_str!("outbox.lua");

/// Capacity for a commit of one event and one seat without a second allocation.
const CALL_ARGS: usize = 48;
const CALL_BYTES: usize = 1536;

/// All scripts that a server must know.
pub(super) const ALL: [&str; 6] = [COMMIT, CHECK, CLAIM, RESTORE, RELEASE, OUTBOX];

static COMMIT_HASH: LazyLock<String> = LazyLock::new(|| hash(COMMIT));
static CHECK_HASH: LazyLock<String> = LazyLock::new(|| hash(CHECK));
static CLAIM_HASH: LazyLock<String> = LazyLock::new(|| hash(CLAIM));
static RESTORE_HASH: LazyLock<String> = LazyLock::new(|| hash(RESTORE));
static RELEASE_HASH: LazyLock<String> = LazyLock::new(|| hash(RELEASE));
static OUTBOX_HASH: LazyLock<String> = LazyLock::new(|| hash(OUTBOX));

fn hash(text: &str) -> String {
    Script::new(text).get_hash().to_owned()
}

/// The call of the commit script.
pub(super) fn commit(commit: &Commit, ttl: Duration) -> Cmd {
    let changes = &commit.changes;
    let mut call = room_call(&COMMIT_HASH, commit.room_id, closed_id(commit));
    call.arg(commit.epoch.0)
        .arg(commit.owner.to_string())
        .arg(changes.from.0)
        .arg(changes.to.0)
        .arg(changes.seq.0)
        .arg(millis(ttl))
        .arg(flag(changes.is_full))
        .arg(changes.tail_keep);
    add_closing(&mut call, commit);
    add_lists(&mut call, commit);
    call
}

/// The call of the check script, for a commit without changes.
pub(super) fn check(commit: &Commit, ttl: Duration) -> Cmd {
    let mut call = cmd("EVALSHA");
    call.arg(CHECK_HASH.as_str())
        .arg(1)
        .arg(keys::main(commit.room_id))
        .arg(commit.epoch.0)
        .arg(commit.owner.to_string())
        .arg(commit.changes.to.0)
        .arg(millis(ttl));
    call
}

/// The call of the claim script.
pub(super) fn claim(claim: &Claim, ttl: Duration) -> Cmd {
    let mut call = room_call(&CLAIM_HASH, claim.room_id, None);
    add_claim(&mut call, claim, ttl);
    call
}

/// The call of the restore script.
pub(super) fn restore(commit: &Commit, expected: Option<Ownership>, ttl: Duration) -> Cmd {
    let mut call = room_call(&RESTORE_HASH, commit.room_id, closed_id(commit));
    add_claim(&mut call, &rules::claim_of_restore(commit, expected), ttl);
    call.arg(commit.changes.to.0)
        .arg(commit.changes.seq.0)
        .arg(commit.changes.tail_keep);
    add_closing(&mut call, commit);
    add_lists(&mut call, commit);
    call
}

/// The call of the release script.
pub(super) fn release(room_id: RoomId, owner: NodeId, epoch: Epoch, ttl: Duration) -> Cmd {
    let mut call = room_call(&RELEASE_HASH, room_id, None);
    call.arg(epoch.0).arg(owner.to_string()).arg(millis(ttl));
    call
}

/// The call that reads one outbox entry.
pub(super) fn outbox(room_id: RoomId, session_id: SessionId) -> Cmd {
    let mut call = cmd("EVALSHA");
    call.arg(OUTBOX_HASH.as_str())
        .arg(2)
        .arg(keys::main(room_id))
        .arg(keys::closed(room_id, session_id));
    call
}

/// Whether a commit took effect.
pub(super) fn is_ok(answer: &Value) -> bool {
    is_word(answer, b"ok")
}

/// Whether the check script could not decide, so the commit script must run.
pub(super) fn is_unclear(answer: &Value) -> bool {
    is_word(answer, b"unclear")
}

/// Reads the answer of the commit script, the check script (unless unclear) or the release script.
pub(super) fn commit_outcome(answer: Value) -> Result<CommitOutcome, MirrorFault> {
    // The common case.
    if is_ok(&answer) {
        return Ok(CommitOutcome::Ok);
    }
    let words: Vec<String> = decode(answer)?;
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["behind"] => Ok(CommitOutcome::Behind),
        ["missing"] => Ok(CommitOutcome::Missing),
        ["fenced", epoch, owner] => {
            let Ownership { owner, epoch } = ownership(epoch, owner)?;
            Ok(CommitOutcome::Fenced { epoch, owner })
        }
        _ => Err(unexpected(&words)),
    }
}

fn is_word(answer: &Value, expected: &[u8]) -> bool {
    matches!(answer, Value::Array(words) if matches!(&words[..], [Value::BulkString(word)] if word == expected))
}

/// Reads the answer of the claim script or the restore script. The restore script returns no room,
/// so its version is `restored`.
pub(super) fn claim_outcome(
    room_id: RoomId,
    restored: Version,
    answer: Value,
) -> Result<ClaimOutcome, MirrorFault> {
    let mut parts: Vec<Value> = decode(answer)?;
    if parts.len() == 8 {
        let room = parts.split_off(2);
        return claimed(room_id, &decode::<String>(parts.swap_remove(1))?, room);
    }
    let words: Vec<String> = parts.into_iter().map(decode).collect::<Result<_, _>>()?;
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["claimed", epoch] => Ok(ClaimOutcome::Claimed {
            epoch: parse("epoch", epoch)?,
            version: restored,
            room: None,
        }),
        ["lost"] => Ok(ClaimOutcome::Lost(None)),
        ["lost", epoch, owner] => Ok(ClaimOutcome::Lost(Some(ownership(epoch, owner)?))),
        ["toonew"] => Ok(ClaimOutcome::TooNew),
        _ => Err(unexpected(&words)),
    }
}

/// The command that reads the owner of a room.
pub(super) fn ask_ownership(room_id: RoomId) -> Cmd {
    let mut query = cmd("HMGET");
    query.arg(keys::main(room_id)).arg("epoch").arg("owner");
    query
}

/// Reads the answer of [`ask_ownership`].
pub(super) fn stored_ownership(answer: Value) -> Result<Option<Ownership>, MirrorFault> {
    let (epoch, owner): (Option<String>, Option<String>) = decode(answer)?;
    epoch
        .map(|epoch| ownership(&epoch, &owner.unwrap_or_default()))
        .transpose()
}

/// Ownership from the fields of a room's hash.
pub(super) fn ownership(epoch: &str, owner: &str) -> Result<Ownership, MirrorFault> {
    let owner = match owner {
        "" => None,
        id => Some(parse("owner", id)?),
    };
    Ok(Ownership {
        owner,
        epoch: parse("epoch", epoch)?,
    })
}

/// A typed value from an answer.
pub(super) fn decode<T: FromRedisValue>(value: Value) -> Result<T, MirrorFault> {
    from_redis_value(value).map_err(|error| MirrorFault(format!("unexpected answer: {error}")))
}

fn claimed(room_id: RoomId, epoch: &str, room: Vec<Value>) -> Result<ClaimOutcome, MirrorFault> {
    let [head, participants, lobby, left, bans, tail] = <[Value; 6]>::try_from(room)
        .map_err(|room| MirrorFault(format!("a room came in {} parts", room.len())))?;
    let head: HashMap<String, String> = decode(head)?;
    let number = |name: &str| head.get(name).map_or("0", String::as_str);
    let version: Version = parse("version", number("version"))?;
    let stored = Stored {
        seq: parse("seq", number("seq"))?,
        collections: [
            decode(participants)?,
            decode(lobby)?,
            decode(left)?,
            decode(bans)?,
        ],
        tail: decode(tail)?,
        head,
    };
    Ok(ClaimOutcome::Claimed {
        epoch: Epoch(parse("epoch", epoch)?),
        version,
        room: stored.into_snapshot(room_id)?.map(Box::new),
    })
}

fn room_call(hash: &str, room_id: RoomId, closed: Option<SessionId>) -> Cmd {
    let mut call = Cmd::with_capacity(CALL_ARGS, CALL_BYTES);
    call.arg("EVALSHA").arg(hash);
    call.arg(keys::ROOM_PARTS.len() + usize::from(closed.is_some()));
    let mut key = keys::main(room_id);
    let main_bytes = key.len();
    for part in keys::ROOM_PARTS {
        key.truncate(main_bytes);
        key.push_str(part);
        call.arg(&key);
    }
    if let Some(session_id) = closed {
        call.arg(keys::closed(room_id, session_id));
    }
    call
}

fn closed_id(commit: &Commit) -> Option<SessionId> {
    rules::closed_session(commit).map(|session| session.session_id)
}

fn add_claim(call: &mut Cmd, claim: &Claim, ttl: Duration) {
    let expected = claim.expected;
    let owner = expected.and_then(|expected| expected.owner);
    call.arg(flag(expected.is_some()))
        .arg(expected.map_or(0, |expected| expected.epoch.0))
        .arg(owner.map(|owner| owner.to_string()).unwrap_or_default())
        .arg(claim.claimant.to_string())
        .arg(claim.last_seen.0)
        .arg(millis(ttl))
        .arg(FORMAT);
}

fn add_closing(call: &mut Cmd, commit: &Commit) {
    call.arg(flag(commit.changes.closing.is_some())).arg(
        rules::closed_session(commit)
            .map(to_json)
            .unwrap_or_default(),
    );
}

/// The lists of `write_room` in `shared.lua`: those that are not empty.
fn add_lists(call: &mut Cmd, commit: &Commit) {
    if commit.changes.closing.is_some() {
        return;
    }
    let writes = Writes::of(&commit.changes);
    add_writes(call, 0, &writes.head);
    for (part, collection) in (1..).zip(&writes.collections) {
        add_writes(call, part, collection);
    }
    let tail = &commit.changes.tail;
    if !tail.is_empty() {
        add_list(call, "RPUSH", keys::ROOM_PARTS.len() - 1, tail.len());
        for event in tail {
            call.arg(event.frame.as_bytes().as_ref());
        }
    }
}

fn add_writes(call: &mut Cmd, part: usize, writes: &[(impl AsRef<str>, Option<String>)]) {
    let set = writes.iter().filter(|(_, value)| value.is_some()).count();
    if set > 0 {
        add_list(call, "HSET", part, set * 2);
        for (name, value) in writes {
            if let Some(value) = value {
                call.arg(name.as_ref()).arg(value);
            }
        }
    }
    if writes.len() > set {
        add_list(call, "HDEL", part, writes.len() - set);
        for (name, value) in writes {
            if value.is_none() {
                call.arg(name.as_ref());
            }
        }
    }
}

/// Adds the header of a list. `part` is an index of [`keys::ROOM_PARTS`], which Lua counts from 1.
fn add_list(call: &mut Cmd, command: &str, part: usize, length: usize) {
    call.arg(command).arg(part + 1).arg(length);
}

fn flag(is_set: bool) -> &'static str {
    if is_set { "1" } else { "0" }
}

/// A duration as Redis takes it.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn unexpected(words: &[String]) -> MirrorFault {
    MirrorFault(format!(
        "unexpected answer of a script: {}",
        words.join(" ")
    ))
}
