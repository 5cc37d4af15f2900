//! What one person sees of a room, kept from the frames alone; checks **one-order** on every frame by itself.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

/// Frames kept for `next`; a test that sees more has gone wild.
const FRAMES_MAX: usize = 200_000;

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The code of the Close frame; none: the socket just ended.
    pub code: Option<u16>,
}

/// The room as one person sees it.
#[derive(Debug, Default)]
pub struct View {
    /// Own user id.
    pub user_id: String,
    /// Own connection, as told last.
    pub connection_id: String,
    /// Token for the next resume.
    pub resume_token: String,
    /// The session one is in.
    pub session_id: String,
    /// The room object, kept up to date.
    pub room: Value,
    /// Everybody inside, oneself included, by user id.
    pub participants: BTreeMap<String, Value>,
    /// Who waits, as last told to a host.
    pub waiting: Vec<Value>,
    /// Last event seen.
    pub seq: u64,
    /// As last told by `RoomJoined`, `RoomResumed` or `DurabilityChanged`.
    pub is_durable: bool,
    /// Every event of this session by `seq`.
    pub events: BTreeMap<u64, Value>,
    /// Every frame as it came, over all connections.
    pub frames: Vec<Value>,
    /// Answers by command id.
    pub answers: HashMap<u64, Vec<Value>>,
    /// The `Goodbye` of the present connection.
    pub goodbye: Option<Value>,
    /// The end of the present connection.
    pub closed: Option<Closed>,
    /// Pings of the server, over all connections.
    pub pings: usize,
    /// The first broken promise.
    pub violation: Option<String>,
}

impl View {
    /// Takes one frame in.
    pub fn apply(&mut self, frame: Value) {
        match text(&frame, "type") {
            "RoomJoined" => self.snapshot(&frame),
            "RoomResumed" => self.resumed(&frame),
            "Ack" => self.ack(&frame),
            "Goodbye" => self.goodbye = Some(frame.clone()),
            "LobbyChanged" => self.waiting = list(&frame, "waiting"),
            "DurabilityChanged" => self.is_durable = frame["durable"] == true,
            _ if frame["seq"].is_u64() && frame["type"] != "KeepAlive" => self.event(&frame),
            _ => {}
        }
        if let Some(id) = frame["id"].as_u64() {
            self.answers.entry(id).or_default().push(frame.clone());
        }
        if self.frames.len() >= FRAMES_MAX {
            self.violate("too many frames for a test", &frame);
            return;
        }
        self.frames.push(frame);
    }

    /// Everybody without the connection, which a resume changes silently.
    pub fn people(&self) -> BTreeMap<String, Value> {
        let mut people = self.participants.clone();
        for person in people.values_mut().filter_map(Value::as_object_mut) {
            person.remove("connectionId");
        }
        people
    }

    /// Forgets what belongs to the connection before.
    pub fn begin_connection(&mut self) {
        self.goodbye = None;
        self.closed = None;
    }

    /// Notes a broken promise; the first one counts.
    pub fn violate(&mut self, what: &str, frame: &Value) {
        let at = self.seq;
        self.violation
            .get_or_insert_with(|| format!("{what}; last seq {at}; frame {frame}"));
    }

    fn snapshot(&mut self, frame: &Value) {
        self.identify(frame);
        self.user_id = text(&frame["self"], "userId").to_owned();
        self.room = frame["room"].clone();
        self.is_durable = frame["durable"] == true;
        self.seq = frame["seq"].as_u64().unwrap_or_default();
        self.participants = list(frame, "participants")
            .into_iter()
            .map(|person| (text(&person, "userId").to_owned(), person))
            .collect();
        if !self.participants.contains_key(&self.user_id) {
            self.violate("a snapshot without oneself", frame);
        }
        if self.seq == 0 {
            self.violate("a snapshot without seq", frame);
        }
    }

    fn resumed(&mut self, frame: &Value) {
        self.identify(frame);
        self.is_durable = frame["durable"] == true;
        for missed in list(frame, "missed") {
            self.event(&missed);
        }
        if frame["seq"].as_u64() != Some(self.seq) {
            self.violate("RoomResumed.seq is not the end of the missed events", frame);
        }
    }

    fn identify(&mut self, frame: &Value) {
        let session = text(frame, "sessionId");
        if session != self.session_id {
            self.events.clear();
            session.clone_into(&mut self.session_id);
        }
        text(frame, "connectionId").clone_into(&mut self.connection_id);
        text(frame, "resumeToken").clone_into(&mut self.resume_token);
    }

    fn ack(&mut self, frame: &Value) {
        let is_relay = frame["durable"].is_null();
        if !is_relay && frame["seq"].as_u64().is_none_or(|seq| seq > self.seq) {
            self.violate("an Ack before its event", frame);
        }
    }

    /// An event of the room: must be the next one, and must fit what is known.
    fn event(&mut self, frame: &Value) {
        if frame["seq"].as_u64() != Some(self.seq + 1) {
            self.violate("seq has a gap or a repeat", frame);
        }
        self.seq = frame["seq"].as_u64().unwrap_or(self.seq + 1);
        self.events.insert(self.seq, frame.clone());
        match text(frame, "type") {
            "ParticipantJoined" => self.joined(participant_of(frame), frame),
            "ParticipantLeft" => {
                if self.participants.remove(text(frame, "userId")).is_none() {
                    self.violate("somebody left who was not there", frame);
                }
            }
            "StateChanged" => self.changed(frame),
            "RoleChanged" => self.set(frame, "role"),
            "RoomLocked" => self.room["isLocked"] = frame["isLocked"].clone(),
            "RecordingChanged" => self.room["isRecording"] = frame["isRecording"].clone(),
            "MessageReceived" | "RoomEnded" => {}
            _ => self.violate("an event of an unknown type", frame),
        }
    }

    fn joined(&mut self, person: Value, frame: &Value) {
        let user = text(&person, "userId").to_owned();
        if self.participants.insert(user, person).is_some() {
            self.violate("somebody joined who was there", frame);
        }
    }

    fn changed(&mut self, frame: &Value) {
        for (field, _) in frame.as_object().into_iter().flatten() {
            if !matches!(field.as_str(), "type" | "seq" | "userId" | "byUserId") {
                self.set(frame, field);
            }
        }
    }

    fn set(&mut self, frame: &Value, field: &str) {
        match self.participants.get_mut(text(frame, "userId")) {
            Some(person) => person[field] = frame[field].clone(),
            None => self.violate("a change of somebody who is not there", frame),
        }
    }
}

/// The participant that a `ParticipantJoined` tells of.
pub fn participant_of(frame: &Value) -> Value {
    let mut person = frame.clone();
    if let Some(fields) = person.as_object_mut() {
        fields.remove("type");
        fields.remove("seq");
    }
    person
}

/// A text field; empty when it is missing.
pub fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// The `seq` that a frame must have.
#[track_caller]
pub fn seq_of(frame: &Value) -> u64 {
    match frame["seq"].as_u64() {
        Some(seq) => seq,
        None => panic!("no seq in {frame}"),
    }
}

/// A list field; empty when it is missing.
pub fn list(value: &Value, field: &str) -> Vec<Value> {
    value[field].as_array().cloned().unwrap_or_default()
}
