//! What the server tells one connection.

use bytestring::ByteString;
use serde::Serialize;

use super::{
    refusal::{Code, Rejection},
    view::{ParticipantView, RoomView, WaitingView},
};
use crate::ids::{ConnectionId, Seq, SessionId, Timestamp, UserId};

/// A message for one connection.
#[derive(Clone, Debug)]
pub enum Notice {
    /// Joined, or resumed with a snapshot.
    RoomJoined(Box<Joined>),
    /// Resumed without a gap.
    RoomResumed(Box<Resumed>),
    /// The client waits until a host admits it.
    LobbyWaiting {
        /// The id of the `JoinRoom`.
        id: u64,
    },
    /// A host refused the client.
    LobbyDenied {
        /// The id of the `JoinRoom`.
        id: u64,
    },
    /// A command took effect.
    Ack {
        /// The id of the command.
        id: u64,
        /// The room's last event at that time.
        seq: Seq,
    },
    /// A relay was accepted.
    RelayAck {
        /// The id of the command.
        id: u64,
        /// The room's last event at that time.
        seq: Seq,
    },
    /// A command was refused.
    Error {
        /// The id of the command, if it could be read.
        id: Option<u64>,
        /// Why it was refused.
        rejection: Rejection,
    },
    /// Who waits in the lobby; for hosts only.
    LobbyChanged {
        /// Complete, longest waiting first.
        waiting: Vec<WaitingView>,
    },
    /// The media server of the room.
    SfuEndpoint {
        /// As clients reach it.
        ip: String,
        /// UDP or TCP port.
        port: u16,
        /// Names this connection's media transport.
        transport_id: ConnectionId,
        /// The room's region.
        region: String,
    },
    /// The mirror stopped or resumed accepting changes.
    DurabilityChanged {
        /// The new state.
        durable: bool,
    },
    /// The answer to `KeepAlive`.
    KeepAlive {
        /// The room's last event at that time.
        seq: Seq,
    },
}

/// The content of `RoomJoined`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Joined {
    /// The id of the `JoinRoom`.
    pub id: u64,
    /// The client's own `ParticipantJoined`; after a gap, the room's last event.
    pub seq: Seq,
    /// The session of the stay.
    pub session_id: SessionId,
    /// This connection, for the next resume.
    pub connection_id: ConnectionId,
    /// For the next resume.
    pub resume_token: String,
    /// The client itself.
    #[serde(rename = "self")]
    pub own: ParticipantView,
    /// Settings and state of the room.
    pub room: RoomView,
    /// Everybody in the room, the client included.
    pub participants: Vec<ParticipantView>,
    /// The missed events of a resume cannot be replayed.
    pub is_snapshot_after_gap: bool,
}

/// The content of `RoomResumed`.
#[derive(Clone, Debug)]
pub struct Resumed {
    /// The id of the `JoinRoom`.
    pub id: u64,
    /// The room's last event.
    pub seq: Seq,
    /// The session of the stay.
    pub session_id: SessionId,
    /// This connection, for the next resume.
    pub connection_id: ConnectionId,
    /// For the next resume.
    pub resume_token: String,
    /// The events after `lastSeq`, as sent to the others.
    pub missed: Vec<ByteString>,
    /// Relays may be missing: the client restarts ICE.
    pub relays_lost: bool,
}

impl Notice {
    /// Returns the JSON object; `durable` says whether the mirror holds everything before it.
    #[must_use]
    pub fn encode(&self, durable: bool) -> ByteString {
        let text = match self {
            Self::RoomJoined(joined) => to_json(&Typed {
                kind: "RoomJoined",
                durable: Some(durable),
                body: joined.as_ref(),
            }),
            Self::RoomResumed(resumed) => return resumed.encode(durable),
            Self::LobbyWaiting { id } => format!(r#"{{"type":"LobbyWaiting","id":{id}}}"#),
            Self::LobbyDenied { id } => format!(r#"{{"type":"LobbyDenied","id":{id}}}"#),
            Self::Ack { id, seq } => {
                format!(r#"{{"type":"Ack","id":{id},"seq":{seq},"durable":{durable}}}"#)
            }
            Self::RelayAck { id, seq } => format!(r#"{{"type":"Ack","id":{id},"seq":{seq}}}"#),
            Self::Error { id, rejection } => return encode_error(*id, rejection),
            Self::LobbyChanged { waiting } => to_json(&Typed {
                kind: "LobbyChanged",
                durable: None,
                body: &LobbyBody { waiting },
            }),
            Self::SfuEndpoint {
                ip,
                port,
                transport_id,
                region,
            } => to_json(&Typed {
                kind: "SfuEndpoint",
                durable: None,
                body: &SfuBody {
                    ip,
                    port: *port,
                    transport_id: *transport_id,
                    region,
                },
            }),
            Self::DurabilityChanged { durable } => {
                format!(r#"{{"type":"DurabilityChanged","durable":{durable}}}"#)
            }
            Self::KeepAlive { seq } => format!(r#"{{"type":"KeepAlive","seq":{seq}}}"#),
        };
        text.into()
    }
}

impl Resumed {
    /// Inserts the missed events as they were sent: the same JSON for everybody.
    fn encode(&self, durable: bool) -> ByteString {
        let missed = self
            .missed
            .iter()
            .map(|frame| &**frame)
            .collect::<Vec<&str>>()
            .join(",");
        format!(
            r#"{{"type":"RoomResumed","id":{},"seq":{},"sessionId":"{}","connectionId":"{}","resumeToken":{},"missed":[{missed}],"relaysLost":{},"durable":{durable}}}"#,
            self.id,
            self.seq,
            self.session_id,
            self.connection_id,
            serde_json::Value::from(self.resume_token.as_str()),
            self.relays_lost,
        )
        .into()
    }
}

/// Returns an `Error` object.
#[must_use]
pub fn encode_error(id: Option<u64>, rejection: &Rejection) -> ByteString {
    #[derive(Serialize)]
    struct Body<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<u64>,
        code: Code,
        message: &'a str,
    }
    to_json(&Typed {
        kind: "Error",
        durable: None,
        body: &Body {
            id,
            code: rejection.code,
            message: &rejection.message,
        },
    })
    .into()
}

/// A message of one participant for another.
#[derive(Serialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub(crate) enum RelayedMessage<'a> {
    ReceiveOffer {
        source_user_id: UserId,
        sdp: &'a serde_json::value::RawValue,
    },
    ReceiveAnswer {
        source_user_id: UserId,
        sdp: &'a serde_json::value::RawValue,
    },
    IceCandidate {
        source_user_id: UserId,
        candidate: &'a serde_json::value::RawValue,
    },
    MessageReceived {
        source_user_id: UserId,
        target_user_id: UserId,
        text: &'a str,
        sent_at: Timestamp,
    },
}

impl RelayedMessage<'_> {
    pub(crate) fn encode(&self) -> ByteString {
        to_json(self).into()
    }
}

#[derive(Serialize)]
struct Typed<'a, T> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(flatten)]
    body: &'a T,
    #[serde(skip_serializing_if = "Option::is_none")]
    durable: Option<bool>,
}

#[derive(Serialize)]
struct LobbyBody<'a> {
    waiting: &'a [WaitingView],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SfuBody<'a> {
    ip: &'a str,
    port: u16,
    transport_id: ConnectionId,
    region: &'a str,
}

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("notices are plain data with string keys")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_carries_the_id_only_when_it_is_known() {
        let rejection = Rejection::new(Code::RoomFull, "no seat is free");
        assert_eq!(
            encode_error(Some(7), &rejection),
            r#"{"type":"Error","id":7,"code":"room_full","message":"no seat is free"}"#
        );
        assert_eq!(
            encode_error(None, &rejection),
            r#"{"type":"Error","code":"room_full","message":"no seat is free"}"#
        );
    }
}
