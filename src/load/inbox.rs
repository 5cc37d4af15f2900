//! What one person hears, checked: every event once and in order, every message of every publisher once, every command
//! answered once.

use std::collections::VecDeque;

use serde::Deserialize;
use uuid::Uuid;

use super::{
    breach::Breach,
    fold::Fold,
    frame::{Farewell, Frame, Mark, Refusal, Relayed, Welcome},
};
use crate::protocol::Code;

/// Commands without an answer at once: more would be refused after a resume (the server remembers as many).
pub(super) const UNANSWERED_MAX: usize = 64;

/// A command that waits for its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pending<T> {
    /// As sent.
    pub id: u64,
    /// When it was due, in nanoseconds of the run.
    pub due_ns: u64,
    /// What it was.
    pub what: T,
}

/// What a frame means to the person.
#[derive(Debug)]
pub(super) enum Heard<T> {
    /// In the room; the stay is new, or goes on (`is_same_stay`).
    Joined {
        /// Whether it is the stay of before.
        is_same_stay: bool,
        /// The others, at most [`Inbox::OTHERS_MAX`].
        others: Vec<Uuid>,
    },
    /// A command took effect.
    Acked(Pending<T>),
    /// A command was refused; none: it cannot be told which.
    Refused(Option<Pending<T>>, Code),
    /// A message arrived that was due then.
    Message(u64),
    /// Somebody offers a media connection.
    Offer(Uuid),
    /// The server will close.
    Goodbye(Farewell),
    /// A promise was broken.
    Broken(Breach),
}

/// For the next resume.
#[derive(Clone, Debug)]
pub(super) struct Ticket {
    /// The connection so far.
    pub connection_id: Uuid,
    /// Opaque.
    pub token: String,
}

/// What one person has heard, over all their connections.
pub(super) struct Inbox<T> {
    /// Whether the target knows no rules: bytes are all it sends.
    is_bare: bool,
    /// The last event; none: not in the room.
    last_seq: Option<u64>,
    /// Last message of each publisher by seat; empty until the first.
    numbers: Vec<u32>,
    /// Seats in the room.
    size: usize,
    /// Commands without an answer, oldest first, at most [`UNANSWERED_MAX`].
    pending: VecDeque<Pending<T>>,
    /// For the next resume.
    ticket: Option<Ticket>,
    /// Messages heard in this stay.
    pub messages: u64,
    /// Whether events were replaced by a snapshot in this stay.
    pub has_gap: bool,
    /// Whether own leave is under way: the room's last events need not come any more.
    pub is_leaving: bool,
    /// The room's state as told by events; only for some.
    pub fold: Option<Fold>,
}

impl<T: Clone> Inbox<T> {
    /// Others told of at a join.
    pub const OTHERS_MAX: usize = 4;

    /// Of somebody outside.
    pub fn new(size: usize, is_bare: bool, is_folding: bool) -> Self {
        Self {
            is_bare,
            last_seq: None,
            numbers: Vec::new(),
            size,
            pending: VecDeque::new(),
            ticket: None,
            messages: 0,
            has_gap: false,
            is_leaving: false,
            fold: is_folding.then(Fold::default),
        }
    }

    /// The last event; none: outside.
    pub fn last_seq(&self) -> Option<u64> {
        self.last_seq
    }

    /// For the next resume.
    pub fn ticket(&self) -> Option<&Ticket> {
        self.ticket.as_ref()
    }

    /// Whether one more command may be sent.
    pub fn may_ask(&self) -> bool {
        self.pending.len() < UNANSWERED_MAX
    }

    /// A command was sent. A target without rules answers none.
    pub fn asked(&mut self, pending: Pending<T>) {
        if !self.is_bare {
            self.pending.push_back(pending);
        }
    }

    /// Commands without an answer, oldest first.
    pub fn pending(&self) -> impl ExactSizeIterator<Item = &Pending<T>> {
        self.pending.iter()
    }

    /// Takes what will never be answered.
    pub fn forget_pending(&mut self) -> impl Iterator<Item = Pending<T>> {
        std::mem::take(&mut self.pending).into_iter()
    }

    /// Forgets the stay: the next join begins a new one.
    pub fn forget_stay(&mut self) {
        self.last_seq = None;
        self.ticket = None;
        self.is_leaving = false;
        self.begin_stay();
        if let Some(fold) = &mut self.fold {
            *fold = Fold::default();
        }
    }

    fn begin_stay(&mut self) {
        self.numbers.clear();
        self.messages = 0;
        self.has_gap = false;
    }

    /// Takes one frame; what it means is added to `heard`.
    pub fn take(&mut self, text: &str, heard: &mut Vec<Heard<T>>) {
        if self.is_bare {
            return self.take_bare(text, heard);
        }
        match serde_json::from_str::<Frame<'_>>(text) {
            Ok(frame) => self.take_frame(&frame, text, heard),
            Err(error) => heard.push(broken("readable", format!("{error}: {text:.200}"))),
        }
    }

    /// A fan-out without rules: the first frame is the welcome, the others are messages or nothing.
    fn take_bare(&mut self, text: &str, heard: &mut Vec<Heard<T>>) {
        if self.last_seq.is_none() {
            self.last_seq = Some(0);
            // Nothing but the join is ever answered.
            self.pending.clear();
            heard.push(Heard::Joined {
                is_same_stay: false,
                others: Vec::new(),
            });
        }
        if let Some(mark) = Mark::find(text) {
            let last = self.number_of(mark.seat);
            if mark.number != last + 1 {
                let seen = format!("message {} of {} after {last}", mark.number, mark.seat);
                heard.push(broken("each-once", seen));
            }
            self.count(mark, heard);
        }
    }

    fn take_frame(&mut self, frame: &Frame<'_>, text: &str, heard: &mut Vec<Heard<T>>) {
        match (frame.kind, frame.id) {
            ("RoomJoined" | "RoomResumed", _) => self.welcomed(frame, text, heard),
            ("Ack", Some(id)) => self.acked(id, frame, heard),
            ("Error", id) => self.refused(id, text, heard),
            ("Goodbye", _) => heard.extend(read(text, heard_goodbye)),
            ("ReceiveOffer", _) => heard.extend(read(text, |relayed: Relayed| {
                Heard::Offer(relayed.source_user_id)
            })),
            ("KeepAlive", _) => {}
            (_, _) if frame.seq.is_some() => self.event(frame, text, heard),
            (_, _) => {}
        }
    }

    fn welcomed(&mut self, frame: &Frame<'_>, text: &str, heard: &mut Vec<Heard<T>>) {
        let (Ok(welcome), Some(seq)) = (serde_json::from_str::<Welcome<'_>>(text), frame.seq)
        else {
            heard.push(broken("readable", text.chars().take(200).collect()));
            return;
        };
        let is_resumed = frame.kind == "RoomResumed";
        self.pending.retain(|pending| Some(pending.id) != frame.id);
        self.ticket = Some(Ticket {
            connection_id: welcome.connection_id,
            token: welcome.resume_token.clone(),
        });
        for missed in &welcome.missed {
            self.take(missed.get(), heard);
        }
        if is_resumed && self.last_seq != Some(seq) {
            let seen = format!("resumed at {seq}, but {:?} is the last", self.last_seq);
            heard.push(broken("one-order", seen));
        }
        let is_same_stay = is_resumed || welcome.is_snapshot_after_gap;
        if !is_same_stay {
            self.begin_stay();
        }
        self.has_gap |= welcome.is_snapshot_after_gap;
        self.last_seq = Some(seq);
        if let (Some(fold), false) = (&mut self.fold, is_resumed) {
            fold.restart(&welcome.participants);
        }
        heard.push(Heard::Joined {
            is_same_stay,
            others: others(&welcome),
        });
    }

    fn acked(&mut self, id: u64, frame: &Frame<'_>, heard: &mut Vec<Heard<T>>) {
        let is_early = frame.durable.is_some() && frame.seq > self.last_seq && !self.is_leaving;
        if is_early {
            let seen = format!(
                "Ack {id} at {:?} before the event; {:?} is the last",
                frame.seq, self.last_seq
            );
            heard.push(broken("event-before-ack", seen));
        }
        match self.answered(id) {
            Some(pending) => heard.push(Heard::Acked(pending)),
            None => heard.push(broken("one-answer", format!("Ack {id} to no command"))),
        }
    }

    fn refused(&mut self, id: Option<u64>, text: &str, heard: &mut Vec<Heard<T>>) {
        let pending = id.and_then(|id| self.answered(id));
        if let (Some(id), None) = (id, &pending) {
            heard.push(broken("one-answer", format!("Error {id} to no command")));
        }
        heard.extend(read(text, |refusal: Refusal| {
            Heard::Refused(pending, refusal.code)
        }));
    }

    fn event(&mut self, frame: &Frame<'_>, text: &str, heard: &mut Vec<Heard<T>>) {
        let expected = self.last_seq.map(|last| last + 1);
        if frame.seq != expected {
            let seen = format!("{} {:?}, expected {expected:?}", frame.kind, frame.seq);
            heard.push(broken("one-order", seen));
        }
        self.last_seq = frame.seq;
        if let Some(mark) = frame.text.and_then(|text| Mark::find(text.get())) {
            let last = self.number_of(mark.seat);
            if mark.number <= last {
                let seen = format!("message {} of {} after {last}", mark.number, mark.seat);
                heard.push(broken("each-once", seen));
            }
            self.count(mark, heard);
        } else if let Some(fold) = &mut self.fold
            && !fold.take(frame.kind, text)
        {
            heard.push(broken("readable", text.chars().take(200).collect()));
        }
    }

    fn count(&mut self, mark: Mark, heard: &mut Vec<Heard<T>>) {
        if let Some(last) = self.numbers.get_mut(mark.seat) {
            *last = mark.number;
        }
        self.messages += 1;
        heard.push(Heard::Message(mark.due_ns));
    }

    /// Last message of a publisher; 0: none yet.
    fn number_of(&mut self, seat: usize) -> u32 {
        if self.numbers.is_empty() {
            self.numbers.resize(self.size, 0);
        }
        self.numbers.get(seat).copied().unwrap_or_default()
    }

    fn answered(&mut self, id: u64) -> Option<Pending<T>> {
        let at = self.pending.iter().position(|pending| pending.id == id)?;
        self.pending.remove(at)
    }
}

fn broken<T>(name: &'static str, seen: String) -> Heard<T> {
    Heard::Broken(Breach::new(name, seen))
}

fn heard_goodbye<T>(farewell: Farewell) -> Heard<T> {
    Heard::Goodbye(farewell)
}

/// Reads the rest of a frame.
fn read<'a, B: Deserialize<'a>, T>(
    text: &'a str,
    make: impl FnOnce(B) -> Heard<T>,
) -> Option<Heard<T>> {
    Some(match serde_json::from_str(text) {
        Ok(body) => make(body),
        Err(error) => broken("readable", format!("{error}: {text:.200}")),
    })
}

/// The newest others of a snapshot. Oneself is known by the connection.
fn others(welcome: &Welcome<'_>) -> Vec<Uuid> {
    let others = welcome.participants.iter().rev();
    others
        .filter(|participant| participant.connection_id.0 != welcome.connection_id)
        .map(|participant| participant.user_id.0)
        .take(Inbox::<()>::OTHERS_MAX)
        .collect()
}

#[cfg(test)]
mod tests;
