//! What the room tells everybody: events in the room's one order, encoded once.

use bytestring::ByteString;
use serde::Serialize;

use super::{
    state::StateChange,
    view::{ParticipantView, Role},
    wire_enum::wire_enum,
};
use crate::ids::{Seq, Timestamp, UserId};

wire_enum! {
    /// Why a stay ended.
    pub enum LeaveReason {
        /// The participant sent `LeaveRoom`.
        Left = "left",
        /// The connection was lost and not resumed within the grace period.
        Timeout = "timeout",
        /// Removed by a host or an admin; may return.
        Removed = "removed",
        /// Removed and may not return.
        Banned = "banned",
        /// The same user began a new stay.
        Superseded = "superseded",
        /// The session ended during the stay.
        Ended = "ended",
    }
}

wire_enum! {
    /// Why a session ended.
    pub enum EndReason {
        /// Nobody was in the room for `departure_timeout`.
        Empty = "empty",
        /// A host or an admin ended it.
        Ended = "ended",
        /// It reached `maxDurationSecs`.
        MaxDuration = "max_duration",
        /// The room was deleted.
        Deleted = "deleted",
        /// The room failed more often than its restart budget allows.
        Failed = "failed",
        /// The mirror lost the room.
        Lost = "lost",
    }
}

/// A room event; [`Event::encode`] adds `seq`.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum Event<'a> {
    /// A stay began.
    ParticipantJoined {
        /// Its fields stand beside `seq`.
        #[serde(flatten)]
        participant: &'a ParticipantView,
    },
    /// A participant's state changed; only what changed is given.
    StateChanged {
        /// Whose state.
        user_id: UserId,
        /// The host who did it; absent if the participant, the server or an admin did.
        #[serde(skip_serializing_if = "Option::is_none")]
        by_user_id: Option<UserId>,
        /// The flags that changed.
        #[serde(flatten)]
        change: StateChange,
        /// The connection was lost or is back.
        #[serde(skip_serializing_if = "Option::is_none")]
        is_away: Option<bool>,
    },
    /// A stay ended.
    ParticipantLeft {
        /// Whose stay.
        user_id: UserId,
        /// Why it ended.
        reason: LeaveReason,
        /// The host who ended it.
        #[serde(skip_serializing_if = "Option::is_none")]
        by_user_id: Option<UserId>,
    },
    /// A role changed.
    RoleChanged {
        /// Whose role.
        user_id: UserId,
        /// The new role.
        role: Role,
        /// The host who changed it; null if an admin did.
        by_user_id: Option<UserId>,
    },
    /// The room was locked or unlocked.
    RoomLocked {
        /// The new state.
        is_locked: bool,
        /// The host who changed it.
        by_user_id: UserId,
    },
    /// The recording started or stopped.
    RecordingChanged {
        /// The new state.
        is_recording: bool,
        /// The host who changed it.
        by_user_id: UserId,
    },
    /// Chat to everybody.
    MessageReceived {
        /// Null if the system wrote it.
        source_user_id: Option<UserId>,
        /// As sent.
        text: &'a str,
        /// When the room accepted it.
        sent_at: Timestamp,
    },
    /// The session ended.
    RoomEnded {
        /// Why it ended.
        reason: EndReason,
    },
}

impl Event<'_> {
    /// Returns the JSON object, the same for every recipient.
    #[must_use]
    pub fn encode(&self, seq: Seq) -> ByteString {
        #[derive(Serialize)]
        struct Numbered<'a> {
            #[serde(flatten)]
            event: &'a Event<'a>,
            seq: Seq,
        }
        serde_json::to_string(&Numbered { event: self, seq })
            .expect("events are plain data with string keys")
            .into()
    }
}
