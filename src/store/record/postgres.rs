//! Recording on PostgreSQL: a few statements for a whole batch.

use std::collections::{BTreeSet, HashSet};

use diesel::{
    BoolExpressionMethods, ExpressionMethods, NullableExpressionMethods, OptionalExtension,
    QueryDsl, QueryResult, dsl,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::{
    Opening,
    rows::{self, ClosedRow, OpenRow, end_as_lost, upsert_sessions, write_status},
};
use crate::{
    ids::{RoomId, SessionId},
    room::record::ClosedSession,
    store::schema::{attendances, bans, rooms, sessions},
};

/// Most rows in one `INSERT`: PostgreSQL takes 65,535 values in a statement, and a row has up to 8.
const INSERT_ROWS_MAX: usize = 5_000;

/// See [`super::Store::record_openings`]. The openings come in the order of the rooms' ids.
pub(super) async fn record_openings(
    conn: &mut AsyncPgConnection,
    openings: &[&Opening],
) -> QueryResult<()> {
    let rooms = openings.iter().map(|opening| opening.room_id).collect();
    let rooms = lock_rooms(conn, rooms).await?;
    let known = openings
        .iter()
        .filter(|opening| rooms.contains(&opening.room_id));
    let rows: Vec<OpenRow> = known.map(|opening| OpenRow::new(opening)).collect();
    if rows.is_empty() {
        return Ok(());
    }
    diesel::insert_into(sessions::table)
        .values(rows)
        .on_conflict_do_nothing()
        .execute(conn)
        .await?;
    write_status!(with_ids(rooms)).execute(conn).await?;
    Ok(())
}

/// See [`super::Store::record_sessions`]. The sessions come in the order of the rooms' ids.
pub(super) async fn record_sessions(
    conn: &mut AsyncPgConnection,
    closed: &[&ClosedSession],
) -> QueryResult<()> {
    let rooms = closed.iter().map(|session| session.room_id).collect();
    let rooms = lock_rooms(conn, rooms).await?;
    let closed: Vec<&ClosedSession> = closed
        .iter()
        .copied()
        .filter(|session| rooms.contains(&session.room_id))
        .collect();
    if closed.is_empty() {
        return Ok(());
    }
    // Only with the first record of a session: a ban may have been lifted since.
    let written = close(conn, &closed).await?;
    let mut bans = written.iter().flat_map(|session| rows::bans(session));
    while let Some(rows) = chunk(&mut bans) {
        diesel::insert_into(bans::table)
            .values(rows)
            .on_conflict_do_nothing()
            .execute(conn)
            .await?;
    }
    let mut attendances = closed.iter().flat_map(|session| rows::attendances(session));
    while let Some(rows) = chunk(&mut attendances) {
        diesel::insert_into(attendances::table)
            .values(rows)
            .on_conflict_do_nothing()
            .execute(conn)
            .await?;
    }
    write_status!(with_ids(rooms)).execute(conn).await?;
    Ok(())
}

/// See [`super::Store::close_lost`].
pub(super) async fn close_lost(
    conn: &mut AsyncPgConnection,
    session: SessionId,
    is_repeat: bool,
) -> QueryResult<bool> {
    let room: Option<RoomId> = sessions::table
        .find(session)
        .select(sessions::room_id)
        .get_result(conn)
        .await
        .optional()?;
    let Some(room) = room else {
        return Ok(false);
    };
    let rooms = lock_rooms(conn, BTreeSet::from([room])).await?;
    let closed = end_as_lost!(session).execute(conn).await?;
    write_status!(with_ids(rooms)).execute(conn).await?;
    Ok(closed == 1 || is_repeat)
}

/// Locks the rows of rooms until the transaction ends and returns the ids of those that exist. All
/// recorders lock in the order of the ids.
async fn lock_rooms(
    conn: &mut AsyncPgConnection,
    ids: BTreeSet<RoomId>,
) -> QueryResult<BTreeSet<RoomId>> {
    let locked: Vec<RoomId> = with_ids(ids)
        .order(rooms::id.asc())
        .select(rooms::id)
        .for_no_key_update()
        .load(conn)
        .await?;
    Ok(locked.into_iter().collect())
}

#[dsl::auto_type(no_type_alias)]
fn with_ids(ids: BTreeSet<RoomId>) -> _ {
    rooms::table.filter(rooms::id.eq_any(ids))
}

/// Writes sessions with their ends where `upsert_sessions` allows it. Returns those that it wrote.
async fn close<'a>(
    conn: &mut AsyncPgConnection,
    closed: &[&'a ClosedSession],
) -> QueryResult<Vec<&'a ClosedSession>> {
    let mut written = Vec::new();
    let mut left = closed.to_vec();
    while !left.is_empty() {
        // One statement cannot write a row twice: a repeated session waits for the next statement.
        let mut seen = HashSet::new();
        let (now, later): (Vec<_>, Vec<_>) = left
            .into_iter()
            .partition(|session| seen.insert(session.session_id));
        let rows: Vec<ClosedRow> = now.iter().map(|session| ClosedRow::new(session)).collect();
        let ids: Vec<SessionId> = upsert_sessions!(rows)
            .returning(sessions::id)
            .get_results(conn)
            .await?;
        written.extend(
            now.into_iter()
                .filter(|session| ids.contains(&session.session_id)),
        );
        left = later;
    }
    Ok(written)
}

/// The next rows for one statement. `None` at the end.
fn chunk<R>(rows: &mut impl Iterator<Item = R>) -> Option<Vec<R>> {
    let chunk: Vec<R> = rows.take(INSERT_ROWS_MAX).collect();
    (!chunk.is_empty()).then_some(chunk)
}
