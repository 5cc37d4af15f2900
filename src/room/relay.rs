//! What one participant sends to one other: not state, not mirrored, at most once, in order between the same two people.

use serde_json::value::RawValue;

use super::{Room, effect::Effect};
use crate::{
    ids::{ConnectionId, Timestamp, UserId},
    protocol::{Code, Command, Notice, Rejection, Relayed},
};

/// A command that is passed on to one participant.
pub(super) struct Relay<'a> {
    target_user_id: UserId,
    content: Content<'a>,
}

enum Content<'a> {
    Offer(&'a RawValue),
    Answer(&'a RawValue),
    Candidate(&'a RawValue),
    Text(&'a str),
}

impl Command {
    /// The relay, if this command is one.
    pub(super) fn as_relay(&self) -> Option<Relay<'_>> {
        let (target_user_id, content) = match self {
            Self::SendOffer {
                target_user_id,
                sdp,
            } => (*target_user_id, Content::Offer(sdp)),
            Self::SendAnswer {
                target_user_id,
                sdp,
            } => (*target_user_id, Content::Answer(sdp)),
            Self::SendIceCandidate {
                target_user_id,
                candidate,
            } => (*target_user_id, Content::Candidate(candidate)),
            Self::SendMessage {
                text,
                target_user_id: Some(target_user_id),
            } => (*target_user_id, Content::Text(text)),
            Self::SendMessage {
                target_user_id: None,
                ..
            }
            | Self::UpdateState(_)
            | Self::MuteParticipant { .. }
            | Self::RemoveParticipant { .. }
            | Self::AdmitParticipant { .. }
            | Self::DenyParticipant { .. }
            | Self::SetRole { .. }
            | Self::LockRoom { .. }
            | Self::StartRecording
            | Self::StopRecording
            | Self::EndRoom
            | Self::LeaveRoom => return None,
        };
        Some(Relay {
            target_user_id,
            content,
        })
    }
}

impl Room {
    pub(super) fn relay(
        &mut self,
        now: Timestamp,
        from: ConnectionId,
        user_id: UserId,
        id: u64,
        relay: &Relay<'_>,
    ) {
        let Some(seat) = self.seats.get_mut(&relay.target_user_id) else {
            let rejection = Rejection::new(Code::TargetNotFound, "the target is not in the room");
            return self.refuse(from, id, rejection);
        };
        let frame = relay
            .content
            .passed_on(user_id, relay.target_user_id, now)
            .encode();
        match seat.connection() {
            Some(to) => self.effects.push(Effect::Relay {
                from: Some(from),
                to,
                frame,
            }),
            None => seat.hold(frame, &self.rules),
        }
        self.send(from, Notice::RelayAck { id, seq: self.seq });
    }
}

impl<'a> Content<'a> {
    fn passed_on(
        &self,
        source_user_id: UserId,
        target_user_id: UserId,
        now: Timestamp,
    ) -> Relayed<'a> {
        match *self {
            Self::Offer(sdp) => Relayed::ReceiveOffer {
                source_user_id,
                sdp,
            },
            Self::Answer(sdp) => Relayed::ReceiveAnswer {
                source_user_id,
                sdp,
            },
            Self::Candidate(candidate) => Relayed::IceCandidate {
                source_user_id,
                candidate,
            },
            Self::Text(text) => Relayed::MessageReceived {
                source_user_id,
                target_user_id,
                text,
                sent_at: now,
            },
        }
    }
}
