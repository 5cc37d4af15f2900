//! The lifecycle of a room: lost connections and their grace period, deadlines, the end.

use std::collections::HashSet;

use super::{
    Attachment, Room,
    effect::Effect,
    record::{Attendance, ClosedSession, Closing, LeftRecord, SessionHead},
    resume::presence_changed,
    seat::Presence,
};
use crate::{
    ids::{ConnectionId, Timestamp, UserId},
    protocol::{EndReason, Event, GoodbyeReason, LeaveReason, Notice},
};

/// Why the room needs a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WakeReason {
    /// Nobody was admitted within `empty_timeout`.
    Empty,
    /// Nobody was in the room for `departure_timeout`.
    Departed,
    /// The session reached `maxDurationSecs`.
    MaxDuration,
    /// A quiet or grace period ends.
    Absence,
}

impl Room {
    /// Returns when the shell applies [`Input::Tick`](super::input::Input::Tick) next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<(Timestamp, WakeReason)> {
        if self.is_closed() {
            return None;
        }
        // Every open connection has one attachment: as many as people means that nobody is absent.
        let is_complete = self.attachments.len() == self.seats.len() + self.waiting.len();
        let absences = if is_complete {
            None
        } else {
            self.next_absence()
        };
        [
            (self.head.empty_at, WakeReason::Empty),
            (self.head.depart_at, WakeReason::Departed),
            (self.head.ends_at, WakeReason::MaxDuration),
            (absences, WakeReason::Absence),
        ]
        .into_iter()
        .filter_map(|(at, reason)| at.map(|at| (at, reason)))
        .min_by_key(|(at, _)| *at)
    }

    fn next_absence(&self) -> Option<Timestamp> {
        let seats = self
            .seats
            .values()
            .filter_map(|seat| seat.presence.deadline());
        let lobby = self
            .waiting
            .values()
            .filter_map(|waiting| waiting.grace_until);
        seats.chain(lobby).min()
    }

    pub(super) fn tick(&mut self, now: Timestamp) {
        let is_due = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        if self.is_closed() {
            return;
        }
        if is_due(self.head.ends_at) {
            return self.close(now, EndReason::MaxDuration);
        }
        if is_due(self.head.empty_at) || is_due(self.head.depart_at) {
            return self.close(now, EndReason::Empty);
        }
        self.end_absences(now);
    }

    fn end_absences(&mut self, now: Timestamp) {
        let due: Vec<(UserId, Presence)> = self
            .seats
            .iter()
            .filter(|(_, seat)| seat.presence.deadline().is_some_and(|at| at <= now))
            .map(|(user_id, seat)| (*user_id, seat.presence))
            .collect();
        for (user_id, presence) in due {
            match presence {
                Presence::Connected => {}
                Presence::Quiet { grace_until, .. } if grace_until > now => {
                    self.show_away(user_id, grace_until);
                }
                Presence::Quiet { .. } | Presence::Away { .. } => {
                    self.end_stay(now, user_id, LeaveReason::Timeout, None);
                }
            }
        }
        let gone: Vec<UserId> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| waiting.grace_until.is_some_and(|at| at <= now))
            .map(|(user_id, _)| *user_id)
            .collect();
        let mut is_seen = false;
        for user_id in gone {
            is_seen |= self
                .waiting
                .remove(&user_id)
                .is_some_and(|waiting| !waiting.record.is_admitted);
            self.journal.lobby(user_id);
        }
        if is_seen {
            self.lobby_changed();
        }
    }

    pub(super) fn connection_lost(&mut self, now: Timestamp, connection_id: ConnectionId) {
        let Some(attachment) = self.attachments.remove(&connection_id) else {
            return;
        };
        let grace_until = now.plus_ms(self.rules.reconnect_grace_ms);
        match attachment {
            Attachment::Seat(user_id) => {
                self.audience = None;
                if let Some(seat) = self.seats.get_mut(&user_id) {
                    seat.record.lost_at = Some(now);
                    self.show_away(user_id, grace_until);
                }
            }
            Attachment::Lobby(user_id) => {
                if let Some(waiting) = self.waiting.get_mut(&user_id) {
                    waiting.join = None;
                    waiting.record.lost_at = Some(now);
                    waiting.grace_until = Some(grace_until);
                    self.journal.lobby(user_id);
                }
            }
        }
    }

    fn show_away(&mut self, user_id: UserId, grace_until: Timestamp) {
        let Some(seat) = self.seats.get_mut(&user_id) else {
            return;
        };
        seat.presence = Presence::Away { grace_until };
        let was_away = std::mem::replace(&mut seat.record.is_away, true);
        self.journal.participant(user_id);
        if !was_away {
            self.publish(&presence_changed(user_id, true));
        }
    }

    /// Ends a stay: event, attendance, and with the last seat the departure begins. Returns the
    /// connection that held the seat; the caller closes it.
    pub(super) fn end_stay(
        &mut self,
        now: Timestamp,
        user_id: UserId,
        reason: LeaveReason,
        by: Option<UserId>,
    ) -> Option<ConnectionId> {
        if !self.seats.contains_key(&user_id) {
            return None;
        }
        self.publish(&Event::ParticipantLeft {
            user_id,
            reason,
            by_user_id: by,
        });
        let seat = self.seats.remove(&user_id)?;
        let connection = seat.connection();
        let record = seat.record;
        self.audience = None;
        self.journal.participant(user_id);
        self.remember(
            record.stay_id,
            LeftRecord {
                user_id,
                display_name: record.display_name,
                role: record.role,
                joined_at: record.joined_at,
                left_at: record.lost_at.unwrap_or(now),
                ended_at: now,
                leave_reason: reason,
                is_role_set: record.is_role_set,
                resume_token_hashes: record.resume_token_hashes,
            },
        );
        if self.seats.is_empty() {
            self.head.depart_at = Some(now.plus_ms(self.rules.departure_timeout_ms));
            self.journal.head();
        }
        connection
    }

    fn remember(&mut self, stay_id: crate::ids::StayId, record: LeftRecord) {
        if self.left.len() >= self.rules.left_max
            && let Some((oldest, forgotten)) = self.left.pop_first()
        {
            self.journal.left(oldest);
            if self.last_stays.get(&forgotten.user_id) == Some(&oldest) {
                self.last_stays.remove(&forgotten.user_id);
            }
        }
        self.last_stays.insert(record.user_id, stay_id);
        self.left.insert(stay_id, record);
        self.journal.left(stay_id);
    }

    /// Computes the end of the session from its start and `maxDurationSecs`.
    pub(super) fn set_end_of_session(&mut self) {
        self.head.ends_at = self.head.session.and_then(|session| {
            let secs = self.head.settings.max_duration_secs?;
            Some(session.start_time.plus_ms(u64::from(secs) * 1_000))
        });
    }

    /// Closes the room. A session becomes history; the row of a room without a session does not
    /// change.
    pub(super) fn close(&mut self, now: Timestamp, reason: EndReason) {
        if self.is_closed() {
            return;
        }
        if self.head.session.is_some() {
            self.publish(&Event::RoomEnded { reason });
        }
        self.finish(now, reason);
    }

    /// Does what follows `RoomEnded`: goodbyes, and the closing commit.
    pub(super) fn finish(&mut self, now: Timestamp, reason: EndReason) {
        let goodbye = match reason {
            EndReason::Failed => GoodbyeReason::Failed,
            EndReason::Empty
            | EndReason::Ended
            | EndReason::MaxDuration
            | EndReason::Deleted
            | EndReason::Lost => GoodbyeReason::Ended,
        };
        let mut connections: Vec<ConnectionId> = self.attachments.keys().copied().collect();
        connections.sort();
        for connection_id in connections {
            self.disconnect(connection_id, goodbye);
        }
        let session = self
            .head
            .session
            .map(|session| self.closed_session(now, session, reason));
        self.closing = Some(Closing {
            session: session.clone(),
        });
        self.seats.clear();
        self.waiting.clear();
        self.journal.head();
        self.effects.push(Effect::Closed {
            session: session.map(Box::new),
        });
    }

    fn closed_session(
        &self,
        now: Timestamp,
        session: SessionHead,
        reason: EndReason,
    ) -> ClosedSession {
        let ended = self.left.iter().map(|(stay_id, left)| Attendance {
            stay_id: *stay_id,
            user_id: left.user_id,
            display_name: left.display_name.clone(),
            role: left.role,
            joined_at: left.joined_at,
            left_at: left.left_at,
            leave_reason: left.leave_reason,
        });
        let present = self.seats.iter().map(|(user_id, seat)| Attendance {
            stay_id: seat.record.stay_id,
            user_id: *user_id,
            display_name: seat.record.display_name.clone(),
            role: seat.record.role,
            joined_at: seat.record.joined_at,
            left_at: seat.record.lost_at.unwrap_or(now),
            leave_reason: LeaveReason::Ended,
        });
        let mut attendances: Vec<Attendance> = ended.chain(present).collect();
        attendances.sort_by_key(|attendance| (attendance.joined_at, attendance.stay_id));
        let last_left = attendances
            .iter()
            .map(|attendance| attendance.left_at)
            .max();
        ClosedSession {
            session_id: session.session_id,
            room_id: self.room_id,
            tenant_id: self.head.tenant_id,
            start_time: session.start_time,
            end_time: last_left.unwrap_or(now).max(session.start_time),
            end_reason: reason,
            attendances,
            bans: self.bans.clone(),
        }
    }

    pub(super) fn durability(&mut self, durable: bool) {
        if self.is_durable == durable {
            return;
        }
        self.is_durable = durable;
        for connection_id in self.audience().iter() {
            self.send(*connection_id, Notice::DurabilityChanged { durable });
        }
    }

    /// Attaches the connections that survived a restart of the room; the others are lost.
    pub(super) fn reattach(&mut self, now: Timestamp, connections: &[ConnectionId]) {
        let connections: HashSet<ConnectionId> = connections.iter().copied().collect();
        let mut starts = self.head.epoch_starts.iter().rev();
        let previous = starts.find(|start| start.epoch < self.epoch);
        let previous = previous.map(|start| start.epoch);
        for (user_id, seat) in &mut self.seats {
            if !seat.record.is_away && connections.contains(&seat.record.connection_id) {
                seat.presence = Presence::Connected;
                seat.record.lost_at = None;
                // What this connection has seen was compared with this state, so it belongs to this
                // history. Holders of older tokens may have seen another one.
                if let Some(previous) = previous {
                    seat.carry_tokens(previous, self.epoch);
                }
                self.journal.participant(*user_id);
                self.attachments
                    .insert(seat.record.connection_id, Attachment::Seat(*user_id));
            }
        }
        self.audience = None;
        let away: Vec<(UserId, Timestamp)> = self
            .seats
            .iter()
            .filter_map(|(user_id, seat)| match seat.presence {
                Presence::Quiet { grace_until, .. } => Some((*user_id, grace_until)),
                Presence::Connected | Presence::Away { .. } => None,
            })
            .collect();
        for (user_id, grace_until) in away {
            if let Some(seat) = self.seats.get_mut(&user_id) {
                seat.record.lost_at = Some(now);
            }
            self.show_away(user_id, grace_until);
        }
    }
}
