//! Seats and waiting people: the records, and state that is kept in memory only.

use std::collections::VecDeque;

use bytestring::ByteString;

use super::{
    input::Join,
    record::{LobbyRecord, ParticipantRecord},
    rules::Rules,
};
use crate::ids::{ConnectionId, Epoch, Timestamp};

/// Whether the participant of a seat is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// A connection holds the seat.
    Connected,
    /// Unconnected since a takeover, not yet shown as away.
    Quiet {
        /// When the others are shown it.
        until: Timestamp,
        /// When the stay ends.
        grace_until: Timestamp,
    },
    /// Shown as away.
    Away {
        /// When the stay ends.
        grace_until: Timestamp,
    },
}

impl Presence {
    /// Returns when the presence changes by itself.
    pub(super) fn deadline(self) -> Option<Timestamp> {
        match self {
            Self::Connected => None,
            Self::Quiet { until, grace_until } => Some(until.min(grace_until)),
            Self::Away { grace_until } => Some(grace_until),
        }
    }
}

/// A seat.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) record: ParticipantRecord,
    pub(super) presence: Presence,
    /// Relays for an unconnected participant, oldest first, bounded in number and in bytes.
    held: VecDeque<ByteString>,
    held_bytes: usize,
    /// A held relay was dropped.
    pub(super) are_relays_lost: bool,
    /// Hash of the resume token that opened the connection, until a frame arrives on it.
    pub(super) opened_with: Option<String>,
}

impl Seat {
    pub(super) fn new(record: ParticipantRecord, presence: Presence) -> Self {
        Self {
            record,
            presence,
            held: VecDeque::new(),
            held_bytes: 0,
            are_relays_lost: false,
            opened_with: None,
        }
    }

    /// Makes tokens of the epoch `previous` count as issued in `epoch`, because their holder has
    /// seen only its events. Older tokens stay as they are.
    pub(super) fn carry_tokens(&mut self, previous: Epoch, epoch: Epoch) {
        for token in &mut self.record.resume_token_hashes {
            if token.epoch == previous {
                token.epoch = epoch;
            }
        }
    }

    /// Keeps a relay for an unconnected participant; beyond the bounds the oldest are dropped.
    pub(super) fn hold(&mut self, frame: ByteString, rules: &Rules) {
        self.held_bytes += frame.len();
        self.held.push_back(frame);
        while self.held.len() > rules.held_relays_max
            || self.held_bytes > rules.held_relay_bytes_max
        {
            let Some(lost) = self.held.pop_front() else {
                break;
            };
            self.held_bytes -= lost.len();
            self.are_relays_lost = true;
        }
    }

    /// Takes the held relays in the order in which they came.
    pub(super) fn take_held(&mut self) -> VecDeque<ByteString> {
        self.held_bytes = 0;
        std::mem::take(&mut self.held)
    }

    pub(super) fn is_connected(&self) -> bool {
        self.presence == Presence::Connected
    }

    /// Returns the connection that holds the seat.
    pub(super) fn connection(&self) -> Option<ConnectionId> {
        self.is_connected().then_some(self.record.connection_id)
    }
}

/// Somebody in the lobby.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) record: LobbyRecord,
    /// The join that waits; `None` while unconnected.
    pub(super) join: Option<Box<Join>>,
    /// When an unconnected person is removed from the lobby.
    pub(super) grace_until: Option<Timestamp>,
}
