//! What of a finished session goes into the database. Nodes' clocks may differ and names come from outside: neither may make a
//! session unrecordable for ever.

use std::borrow::Cow;

use diesel::Insertable;

use crate::{
    ids::{SessionId, StayId, Timestamp, UserId},
    protocol::{LeaveReason, Role},
    room::record::{Attendance, ClosedSession},
    store::schema::attendances,
};

/// An attendance on its way into the database.
#[derive(Insertable)]
#[diesel(table_name = attendances)]
pub(super) struct AttendanceRow<'a> {
    pub(super) id: StayId,
    pub(super) session_id: SessionId,
    pub(super) user_id: UserId,
    pub(super) display_name: Cow<'a, str>,
    pub(super) role: Role,
    pub(super) joined_at: Timestamp,
    pub(super) left_at: Timestamp,
    pub(super) leave_reason: LeaveReason,
}

impl<'a> AttendanceRow<'a> {
    pub(super) fn new(session_id: SessionId, attendance: &'a Attendance) -> Self {
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

/// When a session ended: not before it began.
pub(super) fn end_of(session: &ClosedSession) -> Timestamp {
    session.end_time.max(session.start_time)
}

/// PostgreSQL has no NUL in texts.
fn without_nul(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', ""))
    } else {
        Cow::Borrowed(text)
    }
}
