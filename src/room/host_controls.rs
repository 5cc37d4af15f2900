//! Controls of hosts and admins over participants and the room. The owner keeps role and seat.

use super::{
    Room,
    commands::{AfterAck, close_ended},
    effect::Effect,
    record::BanRecord,
};
use crate::{
    ids::{ConnectionId, Timestamp, UserId},
    protocol::{
        Code, EndReason, Event, GoodbyeReason, HostCommand, LeaveReason, Rejection, Role,
        StateChange,
    },
};

impl Room {
    /// Runs a command of the host `by`.
    pub(super) fn run_host(
        &mut self,
        now: Timestamp,
        by: UserId,
        command: HostCommand,
    ) -> Result<AfterAck, Rejection> {
        self.require_host(by)?;
        match command {
            HostCommand::RemoveParticipant { user_id, ban } => {
                return self.remove(now, user_id, ban, Some(by)).map(close_ended);
            }
            HostCommand::EndRoom => {
                self.publish(&Event::RoomEnded {
                    reason: EndReason::Ended,
                });
                return Ok(AfterAck::End);
            }
            HostCommand::MuteParticipant { user_id } => self.mute(user_id, Some(by))?,
            HostCommand::AdmitParticipant { user_id } => self.admit_waiting(now, user_id)?,
            HostCommand::DenyParticipant { user_id } => {
                self.deny_waiting(user_id, GoodbyeReason::Denied)?;
            }
            HostCommand::SetRole { user_id, role } => self.set_role(user_id, role, Some(by))?,
            HostCommand::LockRoom { is_locked } => self.lock(now, is_locked, by),
            HostCommand::StartRecording => self.record(true, by)?,
            HostCommand::StopRecording => self.record(false, by)?,
        }
        Ok(AfterAck::Nothing)
    }

    pub(super) fn require_host(&self, user_id: UserId) -> Result<(), Rejection> {
        match self.seats.get(&user_id).map(|seat| seat.record.role) {
            Some(Role::Host) => Ok(()),
            Some(Role::Attendee) | None => {
                Err(Rejection::new(Code::Forbidden, "only hosts may do this"))
            }
        }
    }

    pub(super) fn mute(&mut self, user_id: UserId, by: Option<UserId>) -> Result<(), Rejection> {
        self.require_seat(user_id)?;
        let muted = StateChange {
            is_muted: Some(true),
            ..StateChange::default()
        };
        self.update_state(user_id, muted, by);
        Ok(())
    }

    pub(super) fn require_seat(&self, user_id: UserId) -> Result<(), Rejection> {
        if self.seats.contains_key(&user_id) {
            return Ok(());
        }
        Err(not_in_the_room())
    }

    pub(super) fn set_role(
        &mut self,
        user_id: UserId,
        role: Role,
        by: Option<UserId>,
    ) -> Result<(), Rejection> {
        if user_id == self.head.host_user_id {
            return Err(Rejection::new(Code::Forbidden, "the owner is always host"));
        }
        let Some(seat) = self.seats.get_mut(&user_id) else {
            return Err(not_in_the_room());
        };
        let is_changed = seat.record.role != role;
        let was_set = std::mem::replace(&mut seat.record.is_role_set, true);
        seat.record.role = role;
        let connection = seat.connection();
        if is_changed || !was_set {
            self.journal.participant(user_id);
        }
        if !is_changed {
            return Ok(());
        }
        self.publish(&Event::RoleChanged {
            user_id,
            role,
            by_user_id: by,
        });
        if let (Role::Host, Some(connection_id), true) = (role, connection, self.has_waiting()) {
            self.send_lobby(connection_id);
        }
        Ok(())
    }

    /// Removes somebody from the room or its lobby. With `ban` they may not return, and need not be
    /// there any more. Hosts (`by`) cannot remove the owner; an admin can. Returns the connection
    /// of the ended stay, which the caller closes, and the reason.
    pub(super) fn remove(
        &mut self,
        now: Timestamp,
        user_id: UserId,
        ban: bool,
        by: Option<UserId>,
    ) -> Result<Option<(ConnectionId, GoodbyeReason)>, Rejection> {
        if by.is_some() && user_id == self.head.host_user_id {
            return Err(Rejection::new(
                Code::Forbidden,
                "the owner cannot be removed",
            ));
        }
        let is_known = self.seats.contains_key(&user_id)
            || self.waiting.contains_key(&user_id)
            || (ban && (by.is_none() || self.last_stays.contains_key(&user_id)));
        if !is_known {
            return Err(not_in_the_room());
        }
        if ban {
            self.ban(now, user_id)?;
        }
        let (reason, goodbye) = match ban {
            true => (LeaveReason::Banned, GoodbyeReason::Banned),
            false => (LeaveReason::Removed, GoodbyeReason::Removed),
        };
        if self.waiting.contains_key(&user_id) {
            self.deny_waiting(user_id, goodbye)?;
        }
        let connection = self.end_stay(now, user_id, reason, by);
        Ok(connection.map(|connection_id| (connection_id, goodbye)))
    }

    fn ban(&mut self, now: Timestamp, user_id: UserId) -> Result<(), Rejection> {
        if self.bans.contains_key(&user_id) {
            return Ok(());
        }
        if self.bans.len() >= self.rules.bans_max {
            return Err(Rejection::new(
                Code::Unavailable,
                "this room has too many bans",
            ));
        }
        let ban = BanRecord { created_at: now };
        self.bans.insert(user_id, ban.clone());
        self.journal.ban(user_id);
        self.effects.push(Effect::StoreBan { user_id, ban });
        Ok(())
    }

    fn lock(&mut self, now: Timestamp, is_locked: bool, by: UserId) {
        if self.head.is_locked == is_locked {
            return;
        }
        self.head.is_locked = is_locked;
        self.journal.head();
        self.publish(&Event::RoomLocked {
            is_locked,
            by_user_id: by,
        });
        // People whom only the lock kept waiting after the lobby was switched off are admitted now.
        if !is_locked && !self.head.settings.is_lobby_enabled {
            self.admit_all_waiting(now);
        }
    }

    fn record(&mut self, is_recording: bool, by: UserId) -> Result<(), Rejection> {
        if is_recording && !self.head.settings.is_recording_enabled {
            return Err(Rejection::new(
                Code::Forbidden,
                "recording is not enabled for this room",
            ));
        }
        if self.head.is_recording == is_recording {
            return Ok(());
        }
        self.head.is_recording = is_recording;
        self.journal.head();
        self.publish(&Event::RecordingChanged {
            is_recording,
            by_user_id: by,
        });
        Ok(())
    }
}

pub(super) fn not_in_the_room() -> Rejection {
    Rejection::new(Code::TargetNotFound, "this user is not in the room")
}
