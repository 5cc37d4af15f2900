//! Recording on SQLite: session by session on a blocking thread, inside a transaction that has the write lock of the whole file.

use diesel::{
    BoolExpressionMethods, ExpressionMethods, NullableExpressionMethods, OptionalExtension,
    QueryDsl, QueryResult, RunQueryDsl, SqliteConnection, dsl, query_dsl::methods,
    upsert::excluded,
};

use super::{
    Opening,
    rows::{AttendanceRow, end_of},
};
use crate::{
    ids::{RoomId, SessionId},
    protocol::EndReason,
    room::record::ClosedSession,
    store::{
        RoomStatus,
        schema::{attendances, bans, rooms, sessions},
        sqlite::Caller,
    },
};

/// See [`super::Store::record_openings`].
pub(super) fn record_openings(
    conn: &mut SqliteConnection,
    caller: &Caller,
    openings: &[Opening],
) -> QueryResult<()> {
    for opening in openings {
        caller.require()?;
        let is_repeat = activate(conn, opening.room_id)? && !insert_open(conn, opening)?;
        if is_repeat {
            write_status(conn, opening.room_id)?;
        }
    }
    Ok(())
}

/// See [`super::Store::record_sessions`].
pub(super) fn record_sessions(
    conn: &mut SqliteConnection,
    caller: &Caller,
    closed: &[ClosedSession],
) -> QueryResult<()> {
    for session in closed {
        caller.require()?;
        if !is_room(conn, session.room_id)? {
            continue;
        }
        // A ban may have been lifted since the session was recorded the first time.
        if close(conn, session)? {
            insert_bans(conn, session)?;
        }
        for attendance in &session.attendances {
            caller.require()?;
            let row = AttendanceRow::new(session.session_id, attendance);
            diesel::insert_into(attendances::table)
                .values(row)
                .on_conflict_do_nothing()
                .execute(conn)?;
        }
        write_status(conn, session.room_id)?;
    }
    Ok(())
}

/// See [`super::Store::close_lost`].
pub(super) fn close_lost(
    conn: &mut SqliteConnection,
    session: SessionId,
    is_repeat: bool,
) -> QueryResult<bool> {
    let room: Option<RoomId> = sessions::table
        .find(session)
        .select(sessions::room_id)
        .get_result(conn)
        .optional()?;
    let Some(room) = room else {
        return Ok(false);
    };
    let open = sessions::table
        .find(session)
        .filter(sessions::end_time.is_null());
    let closed = diesel::update(open)
        .set((
            sessions::end_time.eq(sessions::last_seen_at.nullable()),
            sessions::end_reason.eq(Some(EndReason::Lost)),
        ))
        .execute(conn)?;
    write_status(conn, room)?;
    Ok(closed == 1 || is_repeat)
}

/// Whether the room has a row, deleted or not.
fn is_room(conn: &mut SqliteConnection, room: RoomId) -> QueryResult<bool> {
    diesel::select(dsl::exists(rooms::table.find(room))).get_result(conn)
}

/// Says `ACTIVE` in the room's row; false: there is none.
fn activate(conn: &mut SqliteConnection, room: RoomId) -> QueryResult<bool> {
    let written = diesel::update(rooms::table.find(room))
        .set(rooms::status.eq(RoomStatus::Active))
        .execute(conn)?;
    Ok(written == 1)
}

/// A row without an end, if the session has none at all; false: it has.
fn insert_open(conn: &mut SqliteConnection, opening: &Opening) -> QueryResult<bool> {
    let written = diesel::insert_into(sessions::table)
        .values((
            sessions::id.eq(opening.session_id),
            sessions::room_id.eq(opening.room_id),
            sessions::start_time.eq(opening.start_time),
            sessions::last_seen_at.eq(opening.start_time),
        ))
        .on_conflict_do_nothing()
        .execute(conn)?;
    Ok(written == 1)
}

/// The whole row with its end; false: it was there already.
fn close(conn: &mut SqliteConnection, session: &ClosedSession) -> QueryResult<bool> {
    let end = end_of(session);
    let may_replace = sessions::end_time.is_null().or(sessions::end_reason
        .eq(Some(EndReason::Lost))
        .and(excluded(sessions::end_reason).ne(Some(EndReason::Lost))));
    let upsert = diesel::insert_into(sessions::table)
        .values((
            sessions::id.eq(session.session_id),
            sessions::room_id.eq(session.room_id),
            sessions::start_time.eq(session.start_time),
            sessions::end_time.eq(Some(end)),
            sessions::end_reason.eq(Some(session.end_reason)),
            sessions::last_seen_at.eq(end),
        ))
        .on_conflict(sessions::id)
        .do_update()
        .set((
            sessions::start_time.eq(excluded(sessions::start_time)),
            sessions::end_time.eq(excluded(sessions::end_time)),
            sessions::end_reason.eq(excluded(sessions::end_reason)),
            sessions::last_seen_at.eq(excluded(sessions::last_seen_at)),
        ));
    let written = methods::FilterDsl::filter(upsert, may_replace).execute(conn)?;
    Ok(written == 1)
}

/// Those bans that are not there yet.
fn insert_bans(conn: &mut SqliteConnection, session: &ClosedSession) -> QueryResult<()> {
    for (user, ban) in &session.bans {
        diesel::insert_into(bans::table)
            .values((
                bans::room_id.eq(session.room_id),
                bans::user_id.eq(*user),
                bans::created_at.eq(ban.created_at),
            ))
            .on_conflict_do_nothing()
            .execute(conn)?;
    }
    Ok(())
}

/// `ACTIVE` while a session of the room is open, else `COMPLETED`.
fn write_status(conn: &mut SqliteConnection, room: RoomId) -> QueryResult<()> {
    let is_open: bool = diesel::select(dsl::exists(
        sessions::table
            .filter(sessions::room_id.eq(room))
            .filter(sessions::end_time.is_null()),
    ))
    .get_result(conn)?;
    let status = if is_open {
        RoomStatus::Active
    } else {
        RoomStatus::Completed
    };
    diesel::update(rooms::table.find(room))
        .set(rooms::status.eq(status))
        .execute(conn)?;
    Ok(())
}
