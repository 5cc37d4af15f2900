//! What admins ask over HTTP; the answers leave in the same order as everything else.

use serde::{Deserialize, Serialize};

use super::{
    Room,
    conduct::Farewell,
    effect::{Effect, Ticket},
    record::BanRecord,
};
use crate::{
    ids::{Seq, SessionId, Timestamp, UserId},
    protocol::{Code, EndReason, Event, ParticipantView, Rejection, Role, Settings},
};

/// What an admin asks of a live room over HTTP. Serialized it travels from the node that was asked to the room's owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "kind",
    content = "value",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum AdminCommand {
    /// The live summary.
    Describe,
    /// All participants.
    ListParticipants,
    /// Mute somebody and / or change the role.
    ChangeParticipant {
        /// Whom.
        user_id: UserId,
        /// Mute; nobody is unmuted from outside.
        mute: bool,
        /// New role.
        role: Option<Role>,
    },
    /// Remove somebody.
    Remove {
        /// Whom.
        user_id: UserId,
        /// Also keep them out.
        ban: bool,
    },
    /// End the meeting; `Ended` or `Deleted`.
    End(EndReason),
    /// A message from the system to all.
    SystemMessage(String),
    /// Settings as now stored in SQL.
    ChangeSettings(Settings),
    /// Bans as the live room has them.
    ListBans,
    /// Lift a ban.
    LiftBan {
        /// Whose.
        user_id: UserId,
    },
}

/// A live room as admins see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LiveRoom {
    /// None until somebody was admitted.
    #[schema(value_type = Option<uuid::Uuid>)]
    pub session_id: Option<SessionId>,
    /// First admitted join.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub start_time: Option<Timestamp>,
    /// Seats taken, away ones included.
    pub participant_count: usize,
    /// People waiting.
    pub lobby_count: usize,
    /// The announced recording flag.
    pub is_recording: bool,
    /// Locked rooms admit nobody new.
    pub is_locked: bool,
    /// Region of the media servers.
    pub sfu_region: Option<String>,
    /// Last event.
    #[schema(value_type = u64)]
    pub seq: Seq,
    /// Whether the mirror holds all of it.
    pub durable: bool,
}

/// The answer to an admin's command. Serialized it travels back to the node that was asked.
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
    /// To `LiftBan`: whether there was one.
    Lifted(bool),
    /// Done, nothing to tell.
    Done,
}

impl Room {
    pub(super) fn admin(&mut self, now: Timestamp, ticket: Ticket, command: AdminCommand) {
        if let AdminCommand::End(reason) = command {
            return self.end_by_admin(now, ticket, reason);
        }
        let result = if self.is_closed() {
            Err(Rejection::new(Code::Unavailable, "the room is closing"))
        } else {
            self.administer(now, command)
        };
        self.effects.push(Effect::Reply { ticket, result });
    }

    fn administer(
        &mut self,
        now: Timestamp,
        command: AdminCommand,
    ) -> Result<AdminReply, Rejection> {
        match command {
            AdminCommand::Describe => Ok(AdminReply::Live(self.live())),
            AdminCommand::ListParticipants => {
                Ok(AdminReply::Participants(self.participant_views()))
            }
            AdminCommand::ChangeParticipant {
                user_id,
                mute,
                role,
            } => self.change_participant(user_id, mute, role),
            AdminCommand::Remove { user_id, ban } => {
                match self.remove(now, user_id, ban, None)? {
                    Farewell::Dismiss(connection_id, reason) => {
                        self.disconnect(connection_id, reason);
                    }
                    Farewell::Stay | Farewell::End => {}
                }
                Ok(AdminReply::Done)
            }
            AdminCommand::End(_) => Err(Rejection::new(Code::Internal, "ends are handled before")),
            AdminCommand::SystemMessage(text) => {
                if self.head.session.is_none() {
                    return Err(Rejection::new(
                        Code::TargetNotFound,
                        "nobody is in the room",
                    ));
                }
                self.publish(&Event::MessageReceived {
                    source_user_id: None,
                    text: &text,
                    sent_at: now,
                });
                Ok(AdminReply::Done)
            }
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
            AdminCommand::LiftBan { user_id } => {
                let was_banned = self.bans.remove(&user_id).is_some();
                if was_banned {
                    self.journal.ban(user_id);
                }
                Ok(AdminReply::Lifted(was_banned))
            }
        }
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
            .ok_or(Rejection::new(
                Code::TargetNotFound,
                "this user is not in the room",
            ))
    }

    /// Answers whether a session ended: event, answer, goodbyes. A deleted room closes in any case.
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
