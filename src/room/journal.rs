//! What changed since the mirror was last told: marks only; the records are read when a commit is made, so merging is free.

use std::collections::BTreeSet;

use super::record::TailEvent;
use crate::ids::{StayId, UserId, Version};

/// Marks of changed records. `version` grows by one with each input that changed something that must be mirrored.
#[derive(Debug)]
pub(super) struct Journal {
    /// Version of the state in memory.
    pub(super) version: Version,
    /// Version of the last change set that was taken.
    pub(super) taken: Version,
    /// Something that must be mirrored changed in the input at hand.
    is_touched: bool,
    /// The next change set is a full snapshot.
    pub(super) is_full: bool,
    pub(super) head: bool,
    pub(super) participants: BTreeSet<UserId>,
    pub(super) lobby: BTreeSet<UserId>,
    pub(super) left: BTreeSet<StayId>,
    pub(super) bans: BTreeSet<UserId>,
    pub(super) events: Vec<TailEvent>,
}

impl Journal {
    pub(super) fn new(version: Version, is_full: bool) -> Self {
        Self {
            version,
            taken: version,
            is_touched: false,
            is_full,
            head: false,
            participants: BTreeSet::new(),
            lobby: BTreeSet::new(),
            left: BTreeSet::new(),
            bans: BTreeSet::new(),
            events: Vec::new(),
        }
    }

    pub(super) fn head(&mut self) {
        self.head = true;
        self.is_touched = true;
    }

    pub(super) fn participant(&mut self, user_id: UserId) {
        self.participants.insert(user_id);
        self.is_touched = true;
    }

    /// Like [`Journal::participant`], but mirrored with the next change only.
    pub(super) fn participant_later(&mut self, user_id: UserId) {
        self.participants.insert(user_id);
    }

    pub(super) fn lobby(&mut self, user_id: UserId) {
        self.lobby.insert(user_id);
        self.is_touched = true;
    }

    pub(super) fn left(&mut self, stay_id: StayId) {
        self.left.insert(stay_id);
        self.is_touched = true;
    }

    pub(super) fn ban(&mut self, user_id: UserId) {
        self.bans.insert(user_id);
        self.is_touched = true;
    }

    /// Notes an event; more than the tail holds cannot be of use, then the next change set is a full one.
    pub(super) fn event(&mut self, event: TailEvent, tail_events_max: usize) {
        self.is_touched = true;
        if self.events.len() >= tail_events_max {
            self.is_full = true;
        }
        if self.is_full {
            self.events.clear();
        } else {
            self.events.push(event);
        }
    }

    /// The next change set is a full snapshot, due now.
    pub(super) fn full(&mut self) {
        self.is_full = true;
        self.events.clear();
        self.version = self.version.next();
    }

    /// Ends an input: one version for all that it changed.
    pub(super) fn end_input(&mut self) {
        if std::mem::take(&mut self.is_touched) {
            self.version = self.version.next();
        }
    }
}
