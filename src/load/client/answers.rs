//! What the server says to one client alone: answers, `KeepAlive`, `Goodbye`, durability, relays.

use std::time::Instant;

use super::{
    Client, Command, Goodbye, Heard, Scope,
    frame::{Frame, Refusal, Relayed},
    is_for_now,
};
use crate::protocol::Action;

impl<T: Command> Client<T> {
    pub(super) fn ack(&mut self, id: Option<u64>, frame: &Frame<'_>, heard: &mut Vec<Heard<T>>) {
        self.counts.acks += 1;
        let id = id.unwrap_or_default();
        let is_relay = frame.durable.is_none();
        let is_early = frame.seq.is_none_or(|seq| seq == 0 || seq > self.seq);
        if is_early && !is_relay && !self.is_leaving {
            let what = format!("an Ack before its event: {id} at {:?}", frame.seq);
            self.violate("one-order", &what, heard);
        }
        if self.scope == Scope::Order {
            return;
        }
        if is_relay && self.scope == Scope::Room {
            let what = format!("an Ack without durable: {id}");
            return self.violate("contract", &what, heard);
        }
        let Some(sent) = self.pending.answered(id) else {
            let what = format!("an Ack that no command waits for: {id}");
            return self.violate("one-answer", &what, heard);
        };
        let durable = frame.durable.unwrap_or_default();
        self.counts.unsure_acks += u64::from(!durable);
        if let Some(checker) = &mut self.checker {
            let seq = frame.seq.unwrap_or_default();
            checker.acked(&self.session_id, seq, durable, &sent.command);
        }
        self.check_own("an Ack", heard);
        heard.push(Heard::Acked(sent));
    }

    pub(super) fn error(
        &mut self,
        id: Option<u64>,
        text: &str,
        now: Instant,
        heard: &mut Vec<Heard<T>>,
    ) {
        if self.scope == Scope::Order {
            return;
        }
        let Some(Refusal { code }) = self.read(text, heard) else {
            return;
        };
        self.counts.refusals += 1;
        if self.scope == Scope::Room && !is_for_now(code) {
            let what = format!("refused for no reason: {text}");
            self.violate("contract", &what, heard);
        }
        if id.is_some() && id == self.join_id {
            self.join_id = None;
            return heard.push(Heard::JoinRefused(code));
        }
        let sent = match id {
            // The load tool measures refusals. The clients of a checked room repeat their commands.
            Some(id) if self.scope == Scope::Room && is_for_now(code) => {
                self.pending.retry(id, now)
            }
            Some(id) => self.pending.answered(id),
            None => None,
        };
        if let (Some(id), None) = (id, &sent) {
            let what = format!("an Error that no command waits for: {id}");
            self.violate("one-answer", &what, heard);
        }
        heard.push(Heard::Refused(sent, code));
    }

    pub(super) fn keep_alive(&mut self, frame: &Frame<'_>, heard: &mut Vec<Heard<T>>) {
        let is_ahead = frame.seq.is_none_or(|seq| seq > self.seq);
        if is_ahead && self.scope == Scope::Room {
            let what = format!(
                "KeepAlive names an event that was not sent: {:?}",
                frame.seq
            );
            self.violate("one-order", &what, heard);
        }
        heard.push(Heard::KeepAlive);
    }

    pub(super) fn goodbye(&mut self, text: &str, heard: &mut Vec<Heard<T>>) {
        let Some(goodbye) = self.read::<Goodbye>(text, heard) else {
            return;
        };
        if let Some(checker) = &self.checker {
            match goodbye.action {
                Action::Stop if !self.is_ended => {
                    let what = format!("sent away for no reason: {text}");
                    self.violate("contract", &what, heard);
                }
                Action::Rejoin if !checker.may_have_lost() => {
                    let what = format!("must give up the stay: {text}");
                    self.violate("no-ghosts", &what, heard);
                }
                Action::Stop | Action::Rejoin | Action::Reconnect => {}
            }
        }
        heard.push(Heard::Goodbye(goodbye));
    }

    pub(super) fn durability(&mut self, is_durable: bool) {
        self.is_durable = is_durable;
        if is_durable && let Some(checker) = &mut self.checker {
            checker.durable_again(&self.session_id);
        }
    }

    /// Relays and the lobby. The clients of a checked room ask for neither.
    pub(super) fn unasked(&mut self, kind: &str, text: &str, heard: &mut Vec<Heard<T>>) {
        if self.scope == Scope::Room {
            let what = format!("no client asked for this: {text}");
            self.violate("contract", &what, heard);
        } else if kind == "ReceiveOffer" && self.scope == Scope::Answers {
            let relayed = self.read::<Relayed>(text, heard);
            heard.extend(relayed.map(|relayed| Heard::Offer(relayed.source_user_id)));
        }
    }
}
