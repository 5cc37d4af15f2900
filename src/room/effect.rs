//! What the room asks of the shell: effects as data, in the order in which they are to happen.

use std::sync::Arc;

use bytestring::ByteString;
use serde::Serialize;

use super::{
    goodbye::GoodbyeReason,
    record::{BanRecord, ClosedSession, LobbyRecord, TailEvent},
    view::{AdminReply, Code, ParticipantView, Rejection, RoomView},
};
use crate::ids::{ConnectionId, Seq, SessionId, Timestamp, UserId};

/// Ties an admin's command to its answer; chosen by the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(pub u64);

/// Recipients of an event, fixed when it happened.
pub type Audience = Arc<[ConnectionId]>;

/// Something the shell is to do. Everything but [`Effect::Relay`] waits for the commit of all changes before it.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Tell one connection.
    Send {
        /// Whom.
        to: ConnectionId,
        /// What.
        notice: Notice,
    },
    /// Tell all who were connected when it happened.
    Broadcast {
        /// Whom.
        to: Audience,
        /// What.
        event: TailEvent,
    },
    /// Pass something from one to another; overtakes what waits for a commit, except the joins of the two.
    Relay {
        /// Sender's connection; none: held for the target until now.
        from: Option<ConnectionId>,
        /// Target's connection.
        to: ConnectionId,
        /// The encoded object.
        frame: ByteString,
    },
    /// Say goodbye and close.
    Disconnect {
        /// Whom.
        connection_id: ConnectionId,
        /// Why; decides action and close code.
        reason: GoodbyeReason,
    },
    /// Answer an admin.
    Reply {
        /// Which request.
        ticket: Ticket,
        /// The answer.
        result: Result<AdminReply, Rejection>,
    },
    /// A session began: put it into SQL.
    OpenSession {
        /// Its id.
        session_id: SessionId,
        /// First admitted join.
        start_time: Timestamp,
    },
    /// Put a ban into SQL.
    StoreBan {
        /// Whose.
        user_id: UserId,
        /// The ban.
        ban: BanRecord,
    },
    /// Irreversible, never before its commit: the room is closed; a session, if one began, waits in the outbox.
    Closed {
        /// The finished session.
        session: Option<Box<ClosedSession>>,
    },
}

impl Effect {
    /// Whom it tells something, and what; none: it does something else, or tells all.
    #[must_use]
    pub fn told(&self) -> Option<(ConnectionId, &Notice)> {
        match self {
            Self::Send { to, notice } => Some((*to, notice)),
            Self::Broadcast { .. }
            | Self::Relay { .. }
            | Self::Disconnect { .. }
            | Self::Reply { .. }
            | Self::OpenSession { .. }
            | Self::StoreBan { .. }
            | Self::Closed { .. } => None,
        }
    }
}

/// Something told to one connection.
#[derive(Clone, Debug)]
pub enum Notice {
    /// Admitted, or resumed with a snapshot.
    RoomJoined(Box<Joined>),
    /// Resumed without a gap.
    RoomResumed(Box<Resumed>),
    /// Wait for a host.
    LobbyWaiting {
        /// Of the `JoinRoom`.
        id: u64,
    },
    /// A host said no.
    LobbyDenied {
        /// Of the `JoinRoom`.
        id: u64,
    },
    /// A command took effect.
    Ack {
        /// Of the command.
        id: u64,
        /// The room's last event by then.
        seq: Seq,
    },
    /// A relay was accepted.
    RelayAck {
        /// Of the command.
        id: u64,
        /// The room's last event by then.
        seq: Seq,
    },
    /// A command was refused.
    Error {
        /// Of the command, when it could be read.
        id: Option<u64>,
        /// Why.
        rejection: Rejection,
    },
    /// Who waits now; hosts only.
    LobbyChanged {
        /// Complete, longest waiting first.
        waiting: Vec<WaitingView>,
    },
    /// Where the media servers are.
    SfuEndpoint {
        /// Address.
        ip: String,
        /// Port.
        port: u16,
        /// Of this connection's media transport.
        transport_id: ConnectionId,
        /// The room's region.
        region: String,
    },
    /// The mirror stopped or resumed taking changes.
    DurabilityChanged {
        /// New state.
        durable: bool,
    },
    /// The answer to `KeepAlive`.
    KeepAlive {
        /// The room's last event by then.
        seq: Seq,
    },
}

/// One line of the lobby.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WaitingView {
    /// Who.
    pub user_id: UserId,
    /// Their name.
    pub display_name: String,
    /// Since when.
    pub since: Timestamp,
}

impl WaitingView {
    /// The public part of a record.
    #[must_use]
    pub fn new(user_id: UserId, record: &LobbyRecord) -> Self {
        Self {
            user_id,
            display_name: record.display_name.clone(),
            since: record.since,
        }
    }
}

/// The content of `RoomJoined`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Joined {
    /// Of the `JoinRoom`.
    pub id: u64,
    /// That of one's own `ParticipantJoined`; after a gap: the room's last event.
    pub seq: Seq,
    /// The session.
    pub session_id: SessionId,
    /// This connection.
    pub connection_id: ConnectionId,
    /// For the next resume.
    pub resume_token: String,
    /// Oneself.
    #[serde(rename = "self")]
    pub own: ParticipantView,
    /// The room.
    pub room: RoomView,
    /// Everybody, oneself included.
    pub participants: Vec<ParticipantView>,
    /// A resume whose missed events cannot be replayed.
    pub is_snapshot_after_gap: bool,
}

/// The content of `RoomResumed`.
#[derive(Clone, Debug)]
pub struct Resumed {
    /// Of the `JoinRoom`.
    pub id: u64,
    /// The room's last event.
    pub seq: Seq,
    /// The session.
    pub session_id: SessionId,
    /// This connection.
    pub connection_id: ConnectionId,
    /// For the next resume.
    pub resume_token: String,
    /// Events after `lastSeq`, as sent to the others.
    pub missed: Vec<ByteString>,
    /// Relays may be missing: restart ICE.
    pub relays_lost: bool,
}

impl Notice {
    /// The JSON object. `durable`: whether the mirror holds all that came before it.
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
    /// Missed events are spliced in as they were sent: the same JSON for everybody.
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

/// An `Error` object, also for connections that no room knows yet.
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

/// A passed-on object of one participant for another.
#[derive(Serialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub(super) enum Relayed<'a> {
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

impl Relayed<'_> {
    pub(super) fn encode(&self) -> ByteString {
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
