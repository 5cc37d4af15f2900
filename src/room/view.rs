//! What the room shows: participants and the room as clients and admins see them, and why a request was refused.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{
    record::{BanRecord, ParticipantRecord, Role},
    settings::Settings,
};
use crate::ids::{ConnectionId, RoomId, Seq, SessionId, Timestamp, UserId};

/// A participant as the others see them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParticipantView {
    /// Who.
    #[schema(value_type = uuid::Uuid)]
    pub user_id: UserId,
    /// The connection that holds the seat.
    #[schema(value_type = uuid::Uuid)]
    pub connection_id: ConnectionId,
    /// At most 128 characters.
    pub display_name: String,
    /// What they may do.
    pub role: Role,
    /// Microphone off.
    pub is_muted: bool,
    /// Camera on.
    pub is_video_on: bool,
    /// Sharing the screen.
    pub is_screen_sharing: bool,
    /// Hand up.
    pub is_hand_raised: bool,
    /// Connection lost, seat held.
    pub is_away: bool,
    /// When the stay began.
    #[schema(value_type = String, format = DateTime)]
    pub joined_at: Timestamp,
}

impl ParticipantView {
    /// The public part of a record.
    #[must_use]
    pub fn new(user_id: UserId, record: &ParticipantRecord) -> Self {
        Self {
            user_id,
            connection_id: record.connection_id,
            display_name: record.display_name.clone(),
            role: record.role,
            is_muted: record.is_muted,
            is_video_on: record.is_video_on,
            is_screen_sharing: record.is_screen_sharing,
            is_hand_raised: record.is_hand_raised,
            is_away: record.is_away,
            joined_at: record.joined_at,
        }
    }
}

/// The room as clients see it in `RoomJoined`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RoomView {
    /// Which room.
    pub room_id: RoomId,
    /// As last set over HTTP.
    pub settings: Settings,
    /// Locked rooms admit nobody new.
    pub is_locked: bool,
    /// The announced recording flag.
    pub is_recording: bool,
    /// Region of the media servers.
    pub sfu_region: Option<String>,
    /// Start of the session.
    pub start_time: Timestamp,
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

/// Why a request was refused: stable codes of the wire and of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// Unreadable or against the protocol.
    BadRequest,
    /// The join token is wrong, expired, revoked, of another room or tenant.
    Unauthorized,
    /// Not allowed to this role.
    Forbidden,
    /// The kind of joiner is not among `allowedRoles`.
    RoleNotAllowed,
    /// Banned from the room.
    Banned,
    /// No seat free.
    RoomFull,
    /// Locked.
    RoomLocked,
    /// The user is connected already and the policy is `reject`.
    Duplicate,
    /// Unknown or deleted room.
    RoomNotFound,
    /// The connection is in no room.
    NotInRoom,
    /// The target is not in the room.
    TargetNotFound,
    /// The stay was taken over by a newer one.
    Superseded,
    /// Try again later.
    Unavailable,
    /// Over a size limit.
    TooLarge,
    /// Over a rate limit.
    RateLimited,
    /// Outcome unknown: repeat with the same id.
    Timeout,
    /// Our fault.
    Internal,
}

/// A refusal: goes to the one who asked, changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rejection {
    /// Stable.
    pub code: Code,
    /// For people; no secrets, no internals.
    pub message: Cow<'static, str>,
}

impl Rejection {
    /// A refusal with a fixed text.
    #[must_use]
    pub const fn new(code: Code, message: &'static str) -> Self {
        Self {
            code,
            message: Cow::Borrowed(message),
        }
    }
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
