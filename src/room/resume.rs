//! Resuming: the same stay continues on another connection.

use super::{
    Room,
    effect::Effect,
    input::{Join, Resume},
    record::TokenHash,
    seat::Presence,
};
use crate::{
    ids::{Epoch, Seq, Timestamp, UserId},
    protocol::{Event, GoodbyeReason, LeaveReason, Notice, Resumed, Role},
};

/// How many resume tokens of one stay are valid at the same time.
const TOKENS_MAX: usize = 3;

/// Whether a presented resume token continues a stay.
pub(super) enum Resumable {
    Yes {
        /// The epoch that issued the token.
        token_epoch: Epoch,
    },
    /// No: the stay was ended on purpose.
    Ended(GoodbyeReason),
    /// The token is unknown or timed out: a new stay begins.
    Unknown,
}

impl Room {
    pub(super) fn resumable(&self, now: Timestamp, user_id: UserId, resume: &Resume) -> Resumable {
        let find = |tokens: &[TokenHash]| {
            tokens
                .iter()
                .find(|token| token.hash == resume.token.hash)
                .map(|token| token.epoch)
        };
        if let Some(token_epoch) = self
            .seats
            .get(&user_id)
            .and_then(|seat| find(&seat.record.resume_token_hashes))
        {
            return Resumable::Yes { token_epoch };
        }
        let ended = self.left.values().find(|left| {
            left.user_id == user_id
                && now.ms_since(left.ended_at) < self.rules.reconnect_grace_ms
                && find(&left.resume_token_hashes).is_some()
        });
        match ended.map(|left| left.leave_reason) {
            None | Some(LeaveReason::Timeout | LeaveReason::Ended) => Resumable::Unknown,
            Some(LeaveReason::Left) => Resumable::Ended(GoodbyeReason::Left),
            Some(LeaveReason::Removed) => Resumable::Ended(GoodbyeReason::Removed),
            Some(LeaveReason::Banned) => Resumable::Ended(GoodbyeReason::Banned),
            Some(LeaveReason::Superseded) => Resumable::Ended(GoodbyeReason::Superseded),
        }
    }

    /// Continues the stay on the connection of `join`.
    pub(super) fn resume(&mut self, join: Join, token_epoch: Epoch) {
        let (Some(resume), Some(session)) = (join.resume, self.head.session) else {
            return;
        };
        let has_seen_known_events =
            resume.last_seq <= self.seq && self.is_before_fork(token_epoch, resume.last_seq);
        let epoch = self.epoch;
        let is_durable = self.is_durable;
        let Some(seat) = self.seats.get_mut(&join.user_id) else {
            return;
        };
        let older = seat.connection();
        let was_away = seat.record.is_away;
        seat.record.connection_id = join.connection_id;
        seat.record.is_away = false;
        seat.record.lost_at = None;
        seat.presence = Presence::Connected;
        let presented = resume.token.hash.clone();
        let resume_token = if is_durable {
            rotate(
                &mut seat.record.resume_token_hashes,
                &presented,
                join.resume_token.hash,
                epoch,
            );
            join.resume_token.text
        } else {
            resume.token.text
        };
        seat.opened_with = Some(presented);
        let held = seat.take_held();
        let relays_lost = std::mem::take(&mut seat.are_relays_lost) || token_epoch != epoch;
        let own = seat.record.view(join.user_id);
        if let Some(older) = older {
            self.disconnect(older, GoodbyeReason::Superseded);
        }
        self.attach_to_seat(join.connection_id, join.user_id);
        self.journal.participant(join.user_id);
        if was_away {
            self.publish_except(&presence_changed(join.user_id, false), join.connection_id);
        }
        let missed = has_seen_known_events
            .then(|| self.tail.after(resume.last_seq, self.seq))
            .flatten();
        match missed {
            Some(missed) => {
                let resumed = Resumed {
                    id: join.id,
                    seq: self.seq,
                    session_id: session.session_id,
                    connection_id: join.connection_id,
                    resume_token,
                    missed,
                    relays_lost,
                };
                self.send(join.connection_id, Notice::RoomResumed(Box::new(resumed)));
                // Changes of the lobby have no `seq`, so they are not among the missed events.
                if own.role == Role::Host {
                    self.send_lobby(join.connection_id);
                }
            }
            None => self.welcome(
                join.connection_id,
                join.id,
                resume_token,
                own,
                session,
                true,
            ),
        }
        for frame in held {
            self.effects.push(Effect::Relay {
                from: None,
                to: join.connection_id,
                frame,
            });
        }
    }

    /// Returns whether the events that the holder of a token saw belong to this room's history:
    /// none is beyond the start of the first epoch after the token's.
    fn is_before_fork(&self, token_epoch: Epoch, last_seq: Seq) -> bool {
        let starts = &self.head.epoch_starts;
        // The end of an epoch that is no longer remembered is unknown.
        let is_remembered = starts
            .first()
            .is_some_and(|oldest| oldest.epoch <= token_epoch);
        is_remembered
            && starts
                .iter()
                .find(|start| start.epoch > token_epoch)
                .is_none_or(|start| last_seq <= start.seq)
    }

    /// Drops older tokens at the first frame of a connection that was opened with a resume token.
    pub(super) fn confirm_token(&mut self, user_id: UserId) {
        let Some(seat) = self.seats.get_mut(&user_id) else {
            return;
        };
        let Some(opened_with) = seat.opened_with.take() else {
            return;
        };
        let tokens = &mut seat.record.resume_token_hashes;
        if let Some(index) = tokens.iter().position(|token| token.hash == opened_with)
            && index > 0
        {
            tokens.drain(..index);
            self.journal.participant_later(user_id);
        }
    }
}

/// Adds a token. Tokens issued after the presented one never arrived and are dropped; older ones
/// stay until a frame confirms the presented one.
fn rotate(tokens: &mut Vec<TokenHash>, presented: &str, hash: String, epoch: Epoch) {
    if let Some(index) = tokens.iter().position(|token| token.hash == presented) {
        tokens.truncate(index + 1);
    }
    tokens.push(TokenHash { hash, epoch });
    let excess = tokens.len().saturating_sub(TOKENS_MAX);
    tokens.drain(..excess);
}

/// Returns the event that somebody is away or back.
pub(super) fn presence_changed(user_id: UserId, is_away: bool) -> Event<'static> {
    Event::StateChanged {
        user_id,
        by_user_id: None,
        change: Default::default(),
        is_away: Some(is_away),
    }
}
