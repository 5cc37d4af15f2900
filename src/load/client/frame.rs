//! The messages of a server, read as far as the client needs them. Text is borrowed from the frame.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::protocol::{Code, Role};

/// The fields that the client reads of every message.
#[derive(Deserialize)]
pub(super) struct Frame<'a> {
    #[serde(rename = "type")]
    pub kind: &'a str,
    /// The id of the command that is answered.
    pub id: Option<u64>,
    /// The number of the event, or of the room's last event.
    pub seq: Option<u64>,
    /// Absent in the answers to relays.
    pub durable: Option<bool>,
    /// The text of a chat message, as JSON.
    #[serde(borrow)]
    pub text: Option<&'a RawValue>,
}

/// `RoomJoined` and `RoomResumed`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Welcome<'a> {
    #[serde(default, borrow)]
    pub session_id: Cow<'a, str>,
    #[serde(borrow)]
    pub connection_id: Cow<'a, str>,
    #[serde(borrow)]
    pub resume_token: Cow<'a, str>,
    /// Oneself; only in `RoomJoined`.
    #[serde(default, borrow, rename = "self")]
    pub own: Option<ParticipantState<'a>>,
    /// Only in `RoomJoined`.
    #[serde(default, borrow)]
    pub participants: Vec<&'a RawValue>,
    /// Only in `RoomJoined`.
    #[serde(default)]
    pub is_snapshot_after_gap: bool,
    /// Events after `lastSeq`; only in `RoomResumed`.
    #[serde(default, borrow)]
    pub missed: Vec<&'a RawValue>,
}

/// A participant on the wire: every field must be there.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "reading the fields checks that they are there")]
pub(super) struct ParticipantState<'a> {
    #[serde(borrow)]
    pub user_id: Cow<'a, str>,
    #[serde(borrow)]
    pub connection_id: Cow<'a, str>,
    #[serde(borrow)]
    display_name: Cow<'a, str>,
    role: Role,
    is_muted: bool,
    is_video_on: bool,
    is_screen_sharing: bool,
    is_hand_raised: bool,
    is_away: bool,
    #[serde(borrow)]
    joined_at: Cow<'a, str>,
}

impl<'a> ParticipantState<'a> {
    pub fn read(text: &'a str) -> Result<Self, &'static str> {
        serde_json::from_str(text).map_err(|_| "an unreadable participant")
    }
}

/// `Error`.
#[derive(Deserialize)]
pub(super) struct Refusal {
    pub code: Code,
}

/// A relay of another participant.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Relayed {
    pub source_user_id: Uuid,
}

/// `StateChanged`, `RoleChanged` and `ParticipantLeft`: absent fields have not changed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "reading the fields checks their types")]
pub(super) struct Change<'a> {
    #[serde(borrow)]
    pub user_id: Cow<'a, str>,
    #[serde(default, borrow)]
    pub reason: Cow<'a, str>,
    is_muted: Option<bool>,
    is_video_on: Option<bool>,
    is_screen_sharing: Option<bool>,
    is_hand_raised: Option<bool>,
    is_away: Option<bool>,
    role: Option<Role>,
}

impl<'a> Change<'a> {
    pub fn read(text: &'a str) -> Result<Self, &'static str> {
        serde_json::from_str(text).map_err(|_| "an unreadable change")
    }
}
