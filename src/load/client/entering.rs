//! How a client enters a room: the join, the snapshot and the resume.

use std::{borrow::Cow, time::Instant};

use serde_json::{Value, json, value::RawValue};
use uuid::Uuid;

use super::{
    Client, Command, Entry, Heard, OTHERS_MAX, Participants,
    frame::{Frame, ParticipantState, Welcome},
};

impl<T: Command> Client<T> {
    /// Returns the `JoinRoom` of a new connection, with `resume` if asked for and there is a stay.
    pub fn join(&mut self, room_id: &str, token: &str, is_resume: bool) -> String {
        let id = self.pending.take_id();
        self.join_id = Some(id);
        self.is_durable = true;
        if let Some(checker) = &mut self.checker {
            checker.begin_connection();
        }
        let mut join = json!({"type": "JoinRoom", "id": id, "roomId": room_id, "token": token});
        if is_resume && self.is_inside {
            join["resume"] = json!({"connectionId": self.connection_id,
                "resumeToken": self.resume_token, "lastSeq": self.seq});
        }
        join.to_string()
    }

    pub(super) fn entered(
        &mut self,
        frame: &Frame<'_>,
        text: &str,
        now: Instant,
        heard: &mut Vec<Heard<T>>,
    ) {
        let welcome = match serde_json::from_str::<Welcome<'_>>(text) {
            Ok(welcome) => welcome,
            Err(error) => return self.unreadable(&error, text, heard),
        };
        if frame.id == self.join_id {
            self.join_id = None;
        }
        let entry = if frame.kind == "RoomResumed" {
            self.resumed(frame, &welcome, text, now, heard);
            Entry::Resumed
        } else {
            self.snapshot(frame, &welcome, text, heard)
        };
        heard.push(Heard::Entered {
            entry,
            others: others(&welcome),
        });
    }

    fn resumed(
        &mut self,
        frame: &Frame<'_>,
        welcome: &Welcome<'_>,
        text: &str,
        now: Instant,
        heard: &mut Vec<Heard<T>>,
    ) {
        if self.is_inside && welcome.session_id != self.session_id {
            let what = format!("resumed into another session: {text}");
            self.violate("one-session", &what, heard);
        }
        self.identify(welcome);
        for missed in &welcome.missed {
            match serde_json::from_str::<Frame<'_>>(missed.get()) {
                Ok(event) => self.event(&event, missed.get(), false, now, heard),
                Err(error) => self.unreadable(&error, missed.get(), heard),
            }
        }
        if frame.seq != Some(self.seq) {
            let what = format!("RoomResumed.seq is not the end of the missed events: {text}");
            self.violate("one-order", &what, heard);
            self.seq = frame.seq.unwrap_or(self.seq);
        }
        if let Some(durable) = frame.durable {
            self.is_durable = durable;
        }
        if let Some(checker) = &mut self.checker
            && self.is_durable
        {
            checker.resumed();
        }
        self.check_own("a resume", heard);
        self.counts.resumes += 1;
    }

    fn snapshot(
        &mut self,
        frame: &Frame<'_>,
        welcome: &Welcome<'_>,
        text: &str,
        heard: &mut Vec<Heard<T>>,
    ) -> Entry {
        let seq = frame.seq.unwrap_or_default();
        if seq == 0 {
            self.violate(
                "one-order",
                &format!("a snapshot without seq: {text}"),
                heard,
            );
        }
        let is_same_stay = welcome.is_snapshot_after_gap;
        self.check_stay(seq, welcome, heard);
        self.identify(welcome);
        if let Some(own) = &welcome.own {
            own.user_id.as_ref().clone_into(&mut self.user_id);
        }
        self.seq = seq;
        self.is_durable = frame.durable == Some(true);
        self.read_participants(welcome, heard);
        self.check_seats(heard);
        self.check_own("a snapshot", heard);
        if self.is_durable
            && let Some(checker) = &mut self.checker
        {
            let own = self.participants.get(&self.user_id);
            checker.durable_snapshot(&self.session_id, seq, &self.participants, own);
        }
        if is_same_stay {
            self.counts.snapshots += 1;
            return Entry::Snapshot;
        }
        Entry::Joined
    }

    /// A client that is never away for long keeps its stay and everything that it saw for sure.
    fn check_stay(&mut self, seq: u64, welcome: &Welcome<'_>, heard: &mut Vec<Heard<T>>) {
        let Some(checker) = &mut self.checker else {
            return;
        };
        checker.enter(&welcome.session_id);
        if !self.is_inside {
            return;
        }
        if !welcome.is_snapshot_after_gap {
            let is_lost = !checker.may_have_lost();
            checker.new_stay();
            self.pending.forget().for_each(drop);
            if is_lost {
                let session = &welcome.session_id;
                let what = format!("the stay is gone: a resume gave a new one in {session}");
                self.violate("no-ghosts", &what, heard);
            }
        } else if self.session_id == welcome.session_id
            && let Some(sure) = checker.ahead_of(seq)
        {
            let what = format!("a snapshot at {seq}, but {sure} was seen for sure");
            self.violate("durable-ack", &what, heard);
        }
    }

    fn read_participants(&mut self, welcome: &Welcome<'_>, heard: &mut Vec<Heard<T>>) {
        for participant in &welcome.participants {
            if let Err(why) = ParticipantState::read(participant.get()) {
                let what = format!("{why}: {participant:.200}");
                self.violate("readable", &what, heard);
            }
        }
        if self.keeps_participants {
            let read = |text: &&RawValue| serde_json::from_str(text.get()).ok();
            let all: Vec<Value> = welcome.participants.iter().filter_map(read).collect();
            self.participants = Participants::of(&all);
        }
    }

    fn identify(&mut self, welcome: &Welcome<'_>) {
        self.is_inside = true;
        let set = |own: &mut String, told: &Cow<'_, str>| told.as_ref().clone_into(own);
        set(&mut self.session_id, &welcome.session_id);
        set(&mut self.connection_id, &welcome.connection_id);
        set(&mut self.resume_token, &welcome.resume_token);
    }
}

/// Returns the newest other participants of a snapshot.
fn others(welcome: &Welcome<'_>) -> Vec<Uuid> {
    let participants = welcome.participants.iter().rev();
    participants
        .filter_map(|participant| ParticipantState::read(participant.get()).ok())
        .filter(|participant| participant.connection_id != welcome.connection_id)
        .filter_map(|participant| participant.user_id.parse().ok())
        .take(OTHERS_MAX)
        .collect()
}
