//! What a person makes of the frames that come.

use uuid::Uuid;

use super::Person;
use crate::{
    load::{
        command::What,
        inbox::{Heard, Pending},
        meter::{Kind, count},
    },
    protocol::Code,
};

/// Candidates that each side sends after an offer or an answer.
const CANDIDATES: usize = 5;

/// Why somebody is not let in.
pub(super) struct Closed(pub Code);

/// The first word of the server to a `JoinRoom`.
pub(super) enum Answer {
    /// In; whether the stay of before goes on.
    In(bool),
    /// Not in.
    Out(Closed),
}

impl Person {
    /// Takes a frame while in the room.
    pub(super) async fn hear(&mut self, text: &str) {
        // Somebody in the room gets no answer to a join.
        self.take(text);
        if !self.replies.is_empty() {
            self.reply().await;
        }
    }

    /// Takes a frame; the answer to `JoinRoom`, if it was that.
    pub(super) fn take(&mut self, text: &str) -> Option<Answer> {
        let mut heard = std::mem::take(&mut self.heard);
        self.inbox.take(text, &mut heard);
        let mut answer = None;
        for one in heard.drain(..) {
            answer = self.understand(one).or(answer);
        }
        self.heard = heard;
        answer
    }

    fn understand(&mut self, heard: Heard<What>) -> Option<Answer> {
        let meter = &self.stage.meter;
        match heard {
            Heard::Message(due_ns) => {
                count(&meter.counts.deliveries_seen);
                meter.record(Kind::Delivery, self.who.index, due_ns);
            }
            Heard::Acked(pending) => self.acked(&pending),
            Heard::Refused(Some(pending), code) if pending.what == What::Join => {
                return Some(Answer::Out(Closed(code)));
            }
            Heard::Refused(pending, code) => self.refused(pending.as_ref(), code),
            Heard::Joined {
                is_same_stay,
                others,
            } => {
                self.replies.extend(self.offers(is_same_stay, &others));
                return Some(Answer::In(is_same_stay));
            }
            Heard::Offer(from) => {
                self.replies.push(What::Answer(from));
                self.replies.extend([What::Candidate(from); CANDIDATES]);
            }
            Heard::Goodbye(farewell) => self.farewell = Some(farewell),
            Heard::Broken(breach) => {
                self.stage
                    .breaches
                    .add(self.who.room, self.who.seat, &breach);
            }
        }
        None
    }

    fn acked(&self, pending: &Pending<What>) {
        let meter = &self.stage.meter;
        count(&meter.counts.commands_acked);
        meter.record(Kind::Command, self.who.index, pending.due_ns);
        if matches!(pending.what, What::Say(_)) {
            self.room.owe_message(meter);
        }
    }

    fn refused(&self, pending: Option<&Pending<What>>, code: Code) {
        let is_counted = pending.is_some_and(|pending| pending.what != What::Join);
        if is_counted {
            count(&self.stage.meter.counts.commands_refused);
        }
        if !is_for_load(code) && code != Code::TargetNotFound {
            let what = pending.map(|pending| pending.what);
            self.broken("no-refusal", format!("{what:?} was answered {code:?}"));
        }
    }

    /// What a person does on coming into a meeting: tries to reach some of those who are there.
    fn offers(&self, is_same_stay: bool, others: &[Uuid]) -> Vec<What> {
        if is_same_stay || !self.stage.options.profile.has_media() {
            return Vec::new();
        }
        let to_one = |to: &Uuid| {
            std::iter::once(What::Offer(*to))
                .chain(std::iter::repeat_n(What::Candidate(*to), CANDIDATES))
                .collect::<Vec<What>>()
        };
        others.iter().flat_map(to_one).collect()
    }

    /// Sends what the frames asked for; due at once.
    pub(super) async fn reply(&mut self) {
        let now_ns = self.stage.meter.now_ns();
        for what in std::mem::take(&mut self.replies) {
            self.replied += 1;
            self.send(what, now_ns).await;
        }
    }
}

/// Whether the server says that it has too much to do, or cannot tell.
pub(super) const fn is_for_load(code: Code) -> bool {
    matches!(code, Code::RateLimited | Code::Unavailable | Code::Timeout)
}
