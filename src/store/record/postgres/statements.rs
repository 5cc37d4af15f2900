//! The statements on rows that travel as one array per column. So the text is the same for any number of rows: it stays
//! prepared, and the number of values has no limit.

use std::{borrow::Cow, collections::BTreeSet};

use diesel::{
    QueryResult,
    pg::Pg,
    query_builder::{AstPass, Query, QueryFragment, QueryId},
    sql_types::Array,
};

use crate::{
    ids::{RoomId, SessionId, StayId, Timestamp, UserId},
    protocol::{EndReason, LeaveReason, Role},
    room::record::{Attendance, ClosedSession},
    store::{
        Opening, RoomStatus,
        record::rows::{AttendanceRow, end_of},
        sql_types::{Text, Timestamptz, Uuid},
    },
};

/// Rows without an end for sessions that have none at all, and the status of their rooms.
#[derive(Default, QueryId)]
pub(super) struct InsertOpenings {
    ids: Vec<SessionId>,
    room_ids: Vec<RoomId>,
    start_times: Vec<Timestamp>,
}

impl InsertOpenings {
    pub(super) fn new<'a>(openings: impl Iterator<Item = &'a &'a Opening>) -> Self {
        let mut rows = Self::default();
        for opening in openings {
            rows.ids.push(opening.session_id);
            rows.room_ids.push(opening.room_id);
            rows.start_times.push(opening.start_time);
        }
        rows
    }
}

impl QueryFragment<Pg> for InsertOpenings {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "WITH opened AS (\
             INSERT INTO sessions (id, room_id, start_time, last_seen_at) \
             SELECT id, room_id, start_time, start_time FROM unnest(",
        );
        out.push_bind_param::<Array<Uuid>, _>(&self.ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Uuid>, _>(&self.room_ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Timestamptz>, _>(&self.start_times)?;
        // One statement does not see its own rows: those of `opened` are open too.
        out.push_sql(
            ") AS opening (id, room_id, start_time) ON CONFLICT DO NOTHING RETURNING room_id) \
             UPDATE rooms SET status = CASE WHEN id IN (SELECT room_id FROM opened) OR ",
        );
        walk_status(&mut out, &self.room_ids)
    }
}

/// Whole rows of finished sessions, each of another one, in place of rows without an end and of such that only say `lost`.
/// Answers the ids of those written.
#[derive(Default, QueryId)]
pub(super) struct UpsertSessions {
    ids: Vec<SessionId>,
    room_ids: Vec<RoomId>,
    start_times: Vec<Timestamp>,
    end_times: Vec<Timestamp>,
    end_reasons: Vec<EndReason>,
}

impl UpsertSessions {
    pub(super) fn new<'a>(closed: impl Iterator<Item = &'a ClosedSession>) -> Self {
        let mut rows = Self::default();
        for session in closed {
            rows.ids.push(session.session_id);
            rows.room_ids.push(session.room_id);
            rows.start_times.push(session.start_time);
            rows.end_times.push(end_of(session));
            rows.end_reasons.push(session.end_reason);
        }
        rows
    }
}

impl Query for UpsertSessions {
    type SqlType = Uuid;
}

impl QueryFragment<Pg> for UpsertSessions {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "INSERT INTO sessions (id, room_id, start_time, end_time, end_reason, last_seen_at) \
             SELECT id, room_id, start_time, end_time, end_reason, end_time FROM unnest(",
        );
        out.push_bind_param::<Array<Uuid>, _>(&self.ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Uuid>, _>(&self.room_ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Timestamptz>, _>(&self.start_times)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Timestamptz>, _>(&self.end_times)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Text>, _>(&self.end_reasons)?;
        out.push_sql(
            ") AS closed (id, room_id, start_time, end_time, end_reason) \
             ON CONFLICT (id) DO UPDATE SET start_time = excluded.start_time, end_time = excluded.end_time, \
             end_reason = excluded.end_reason, last_seen_at = excluded.last_seen_at \
             WHERE sessions.end_time IS NULL OR (sessions.end_reason = ",
        );
        out.push_bind_param::<Text, _>(&EndReason::Lost)?;
        out.push_sql(" AND excluded.end_reason <> ");
        out.push_bind_param::<Text, _>(&EndReason::Lost)?;
        out.push_sql(") RETURNING id");
        Ok(())
    }
}

/// Those bans that are not there yet.
#[derive(Default, QueryId)]
pub(super) struct InsertBans {
    room_ids: Vec<RoomId>,
    user_ids: Vec<UserId>,
    created_ats: Vec<Timestamp>,
}

impl InsertBans {
    pub(super) fn new(sessions: &[&ClosedSession]) -> Self {
        let mut rows = Self::default();
        for session in sessions {
            for (user_id, ban) in &session.bans {
                rows.room_ids.push(session.room_id);
                rows.user_ids.push(*user_id);
                rows.created_ats.push(ban.created_at);
            }
        }
        rows
    }

    pub(super) fn is_empty(&self) -> bool {
        self.room_ids.is_empty()
    }
}

impl QueryFragment<Pg> for InsertBans {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("INSERT INTO bans (room_id, user_id, created_at) SELECT * FROM unnest(");
        out.push_bind_param::<Array<Uuid>, _>(&self.room_ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Uuid>, _>(&self.user_ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Timestamptz>, _>(&self.created_ats)?;
        out.push_sql(") ON CONFLICT DO NOTHING");
        Ok(())
    }
}

/// Those attendances that are not there yet.
#[derive(Default)]
pub(super) struct InsertAttendances<'a> {
    ids: Vec<StayId>,
    session_ids: Vec<SessionId>,
    user_ids: Vec<UserId>,
    display_names: Vec<Cow<'a, str>>,
    roles: Vec<Role>,
    joined_ats: Vec<Timestamp>,
    left_ats: Vec<Timestamp>,
    leave_reasons: Vec<LeaveReason>,
}

impl<'a> InsertAttendances<'a> {
    pub(super) fn new(attendances: &[(SessionId, &'a Attendance)]) -> Self {
        let mut rows = Self::default();
        for (session_id, attendance) in attendances {
            let row = AttendanceRow::new(*session_id, attendance);
            rows.ids.push(row.id);
            rows.session_ids.push(row.session_id);
            rows.user_ids.push(row.user_id);
            rows.display_names.push(row.display_name);
            rows.roles.push(row.role);
            rows.joined_ats.push(row.joined_at);
            rows.left_ats.push(row.left_at);
            rows.leave_reasons.push(row.leave_reason);
        }
        rows
    }
}

impl QueryId for InsertAttendances<'_> {
    type QueryId = InsertAttendances<'static>;

    const HAS_STATIC_QUERY_ID: bool = true;
}

impl QueryFragment<Pg> for InsertAttendances<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "INSERT INTO attendances \
             (id, session_id, user_id, display_name, role, joined_at, left_at, leave_reason) \
             SELECT * FROM unnest(",
        );
        out.push_bind_param::<Array<Uuid>, _>(&self.ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Uuid>, _>(&self.session_ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Uuid>, _>(&self.user_ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Text>, _>(&self.display_names)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Text>, _>(&self.roles)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Timestamptz>, _>(&self.joined_ats)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Timestamptz>, _>(&self.left_ats)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Text>, _>(&self.leave_reasons)?;
        out.push_sql(") ON CONFLICT DO NOTHING");
        Ok(())
    }
}

/// The status of each of the rooms by the sessions that it has now.
#[derive(QueryId)]
pub(super) struct WriteStatuses {
    room_ids: Vec<RoomId>,
}

impl WriteStatuses {
    pub(super) fn new(rooms: &BTreeSet<RoomId>) -> Self {
        Self {
            room_ids: rooms.iter().copied().collect(),
        }
    }
}

impl QueryFragment<Pg> for WriteStatuses {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("UPDATE rooms SET status = CASE WHEN ");
        walk_status(&mut out, &self.room_ids)
    }
}

/// The end of an update of those rooms' status: `ACTIVE` while a session of the room is open, else `COMPLETED`.
fn walk_status<'b>(out: &mut AstPass<'_, 'b, Pg>, room_ids: &'b Vec<RoomId>) -> QueryResult<()> {
    out.push_sql(
        "EXISTS (SELECT FROM sessions WHERE sessions.room_id = rooms.id AND sessions.end_time IS NULL) THEN ",
    );
    out.push_bind_param::<Text, _>(&RoomStatus::Active)?;
    out.push_sql(" ELSE ");
    out.push_bind_param::<Text, _>(&RoomStatus::Completed)?;
    out.push_sql(" END WHERE id = ANY(");
    out.push_bind_param::<Array<Uuid>, _>(room_ids)?;
    out.push_sql(")");
    Ok(())
}
