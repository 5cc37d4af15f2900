//! What a person of a load run does with the messages that arrive.

use std::time::Instant;

use uuid::Uuid;

use super::Person;
use crate::{
    load::{
        client::{Entry, Heard, is_for_now},
        command::{Scheduled, What},
        mark::Mark,
        meter::{Kind, count},
    },
    protocol::Code,
};

/// Candidates that each side sends after an offer or an answer.
const CANDIDATES: usize = 5;

/// The answer to a `JoinRoom`.
pub(super) enum Answer {
    Entered(Entry),
    Refused(Code),
}

impl Person {
    /// Takes a message while in the room.
    pub(super) async fn hear(&mut self, text: &str) {
        self.take(text);
        if !self.replies.is_empty() {
            self.reply().await;
        }
    }

    /// Takes a message. Returns the answer to `JoinRoom` if it is one.
    pub(super) fn take(&mut self, text: &str) -> Option<Answer> {
        if self.context.options.is_bare {
            return self.take_bare(text);
        }
        let mut heard = std::mem::take(&mut self.heard);
        self.client.take(text, Instant::now(), &mut heard);
        let mut answer = None;
        for one in heard.drain(..) {
            answer = self.react(one).or(answer);
        }
        self.heard = heard;
        answer
    }

    /// The first message of a bare target answers the join. The others are chat messages or
    /// nothing.
    fn take_bare(&mut self, text: &str) -> Option<Answer> {
        let answer = self
            .client
            .last_seq()
            .is_none()
            .then_some(Answer::Entered(Entry::Joined));
        self.client.enter_silently();
        if let Some(mark) = Mark::find(text) {
            self.message(mark);
        }
        answer
    }

    fn react(&mut self, heard: Heard<Scheduled>) -> Option<Answer> {
        match heard {
            Heard::Message(mark) => self.message(mark),
            Heard::Acked(sent) => self.acked(&sent.command),
            Heard::JoinRefused(code) => return Some(Answer::Refused(code)),
            Heard::Refused(sent, code) => self.refused(sent.map(|sent| sent.command), code),
            Heard::Entered { entry, others } => {
                match entry {
                    Entry::Joined => self.messages.begin_stay(),
                    Entry::Snapshot => self.messages.has_gap = true,
                    Entry::Resumed => {}
                }
                self.replies.extend(self.offers(entry, &others));
                return Some(Answer::Entered(entry));
            }
            Heard::Offer(from) => {
                self.replies.push(What::Answer(from));
                self.replies.extend([What::Candidate(from); CANDIDATES]);
            }
            Heard::Goodbye(goodbye) => self.goodbye = Some(goodbye),
            Heard::Violation(violation) => self.report(&violation),
            Heard::KeepAlive | Heard::RoomEnded => {}
        }
        None
    }

    fn message(&mut self, mark: Mark) {
        let violation = self.messages.take(mark);
        let meter = &self.context.meter;
        count(&meter.counts.deliveries_seen);
        meter.record(Kind::Delivery, self.spec.index, mark.due_ns);
        if let Some(violation) = violation {
            self.report(&violation);
        }
    }

    fn acked(&self, scheduled: &Scheduled) {
        let meter = &self.context.meter;
        count(&meter.counts.commands_acked);
        meter.record(Kind::Command, self.spec.index, scheduled.due_ns);
        if matches!(scheduled.what, What::Say(_)) {
            self.room.expect_message(meter);
        }
    }

    fn refused(&self, scheduled: Option<Scheduled>, code: Code) {
        if scheduled.is_some() {
            count(&self.context.meter.counts.commands_refused);
        }
        if !is_for_now(code) && code != Code::TargetNotFound {
            let what = scheduled.map(|scheduled| scheduled.what);
            self.violate("no-refusal", &format!("{what:?} was answered {code:?}"));
        }
    }

    /// Returns the offers to some of the others, after a join in a profile with media.
    fn offers(&self, entry: Entry, others: &[Uuid]) -> Vec<What> {
        if entry != Entry::Joined || !self.context.options.profile.has_media() {
            return Vec::new();
        }
        let to_one = |to: &Uuid| {
            std::iter::once(What::Offer(*to))
                .chain(std::iter::repeat_n(What::Candidate(*to), CANDIDATES))
                .collect::<Vec<What>>()
        };
        others.iter().flat_map(to_one).collect()
    }

    /// Sends the replies to what arrived.
    pub(super) async fn reply(&mut self) {
        let now_ns = self.context.meter.now_ns();
        for what in std::mem::take(&mut self.replies) {
            self.replied += 1;
            self.send(what, now_ns).await;
        }
    }
}
