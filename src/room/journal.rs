//! Marks what changed since the last commit. The records are read when a commit is made, so changes
//! to one record merge.

use std::collections::BTreeSet;

use super::record::TailEvent;
use crate::ids::{StayId, UserId, Version};

/// Marks of changed records. `version` grows by one with each input that must be mirrored.
#[derive(Debug)]
pub(super) struct Journal {
    /// Version of the state in memory.
    pub(super) version: Version,
    /// Version of the last change set that was taken.
    pub(super) taken: Version,
    /// The current input changed something that must be mirrored.
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

    /// Like [`Journal::participant`], but the mark alone causes no commit.
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

    /// Adds an event. If there are more than the tail holds, the next change set is a full
    /// snapshot.
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

    /// Makes the next change set a full snapshot, even if nothing else changes.
    pub(super) fn full(&mut self) {
        self.is_full = true;
        self.events.clear();
        self.version = self.version.next();
    }

    /// Ends an input: all its changes get one version.
    pub(super) fn end_input(&mut self) {
        if std::mem::take(&mut self.is_touched) {
            self.version = self.version.next();
        }
    }
}
