//! The checks of one client that knows what the other clients of its room saw: **durable-ack**,
//! **once**, **capacity**, **no-ghosts** and **one-session**.
//!
//! Such a client never leaves and is never away longer than the grace. The room owes it the same
//! stay until the session ends.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use chrono::Utc;
use serde_json::Value;

use super::{
    Command,
    frame::Change,
    participants::{Participants, hash_of},
    pending::Pending,
    room_log::{RoomLog, Sighting},
    switches::Switches,
};

/// `room.reconnect_grace_ms` less the time that a client needs to notice a loss.
pub const GRACE: Duration = Duration::from_secs(27);

/// What one client contributes to the [`RoomLog`], and what it is owed.
pub(super) struct Checker {
    name: String,
    log: Arc<Mutex<RoomLog>>,
    switches: Switches,
    /// The last event that is promised to survive.
    sure_seq: u64,
    /// Events of this connection that are not known to be durable.
    unsure: Vec<Sighting>,
    /// A `DurabilityChanged{false}` directly after `RoomResumed` belongs to the missed events.
    is_resume_open: bool,
    /// See [`RoomLog::losses`].
    losses: u64,
}

impl Checker {
    pub fn new(name: &str, log: &Arc<Mutex<RoomLog>>) -> Self {
        Self {
            name: name.to_owned(),
            log: Arc::clone(log),
            switches: Switches::default(),
            sure_seq: 0,
            unsure: Vec::new(),
            is_resume_open: false,
            losses: 0,
        }
    }

    pub fn log(&self) -> MutexGuard<'_, RoomLog> {
        self.log.lock().expect("no holder of the log panics")
    }

    pub fn violate(&self, promise: &'static str, seq: u64, what: &str) {
        let what = format!("{} at seq {seq}: {what}", self.name);
        self.log().violate(promise, &what);
    }

    /// Whether history was allowed to be lost at any time.
    pub fn may_have_lost(&self) -> bool {
        self.losses > 0
    }

    pub fn begin_connection(&mut self) {
        self.log().first_join_at.get_or_insert_with(Utc::now);
        self.unsure.clear();
        self.is_resume_open = false;
    }

    /// Must be called before each message. Once history may be lost, nothing seen before binds the
    /// server.
    pub fn begin_message(&mut self) {
        let losses = self.log().losses;
        if losses != self.losses {
            self.losses = losses;
            self.sure_seq = 0;
            self.unsure.clear();
            self.switches = Switches::default();
        }
    }

    /// Closes an open resume: what it brought is durable unless this message says otherwise.
    pub fn end_resume(&mut self, session_id: &str, own: Option<&Value>) {
        if std::mem::take(&mut self.is_resume_open) {
            self.all_is_sure(session_id);
            if let Some(own) = own {
                self.switches.shown(own);
            }
        }
    }

    /// Leaves what the resume brought unsure.
    pub fn cancel_resume(&mut self) {
        self.is_resume_open = false;
    }

    pub fn resumed(&mut self) {
        self.is_resume_open = true;
    }

    pub fn new_stay(&mut self) {
        self.switches = Switches::default();
    }

    pub fn enter(&self, session_id: &str) {
        self.log().enter(session_id, &self.name);
    }

    /// Returns the last sure event if a snapshot of the same session is behind it.
    pub fn ahead_of(&self, seq: u64) -> Option<u64> {
        (seq < self.sure_seq).then_some(self.sure_seq)
    }

    pub fn durable_snapshot(
        &mut self,
        session_id: &str,
        seq: u64,
        participants: &Participants,
        own: Option<&Value>,
    ) {
        self.sure_seq = seq;
        if let Some(own) = own {
            self.switches.shown(own);
        }
        let digest = participants.digest();
        self.log().snapshot(session_id, seq, digest, &self.name);
    }

    pub fn acked<T: Command>(&mut self, session_id: &str, seq: u64, durable: bool, command: &T) {
        if let Some((switch, value)) = command.switch() {
            self.switches.acked(switch, value, durable);
        }
        if durable {
            self.sure_seq = self.sure_seq.max(seq);
            if let Some(said) = command.chat() {
                self.log().acked_chat(session_id, seq, said);
            }
        }
    }

    /// The owner has written everything that it sent before on this connection.
    pub fn durable_again(&mut self, session_id: &str) {
        self.all_is_sure(session_id);
        self.switches.all_is_sure();
    }

    /// Notes an event. `is_sure`: nothing said that it is not durable.
    pub fn event(&mut self, session_id: &str, text: &str, digest: u64, is_sure: bool) {
        let event: Value = serde_json::from_str(text).unwrap_or_default();
        let is_chat = event["type"] == "MessageReceived";
        let said = event["text"].as_str().filter(|_| is_chat);
        let seen = Sighting {
            seq: event["seq"].as_u64().unwrap_or_default(),
            hash: hash_of(&event),
            digest,
            chat: said.map(str::to_owned),
        };
        self.log().see(session_id, &seen, is_sure, &self.name);
        if is_sure {
            self.sure_seq = self.sure_seq.max(seen.seq);
        } else {
            self.unsure.push(seen);
        }
    }

    /// Checks a `ParticipantLeft`.
    pub fn left(&self, text: &str, now: Instant) {
        if let Ok(left) = Change::read(text) {
            self.log()
                .left(&left.user_id, &left.reason, now, GRACE, &self.name);
        }
    }

    /// Returns what is wrong with the number of participants.
    pub fn wrong_seats(&self, participants: &Participants) -> Option<String> {
        let seats = self.log().seats;
        let count = participants.len();
        (count > seats).then(|| format!("{count} people on {seats} seats"))
    }

    /// Returns the own switch that shows something older than what was acknowledged.
    pub fn wrong_switch<T: Command>(
        &self,
        own: &Value,
        pending: &Pending<T>,
    ) -> Option<&'static str> {
        self.switches.wrong(own, pending)
    }

    fn all_is_sure(&mut self, session_id: &str) {
        for seen in std::mem::take(&mut self.unsure) {
            self.sure_seq = self.sure_seq.max(seen.seq);
            self.log().see(session_id, &seen, true, &self.name);
        }
    }
}
