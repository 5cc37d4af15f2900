//! Recording on PostgreSQL: a handful of statements for a whole batch.

mod statements;

use std::collections::{BTreeSet, HashSet};

use diesel::{
    ExpressionMethods, NullableExpressionMethods, OptionalExtension, QueryDsl, QueryResult,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use futures_util::future::try_join3;

use super::Opening;
use crate::{
    ids::{RoomId, SessionId},
    protocol::EndReason,
    room::record::{Attendance, ClosedSession},
    store::schema::{rooms, sessions},
};
use statements::{InsertAttendances, InsertBans, InsertOpenings, UpsertSessions, WriteStatuses};

/// Most attendances in one statement: what the server takes in at once.
const ATTENDANCES_MAX: usize = 5_000;

/// See [`super::Store::record_openings`]; in the order of the rooms' ids.
pub(super) async fn record_openings(
    conn: &mut AsyncPgConnection,
    openings: &[&Opening],
) -> QueryResult<()> {
    let rooms = openings.iter().map(|opening| opening.room_id).collect();
    let rooms = lock_rooms(conn, rooms).await?;
    if rooms.is_empty() {
        return Ok(());
    }
    let known = openings
        .iter()
        .filter(|opening| rooms.contains(&opening.room_id));
    InsertOpenings::new(known).execute(conn).await?;
    Ok(())
}

/// See [`super::Store::record_sessions`]; in the order of the rooms' ids.
pub(super) async fn record_sessions(
    conn: &mut AsyncPgConnection,
    closed: &[&ClosedSession],
) -> QueryResult<()> {
    let rooms = closed.iter().map(|session| session.room_id).collect();
    let rooms = lock_rooms(conn, rooms).await?;
    if rooms.is_empty() {
        return Ok(());
    }
    let closed: Vec<&ClosedSession> = closed
        .iter()
        .copied()
        .filter(|session| rooms.contains(&session.room_id))
        .collect();
    let news = close(conn, &closed).await?;
    // They go out together: none waits for the answer to the one before, and none needs it.
    let conn = &*conn;
    try_join3(
        insert_bans(conn, &news),
        insert_attendances(conn, &closed),
        write_statuses(conn, &rooms),
    )
    .await?;
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
        .get_result(&mut *conn)
        .await
        .optional()?;
    let Some(room) = room else {
        return Ok(false);
    };
    let rooms = lock_rooms(conn, BTreeSet::from([room])).await?;
    let open = sessions::table
        .find(session)
        .filter(sessions::end_time.is_null());
    let closed = diesel::update(open)
        .set((
            sessions::end_time.eq(sessions::last_seen_at.nullable()),
            sessions::end_reason.eq(Some(EndReason::Lost)),
        ))
        .execute(&mut *conn)
        .await?;
    write_statuses(conn, &rooms).await?;
    Ok(closed == 1 || is_repeat)
}

/// Takes the rows of those rooms that have one, for this transaction. All recorders take them in the order of their ids.
async fn lock_rooms(
    conn: &mut AsyncPgConnection,
    ids: BTreeSet<RoomId>,
) -> QueryResult<BTreeSet<RoomId>> {
    let locked: Vec<RoomId> = rooms::table
        .filter(rooms::id.eq_any(Vec::from_iter(ids)))
        .order(rooms::id.asc())
        .select(rooms::id)
        .for_no_key_update()
        .load(conn)
        .await?;
    Ok(locked.into_iter().collect())
}

/// Writes sessions with their ends where [`UpsertSessions`] allows it; answers which it wrote.
async fn close<'a>(
    conn: &mut AsyncPgConnection,
    closed: &[&'a ClosedSession],
) -> QueryResult<Vec<&'a ClosedSession>> {
    let mut is_new = vec![false; closed.len()];
    let mut todo: Vec<usize> = (0..closed.len()).collect();
    while !todo.is_empty() {
        // One statement cannot write a row twice: what comes again has its turn after the first.
        let mut seen = HashSet::new();
        let (round, later): (Vec<usize>, Vec<usize>) = todo
            .into_iter()
            .partition(|index| seen.insert(closed[*index].session_id));
        let upsert = UpsertSessions::new(round.iter().map(|index| closed[*index]));
        let written: Vec<SessionId> = upsert.load(conn).await?;
        let written: HashSet<SessionId> = written.into_iter().collect();
        for index in round {
            is_new[index] = written.contains(&closed[index].session_id);
        }
        todo = later;
    }
    let sessions = closed.iter().zip(is_new);
    Ok(sessions
        .filter_map(|(session, is_new)| is_new.then_some(*session))
        .collect())
}

/// The bans of sessions that were written for the first time: one may have been lifted since.
async fn insert_bans(mut conn: &AsyncPgConnection, news: &[&ClosedSession]) -> QueryResult<()> {
    let bans = InsertBans::new(news);
    if !bans.is_empty() {
        bans.execute(&mut conn).await?;
    }
    Ok(())
}

/// Those attendances that are not there yet.
async fn insert_attendances(
    mut conn: &AsyncPgConnection,
    closed: &[&ClosedSession],
) -> QueryResult<()> {
    let attendances = attendances_of(closed);
    for chunk in attendances.chunks(ATTENDANCES_MAX) {
        let insert = InsertAttendances::new(chunk);
        insert.execute(&mut conn).await?;
    }
    Ok(())
}

/// `ACTIVE` while a session of the room is open, else `COMPLETED`.
async fn write_statuses(mut conn: &AsyncPgConnection, rooms: &BTreeSet<RoomId>) -> QueryResult<()> {
    WriteStatuses::new(rooms).execute(&mut conn).await?;
    Ok(())
}

fn attendances_of<'a>(closed: &[&'a ClosedSession]) -> Vec<(SessionId, &'a Attendance)> {
    let mut attendances = Vec::new();
    for session in closed {
        attendances.extend(
            session
                .attendances
                .iter()
                .map(|attendance| (session.session_id, attendance)),
        );
    }
    attendances
}
