//! Sessions as history: who was in which room when. Written by [`super::record`], read here, also
//! after the room was deleted.

use diesel::{
    BoolExpressionMethods, ExpressionMethods, OptionalExtension, QueryDsl, Queryable, Selectable,
    SelectableHelper,
};
use diesel_async::{AsyncConnection, RunQueryDsl};

use super::{
    Page, Paged, Store, StoreFault, Update,
    page::newest_first,
    pool::{in_transaction, on_connection},
    schema::{attendances, rooms, sessions},
};
use crate::{
    ids::{RoomId, SessionId, StayId, TenantId, Timestamp, UserId},
    protocol::{EndReason, LeaveReason, Role},
    room::record::Attendance,
};

/// Most sessions that [`Store::recordings`] answers.
pub const RECORDINGS_MAX: usize = 500;

/// One life of a room.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = sessions)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// The room, deleted or not.
    pub room_id: RoomId,
    /// First admitted join.
    pub start_time: Timestamp,
    /// The last leave. `None` while open.
    pub end_time: Option<Timestamp>,
    /// Why it ended. `None` while open.
    pub end_reason: Option<EndReason>,
    /// Where the tenant keeps the recording.
    pub recording_url: Option<String>,
    /// When a node last said that it is alive: its end, should its node be lost.
    pub last_seen_at: Timestamp,
}

/// The columns of an attendance, in the order of its fields.
#[derive(Queryable)]
struct AttendanceRow(
    StayId,
    UserId,
    String,
    Role,
    Timestamp,
    Timestamp,
    LeaveReason,
);

impl From<AttendanceRow> for Attendance {
    fn from(row: AttendanceRow) -> Self {
        let AttendanceRow(stay_id, user_id, display_name, role, joined_at, left_at, leave_reason) =
            row;
        Self {
            stay_id,
            user_id,
            display_name,
            role,
            joined_at,
            left_at,
            leave_reason,
        }
    }
}

impl Store {
    /// Returns the sessions of a room, newest first. `None` if the tenant never had such a room.
    ///
    /// # Errors
    /// When the database is away or fails.
    pub async fn sessions(
        &self,
        tenant: TenantId,
        room: RoomId,
        page: Page,
    ) -> Result<Option<Paged<Session>>, StoreFault> {
        let rows: Option<Vec<Session>> = on_connection!(self, |conn, _is_repeat| {
            let known: i64 = rooms::table
                .find(room)
                .filter(rooms::tenant_id.eq(tenant))
                .count()
                .get_result(&mut *conn)
                .await?;
            if known == 0 {
                return Ok(None);
            }
            let query = sessions::table
                .filter(sessions::room_id.eq(room))
                .select(Session::as_select())
                .into_boxed();
            newest_first!(query, page, sessions::start_time, sessions::id)
                .load(conn)
                .await
                .map(Some)
        })?;
        Ok(rows.map(|rows| page.cut(rows, |session| (session.start_time, session.id.0))))
    }

    /// Returns one session of a tenant with its attendances, in the order of their joins.
    ///
    /// # Errors
    /// When the database is away or fails.
    pub async fn session(
        &self,
        tenant: TenantId,
        id: SessionId,
    ) -> Result<Option<(Session, Vec<Attendance>)>, StoreFault> {
        on_connection!(self, |conn, _is_repeat| {
            let session: Option<Session> = sessions::table
                .inner_join(rooms::table)
                .filter(sessions::id.eq(id))
                .filter(rooms::tenant_id.eq(tenant))
                .select(Session::as_select())
                .get_result(&mut *conn)
                .await
                .optional()?;
            let Some(session) = session else {
                return Ok(None);
            };
            let rows: Vec<AttendanceRow> = attendances::table
                .filter(attendances::session_id.eq(id))
                .order((attendances::joined_at.asc(), attendances::id.asc()))
                .select((
                    attendances::id,
                    attendances::user_id,
                    attendances::display_name,
                    attendances::role,
                    attendances::joined_at,
                    attendances::left_at,
                    attendances::leave_reason,
                ))
                .load(conn)
                .await?;
            Ok(Some((
                session,
                rows.into_iter().map(Attendance::from).collect(),
            )))
        })
    }

    /// Writes the URL of a session's recording if the session is still as `expected`. `None` allows
    /// any state.
    ///
    /// # Errors
    /// When the database is away or fails.
    pub async fn set_recording_url(
        &self,
        tenant: TenantId,
        id: SessionId,
        url: Option<String>,
        expected: Option<&Session>,
    ) -> Result<Update<Session>, StoreFault> {
        in_transaction!(self, |conn, is_repeat| {
            // Writing the row as it is locks it until the end of the transaction.
            diesel::update(sessions::table.find(id))
                .set(sessions::id.eq(id))
                .execute(&mut *conn)
                .await?;
            let current: Option<Session> = sessions::table
                .inner_join(rooms::table)
                .filter(sessions::id.eq(id))
                .filter(rooms::tenant_id.eq(tenant))
                .select(Session::as_select())
                .get_result(&mut *conn)
                .await
                .optional()?;
            let Some(current) = current else {
                return Ok(Update::Missing);
            };
            let is_done = is_repeat && current.recording_url == url;
            if !is_done && expected.is_some_and(|expected| !same_body(expected, &current)) {
                return Ok(Update::Stale);
            }
            diesel::update(sessions::table.find(id))
                .set(sessions::recording_url.eq(&url))
                .execute(conn)
                .await?;
            Ok(Update::Done(Session {
                recording_url: url.clone(),
                ..current
            }))
        })
    }

    /// Returns the newest [`RECORDINGS_MAX`] sessions of a room that have a recording, newest
    /// first. `None` if the tenant never had such a room.
    ///
    /// # Errors
    /// When the database is away or fails.
    pub async fn recordings(
        &self,
        tenant: TenantId,
        room: RoomId,
    ) -> Result<Option<Vec<Session>>, StoreFault> {
        let limit = i64::try_from(RECORDINGS_MAX).expect("a small bound");
        on_connection!(self, |conn, _is_repeat| {
            let known: i64 = rooms::table
                .find(room)
                .filter(rooms::tenant_id.eq(tenant))
                .count()
                .get_result(&mut *conn)
                .await?;
            if known == 0 {
                return Ok(None);
            }
            sessions::table
                .filter(sessions::room_id.eq(room))
                .filter(sessions::recording_url.is_not_null())
                .order((sessions::start_time.desc(), sessions::id.desc()))
                .limit(limit)
                .select(Session::as_select())
                .load(conn)
                .await
                .map(Some)
        })
    }

    /// Whether a session is recorded with its end.
    ///
    /// # Errors
    /// When the database is away or fails.
    pub async fn session_closed(&self, id: SessionId) -> Result<bool, StoreFault> {
        on_connection!(self, |conn, _is_repeat| {
            diesel::select(diesel::dsl::exists(
                sessions::table
                    .find(id)
                    .filter(sessions::end_time.is_not_null()),
            ))
            .get_result(conn)
            .await
        })
    }
}

/// Compares what tenants see. `last_seen_at` changes by itself.
fn same_body(one: &Session, other: &Session) -> bool {
    let body = |session: &Session| Session {
        last_seen_at: Timestamp::default(),
        ..session.clone()
    };
    body(one) == body(other)
}
