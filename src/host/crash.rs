//! What a crashed room leaves behind, and how its successor continues with it.

use std::mem;

use super::{Host, Moment, Outbox};
use crate::{
    ids::{ConnectionId, ConnectionMap},
    protocol::{Code, EndReason, Rejection, encode_error},
    room::input::Input,
};

/// What outlives a crash.
#[derive(Debug)]
pub struct CrashState<C> {
    /// The open connections.
    pub outboxes: ConnectionMap<Outbox<C>>,
    /// Commands that were applied but not answered.
    pub unanswered: Vec<(ConnectionId, u64)>,
    /// The command that made the rules panic.
    pub crashing_command: Option<(ConnectionId, u64)>,
    /// The restart budget is used up: the session ends.
    pub must_end: bool,
}

impl<C> Default for CrashState<C> {
    fn default() -> Self {
        Self {
            outboxes: ConnectionMap::default(),
            unanswered: Vec::new(),
            crashing_command: None,
            must_end: false,
        }
    }
}

impl<C> Host<C> {
    /// Takes out what a successor needs.
    pub fn take_crash_state(&mut self) -> CrashState<C> {
        CrashState {
            outboxes: mem::take(&mut self.outboxes).into_outboxes(),
            unanswered: self.owner.unanswered(),
            crashing_command: self.crashing_command,
            must_end: false,
        }
    }

    /// Continues with the connections of a crashed predecessor: each gets what it missed.
    ///
    /// Returns those that have to connect again, because what they missed is not known.
    pub fn continue_after_crash(&mut self, moment: Moment, crash: CrashState<C>) -> Vec<C> {
        let (kept, lost) = self.adopt(crash.outboxes);
        for (connection_id, id) in crash.unanswered {
            let rejection =
                Rejection::new(Code::Timeout, "outcome unknown: repeat with the same id");
            self.push(connection_id, encode_error(Some(id), &rejection));
        }
        let crashing = crash.crashing_command;
        let inputs = [
            Some(Input::Reattach { connections: kept }),
            crashing.map(|(connection_id, id)| Input::Decide { connection_id, id }),
            crash.must_end.then_some(Input::End(EndReason::Failed)),
        ];
        for input in inputs.into_iter().flatten() {
            for (to, frame) in self.apply(moment, input).unwrap_or_default().relays {
                self.push(to, frame);
            }
        }
        lost
    }

    fn adopt(&mut self, outboxes: ConnectionMap<Outbox<C>>) -> (Vec<ConnectionId>, Vec<C>) {
        let seq = self.room().seq();
        let (mut kept, mut lost) = (Vec::new(), Vec::new());
        for (connection_id, mut outbox) in outboxes {
            if outbox.is_closing() {
                // It is not in the room any more.
                self.outboxes.insert_listed(connection_id, outbox);
                continue;
            }
            let missed = outbox.sent.and_then(|sent| self.room().events_after(sent));
            let Some(missed) = missed else {
                lost.push(outbox.connection);
                continue;
            };
            outbox.sent = Some(seq);
            // Listed even without frames: what the predecessor began to write continues, and a
            // client that is gone is noticed.
            self.outboxes.insert_listed(connection_id, outbox);
            for frame in missed {
                self.outboxes.push(connection_id, frame);
            }
            kept.push(connection_id);
        }
        (kept, lost)
    }
}
