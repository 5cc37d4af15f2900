//! One client of callboard without I/O: it takes messages and returns what they mean and which
//! promises they break.
//!
//! The load tool, the fault campaign and the tests over sockets drive the same client.

mod answers;
mod checker;
mod entering;
mod frame;
mod heard;
mod participants;
mod pending;
mod room_log;
mod switches;
mod violation;

use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

use serde::Deserialize;

use self::{checker::Checker, frame::Frame};
pub use self::{
    checker::GRACE,
    heard::{Counts, Entry, Goodbye, Heard, is_for_now},
    participants::Participants,
    pending::{Pending, Sent},
    room_log::{RoomLog, Sighting},
    switches::SWITCHES,
    violation::Violation,
};
use super::mark::Mark;

/// Other participants named when a client enters.
pub const OTHERS_MAX: usize = 4;

/// A command as far as the checks must know it.
pub trait Command: Clone {
    /// Returns the own switch, by its place in [`SWITCHES`], and its new value.
    fn switch(&self) -> Option<(usize, bool)> {
        None
    }

    /// Returns the text of a chat message that no other client says.
    fn chat(&self) -> Option<&str> {
        None
    }
}

/// For clients whose commands are not tracked.
impl Command for () {}

/// What a client checks beyond the order of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// Nothing: its commands are written by hand.
    Order,
    /// Every command has one answer.
    Answers,
    /// The same, and everything that a [`Checker`] checks.
    Room,
}

/// What a client knows of its stay and its connection.
pub struct Client<T> {
    /// The own user id on the wire. Empty before the first join.
    pub user_id: String,
    /// The session on the wire. Empty before the first join.
    pub session_id: String,
    /// Sent with the next resume.
    pub connection_id: String,
    /// Sent with the next resume.
    pub resume_token: String,
    /// The last event seen.
    pub seq: u64,
    /// As told last.
    pub is_durable: bool,
    /// Whether the session ended.
    pub is_ended: bool,
    /// Whether the own leave is pending: the last events of the room need not arrive.
    pub is_leaving: bool,
    /// Commands without an answer.
    pub pending: Pending<T>,
    /// The participants. Empty if this client does not keep them.
    pub participants: Participants,
    /// What was counted over all connections.
    pub counts: Counts,
    scope: Scope,
    keeps_participants: bool,
    is_inside: bool,
    /// The id of the `JoinRoom` without an answer.
    join_id: Option<u64>,
    checker: Option<Checker>,
}

impl<T: Command> Client<T> {
    /// Returns a client that checks order and answers.
    #[must_use]
    pub fn new(keeps_participants: bool) -> Self {
        Self {
            user_id: String::new(),
            session_id: String::new(),
            connection_id: String::new(),
            resume_token: String::new(),
            seq: 0,
            is_durable: true,
            is_ended: false,
            is_leaving: false,
            pending: Pending::default(),
            participants: Participants::default(),
            counts: Counts::default(),
            scope: Scope::Answers,
            keeps_participants,
            is_inside: false,
            join_id: None,
            checker: None,
        }
    }

    /// Returns a client that checks order and participants, for tests that write commands by hand.
    #[must_use]
    pub fn reader() -> Self {
        Self {
            scope: Scope::Order,
            ..Self::new(true)
        }
    }

    /// Returns a client that checks everything together with the other clients of the room.
    #[must_use]
    pub fn in_room(name: &str, user_id: &str, log: &Arc<Mutex<RoomLog>>) -> Self {
        Self {
            user_id: user_id.to_owned(),
            scope: Scope::Room,
            checker: Some(Checker::new(name, log)),
            ..Self::new(true)
        }
    }

    /// Returns the last event. `None` outside the room.
    #[must_use]
    pub fn last_seq(&self) -> Option<u64> {
        self.is_inside.then_some(self.seq)
    }

    /// Tells the other clients of the room that this one lost its connection at `since`, or has one
    /// again.
    pub fn mark_disconnected(&self, since: Option<Instant>) {
        if let Some(checker) = &self.checker {
            checker.log().mark_disconnected(&self.user_id, since);
        }
    }

    /// Ends the stay: the next join begins a new one.
    pub fn forget_stay(&mut self) {
        self.is_inside = false;
        self.is_leaving = false;
        self.join_id = None;
        self.participants = Participants::default();
    }

    /// Puts a client inside that is told of no join, by a server without callboard's protocol.
    pub(super) fn enter_silently(&mut self) {
        self.is_inside = true;
    }

    /// Takes one message and appends what it means to `heard`.
    pub fn take(&mut self, text: &str, now: Instant, heard: &mut Vec<Heard<T>>) {
        let frame = match serde_json::from_str::<Frame<'_>>(text) {
            Ok(frame) => frame,
            Err(error) => return self.unreadable(&error, text, heard),
        };
        self.begin_message(&frame);
        match (frame.kind, frame.id) {
            ("RoomJoined" | "RoomResumed", _) => self.entered(&frame, text, now, heard),
            ("Ack", id) => self.ack(id, &frame, heard),
            ("Error", id) => self.error(id, text, now, heard),
            ("KeepAlive", _) => self.keep_alive(&frame, heard),
            ("Goodbye", _) => self.goodbye(text, heard),
            ("DurabilityChanged", _) => self.durability(frame.durable == Some(true)),
            ("LobbyChanged" | "SfuEndpoint", _) => {}
            (
                "LobbyWaiting" | "LobbyDenied" | "ReceiveOffer" | "ReceiveAnswer" | "IceCandidate",
                _,
            ) => self.unasked(frame.kind, text, heard),
            (_, _) if frame.seq.is_some() || self.scope == Scope::Room => {
                self.event(&frame, text, self.is_durable, now, heard);
            }
            (_, _) => {}
        }
    }

    fn begin_message(&mut self, frame: &Frame<'_>) {
        let Some(checker) = &mut self.checker else {
            return;
        };
        checker.begin_message();
        if frame.kind == "DurabilityChanged" && frame.durable == Some(false) {
            checker.cancel_resume();
        } else {
            let own = self.participants.get(&self.user_id);
            checker.end_resume(&self.session_id, own);
        }
    }

    fn event(
        &mut self,
        frame: &Frame<'_>,
        text: &str,
        is_sure: bool,
        now: Instant,
        heard: &mut Vec<Heard<T>>,
    ) {
        self.counts.events += 1;
        let expected = self.last_seq().map(|last| last + 1);
        if frame.seq != expected {
            let what = format!(
                "seq has a gap or a repeat: {} {:?}, expected {expected:?}",
                frame.kind, frame.seq
            );
            self.violate("one-order", &what, heard);
        }
        self.seq = frame.seq.unwrap_or_default();
        if self.keeps_participants
            && let Err(why) = self.participants.apply(frame.kind, text)
        {
            self.violate("one-order", &format!("{why}: {text}"), heard);
        }
        if let Some(checker) = &mut self.checker {
            let digest = self.participants.digest();
            checker.event(&self.session_id, text, digest, is_sure);
        }
        if let Some(mark) = frame.text.and_then(|text| Mark::find(text.get())) {
            heard.push(Heard::Message(mark));
        }
        match frame.kind {
            "ParticipantJoined" => self.check_seats(heard),
            "ParticipantLeft" if !self.is_ended => {
                if let Some(checker) = &self.checker {
                    checker.left(text, now);
                }
            }
            "StateChanged" if self.is_own(text) => self.check_own("an event", heard),
            "RoomEnded" => {
                self.is_ended = true;
                heard.push(Heard::RoomEnded);
            }
            _ => {}
        }
    }

    fn is_own(&self, text: &str) -> bool {
        let is_own = |change: frame::Change<'_>| change.user_id == self.user_id;
        self.checker.is_some() && frame::Change::read(text).is_ok_and(is_own)
    }

    fn check_seats(&self, heard: &mut Vec<Heard<T>>) {
        let checker = self.checker.as_ref();
        if let Some(wrong) = checker.and_then(|checker| checker.wrong_seats(&self.participants)) {
            self.violate("capacity", &wrong, heard);
        }
    }

    /// The own switches never show something older than what was acknowledged.
    fn check_own(&self, after: &str, heard: &mut Vec<Heard<T>>) {
        if !self.keeps_participants || self.user_id.is_empty() || self.is_leaving {
            return;
        }
        let Some(own) = self.participants.get(&self.user_id) else {
            let what = format!("the client is not a participant after {after}");
            return self.violate("no-ghosts", &what, heard);
        };
        let checker = self.checker.as_ref();
        if let Some(switch) = checker.and_then(|checker| checker.wrong_switch(own, &self.pending)) {
            let what =
                format!("{switch} is older than what was acknowledged, after {after}: {own}");
            self.violate("durable-ack", &what, heard);
        }
    }

    fn unreadable(&self, error: &serde_json::Error, text: &str, heard: &mut Vec<Heard<T>>) {
        self.violate("readable", &format!("{error}: {text:.200}"), heard);
    }

    /// Reads the rest of a message.
    fn read<'a, B: Deserialize<'a>>(&self, text: &'a str, heard: &mut Vec<Heard<T>>) -> Option<B> {
        serde_json::from_str(text)
            .map_err(|error| self.unreadable(&error, text, heard))
            .ok()
    }

    /// Reports a broken promise: to the room's log if there is one, else to the caller.
    fn violate(&self, promise: &'static str, what: &str, heard: &mut Vec<Heard<T>>) {
        match &self.checker {
            Some(checker) => checker.violate(promise, self.seq, what),
            None => heard.push(Heard::Violation(Violation::new(promise, what))),
        }
    }
}

#[cfg(test)]
mod tests;
