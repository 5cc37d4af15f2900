//! The commands that a load run sends.

use serde_json::json;
use uuid::Uuid;

use super::{client, mark::Mark};

/// Bytes of a session description: what browsers send for audio and video.
const SDP_BYTES: usize = 1_800;
/// A candidate as browsers send it.
const CANDIDATE: &str =
    "candidate:842163049 1 udp 1677729535 203.0.113.7 46154 typ srflx raddr 10.0.0.7 rport 46154";

/// A command with its scheduled time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scheduled {
    pub what: What,
    /// In nanoseconds of the run.
    pub due_ns: u64,
}

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A chat message with its number.
    Say(u32),
    /// A change of the own state. The bits are muted, video, screen, hand.
    State(u8),
    /// A host mutes somebody.
    Mute(Uuid),
    /// A host locks or unlocks.
    Lock(bool),
    Offer(Uuid),
    Answer(Uuid),
    Candidate(Uuid),
    Leave,
}

impl client::Command for Scheduled {}

impl What {
    /// Returns the message of the participant on `seat` under an id.
    pub fn frame(self, id: u64, seat: usize, due_ns: u64) -> String {
        match self {
            // Formatted by hand: most messages of a load run are of this kind.
            Self::Say(number) => {
                let text = Mark {
                    seat,
                    number,
                    due_ns,
                }
                .text();
                format!(r#"{{"type":"SendMessage","id":{id},"text":"{text}"}}"#)
            }
            Self::State(bits) => {
                let bit = |at: u8| bits & (1 << at) != 0;
                json!({"type": "UpdateState", "id": id, "isMuted": bit(0), "isVideoOn": bit(1),
                    "isScreenSharing": bit(2), "isHandRaised": bit(3)})
                .to_string()
            }
            Self::Mute(user_id) => {
                json!({"type": "MuteParticipant", "id": id, "userId": user_id}).to_string()
            }
            Self::Lock(is_locked) => {
                json!({"type": "LockRoom", "id": id, "isLocked": is_locked}).to_string()
            }
            Self::Offer(target) => described("SendOffer", id, target),
            Self::Answer(target) => described("SendAnswer", id, target),
            Self::Candidate(target) => json!({"type": "SendIceCandidate", "id": id,
                "targetUserId": target, "candidate": {"candidate": CANDIDATE, "sdpMid": "0"}})
            .to_string(),
            Self::Leave => format!(r#"{{"type":"LeaveRoom","id":{id}}}"#),
        }
    }
}

fn described(kind: &str, id: u64, target: Uuid) -> String {
    let sdp = json!({"type": "offer", "sdp": "v".repeat(SDP_BYTES)});
    json!({"type": kind, "id": id, "targetUserId": target, "sdp": sdp}).to_string()
}
