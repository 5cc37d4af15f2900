//! What clients are shown of a room and of the people in it.

use serde::{Deserialize, Serialize};

use super::settings::Settings;
use crate::ids::{ConnectionId, RoomId, Timestamp, UserId};

/// What a participant may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Runs the meeting.
    Host,
    /// Takes part.
    Attendee,
}

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

/// One line of the lobby.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WaitingView {
    /// Who.
    pub user_id: UserId,
    /// Their name.
    pub display_name: String,
    /// Since when.
    pub since: Timestamp,
}
