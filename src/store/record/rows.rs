//! The rows of sessions, and the statements that both databases have in common. Clocks of nodes may
//! differ, and names come from outside: neither may make a session impossible to record.

use std::borrow::Cow;

use diesel::Insertable;

use crate::{
    ids::{RoomId, SessionId, StayId, Timestamp, UserId},
    protocol::{EndReason, LeaveReason, Role},
    room::record::{Attendance, ClosedSession},
    store::{
        Opening,
        schema::{attendances, bans, sessions},
    },
};

/// A session without an end.
#[derive(Insertable)]
#[diesel(table_name = sessions)]
pub(super) struct OpenRow {
    id: SessionId,
    room_id: RoomId,
    start_time: Timestamp,
    last_seen_at: Timestamp,
}

impl OpenRow {
    pub(super) fn new(opening: &Opening) -> Self {
        Self {
            id: opening.session_id,
            room_id: opening.room_id,
            start_time: opening.start_time,
            last_seen_at: opening.start_time,
        }
    }
}

/// A session with its end.
#[derive(Insertable)]
#[diesel(table_name = sessions)]
pub(super) struct ClosedRow {
    id: SessionId,
    room_id: RoomId,
    start_time: Timestamp,
    end_time: Option<Timestamp>,
    end_reason: Option<EndReason>,
    last_seen_at: Timestamp,
}

impl ClosedRow {
    pub(super) fn new(session: &ClosedSession) -> Self {
        // A session does not end before it begins.
        let end = session.end_time.max(session.start_time);
        Self {
            id: session.session_id,
            room_id: session.room_id,
            start_time: session.start_time,
            end_time: Some(end),
            end_reason: Some(session.end_reason),
            last_seen_at: end,
        }
    }
}

#[derive(Insertable)]
#[diesel(table_name = attendances)]
pub(super) struct AttendanceRow<'a> {
    id: StayId,
    session_id: SessionId,
    user_id: UserId,
    display_name: Cow<'a, str>,
    role: Role,
    joined_at: Timestamp,
    left_at: Timestamp,
    leave_reason: LeaveReason,
}

impl<'a> AttendanceRow<'a> {
    fn new(session_id: SessionId, attendance: &'a Attendance) -> Self {
        Self {
            id: attendance.stay_id,
            session_id,
            user_id: attendance.user_id,
            display_name: without_nul(&attendance.display_name),
            role: attendance.role,
            joined_at: attendance.joined_at,
            left_at: attendance.left_at.max(attendance.joined_at),
            leave_reason: attendance.leave_reason,
        }
    }
}

/// PostgreSQL has no NUL in texts.
fn without_nul(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', ""))
    } else {
        Cow::Borrowed(text)
    }
}

#[derive(Insertable)]
#[diesel(table_name = bans)]
pub(super) struct BanRow {
    room_id: RoomId,
    user_id: UserId,
    created_at: Timestamp,
}

pub(super) fn attendances(session: &ClosedSession) -> impl Iterator<Item = AttendanceRow<'_>> {
    let attendances = session.attendances.iter();
    attendances.map(|attendance| AttendanceRow::new(session.session_id, attendance))
}

pub(super) fn bans(session: &ClosedSession) -> impl Iterator<Item = BanRow> {
    session.bans.iter().map(|(user_id, ban)| BanRow {
        room_id: session.room_id,
        user_id: *user_id,
        created_at: ban.created_at,
    })
}

/// Inserts [`ClosedRow`]s. Each replaces a row without an end, and any row but another `lost` one
/// replaces a row that says `lost`.
macro_rules! upsert_sessions {
    ($rows:expr) => {{
        use diesel::{query_dsl::methods, upsert::excluded};
        use $crate::{protocol::EndReason, store::schema::sessions};

        let may_replace = sessions::end_time.is_null().or(sessions::end_reason
            .eq(Some(EndReason::Lost))
            .and(excluded(sessions::end_reason).ne(Some(EndReason::Lost))));
        let upsert = diesel::insert_into(sessions::table)
            .values($rows)
            .on_conflict(sessions::id)
            .do_update()
            .set((
                sessions::start_time.eq(excluded(sessions::start_time)),
                sessions::end_time.eq(excluded(sessions::end_time)),
                sessions::end_reason.eq(excluded(sessions::end_reason)),
                sessions::last_seen_at.eq(excluded(sessions::last_seen_at)),
            ));
        methods::FilterDsl::filter(upsert, may_replace)
    }};
}

/// Ends a session that is open: it was lost when it was last seen.
macro_rules! end_as_lost {
    ($session:expr) => {{
        use $crate::{protocol::EndReason, store::schema::sessions};

        let open = sessions::table
            .find($session)
            .filter(sessions::end_time.is_null());
        diesel::update(open).set((
            sessions::end_time.eq(sessions::last_seen_at.nullable()),
            sessions::end_reason.eq(Some(EndReason::Lost)),
        ))
    }};
}

/// Writes the status of rooms: `ACTIVE` while a session of the room is open, else `COMPLETED`.
macro_rules! write_status {
    ($rooms:expr) => {{
        use diesel::dsl;
        use $crate::store::{
            RoomStatus,
            schema::{rooms, sessions},
            sql_types::Text,
        };

        let open = sessions::table
            .filter(sessions::room_id.eq(rooms::id))
            .filter(sessions::end_time.is_null());
        let status = dsl::case_when::<_, _, Text>(dsl::exists(open), RoomStatus::Active)
            .otherwise(RoomStatus::Completed);
        diesel::update($rooms).set(rooms::status.eq(status))
    }};
}

pub(super) use {end_as_lost, upsert_sessions, write_status};
