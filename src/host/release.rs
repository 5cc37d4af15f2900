//! Performs effects: puts what they tell into the outboxes, and leaves the rest to the shell.

use super::{Closing, End, Host};
use crate::{
    ids::{ConnectionId, SessionId, Timestamp, UserId},
    protocol::{Notice, Rejection},
    room::{
        admin::AdminReply,
        effect::{Audience, Effect, Ticket},
        record::{BanRecord, ClosedSession, TailEvent},
    },
};

/// An effect whose commit is done, or that need not wait for one.
#[derive(Debug)]
pub struct Released {
    /// What to perform.
    pub effect: Effect,
    /// False while the room is degraded: the mirror may not have what it tells.
    pub is_durable: bool,
}

/// The part of an effect that the shell carries out.
#[derive(Debug)]
pub enum Action {
    /// Answer an admin's command.
    Reply {
        /// The command's.
        ticket: Ticket,
        /// The answer.
        result: Result<AdminReply, Rejection>,
    },
    /// Write a session that began into SQL.
    OpenSession {
        /// The session.
        session_id: SessionId,
        /// When it began.
        start_time: Timestamp,
    },
    /// Write a ban into SQL.
    StoreBan {
        /// Who is banned.
        user_id: UserId,
        /// The ban.
        ban: BanRecord,
    },
    /// Bring a finished session from the mirror's outbox into SQL.
    RecordSession(Box<ClosedSession>),
}

impl<C> Host<C> {
    /// The next effect that may be performed now.
    pub fn next_effect(&mut self) -> Option<Released> {
        match self.end {
            None | Some(End::Closed) => {}
            Some(End::HandedOff | End::GivenUp | End::Stopped) => return None,
        }
        let (effect, is_durable) = self.owner.next_effect()?;
        Some(Released { effect, is_durable })
    }

    /// Puts what an effect tells into the outboxes. Returns what is left for the shell.
    pub fn perform(&mut self, released: Released) -> Option<Action> {
        match released.effect {
            Effect::Send { to, notice } => self.tell(to, &notice, released.is_durable),
            Effect::Broadcast { to, event } => self.broadcast(&to, &event),
            Effect::Relay { to, frame, .. } => self.outboxes.push(to, frame),
            Effect::Disconnect {
                connection_id,
                reason,
            } => self.outboxes.close(connection_id, Closing::from(reason)),
            Effect::Reply { ticket, result } => return Some(Action::Reply { ticket, result }),
            Effect::OpenSession {
                session_id,
                start_time,
            } => {
                return Some(Action::OpenSession {
                    session_id,
                    start_time,
                });
            }
            Effect::StoreBan { user_id, ban } => return Some(Action::StoreBan { user_id, ban }),
            Effect::Closed { session } => {
                self.end.get_or_insert(End::Closed);
                return session.map(Action::RecordSession);
            }
        }
        None
    }

    fn tell(&mut self, to: ConnectionId, notice: &Notice, is_durable: bool) {
        let joined_at = match notice {
            Notice::RoomJoined(joined) => Some(joined.seq),
            Notice::RoomResumed(resumed) => Some(resumed.seq),
            Notice::LobbyWaiting { .. }
            | Notice::LobbyDenied { .. }
            | Notice::Ack { .. }
            | Notice::RelayAck { .. }
            | Notice::Error { .. }
            | Notice::LobbyChanged { .. }
            | Notice::SfuEndpoint { .. }
            | Notice::DurabilityChanged { .. }
            | Notice::KeepAlive { .. } => None,
        };
        if self.outboxes.get(to).is_some() {
            self.outboxes.push(to, notice.encode(is_durable));
        }
        let Some(seq) = joined_at else {
            return;
        };
        if let Some(outbox) = self.outboxes.get_mut(to) {
            outbox.sent = Some(seq);
        }
        for (target, frame) in self.owner.joined(to) {
            self.outboxes.push(target, frame);
        }
    }

    fn broadcast(&mut self, to: &Audience, event: &TailEvent) {
        for connection_id in to.iter() {
            self.outboxes.push_event(*connection_id, event);
        }
    }
}
