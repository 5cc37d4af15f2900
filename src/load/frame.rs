//! What a server's frame says, read only as far as the load tool needs it.

use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::protocol::{Action, Code, ParticipantView, Role};

/// What stands before the facts in the text of a message of ours.
const MARKER: &str = "cb1:";
/// Longest text of a message of ours: the marker and three numbers.
const TEXT_BYTES_MAX: usize = 80;

/// The fields that every frame is looked at for; the rest is read by type.
#[derive(Deserialize)]
pub(super) struct Frame<'a> {
    /// The type's name.
    #[serde(rename = "type")]
    pub kind: &'a str,
    /// Of the command that is answered.
    pub id: Option<u64>,
    /// Place in the room's order, or the room's last event.
    pub seq: Option<u64>,
    /// Whether the mirror has it; relays have no such thing.
    pub durable: Option<bool>,
    /// Of a chat message, as JSON.
    #[serde(borrow)]
    pub text: Option<&'a RawValue>,
}

/// `RoomJoined` and `RoomResumed`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Welcome<'a> {
    /// For the next resume.
    pub connection_id: Uuid,
    /// For the next resume.
    pub resume_token: String,
    /// Everybody; only in `RoomJoined`.
    #[serde(default)]
    pub participants: Vec<ParticipantView>,
    /// Whether a resume could not be replayed; only in `RoomJoined`.
    #[serde(default)]
    pub is_snapshot_after_gap: bool,
    /// Events after the last seen one; only in `RoomResumed`.
    #[serde(default, borrow)]
    pub missed: Vec<&'a RawValue>,
}

/// `Error`.
#[derive(Deserialize)]
pub(super) struct Refusal {
    /// Stable.
    pub code: Code,
}

/// `Goodbye`.
#[derive(Debug, Deserialize)]
pub(super) struct Farewell {
    /// What is asked of the client.
    pub action: Action,
    /// Why.
    pub reason: String,
    /// Where to go.
    pub url: Option<String>,
}

/// A relay.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Relayed {
    /// Who sent it.
    pub source_user_id: Uuid,
}

/// `StateChanged`, `RoleChanged` and `ParticipantLeft`: what is not told has not changed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Change {
    /// Whose.
    pub user_id: Uuid,
    /// Microphone off.
    pub is_muted: Option<bool>,
    /// Camera on.
    pub is_video_on: Option<bool>,
    /// Sharing the screen.
    pub is_screen_sharing: Option<bool>,
    /// Hand up.
    pub is_hand_raised: Option<bool>,
    /// Connection lost.
    pub is_away: Option<bool>,
    /// New role.
    pub role: Option<Role>,
}

/// What a published message carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// Seat of the publisher in the room.
    pub seat: usize,
    /// Counts the publisher's messages from 1.
    pub number: u32,
    /// When it was due, in nanoseconds of the run.
    pub due_ns: u64,
}

impl Mark {
    /// As the text of a message.
    pub fn text(self) -> String {
        format!("{MARKER}{}:{}:{};", self.seat, self.number, self.due_ns)
    }

    /// Finds one anywhere in a frame; none: the frame is no message of ours.
    pub fn find(frame: &str) -> Option<Self> {
        let from = frame.find(MARKER)? + MARKER.len();
        let rest = &frame.as_bytes()[from..frame.len().min(from + TEXT_BYTES_MAX)];
        let end = rest.iter().position(|byte| *byte == b';')?;
        let mut numbers = frame[from..from + end].split(':');
        Some(Self {
            seat: numbers.next()?.parse().ok()?,
            number: numbers.next()?.parse().ok()?,
            due_ns: numbers.next()?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mark_is_found_in_a_frame_and_nowhere_else() {
        let mark = Mark {
            seat: 3,
            number: 17,
            due_ns: 123_456_789_000,
        };
        let frame = format!(
            r#"{{"type":"MessageReceived","text":"{}","seq":9}}"#,
            mark.text()
        );
        assert_eq!(Mark::find(&frame), Some(mark));
        assert_eq!(Mark::find(r#"{"type":"Ack"}"#), None);
        assert_eq!(Mark::find("cb1:3:x:1;"), None);
        assert_eq!(Mark::find("cb1:3:1:1"), None);
    }
}
