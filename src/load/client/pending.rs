//! Commands without an answer, under ids that grow within a stay.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Pause before a command that was refused for now is sent again.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// A command without an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent<T> {
    /// The command.
    pub command: T,
    /// When [`Pending::due`] returned it last. `None` if it must be sent.
    pub sent_at: Option<Instant>,
    not_before: Option<Instant>,
}

/// The commands of one client that have no answer.
#[derive(Debug)]
pub struct Pending<T> {
    next_id: u64,
    commands: BTreeMap<u64, Sent<T>>,
}

impl<T> Default for Pending<T> {
    fn default() -> Self {
        Self {
            next_id: 1,
            commands: BTreeMap::new(),
        }
    }
}

impl<T: Clone> Pending<T> {
    /// Returns an id that was not used before.
    pub fn take_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    /// Returns the number of commands without an answer.
    #[must_use]
    pub fn len(&self) -> usize {
        self.commands.len()
    }

    /// Returns whether every command has its answer.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// Returns all commands by id.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.commands.iter().map(|(id, sent)| (*id, &sent.command))
    }

    /// Adds a command and returns its id. [`Self::due`] returns it if the caller does not send it.
    pub fn ask(&mut self, command: T) -> u64 {
        let id = self.take_id();
        let sent = Sent {
            command,
            sent_at: None,
            not_before: None,
        };
        self.commands.insert(id, sent);
        id
    }

    /// Makes all commands due, under the same ids: a new connection repeats them.
    pub fn repeat_all(&mut self) {
        for sent in self.commands.values_mut() {
            sent.sent_at = None;
            sent.not_before = None;
        }
    }

    /// Returns the commands to send now by id and marks them as sent.
    pub fn due(&mut self, now: Instant) -> Vec<(u64, T)> {
        let is_due = |sent: &Sent<T>| {
            sent.sent_at.is_none() && sent.not_before.is_none_or(|not_before| not_before <= now)
        };
        let mut due = Vec::new();
        for (id, sent) in self.commands.iter_mut().filter(|(_, sent)| is_due(sent)) {
            sent.sent_at = Some(now);
            due.push((*id, sent.command.clone()));
        }
        due
    }

    /// Returns when the oldest unanswered command was sent.
    #[must_use]
    pub fn waiting_since(&self) -> Option<Instant> {
        self.commands.values().filter_map(|sent| sent.sent_at).min()
    }

    /// Returns when [`Self::due`] has something again.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        self.commands
            .values()
            .filter(|sent| sent.sent_at.is_none())
            .filter_map(|sent| sent.not_before)
            .min()
    }

    /// Removes a command that has its answer. `None` if there is no such command.
    pub(super) fn answered(&mut self, id: u64) -> Option<Sent<T>> {
        self.commands.remove(&id)
    }

    /// Schedules a command that was refused for now. Returns it as it was sent.
    pub fn retry(&mut self, id: u64, now: Instant) -> Option<Sent<T>> {
        let sent = self.commands.get_mut(&id)?;
        let was = sent.clone();
        sent.sent_at = None;
        sent.not_before = Some(now + RETRY_AFTER);
        Some(was)
    }

    /// Removes all commands: a new stay does not answer those of the old one.
    pub fn forget(&mut self) -> impl Iterator<Item = T> {
        let commands = std::mem::take(&mut self.commands);
        commands.into_values().map(|sent| sent.command)
    }
}
