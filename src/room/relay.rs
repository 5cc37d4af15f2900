//! Relays: messages of one participant for one other. They are not mirrored, are delivered at most
//! once, and keep their order between the same two people.

use super::{Room, effect::Effect};
use crate::{
    ids::{ConnectionId, Timestamp, UserId},
    protocol::{Code, Notice, Rejection, RelayCommand, RelayedMessage},
};

impl Room {
    pub(super) fn relay(
        &mut self,
        now: Timestamp,
        from: ConnectionId,
        source_user_id: UserId,
        id: u64,
        command: &RelayCommand,
    ) {
        let (target_user_id, message) = relayed(now, source_user_id, command);
        let Some(seat) = self.seats.get_mut(&target_user_id) else {
            let rejection = Rejection::new(Code::TargetNotFound, "the target is not in the room");
            return self.refuse(from, id, rejection);
        };
        let frame = message.encode();
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

/// Returns the target and the message that it gets.
fn relayed(
    now: Timestamp,
    source_user_id: UserId,
    command: &RelayCommand,
) -> (UserId, RelayedMessage<'_>) {
    match command {
        RelayCommand::SendOffer {
            target_user_id,
            sdp,
        } => {
            let message = RelayedMessage::ReceiveOffer {
                source_user_id,
                sdp,
            };
            (*target_user_id, message)
        }
        RelayCommand::SendAnswer {
            target_user_id,
            sdp,
        } => {
            let message = RelayedMessage::ReceiveAnswer {
                source_user_id,
                sdp,
            };
            (*target_user_id, message)
        }
        RelayCommand::SendIceCandidate {
            target_user_id,
            candidate,
        } => {
            let message = RelayedMessage::IceCandidate {
                source_user_id,
                candidate,
            };
            (*target_user_id, message)
        }
        RelayCommand::SendMessage {
            target_user_id,
            text,
        } => {
            let message = RelayedMessage::MessageReceived {
                source_user_id,
                target_user_id: *target_user_id,
                text,
                sent_at: now,
            };
            (*target_user_id, message)
        }
    }
}
