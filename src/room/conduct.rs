//! Participants' commands: each takes effect once, and is acknowledged after its own event.

use super::{
    Place, Room,
    window::{self, Verdict},
};
use crate::{
    ids::{ConnectionId, Timestamp, UserId},
    protocol::{
        Code, Command, EndReason, Event, GoodbyeReason, LeaveReason, Notice, Rejection, StateChange,
    },
};

/// What follows the acknowledgement.
pub(super) enum Farewell {
    /// Nothing.
    Stay,
    /// Somebody's stay has ended, perhaps the author's own: their connection is told goodbye.
    Dismiss(ConnectionId, GoodbyeReason),
    /// The meeting is over.
    End,
}

impl Room {
    pub(super) fn command(
        &mut self,
        now: Timestamp,
        connection_id: ConnectionId,
        id: u64,
        command: Command,
    ) {
        if let (Some(Place::Lobby(user_id)), Command::LeaveRoom) =
            (self.places.get(&connection_id), &command)
        {
            let user_id = *user_id;
            self.send(connection_id, Notice::Ack { id, seq: self.seq });
            // The place was just looked up: the user waits.
            let _ = self.deny_waiting(user_id, GoodbyeReason::Left);
            return;
        }
        let user_id = match self.seated(connection_id) {
            Ok(user_id) => user_id,
            Err(rejection) => return self.refuse(connection_id, id, rejection),
        };
        self.confirm_token(user_id);
        if let Some(relay) = command.as_relay() {
            return self.relay(now, connection_id, user_id, id, &relay);
        }
        match self.verdict(user_id, id) {
            Verdict::Repeated => {
                return self.send(connection_id, Notice::Ack { id, seq: self.seq });
            }
            Verdict::BelowWindow => {
                let rejection =
                    Rejection::new(Code::BadRequest, "this id is too old to be repeated");
                return self.refuse(connection_id, id, rejection);
            }
            Verdict::New => {}
        }
        match self.perform(now, user_id, command) {
            Ok(farewell) => {
                self.mark_decided(user_id, id);
                self.send(connection_id, Notice::Ack { id, seq: self.seq });
                match farewell {
                    Farewell::Stay => {}
                    Farewell::Dismiss(dismissed, reason) => self.disconnect(dismissed, reason),
                    Farewell::End => self.finish(now, EndReason::Ended),
                }
            }
            Err(rejection) => self.refuse(connection_id, id, rejection),
        }
    }

    pub(super) fn keep_alive(&mut self, connection_id: ConnectionId) {
        if let Ok(user_id) = self.seated(connection_id) {
            self.confirm_token(user_id);
        }
        self.send(connection_id, Notice::KeepAlive { seq: self.seq });
    }

    /// Marks a command as decided without executing it.
    pub(super) fn decide(&mut self, connection_id: ConnectionId, id: u64) {
        if let Ok(user_id) = self.seated(connection_id) {
            self.mark_decided(user_id, id);
            self.journal.participant(user_id);
        }
    }

    fn verdict(&self, user_id: UserId, id: u64) -> Verdict {
        self.seats.get(&user_id).map_or(Verdict::New, |seat| {
            window::judge(seat.record.last_command_id, seat.record.command_bits, id)
        })
    }

    /// Mirrored with the change that the command made, or with the next one.
    fn mark_decided(&mut self, user_id: UserId, id: u64) {
        if let Some(seat) = self.seats.get_mut(&user_id) {
            let record = &mut seat.record;
            (record.last_command_id, record.command_bits) =
                window::mark(record.last_command_id, record.command_bits, id);
            self.journal.participant_later(user_id);
        }
    }

    fn perform(
        &mut self,
        now: Timestamp,
        user_id: UserId,
        command: Command,
    ) -> Result<Farewell, Rejection> {
        match command {
            Command::UpdateState(change) => self.update_state(user_id, change, None),
            Command::SendMessage { text, .. } => self.publish(&Event::MessageReceived {
                source_user_id: Some(user_id),
                text: &text,
                sent_at: now,
            }),
            Command::LeaveRoom => {
                let connection = self.end_stay(now, user_id, LeaveReason::Left, None);
                return Ok(connection.map_or(Farewell::Stay, |connection_id| {
                    Farewell::Dismiss(connection_id, GoodbyeReason::Left)
                }));
            }
            Command::EndRoom => {
                self.require_host(user_id)?;
                self.publish(&Event::RoomEnded {
                    reason: EndReason::Ended,
                });
                return Ok(Farewell::End);
            }
            Command::MuteParticipant { .. }
            | Command::RemoveParticipant { .. }
            | Command::AdmitParticipant { .. }
            | Command::DenyParticipant { .. }
            | Command::SetRole { .. }
            | Command::LockRoom { .. }
            | Command::StartRecording
            | Command::StopRecording => return self.control(now, user_id, command),
            Command::SendOffer { .. }
            | Command::SendAnswer { .. }
            | Command::SendIceCandidate { .. } => {
                return Err(Rejection::new(Code::Internal, "relays are handled before"));
            }
        }
        Ok(Farewell::Stay)
    }

    /// Sets what differs; nothing different: no event.
    pub(super) fn update_state(
        &mut self,
        user_id: UserId,
        wanted: StateChange,
        by: Option<UserId>,
    ) {
        let Some(seat) = self.seats.get_mut(&user_id) else {
            return;
        };
        let record = &mut seat.record;
        let change = StateChange {
            is_muted: set(&mut record.is_muted, wanted.is_muted),
            is_video_on: set(&mut record.is_video_on, wanted.is_video_on),
            is_screen_sharing: set(&mut record.is_screen_sharing, wanted.is_screen_sharing),
            is_hand_raised: set(&mut record.is_hand_raised, wanted.is_hand_raised),
        };
        if change.is_empty() {
            return;
        }
        self.journal.participant(user_id);
        self.publish(&Event::StateChanged {
            user_id,
            by_user_id: by,
            change,
            is_away: None,
        });
    }
}

/// Sets a switch; answers the new value if it changed.
fn set(current: &mut bool, wanted: Option<bool>) -> Option<bool> {
    let changed = wanted.filter(|wanted| wanted != current)?;
    *current = changed;
    Some(changed)
}
