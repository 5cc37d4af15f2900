//! Commands of admins over HTTP; the answers leave in the same order as everything else.

use serde::{Deserialize, Serialize};

use super::{
    Room,
    effect::{Effect, Ticket},
    host_controls::not_in_the_room,
    record::BanRecord,
};
use crate::{
    ids::{Seq, SessionId, Timestamp, UserId},
    protocol::{Code, EndReason, Event, ParticipantView, Rejection, Role, Settings},
};

/// A command of an admin for a live room. Serialized it travels from the node that got the request
/// to the room's owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "kind",
    content = "value",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum AdminCommand {
    /// Asks for the live summary.
    Describe,
    /// Asks for all participants.
    ListParticipants,
    /// Mutes a participant, changes the role, or both.
    ChangeParticipant {
        /// The participant.
        user_id: UserId,
        /// Whether to mute; an admin cannot unmute.
        mute: bool,
        /// The new role, if it changes.
        role: Option<Role>,
    },
    /// Removes somebody from the room or its lobby.
    Remove {
        /// The person.
        user_id: UserId,
        /// Whether they may not return.
        ban: bool,
    },
    /// Ends the meeting; the reason is `Ended` or `Deleted`.
    End(EndReason),
    /// Sends a message from the system to everybody.
    SystemMessage(String),
    /// Replaces the settings by those now stored in SQL.
    ChangeSettings(Settings),
    /// Asks for the bans.
    ListBans,
    /// Lifts a ban.
    LiftBan {
        /// The banned user.
        user_id: UserId,
    },
}

/// A live room as admins see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveRoom {
    /// `None` before the first admitted join.
    pub session_id: Option<SessionId>,
    /// Time of the first admitted join.
    pub start_time: Option<Timestamp>,
    /// Seats taken, away ones included.
    pub participant_count: usize,
    /// People who wait in the lobby.
    pub lobby_count: usize,
    /// The announced recording flag.
    pub is_recording: bool,
    /// Locked rooms admit nobody new.
    pub is_locked: bool,
    /// Region of the media servers.
    pub sfu_region: Option<String>,
    /// Position of the last event.
    pub seq: Seq,
    /// Whether the mirror holds everything.
    pub durable: bool,
}

/// The answer to an [`AdminCommand`]. Serialized it travels back to the node that got the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "value", rename_all = "camelCase")]
pub enum AdminReply {
    /// To `Describe`.
    Live(LiveRoom),
    /// To `ListParticipants`, in the order in which they came.
    Participants(Vec<ParticipantView>),
    /// To `ChangeParticipant`.
    Participant(ParticipantView),
    /// To `ListBans`.
    Bans(Vec<(UserId, BanRecord)>),
    /// To `End`: whether it ended a session now.
    Ended(bool),
    /// To `LiftBan`: whether there was a ban.
    Lifted(bool),
    /// To commands without a result.
    Done,
}

impl Room {
    pub(super) fn admin(&mut self, now: Timestamp, ticket: Ticket, command: AdminCommand) {
        if self.is_closed() && !matches!(command, AdminCommand::End(_)) {
            let result = Err(Rejection::new(Code::Unavailable, "the room is closing"));
            return self.effects.push(Effect::Reply { ticket, result });
        }
        let result = match command {
            AdminCommand::End(reason) => return self.end_by_admin(now, ticket, reason),
            AdminCommand::Describe => Ok(AdminReply::Live(self.live())),
            AdminCommand::ListParticipants => {
                Ok(AdminReply::Participants(self.participant_views()))
            }
            AdminCommand::ChangeParticipant {
                user_id,
                mute,
                role,
            } => self.change_participant(user_id, mute, role),
            AdminCommand::Remove { user_id, ban } => self.remove_by_admin(now, user_id, ban),
            AdminCommand::SystemMessage(text) => self.system_message(now, &text),
            AdminCommand::ChangeSettings(settings) => {
                self.change_settings(now, settings);
                Ok(AdminReply::Done)
            }
            AdminCommand::ListBans => Ok(AdminReply::Bans(
                self.bans
                    .iter()
                    .map(|(user_id, ban)| (*user_id, ban.clone()))
                    .collect(),
            )),
            AdminCommand::LiftBan { user_id } => Ok(AdminReply::Lifted(self.lift_ban(user_id))),
        };
        self.effects.push(Effect::Reply { ticket, result });
    }

    fn remove_by_admin(
        &mut self,
        now: Timestamp,
        user_id: UserId,
        ban: bool,
    ) -> Result<AdminReply, Rejection> {
        if let Some((connection_id, reason)) = self.remove(now, user_id, ban, None)? {
            self.disconnect(connection_id, reason);
        }
        Ok(AdminReply::Done)
    }

    fn system_message(&mut self, now: Timestamp, text: &str) -> Result<AdminReply, Rejection> {
        if self.head.session.is_none() {
            return Err(Rejection::new(
                Code::TargetNotFound,
                "nobody is in the room",
            ));
        }
        self.publish(&Event::MessageReceived {
            source_user_id: None,
            text,
            sent_at: now,
        });
        Ok(AdminReply::Done)
    }

    /// Returns whether there was a ban.
    fn lift_ban(&mut self, user_id: UserId) -> bool {
        let was_banned = self.bans.remove(&user_id).is_some();
        if was_banned {
            self.journal.ban(user_id);
        }
        was_banned
    }

    fn live(&self) -> LiveRoom {
        LiveRoom {
            session_id: self.head.session.map(|session| session.session_id),
            start_time: self.head.session.map(|session| session.start_time),
            participant_count: self.seats.len(),
            lobby_count: self.lobby_views().len(),
            is_recording: self.head.is_recording,
            is_locked: self.head.is_locked,
            sfu_region: self.head.sfu_region.clone(),
            seq: self.seq,
            durable: self.is_durable,
        }
    }

    fn change_participant(
        &mut self,
        user_id: UserId,
        mute: bool,
        role: Option<Role>,
    ) -> Result<AdminReply, Rejection> {
        self.require_seat(user_id)?;
        if let Some(role) = role {
            self.set_role(user_id, role, None)?;
        }
        if mute {
            self.mute(user_id, None)?;
        }
        self.seats
            .get(&user_id)
            .map(|seat| AdminReply::Participant(seat.record.view(user_id)))
            .ok_or_else(not_in_the_room)
    }

    /// Ends the session: event, answer, goodbyes. The answer says whether there was a session. A
    /// deleted room closes in any case.
    fn end_by_admin(&mut self, now: Timestamp, ticket: Ticket, reason: EndReason) {
        let ends_session = !self.is_closed() && self.head.session.is_some();
        if ends_session {
            self.publish(&Event::RoomEnded { reason });
        }
        self.effects.push(Effect::Reply {
            ticket,
            result: Ok(AdminReply::Ended(ends_session)),
        });
        if ends_session || (reason == EndReason::Deleted && !self.is_closed()) {
            self.finish(now, reason);
        }
    }

    fn change_settings(&mut self, now: Timestamp, settings: Settings) {
        if self.head.settings == settings {
            return;
        }
        let was_lobby_enabled = self.head.settings.is_lobby_enabled;
        self.head.settings = settings;
        self.set_end_of_session();
        self.journal.head();
        if was_lobby_enabled && !self.head.settings.is_lobby_enabled {
            self.admit_all_waiting(now);
        }
    }
}
