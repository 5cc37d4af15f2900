//! One person's own check of every frame: **one-order**, **durable-ack**, **once**, **capacity**, **no-ghosts**, **one-session**.
//!
//! Knows no sockets and no clock, so that a test can feed it lies.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use chrono::Utc;
use serde_json::{Value, json};

pub use super::heard::{Counts, Entry, Heard};
use super::{
    desk::{Desk, Wish},
    fold::{Fold, hash_of},
    ledger::{Ledger, Sighting},
};
use crate::common::view::{list, text};

/// `room.reconnect_grace_ms` less what a client may notice late.
pub const GRACE: Duration = Duration::from_secs(27);

/// One person of a room, as far as frames go.
pub struct Witness {
    /// For reports.
    pub name: String,
    /// Who.
    pub user_id: String,
    /// Commands.
    pub desk: Desk,
    /// Who is inside.
    pub fold: Fold,
    /// The last event seen.
    pub seq: u64,
    /// Counted so far.
    pub counts: Counts,
    /// The room over.
    pub is_ended: bool,
    /// Whether the present connection was not told otherwise.
    pub is_durable: bool,
    ledger: Arc<Mutex<Ledger>>,
    /// None: never inside.
    session_id: Option<String>,
    connection_id: String,
    resume_token: String,
    /// Id of the `JoinRoom` of this connection.
    join_id: u64,
    /// The last event that is promised to survive.
    sure_seq: u64,
    /// Seen on this connection without durability so far.
    unsure: Vec<Sighting>,
    /// A durable `RoomResumed` makes the missed events sure, unless a `DurabilityChanged` follows at once.
    is_resume_open: bool,
    /// See [`Ledger::amnesties`].
    amnesties: u64,
}

impl Witness {
    /// Somebody who never was inside.
    pub fn new(name: &str, user_id: &str, ledger: &Arc<Mutex<Ledger>>) -> Self {
        Self {
            name: name.to_owned(),
            user_id: user_id.to_owned(),
            desk: Desk::default(),
            fold: Fold::default(),
            seq: 0,
            counts: Counts::default(),
            is_ended: false,
            is_durable: true,
            ledger: Arc::clone(ledger),
            session_id: None,
            connection_id: String::new(),
            resume_token: String::new(),
            join_id: 0,
            sure_seq: 0,
            unsure: Vec::new(),
            is_resume_open: false,
            amnesties: 0,
        }
    }

    /// The `JoinRoom` for a new connection: with `resume` when there is something to resume.
    pub fn knock(&mut self, room_id: &str, token: &str) -> String {
        self.join_id = self.desk.take_id();
        self.ledger().first_knock.get_or_insert_with(Utc::now);
        self.unsure.clear();
        self.is_resume_open = false;
        self.is_durable = true;
        let mut join =
            json!({"type": "JoinRoom", "id": self.join_id, "roomId": room_id, "token": token});
        if self.session_id.is_some() {
            join["resume"] = json!({
                "connectionId": self.connection_id, "resumeToken": self.resume_token, "lastSeq": self.seq,
            });
        }
        join.to_string()
    }

    /// Takes one frame in.
    pub fn take(&mut self, frame: &str, now: Instant) -> Heard {
        let Ok(frame) = serde_json::from_str::<Value>(frame) else {
            self.violate("contract", format!("no JSON: {frame}"));
            return Heard::Nothing;
        };
        self.obey_amnesty();
        let kind = text(&frame, "type");
        if std::mem::take(&mut self.is_resume_open)
            && !(kind == "DurabilityChanged" && frame["durable"] == false)
        {
            self.all_is_sure();
            self.trust_what_is_shown();
        }
        match kind {
            "RoomJoined" => self.snapshot(&frame),
            "RoomResumed" => self.resumed(&frame),
            "Ack" => self.ack(&frame),
            "Error" => self.error(&frame, now),
            "KeepAlive" => self.alive(&frame),
            "Goodbye" => self.goodbye(&frame),
            "DurabilityChanged" => self.durability(frame["durable"] == true),
            "LobbyChanged" | "SfuEndpoint" => Heard::Nothing,
            "LobbyWaiting" | "LobbyDenied" | "ReceiveOffer" | "ReceiveAnswer" | "IceCandidate" => {
                self.violate("contract", format!("nobody asked for this: {frame}"));
                Heard::Nothing
            }
            _ => {
                self.event(&frame, self.is_durable);
                if self.is_ended {
                    Heard::Ended
                } else {
                    Heard::Nothing
                }
            }
        }
    }

    /// Notes a broken promise.
    pub fn violate(&self, promise: &'static str, what: String) {
        let what = format!("{} at seq {}: {what}", self.name, self.seq);
        self.ledger().violate(promise, what);
    }

    /// What the people of the room know together; never hold it across an await.
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("nobody panics with the ledger")
    }

    fn session(&self) -> &str {
        self.session_id.as_deref().unwrap_or_default()
    }

    /// When history may be lost, nothing that was seen before binds the server.
    fn obey_amnesty(&mut self) {
        let amnesties = self.ledger().amnesties;
        if amnesties != self.amnesties {
            self.amnesties = amnesties;
            self.sure_seq = 0;
            self.unsure.clear();
            self.desk.trust_nothing();
        }
    }

    fn snapshot(&mut self, frame: &Value) -> Heard {
        let seq = frame["seq"].as_u64().unwrap_or_default();
        let session = text(frame, "sessionId").to_owned();
        let is_after_gap = frame["isSnapshotAfterGap"] == true;
        let is_durable = frame["durable"] == true;
        let people = list(frame, "participants");
        let was_inside = self.session_id.is_some();
        self.ledger().enter(&session, &self.name);
        if was_inside && !is_after_gap {
            if self.amnesties == 0 {
                let what = format!("the stay is gone: a resume gave a new one in {session}");
                self.violate("no-ghosts", what);
            }
            self.desk.forget_commands();
        } else if was_inside && self.session() == session && seq < self.sure_seq {
            let what = format!(
                "a snapshot at {seq}, but {} was seen for sure",
                self.sure_seq
            );
            self.violate("durable-ack", what);
        }
        self.session_id = Some(session);
        self.identify(frame);
        self.seq = seq;
        self.fold = Fold::of(&people);
        self.is_durable = is_durable;
        self.check_seats();
        self.check_own("a snapshot");
        if is_durable {
            self.sure_seq = seq;
            self.trust_what_is_shown();
            let digest = self.fold.digest();
            self.ledger()
                .snapshot(self.session(), seq, digest, &self.name);
        }
        if was_inside && is_after_gap {
            self.counts.snapshots += 1;
            return Heard::Entered(Entry::Snapshot);
        }
        Heard::Entered(Entry::Joined)
    }

    fn resumed(&mut self, frame: &Value) -> Heard {
        if text(frame, "sessionId") != self.session() {
            self.violate(
                "one-session",
                format!("resumed into another session: {frame}"),
            );
        }
        self.identify(frame);
        for missed in list(frame, "missed") {
            self.event(&missed, false);
        }
        if frame["seq"].as_u64() != Some(self.seq) {
            let what = format!("RoomResumed.seq is not the end of the missed events: {frame}");
            self.violate("one-order", what);
        }
        if frame["durable"] == false {
            self.durability(false);
        } else {
            self.is_resume_open = true;
        }
        self.check_own("a resume");
        self.counts.resumes += 1;
        Heard::Entered(Entry::Resumed)
    }

    fn identify(&mut self, frame: &Value) {
        text(frame, "connectionId").clone_into(&mut self.connection_id);
        text(frame, "resumeToken").clone_into(&mut self.resume_token);
    }

    fn ack(&mut self, frame: &Value) -> Heard {
        self.counts.acks += 1;
        let seq = frame["seq"].as_u64().unwrap_or_default();
        if seq == 0 || seq > self.seq {
            self.violate("one-order", format!("an Ack before its event: {frame}"));
        }
        let Some(durable) = frame["durable"].as_bool() else {
            self.violate("contract", format!("an Ack without durable: {frame}"));
            return Heard::Nothing;
        };
        let id = frame["id"].as_u64().unwrap_or_default();
        let Some(command) = self.desk.acked(id, durable) else {
            self.violate("contract", format!("an Ack nobody waits for: {frame}"));
            return Heard::Nothing;
        };
        if durable {
            self.sure_seq = self.sure_seq.max(seq);
            if let Wish::Chat(said) = &command.wish {
                self.ledger().acked_chat(self.session(), seq, said);
            }
        } else {
            self.counts.unsure_acks += 1;
        }
        self.check_own("an Ack");
        command.sent_at.map_or(Heard::Nothing, Heard::Answered)
    }

    fn error(&mut self, frame: &Value, now: Instant) -> Heard {
        let code = text(frame, "code").to_owned();
        let id = frame["id"].as_u64().unwrap_or_default();
        let is_for_now = matches!(code.as_str(), "unavailable" | "rate_limited" | "timeout");
        if !is_for_now {
            self.violate("contract", format!("refused for no reason: {frame}"));
        }
        self.counts.refusals += 1;
        if id == self.join_id {
            return Heard::Refused(code);
        }
        let command = if is_for_now {
            self.desk.refused_for_now(id, now)
        } else {
            self.desk.refused(id)
        };
        command
            .and_then(|command| command.sent_at)
            .map_or(Heard::Nothing, Heard::Answered)
    }

    fn alive(&mut self, frame: &Value) -> Heard {
        if frame["seq"].as_u64().is_none_or(|seq| seq > self.seq) {
            let what = format!("KeepAlive tells of an event that was not sent: {frame}");
            self.violate("one-order", what);
        }
        Heard::Alive
    }

    fn goodbye(&mut self, frame: &Value) -> Heard {
        let action = text(frame, "action").to_owned();
        let reason = text(frame, "reason");
        if action == "stop" && !self.is_ended {
            self.violate("contract", format!("sent away for no reason: {frame}"));
        }
        if action == "rejoin" && self.amnesties == 0 {
            let what = format!("must give up the stay ({reason}): {frame}");
            self.violate("no-ghosts", what);
        }
        Heard::Goodbye {
            action,
            url: frame["url"].as_str().map(str::to_owned),
            retry_after: frame["retryAfterMs"].as_u64().map(Duration::from_millis),
        }
    }

    fn durability(&mut self, is_durable: bool) -> Heard {
        self.is_durable = is_durable;
        if is_durable {
            // The owner has written everything: what it sent before on this connection holds.
            self.all_is_sure();
            self.desk.all_is_sure();
        }
        Heard::Nothing
    }

    fn event(&mut self, frame: &Value, is_sure: bool) {
        self.counts.events += 1;
        let seq = frame["seq"].as_u64().unwrap_or_default();
        if seq != self.seq + 1 {
            self.violate("one-order", format!("seq has a gap or a repeat: {frame}"));
        }
        self.seq = seq;
        if let Err(why) = self.fold.apply(frame) {
            self.violate("one-order", format!("{why}: {frame}"));
        }
        let kind = text(frame, "type");
        let seen = Sighting {
            seq,
            hash: hash_of(frame),
            digest: self.fold.digest(),
            chat: (kind == "MessageReceived").then(|| text(frame, "text").to_owned()),
        };
        self.ledger()
            .see(self.session(), &seen, is_sure, &self.name);
        if is_sure {
            self.sure_seq = self.sure_seq.max(seq);
        } else {
            self.unsure.push(seen);
        }
        match kind {
            "ParticipantJoined" => self.check_seats(),
            "ParticipantLeft" if !self.is_ended => self.somebody_left(frame),
            "StateChanged" if text(frame, "userId") == self.user_id => self.check_own("an event"),
            "RoomEnded" => self.is_ended = true,
            _ => {}
        }
    }

    fn somebody_left(&mut self, frame: &Value) {
        let (user_id, reason) = (text(frame, "userId"), text(frame, "reason"));
        self.ledger().left(user_id, reason, GRACE, &self.name);
    }

    fn all_is_sure(&mut self) {
        for seen in std::mem::take(&mut self.unsure) {
            self.sure_seq = self.sure_seq.max(seen.seq);
            self.ledger().see(self.session(), &seen, true, &self.name);
        }
    }

    fn trust_what_is_shown(&mut self) {
        if let Some(own) = self.fold.person(&self.user_id) {
            self.desk.shown(own);
        }
    }

    fn check_seats(&self) {
        let seats = self.ledger().seats;
        if self.fold.len() > seats {
            let what = format!("{} people on {seats} seats", self.fold.len());
            self.violate("capacity", what);
        }
    }

    /// One's own switches never show something older than what was acknowledged.
    fn check_own(&self, after: &str) {
        let Some(own) = self.fold.person(&self.user_id) else {
            return self.violate("no-ghosts", format!("not inside oneself after {after}"));
        };
        if let Some(switch) = self.desk.wrong_switch(own) {
            let what =
                format!("{switch} is older than what was acknowledged, after {after}: {own}");
            self.violate("durable-ack", what);
        }
    }
}
