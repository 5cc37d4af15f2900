//! What one client sees of a room: the shared client model, plus everything that tests want to
//! read.

use std::{
    collections::{BTreeMap, HashMap},
    ops::{Deref, DerefMut},
    time::Instant,
};

use callboard::load::client::{Client, Heard};
use serde_json::Value;

/// Messages kept for `next`. A test that sees more is broken.
const FRAMES_MAX: usize = 200_000;

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The code of the Close frame. `None` without a Close frame.
    pub code: Option<u16>,
}

/// A room as one client sees it. Dereferences to the client model, which checks **one-order**.
pub struct View {
    client: Client<()>,
    /// The session that `events` belongs to.
    events_of: String,
    /// The room object, kept up to date.
    pub room: Value,
    /// The lobby as last told to a host.
    pub waiting: Vec<Value>,
    /// Every event of this session by `seq`.
    pub events: BTreeMap<u64, Value>,
    /// Every message as it came, over all connections.
    pub frames: Vec<Value>,
    /// Answers by command id.
    pub answers: HashMap<u64, Vec<Value>>,
    /// The `Goodbye` of the current connection.
    pub goodbye: Option<Value>,
    /// The end of the current connection.
    pub closed: Option<Closed>,
    /// Pings of the server, over all connections.
    pub pings: usize,
    /// The first broken promise.
    pub violation: Option<String>,
}

impl Default for View {
    fn default() -> Self {
        Self {
            client: Client::reader(),
            events_of: String::new(),
            room: Value::Null,
            waiting: Vec::new(),
            events: BTreeMap::new(),
            frames: Vec::new(),
            answers: HashMap::new(),
            goodbye: None,
            closed: None,
            pings: 0,
            violation: None,
        }
    }
}

impl Deref for View {
    type Target = Client<()>;

    fn deref(&self) -> &Self::Target {
        &self.client
    }
}

impl DerefMut for View {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.client
    }
}

impl View {
    /// Takes one message.
    pub fn take(&mut self, message: &str) {
        let frame: Value = serde_json::from_str(message).unwrap_or_default();
        self.check(message);
        match text(&frame, "type") {
            "RoomJoined" => {
                self.begin_session(&frame);
                self.room = frame["room"].clone();
            }
            "RoomResumed" => {
                self.begin_session(&frame);
                for missed in list(&frame, "missed") {
                    self.record(&missed);
                }
            }
            "Goodbye" => self.goodbye = Some(frame.clone()),
            "LobbyChanged" => self.waiting = list(&frame, "waiting"),
            "Ack" | "KeepAlive" => {}
            _ if frame["seq"].is_u64() => self.record(&frame),
            _ => {}
        }
        if let Some(id) = frame["id"].as_u64() {
            self.answers.entry(id).or_default().push(frame.clone());
        }
        if self.frames.len() >= FRAMES_MAX {
            self.violate("too many messages for a test", message);
            return;
        }
        self.frames.push(frame);
    }

    /// Returns all participants without `connectionId`, which a resume changes without an event.
    pub fn people(&self) -> BTreeMap<String, Value> {
        self.participants.without_connections()
    }

    /// Forgets the `Goodbye` and the end of the connection before.
    pub fn begin_connection(&mut self) {
        self.goodbye = None;
        self.closed = None;
    }

    /// Lets the client model take the message. The first violation counts.
    fn check(&mut self, message: &str) {
        let mut heard = Vec::new();
        self.client.take(message, Instant::now(), &mut heard);
        for one in heard {
            if let Heard::Violation(violation) = one {
                self.violate(&violation.to_string(), message);
            }
        }
    }

    fn violate(&mut self, what: &str, message: &str) {
        let at = self.seq;
        self.violation
            .get_or_insert_with(|| format!("{what}; last seq {at}; message {message}"));
    }

    fn begin_session(&mut self, frame: &Value) {
        let session = text(frame, "sessionId");
        if session != self.events_of {
            self.events.clear();
            session.clone_into(&mut self.events_of);
        }
    }

    fn record(&mut self, event: &Value) {
        let seq = event["seq"].as_u64().unwrap_or_default();
        self.events.insert(seq, event.clone());
        match text(event, "type") {
            "RoomLocked" => self.room["isLocked"] = event["isLocked"].clone(),
            "RecordingChanged" => self.room["isRecording"] = event["isRecording"].clone(),
            _ => {}
        }
    }
}

/// Returns a text field. Empty if it is missing.
pub fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// Returns the `seq` that a message must have.
#[track_caller]
pub fn seq_of(frame: &Value) -> u64 {
    match frame["seq"].as_u64() {
        Some(seq) => seq,
        None => panic!("no seq in {frame}"),
    }
}

/// Returns a list field. Empty if it is missing.
pub fn list(value: &Value, field: &str) -> Vec<Value> {
    value[field].as_array().cloned().unwrap_or_default()
}
