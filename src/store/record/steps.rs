//! The steps of recording a session, inside a transaction.

use diesel::{
    BoolExpressionMethods, ExpressionMethods, Insertable, QueryDsl, QueryResult, dsl,
    query_dsl::methods, upsert::excluded,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use crate::{
    ids::{RoomId, SessionId, StayId, Timestamp, UserId},
    room::record::{Attendance, ClosedSession, EndReason, LeaveReason, Role},
    store::{
        Opening, RoomStatus,
        schema::{attendances, bans, rooms, sessions},
        sqlite::SqliteConn,
    },
};

/// Most rows in one `INSERT`; PostgreSQL allows 65,535 values.
const INSERT_ROWS: usize = 1_000;

/// An attendance on its way into the database.
#[derive(Insertable)]
#[diesel(table_name = attendances)]
struct NewAttendance {
    id: StayId,
    session_id: SessionId,
    user_id: UserId,
    display_name: String,
    role: Role,
    joined_at: Timestamp,
    left_at: Timestamp,
    leave_reason: LeaveReason,
}

impl NewAttendance {
    /// Nodes' clocks may differ and names come from outside: neither may make a session unrecordable for ever.
    fn new(session_id: SessionId, attendance: &Attendance) -> Self {
        Self {
            id: attendance.stay_id,
            session_id,
            user_id: attendance.user_id,
            // PostgreSQL has no NUL in texts.
            display_name: attendance.display_name.replace('\0', ""),
            role: attendance.role,
            joined_at: attendance.joined_at,
            left_at: attendance.left_at.max(attendance.joined_at),
            leave_reason: attendance.leave_reason,
        }
    }
}

/// What a connection does while sessions are recorded.
pub(super) trait Recording {
    /// Takes the room's row for this transaction; false: there is none.
    fn lock_room(&mut self, room: RoomId) -> impl Future<Output = QueryResult<bool>> + Send;

    /// Takes the room's row and says `ACTIVE` there; false: there is none.
    fn activate(&mut self, room: RoomId) -> impl Future<Output = QueryResult<bool>> + Send;

    /// A row without an end, if the session has none at all; false: it has.
    fn insert_open(&mut self, opening: &Opening) -> impl Future<Output = QueryResult<bool>> + Send;

    /// The whole row with its end; false: it was there already.
    fn close(&mut self, session: &ClosedSession) -> impl Future<Output = QueryResult<bool>> + Send;

    /// Those attendances that are not there yet.
    fn insert_attendances(
        &mut self,
        session: &ClosedSession,
    ) -> impl Future<Output = QueryResult<()>> + Send;

    /// Those bans that are not there yet.
    fn insert_bans(
        &mut self,
        session: &ClosedSession,
    ) -> impl Future<Output = QueryResult<()>> + Send;

    /// `ACTIVE` while a session of the room is open, else `COMPLETED`.
    fn write_status(&mut self, room: RoomId) -> impl Future<Output = QueryResult<usize>> + Send;
}

/// The steps are the same text on both databases, except for inserting many rows.
macro_rules! recording {
    ($connection:ty, $rows_per_insert:expr, |$rows:ident| $values:expr) => {
        impl Recording for $connection {
            async fn lock_room(&mut self, room: RoomId) -> QueryResult<bool> {
                diesel::update(rooms::table.find(room))
                    .set(rooms::id.eq(room))
                    .execute(self)
                    .await
                    .map(|rows| rows == 1)
            }

            async fn activate(&mut self, room: RoomId) -> QueryResult<bool> {
                diesel::update(rooms::table.find(room))
                    .set(rooms::status.eq(RoomStatus::Active))
                    .execute(self)
                    .await
                    .map(|rows| rows == 1)
            }

            async fn insert_open(&mut self, opening: &Opening) -> QueryResult<bool> {
                diesel::insert_into(sessions::table)
                    .values((
                        sessions::id.eq(opening.session_id),
                        sessions::room_id.eq(opening.room_id),
                        sessions::start_time.eq(opening.start_time),
                        sessions::last_seen_at.eq(opening.start_time),
                    ))
                    .on_conflict_do_nothing()
                    .execute(self)
                    .await
                    .map(|rows| rows == 1)
            }

            async fn close(&mut self, session: &ClosedSession) -> QueryResult<bool> {
                let end = session.end_time.max(session.start_time);
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
                methods::FilterDsl::filter(upsert, may_replace)
                    .execute(self)
                    .await
                    .map(|rows| rows == 1)
            }

            async fn insert_attendances(&mut self, session: &ClosedSession) -> QueryResult<()> {
                for chunk in session.attendances.chunks($rows_per_insert) {
                    let $rows: Vec<NewAttendance> = chunk
                        .iter()
                        .map(|attendance| NewAttendance::new(session.session_id, attendance))
                        .collect();
                    diesel::insert_into(attendances::table)
                        .values($values)
                        .on_conflict_do_nothing()
                        .execute(&mut *self)
                        .await?;
                }
                Ok(())
            }

            async fn insert_bans(&mut self, session: &ClosedSession) -> QueryResult<()> {
                for (user, ban) in &session.bans {
                    diesel::insert_into(bans::table)
                        .values((
                            bans::room_id.eq(session.room_id),
                            bans::user_id.eq(*user),
                            bans::created_at.eq(ban.created_at),
                        ))
                        .on_conflict_do_nothing()
                        .execute(&mut *self)
                        .await?;
                }
                Ok(())
            }

            async fn write_status(&mut self, room: RoomId) -> QueryResult<usize> {
                let is_open: bool = diesel::select(dsl::exists(
                    sessions::table
                        .filter(sessions::room_id.eq(room))
                        .filter(sessions::end_time.is_null()),
                ))
                .get_result(&mut *self)
                .await?;
                let status = if is_open {
                    RoomStatus::Active
                } else {
                    RoomStatus::Completed
                };
                diesel::update(rooms::table.find(room))
                    .set(rooms::status.eq(status))
                    .execute(self)
                    .await
            }
        }
    };
}

recording!(AsyncPgConnection, INSERT_ROWS, |rows| &rows);
// Many rows in one statement do not exist for SQLite in Diesel; inside a transaction single ones cost little.
recording!(SqliteConn, 1, |rows| &rows[0]);
