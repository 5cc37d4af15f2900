//! What may be asked of a room: commands of participants and of admins, and who may give them.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::view::Role;
use crate::ids::{Seq, UserId};

/// A participant's command, as decoded from the wire; the command id travels beside it. Serialized it is what a client
/// sends, without the id; [`crate::protocol::decode`] reads it (serde cannot: raw JSON does not pass a tagged enum).
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum Command {
    /// Change one's own state; at least one field is given.
    UpdateState(StateChange),
    /// Session description to one participant.
    SendOffer {
        /// To whom.
        target_user_id: UserId,
        /// Opaque: a string or an object, relayed unchanged.
        sdp: Box<RawValue>,
    },
    /// The answer to an offer.
    SendAnswer {
        /// To whom.
        target_user_id: UserId,
        /// Opaque: a string or an object, relayed unchanged.
        sdp: Box<RawValue>,
    },
    /// A candidate for a peer connection.
    SendIceCandidate {
        /// To whom.
        target_user_id: UserId,
        /// Opaque: a string, an object, or null for the end of candidates; relayed unchanged.
        candidate: Box<RawValue>,
    },
    /// Chat: to all, or direct to one.
    SendMessage {
        /// At most `text_bytes_max` bytes, not empty.
        text: String,
        /// None: to all.
        #[serde(skip_serializing_if = "Option::is_none")]
        target_user_id: Option<UserId>,
    },
    /// A host mutes somebody.
    MuteParticipant {
        /// Whom.
        user_id: UserId,
    },
    /// A host removes somebody.
    RemoveParticipant {
        /// Whom.
        user_id: UserId,
        /// Also keep them out.
        ban: bool,
    },
    /// A host lets somebody in from the lobby.
    AdmitParticipant {
        /// Whom.
        user_id: UserId,
    },
    /// A host sends somebody in the lobby away.
    DenyParticipant {
        /// Whom.
        user_id: UserId,
    },
    /// A host changes a role.
    SetRole {
        /// Whose.
        user_id: UserId,
        /// To what.
        role: Role,
    },
    /// A host locks or unlocks the room.
    LockRoom {
        /// New state.
        is_locked: bool,
    },
    /// A host starts the recording.
    StartRecording,
    /// A host stops the recording.
    StopRecording,
    /// A host ends the meeting for all.
    EndRoom,
    /// Leave.
    LeaveRoom,
}

impl Command {
    /// The `type` on the wire; a label of metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::UpdateState(_) => "UpdateState",
            Self::SendOffer { .. } => "SendOffer",
            Self::SendAnswer { .. } => "SendAnswer",
            Self::SendIceCandidate { .. } => "SendIceCandidate",
            Self::SendMessage { .. } => "SendMessage",
            Self::MuteParticipant { .. } => "MuteParticipant",
            Self::RemoveParticipant { .. } => "RemoveParticipant",
            Self::AdmitParticipant { .. } => "AdmitParticipant",
            Self::DenyParticipant { .. } => "DenyParticipant",
            Self::SetRole { .. } => "SetRole",
            Self::LockRoom { .. } => "LockRoom",
            Self::StartRecording => "StartRecording",
            Self::StopRecording => "StopRecording",
            Self::EndRoom => "EndRoom",
            Self::LeaveRoom => "LeaveRoom",
        }
    }
}

/// What `UpdateState` changes; `None` leaves a field as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StateChange {
    /// Microphone off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_muted: Option<bool>,
    /// Camera on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_video_on: Option<bool>,
    /// Sharing the screen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_screen_sharing: Option<bool>,
    /// Hand up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_hand_raised: Option<bool>,
}

impl StateChange {
    /// Whether nothing would be set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The `resume` part of a `JoinRoom`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResumeRequest {
    /// The connection that was lost.
    pub connection_id: crate::ids::ConnectionId,
    /// As last received; a secret: not logged.
    pub resume_token: String,
    /// Last event seen.
    pub last_seq: Seq,
}
