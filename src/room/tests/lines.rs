//! Effects as lines: who was told what, with names for ids and only the fields that matter.

use serde_json::Value;
use uuid::Uuid;

use super::Fixture;
use crate::{
    ids::ConnectionId,
    protocol::Notice,
    room::{admin::AdminReply, effect::Effect},
};

impl Fixture {
    pub(super) fn line(&mut self, effect: Effect) -> String {
        match effect {
            Effect::Send { to, notice } => {
                format!("{}: {}", self.label(to), self.notice(to, &notice))
            }
            Effect::Broadcast { to, event } => {
                let to: Vec<String> = to.iter().map(|to| self.label(*to)).collect();
                format!("{}: {}", to.join(" "), event_line(&event.frame))
            }
            Effect::Relay { to, frame, .. } => {
                format!("{}: {}", self.label(to), event_line(&frame))
            }
            Effect::Disconnect {
                connection_id,
                reason,
            } => format!("{}: Goodbye {}", self.label(connection_id), word(&reason)),
            Effect::Reply { result, .. } => match result {
                Ok(AdminReply::Participant(view)) => {
                    format!(
                        "admin: {} {} muted={}",
                        view.display_name,
                        word(&view.role),
                        view.flags.is_muted
                    )
                }
                Ok(reply) => format!("admin: {reply:?}"),
                Err(rejection) => format!("admin: Error {}", word(&rejection.code)),
            },
            Effect::OpenSession { .. } => "sql: session".to_owned(),
            Effect::StoreBan { user_id, .. } => {
                format!("sql: ban {}", name_of(&user_id.to_string()))
            }
            Effect::Closed { session } => {
                self.closed = session.map(|session| *session);
                match &self.closed {
                    Some(session) => format!("closed: {}", word(&session.end_reason)),
                    None => "closed: no session".to_owned(),
                }
            }
        }
    }

    fn label(&self, connection_id: ConnectionId) -> String {
        self.labels[&connection_id].clone()
    }

    fn notice(&mut self, to: ConnectionId, notice: &Notice) -> String {
        let name = self.labels[&to].trim_end_matches(|c: char| c.is_ascii_digit());
        match notice {
            Notice::RoomJoined(joined) => {
                self.tokens
                    .insert(name.to_owned(), joined.resume_token.clone());
                let names: Vec<&str> = joined
                    .participants
                    .iter()
                    .map(|view| view.display_name.as_str())
                    .collect();
                let gap = if joined.is_snapshot_after_gap {
                    " after gap"
                } else {
                    ""
                };
                format!("RoomJoined @{} {}{gap}", joined.seq, names.join("+"))
            }
            Notice::RoomResumed(resumed) => {
                self.tokens
                    .insert(name.to_owned(), resumed.resume_token.clone());
                let missed: Vec<String> = resumed
                    .missed
                    .iter()
                    .map(|frame| event_line(frame))
                    .collect();
                let lost = if resumed.relays_lost {
                    " relays lost"
                } else {
                    ""
                };
                format!("RoomResumed @{} [{}]{lost}", resumed.seq, missed.join(", "))
            }
            Notice::LobbyWaiting { .. } => "LobbyWaiting".to_owned(),
            Notice::LobbyDenied { .. } => "LobbyDenied".to_owned(),
            Notice::Ack { id, seq } => format!("Ack {id} @{seq}"),
            Notice::RelayAck { id, seq } => format!("RelayAck {id} @{seq}"),
            Notice::Error { rejection, .. } => format!("Error {}", word(&rejection.code)),
            Notice::LobbyChanged { waiting } => {
                let names: Vec<&str> = waiting
                    .iter()
                    .map(|view| view.display_name.as_str())
                    .collect();
                format!("LobbyChanged {}", names.join("+"))
                    .trim_end()
                    .to_owned()
            }
            Notice::SfuEndpoint {
                ip, port, region, ..
            } => format!("SfuEndpoint {ip}:{port} {region}"),
            Notice::DurabilityChanged { durable } => format!("DurabilityChanged {durable}"),
            Notice::KeepAlive { seq } => format!("KeepAlive @{seq}"),
        }
    }
}

fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value)
        .unwrap()
        .as_str()
        .unwrap()
        .to_owned()
}

/// An event or a relay in short: names for ids, and only the fields that matter.
fn event_line(frame: &str) -> String {
    let value: Value = serde_json::from_str(frame).unwrap();
    let mut words = vec![value["type"].as_str().unwrap().to_owned()];
    if let Some(seq) = value["seq"].as_u64() {
        words.insert(0, format!("#{seq}"));
    }
    for key in ["sourceUserId", "userId"] {
        words.extend(value[key].as_str().map(name_of));
    }
    for key in ["role", "reason", "text", "sdp", "candidate"] {
        words.extend(value[key].as_str().map(str::to_owned));
    }
    let is_join = value["type"] == "ParticipantJoined";
    for key in [
        "isMuted",
        "isVideoOn",
        "isScreenSharing",
        "isHandRaised",
        "isAway",
        "isLocked",
        "isRecording",
    ] {
        if let (Some(flag), false) = (value[key].as_bool(), is_join) {
            words.push(format!("{key}={flag}"));
        }
    }
    if let Some(by) = value["byUserId"].as_str() {
        words.push(format!("by {}", name_of(by)));
    }
    words.join(" ")
}

fn name_of(user_id: &str) -> String {
    let id = user_id.parse::<Uuid>().unwrap();
    let letters = id.as_bytes().iter().take_while(|byte| **byte != 0);
    letters.map(|byte| char::from(*byte)).collect()
}
