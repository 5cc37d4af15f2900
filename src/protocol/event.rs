//! What the room tells everybody: events with their place in the room's one order, encoded once.

use bytestring::ByteString;
use serde::{Deserialize, Serialize};

use super::{
    command::StateChange,
    view::{ParticipantView, Role},
};
use crate::ids::{Seq, Timestamp, UserId};

/// Why a stay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LeaveReason {
    /// Left by own command.
    Left,
    /// Connection lost and not resumed within the grace period.
    Timeout,
    /// Removed by a host or an admin; may return.
    Removed,
    /// Removed and may not return.
    Banned,
    /// The same user took the seat with a new stay.
    Superseded,
    /// The session ended with this person inside.
    Ended,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// Everybody was gone for `departure_timeout`.
    Empty,
    /// A host or an admin ended it.
    Ended,
    /// `maxDurationSecs` was over.
    MaxDuration,
    /// The room was deleted.
    Deleted,
    /// The room failed more often than its restart budget allows.
    Failed,
    /// The mirror no longer knew the room.
    Lost,
}

/// A room event; `seq` is added by [`Event::encode`].
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum Event<'a> {
    /// Somebody took a seat.
    ParticipantJoined {
        /// Their fields stand beside `seq`.
        #[serde(flatten)]
        participant: &'a ParticipantView,
    },
    /// Somebody's state changed; only what changed is given.
    StateChanged {
        /// Whose.
        user_id: UserId,
        /// The host who did it; absent: the person themself, the server or an admin.
        #[serde(skip_serializing_if = "Option::is_none")]
        by_user_id: Option<UserId>,
        /// Their own switches.
        #[serde(flatten)]
        change: StateChange,
        /// Connection lost or back.
        #[serde(skip_serializing_if = "Option::is_none")]
        is_away: Option<bool>,
    },
    /// A stay ended.
    ParticipantLeft {
        /// Whose.
        user_id: UserId,
        /// Why.
        reason: LeaveReason,
        /// The host who did it.
        #[serde(skip_serializing_if = "Option::is_none")]
        by_user_id: Option<UserId>,
    },
    /// A role changed.
    RoleChanged {
        /// Whose.
        user_id: UserId,
        /// To what.
        role: Role,
        /// The host who did it; null: an admin.
        by_user_id: Option<UserId>,
    },
    /// Locked or unlocked.
    RoomLocked {
        /// New state.
        is_locked: bool,
        /// The host who did it.
        by_user_id: UserId,
    },
    /// Recording started or stopped.
    RecordingChanged {
        /// New state.
        is_recording: bool,
        /// The host who did it.
        by_user_id: UserId,
    },
    /// Chat to all.
    MessageReceived {
        /// Null: the system.
        source_user_id: Option<UserId>,
        /// As sent.
        text: &'a str,
        /// When the room took it.
        sent_at: Timestamp,
    },
    /// The session is over.
    RoomEnded {
        /// Why.
        reason: EndReason,
    },
}

impl Event<'_> {
    /// The JSON object, the same for every recipient.
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
