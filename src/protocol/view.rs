//! What clients are shown of a room and its participants.

use serde::{Deserialize, Serialize};

use super::{settings::Settings, state::ParticipantFlags, wire_enum::wire_enum};
use crate::ids::{ConnectionId, RoomId, Timestamp, UserId};

wire_enum! {
    /// What a participant may do.
    pub enum Role {
        /// Runs the meeting.
        Host = "host",
        /// Takes part.
        Attendee = "attendee",
    }
}

/// A participant as everybody in the room is shown them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParticipantView {
    /// A user of the tenant, or a guest of this room.
    pub user_id: UserId,
    /// The connection that holds the seat, or held it last.
    pub connection_id: ConnectionId,
    /// At most 128 characters.
    pub display_name: String,
    /// Decides which commands are allowed.
    pub role: Role,
    /// Set by the participant, partly also by hosts.
    #[serde(flatten)]
    pub flags: ParticipantFlags,
    /// The connection is lost; the seat is held.
    pub is_away: bool,
    /// When the stay began.
    pub joined_at: Timestamp,
}

/// The room as clients are shown it in `RoomJoined`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RoomView {
    /// As in the path.
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

/// Somebody in the lobby, as hosts are shown them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WaitingView {
    /// A user of the tenant, or a guest of this room.
    pub user_id: UserId,
    /// At most 128 characters.
    pub display_name: String,
    /// When the person began to wait.
    pub since: Timestamp,
}
