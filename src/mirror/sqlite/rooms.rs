//! Rooms and the outbox as SQL statements.

use std::collections::HashMap;

use diesel::{prelude::*, sqlite::SqliteConnection};

use super::schema::{outbox as outbox_table, record, room, tail};
use crate::{
    ids::{Epoch, NodeId, RoomId, Seq, SessionId, Version},
    mirror::{
        Claim, ClaimOutcome, Commit, CommitOutcome, MirrorFault, Ownership,
        fields::{COLLECTIONS, FORMAT, Stored, Writes, from_json, parse, to_json},
        rules::{self, Decision},
    },
    room::record::ClosedSession,
};

/// The collection that holds the fields of the room itself.
const HEAD: &str = "head";

/// A row of `room`.
#[derive(Queryable, Selectable)]
#[diesel(table_name = room)]
struct RoomRow {
    owner: Option<String>,
    epoch: i64,
    version: i64,
    seq: i64,
    format: i32,
}

impl RoomRow {
    fn ownership(&self) -> Result<Ownership, MirrorFault> {
        Ok(Ownership {
            owner: self
                .owner
                .as_deref()
                .map(|id| parse("owner", id))
                .transpose()?,
            epoch: Epoch(self.epoch.cast_unsigned()),
        })
    }

    fn version(&self) -> Version {
        Version(self.version.cast_unsigned())
    }
}

/// Applies commits in one transaction. If that fails, it applies each in its own transaction, so
/// one bad commit stops no other.
pub(super) fn commit_all(
    connection: &mut SqliteConnection,
    commits: &[Commit],
) -> Vec<Result<CommitOutcome, MirrorFault>> {
    let together: Result<Vec<_>, MirrorFault> = connection.immediate_transaction(|connection| {
        commits
            .iter()
            .map(|commit| commit_one(connection, commit).map(Ok))
            .collect()
    });
    together.unwrap_or_else(|_| {
        commits
            .iter()
            .map(|commit| {
                connection.immediate_transaction(|connection| commit_one(connection, commit))
            })
            .collect()
    })
}

fn commit_one(
    connection: &mut SqliteConnection,
    commit: &Commit,
) -> Result<CommitOutcome, MirrorFault> {
    let stored = match read_row(connection, commit.room_id)? {
        Some(row) => Some((row.ownership()?, row.version())),
        None => None,
    };
    let is_in_outbox = is_in_outbox(connection, commit)?;
    match rules::decide_commit(stored, is_in_outbox, commit) {
        Decision::Answer(outcome) => Ok(outcome),
        Decision::Apply => {
            write(connection, commit)?;
            Ok(CommitOutcome::Ok)
        }
    }
}

pub(super) fn claim(
    connection: &mut SqliteConnection,
    claim: &Claim,
) -> Result<ClaimOutcome, MirrorFault> {
    connection.immediate_transaction(|connection| {
        let epoch = match try_claim(connection, claim)? {
            Ok(epoch) => epoch,
            Err(refusal) => return Ok(refusal),
        };
        let row = read_row(connection, claim.room_id)?.expect("a claimed room has a row");
        let version = row.version();
        let room = read_room(connection, claim.room_id, &row)?.into_snapshot(claim.room_id)?;
        Ok(ClaimOutcome::Claimed {
            epoch,
            version,
            room: room.map(Box::new),
        })
    })
}

pub(super) fn restore(
    connection: &mut SqliteConnection,
    commit: &Commit,
    expected: Option<Ownership>,
) -> Result<ClaimOutcome, MirrorFault> {
    connection.immediate_transaction(|connection| {
        let restored = |epoch| ClaimOutcome::Claimed {
            epoch,
            version: commit.changes.to,
            room: None,
        };
        // A repeat of a close whose answer was lost.
        if is_in_outbox(connection, commit)? {
            return Ok(restored(commit.epoch));
        }
        match try_claim(connection, &rules::claim_of_restore(commit, expected))? {
            Ok(epoch) => {
                write(connection, commit)?;
                Ok(restored(epoch))
            }
            Err(refusal) => Ok(refusal),
        }
    })
}

pub(super) fn release(
    connection: &mut SqliteConnection,
    room_id: RoomId,
    owner: NodeId,
    epoch: Epoch,
) -> Result<CommitOutcome, MirrorFault> {
    connection.immediate_transaction(|connection| {
        let stored = ownership(connection, room_id)?;
        if let Decision::Answer(outcome) = rules::decide_release(stored, owner, epoch) {
            return Ok(outcome);
        }
        diesel::update(room::table.find(room_id.to_string()))
            .set(room::owner.eq(None::<String>))
            .execute(connection)?;
        Ok(CommitOutcome::Ok)
    })
}

pub(super) fn ownership(
    connection: &mut SqliteConnection,
    room_id: RoomId,
) -> Result<Option<Ownership>, MirrorFault> {
    read_row(connection, room_id)?
        .map(|row| row.ownership())
        .transpose()
}

pub(super) fn rooms_of(
    connection: &mut SqliteConnection,
    node_id: NodeId,
) -> Result<Vec<RoomId>, MirrorFault> {
    let ids: Vec<String> = room::table
        .filter(
            room::owner
                .eq(node_id.to_string())
                .or(room::owner.is_null()),
        )
        .select(room::room_id)
        .load(connection)?;
    ids.iter().map(|id| parse("room id", id)).collect()
}

pub(super) fn outbox(
    connection: &mut SqliteConnection,
    limit: usize,
) -> Result<Vec<ClosedSession>, MirrorFault> {
    let entries: Vec<String> = outbox_table::table
        .select(outbox_table::session)
        .limit(i64::try_from(limit).unwrap_or(i64::MAX))
        .load(connection)?;
    entries.iter().map(|json| from_json(json)).collect()
}

pub(super) fn is_finished(
    connection: &mut SqliteConnection,
    room_id: RoomId,
    session_id: SessionId,
) -> Result<bool, MirrorFault> {
    let entry = outbox_table::table.find((room_id.to_string(), session_id.to_string()));
    Ok(diesel::select(diesel::dsl::exists(entry)).get_result(connection)?)
}

pub(super) fn recorded(
    connection: &mut SqliteConnection,
    sessions: &[(RoomId, SessionId)],
) -> Result<(), MirrorFault> {
    connection.transaction(|connection| {
        for (room_id, session_id) in sessions {
            let entry = outbox_table::table.find((room_id.to_string(), session_id.to_string()));
            diesel::delete(entry).execute(connection)?;
        }
        Ok(())
    })
}

fn read_row(
    connection: &mut SqliteConnection,
    room_id: RoomId,
) -> Result<Option<RoomRow>, MirrorFault> {
    Ok(room::table
        .find(room_id.to_string())
        .select(RoomRow::as_select())
        .first(connection)
        .optional()?)
}

fn is_in_outbox(connection: &mut SqliteConnection, commit: &Commit) -> Result<bool, MirrorFault> {
    match rules::closed_session(commit) {
        Some(session) => is_finished(connection, commit.room_id, session.session_id),
        None => Ok(false),
    }
}

/// Compare-and-set on the ownership. Returns the new epoch or the reason of the refusal.
fn try_claim(
    connection: &mut SqliteConnection,
    claim: &Claim,
) -> Result<Result<Epoch, ClaimOutcome>, MirrorFault> {
    let row = read_row(connection, claim.room_id)?;
    let stored = row.as_ref().map(RoomRow::ownership).transpose()?;
    if stored != claim.expected {
        return Ok(Err(ClaimOutcome::Lost(stored)));
    }
    if row.is_some_and(|row| row.format > FORMAT.cast_signed()) {
        return Ok(Err(ClaimOutcome::TooNew));
    }
    let epoch = rules::next_epoch(
        stored.map(|stored| stored.epoch),
        claim.last_seen,
        rules::now_us(),
    );
    let (owner, stored_epoch) = (claim.claimant.to_string(), epoch.0.cast_signed());
    diesel::insert_into(room::table)
        .values((
            room::room_id.eq(claim.room_id.to_string()),
            room::owner.eq(&owner),
            room::epoch.eq(stored_epoch),
            room::version.eq(0),
            room::seq.eq(0),
            room::format.eq(FORMAT.cast_signed()),
        ))
        .on_conflict(room::room_id)
        .do_update()
        .set((room::owner.eq(&owner), room::epoch.eq(stored_epoch)))
        .execute(connection)?;
    Ok(Ok(epoch))
}

fn read_room(
    connection: &mut SqliteConnection,
    room_id: RoomId,
    row: &RoomRow,
) -> Result<Stored, MirrorFault> {
    let id = room_id.to_string();
    let mut stored = Stored {
        seq: Seq(row.seq.cast_unsigned()),
        tail: tail::table
            .filter(tail::room_id.eq(&id))
            .order(tail::seq)
            .select(tail::frame)
            .load(connection)?,
        ..Stored::default()
    };
    let records: Vec<(String, String, String)> = record::table
        .filter(record::room_id.eq(&id))
        .select((record::collection, record::id, record::value))
        .load(connection)?;
    let mut by_name: HashMap<&str, &mut HashMap<String, String>> = COLLECTIONS
        .into_iter()
        .zip(&mut stored.collections)
        .chain([(HEAD, &mut stored.head)])
        .collect();
    for (collection, id, value) in records {
        // Collections of other releases stay stored and are ignored.
        if let Some(records) = by_name.get_mut(collection.as_str()) {
            records.insert(id, value);
        }
    }
    Ok(stored)
}

/// Writes the changes of a commit. The caller has checked epoch and version.
fn write(connection: &mut SqliteConnection, commit: &Commit) -> Result<(), MirrorFault> {
    let id = commit.room_id.to_string();
    let changes = &commit.changes;
    if changes.closing.is_some() {
        return close(connection, &id, rules::closed_session(commit));
    }
    if changes.is_full {
        diesel::delete(
            record::table
                .filter(record::room_id.eq(&id))
                .filter(record::collection.eq_any(COLLECTIONS)),
        )
        .execute(connection)?;
        diesel::delete(tail::table.filter(tail::room_id.eq(&id))).execute(connection)?;
    }
    let writes = Writes::of(changes);
    for (name, value) in &writes.head {
        write_record(connection, (&id, HEAD, name), value.as_deref())?;
    }
    for (collection, records) in COLLECTIONS.into_iter().zip(&writes.collections) {
        for (name, value) in records {
            write_record(connection, (&id, collection, name), value.as_deref())?;
        }
    }
    write_tail(connection, &id, commit)?;
    diesel::update(room::table.find(&id))
        .set((
            room::version.eq(changes.to.0.cast_signed()),
            room::seq.eq(changes.seq.0.cast_signed()),
        ))
        .execute(connection)?;
    Ok(())
}

fn write_record(
    connection: &mut SqliteConnection,
    key: (&str, &str, &str),
    value: Option<&str>,
) -> Result<(), MirrorFault> {
    match value {
        Some(value) => diesel::replace_into(record::table)
            .values((
                record::room_id.eq(key.0),
                record::collection.eq(key.1),
                record::id.eq(key.2),
                record::value.eq(value),
            ))
            .execute(connection)?,
        None => diesel::delete(record::table.find(key)).execute(connection)?,
    };
    Ok(())
}

fn write_tail(
    connection: &mut SqliteConnection,
    id: &str,
    commit: &Commit,
) -> Result<(), MirrorFault> {
    let changes = &commit.changes;
    for event in &changes.tail {
        diesel::replace_into(tail::table)
            .values((
                tail::room_id.eq(id),
                tail::seq.eq(event.seq.0.cast_signed()),
                tail::frame.eq::<&str>(&event.frame),
            ))
            .execute(connection)?;
    }
    // The tail has no gap, so the number of its last event says what it keeps.
    let kept = i64::try_from(changes.tail_keep).unwrap_or(i64::MAX);
    let oldest = changes.seq.0.cast_signed().saturating_sub(kept);
    diesel::delete(
        tail::table
            .filter(tail::room_id.eq(id))
            .filter(tail::seq.le(oldest)),
    )
    .execute(connection)?;
    Ok(())
}

fn close(
    connection: &mut SqliteConnection,
    id: &str,
    session: Option<&ClosedSession>,
) -> Result<(), MirrorFault> {
    if let Some(session) = session {
        diesel::replace_into(outbox_table::table)
            .values((
                outbox_table::room_id.eq(id),
                outbox_table::session_id.eq(session.session_id.to_string()),
                outbox_table::session.eq(to_json(session)),
            ))
            .execute(connection)?;
    }
    diesel::delete(room::table.find(id)).execute(connection)?;
    diesel::delete(record::table.filter(record::room_id.eq(id))).execute(connection)?;
    diesel::delete(tail::table.filter(tail::room_id.eq(id))).execute(connection)?;
    Ok(())
}
