//! What people say to the server, as frames.

use serde_json::json;
use uuid::Uuid;

use super::{frame::Mark, inbox::Ticket};

/// Bytes of a session description: what browsers send for audio and video.
const SDP_BYTES: usize = 1_800;
/// A candidate as browsers send it.
const CANDIDATE: &str =
    "candidate:842163049 1 udp 1677729535 203.0.113.7 46154 typ srflx raddr 10.0.0.7 rport 46154";

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// `JoinRoom`; not counted among the commands.
    Join,
    /// A message to all, with its number.
    Say(u32),
    /// Own state: the bits are muted, video, screen, hand.
    State(u8),
    /// A host mutes somebody.
    Mute(Uuid),
    /// A host locks or unlocks.
    Lock(bool),
    /// To one.
    Offer(Uuid),
    /// To one.
    Answer(Uuid),
    /// To one.
    Candidate(Uuid),
    /// The end of the stay.
    Leave,
}

impl What {
    /// The frame of a command of the person on `seat`, under an id.
    pub fn frame(self, id: u64, seat: usize, due_ns: u64) -> String {
        match self {
            // Written out: this one must cost the load tool as little as possible.
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
            // Joins are written by `join`: they need more than this.
            Self::Join => String::new(),
        }
    }
}

fn described(kind: &str, id: u64, target: Uuid) -> String {
    let sdp = json!({"type": "offer", "sdp": "v".repeat(SDP_BYTES)});
    json!({"type": kind, "id": id, "targetUserId": target, "sdp": sdp}).to_string()
}

/// The first frame of a connection.
pub(super) fn join(
    id: u64,
    room: &str,
    token: &str,
    resume: Option<(&Ticket, Option<u64>)>,
) -> String {
    let mut frame = json!({"type": "JoinRoom", "id": id, "roomId": room, "token": token});
    if let Some((ticket, last_seq)) = resume {
        frame["resume"] = json!({"connectionId": ticket.connection_id,
            "resumeToken": ticket.token, "lastSeq": last_seq.unwrap_or_default()});
    }
    frame.to_string()
}
