//! Recording on SQLite: session by session on a blocking thread, inside a transaction that holds
//! the write lock of the whole file.

use diesel::{
    BoolExpressionMethods, ExpressionMethods, NullableExpressionMethods, OptionalExtension,
    QueryDsl, QueryResult, RunQueryDsl, SqliteConnection, dsl,
};

use super::{
    Opening,
    rows::{self, ClosedRow, OpenRow, end_as_lost, upsert_sessions, write_status},
};
use crate::{
    ids::{RoomId, SessionId},
    room::record::ClosedSession,
    store::{
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
        if !has_room(conn, opening.room_id)? {
            continue;
        }
        diesel::insert_into(sessions::table)
            .values(OpenRow::new(opening))
            .on_conflict_do_nothing()
            .execute(conn)?;
        write_status!(rooms::table.find(opening.room_id)).execute(conn)?;
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
        if !has_room(conn, session.room_id)? {
            continue;
        }
        let written = upsert_sessions!(ClosedRow::new(session)).execute(conn)?;
        // Only with the first record of a session: a ban may have been lifted since.
        if written == 1 {
            for row in rows::bans(session) {
                diesel::insert_into(bans::table)
                    .values(row)
                    .on_conflict_do_nothing()
                    .execute(conn)?;
            }
        }
        for row in rows::attendances(session) {
            caller.require()?;
            diesel::insert_into(attendances::table)
                .values(row)
                .on_conflict_do_nothing()
                .execute(conn)?;
        }
        write_status!(rooms::table.find(session.room_id)).execute(conn)?;
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
    let closed = end_as_lost!(session).execute(conn)?;
    write_status!(rooms::table.find(room)).execute(conn)?;
    Ok(closed == 1 || is_repeat)
}

/// Whether the room has a row. A deleted room has one.
fn has_room(conn: &mut SqliteConnection, room: RoomId) -> QueryResult<bool> {
    diesel::select(dsl::exists(rooms::table.find(room))).get_result(conn)
}
