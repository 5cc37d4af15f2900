//! What the room tells everybody: events with their place in the room's one order, encoded once.

use bytestring::ByteString;
use serde::Serialize;

use super::{
    command::StateChange,
    record::{EndReason, LeaveReason, Role},
    view::ParticipantView,
};
use crate::ids::{Seq, Timestamp, UserId};

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
