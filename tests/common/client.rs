//! One client over WebSocket, through a third-party library, with a readable view of the room.

use std::{
    sync::{Arc, MutexGuard},
    time::Duration,
};

use futures_util::{SinkExt, StreamExt, stream::SplitSink};
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinHandle, time::timeout};
use tokio_tungstenite::tungstenite::Message;

use super::{
    socket::{Shared, Socket, open, read},
    view::{Closed, View},
};

/// Longest wait for anything a server owes.
pub const ANSWER_DEADLINE: Duration = Duration::from_secs(15);
/// Frames shown when a wait was in vain.
const FRAMES_SHOWN: usize = 12;

/// One client and its connection, if it has one.
pub struct TestClient {
    /// For messages of failing tests.
    pub name: String,
    /// The signal URL.
    pub url: String,
    /// Sent in `JoinRoom`.
    pub room_id: String,
    /// Sent in `JoinRoom`.
    pub token: String,
    /// Bytes of the receive buffer. `None` for the system's default.
    pub receive_buffer_bytes: Option<u32>,
    /// The sending half.
    sink: Option<SplitSink<Socket, Message>>,
    /// The task that reads.
    reader: Option<JoinHandle<()>>,
    /// Whether the task may read.
    reading: watch::Sender<bool>,
    /// See [`Shared`].
    shared: Arc<Shared>,
    /// The id of the next command.
    next_id: u64,
    /// Frames before this one were taken by `next`.
    cursor: usize,
}

impl TestClient {
    /// Returns a client without a connection.
    pub fn new(name: &str, url: &str, room_id: &str, token: &str) -> Self {
        Self {
            name: name.to_owned(),
            url: url.to_owned(),
            room_id: room_id.to_owned(),
            token: token.to_owned(),
            receive_buffer_bytes: None,
            sink: None,
            reader: None,
            reading: watch::Sender::new(true),
            shared: Arc::default(),
            next_id: 1,
            cursor: 0,
        }
    }

    /// Opens the WebSocket and sends nothing.
    pub async fn connect(&mut self) {
        self.drop_abruptly().await;
        let socket = timeout(ANSWER_DEADLINE, open(&self.url, self.receive_buffer_bytes))
            .await
            .expect("the upgrade takes no longer than its deadline");
        let (sink, stream) = socket.split();
        self.look().begin_connection();
        self.reading.send_replace(true);
        self.sink = Some(sink);
        self.reader = Some(tokio::spawn(read(
            stream,
            Arc::clone(&self.shared),
            self.reading.subscribe(),
        )));
    }

    /// Connects and asks to join. Returns the first answer.
    pub async fn try_join(&mut self) -> Value {
        self.connect().await;
        let join = json!({"type": "JoinRoom", "roomId": self.room_id, "token": self.token});
        let id = self.post(join).await;
        self.answer(id).await
    }

    /// Joins and returns the `RoomJoined`.
    pub async fn join(&mut self) -> Value {
        let joined = self.try_join().await;
        assert_eq!(joined["type"], "RoomJoined", "{}: {joined}", self.name);
        joined
    }

    /// Must be refused with this code, then sent away with this close code and action.
    pub async fn join_expect_error(&mut self, code: &str, close: u16, action: &str) {
        let refused = self.try_join().await;
        assert_eq!(refused["type"], "Error", "{}: {refused}", self.name);
        assert_eq!(refused["code"], code, "{}: {refused}", self.name);
        assert!(refused["message"].is_string(), "{refused}");
        self.expect_goodbye(code, close, action).await;
    }

    /// Connects and resumes after the last event seen. Returns the first answer.
    pub async fn try_resume(&mut self) -> Value {
        let resume = {
            let view = self.look();
            json!({"connectionId": view.connection_id, "resumeToken": view.resume_token, "lastSeq": view.seq})
        };
        self.resume_with(resume).await
    }

    /// The same with a `resume` of the test's own.
    pub async fn resume_with(&mut self, resume: Value) -> Value {
        self.connect().await;
        let join = json!({"type": "JoinRoom", "roomId": self.room_id, "token": self.token, "resume": resume});
        let id = self.post(join).await;
        self.answer(id).await
    }

    /// Resumes and returns the `RoomResumed`.
    pub async fn resume(&mut self) -> Value {
        let resumed = self.try_resume().await;
        assert_eq!(resumed["type"], "RoomResumed", "{}: {resumed}", self.name);
        resumed
    }

    /// Sends a command with the next id and returns the id.
    pub async fn post(&mut self, command: Value) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.post_as(id, command).await;
        id
    }

    /// Sends a command under a given id and forgets earlier answers under it.
    pub async fn post_as(&mut self, id: u64, mut command: Value) {
        command["id"] = id.into();
        self.next_id = self.next_id.max(id + 1);
        self.look().answers.remove(&id);
        self.send_text(&command.to_string()).await;
    }

    /// Sends a command and waits for its `Ack` or `Error`.
    pub async fn send(&mut self, command: Value) -> Value {
        let id = self.post(command).await;
        self.answer(id).await
    }

    /// Sends a command that must succeed and returns its `Ack`.
    pub async fn command(&mut self, command: Value) -> Value {
        let said = command.to_string();
        let ack = self.send(command).await;
        assert_eq!(ack["type"], "Ack", "{} said {said}: {ack}", self.name);
        ack
    }

    /// Sends a command that must be refused with this code.
    pub async fn refused(&mut self, command: Value, code: &str) {
        let said = command.to_string();
        let error = self.send(command).await;
        assert_eq!(error["type"], "Error", "{} said {said}: {error}", self.name);
        assert_eq!(error["code"], code, "{} said {said}: {error}", self.name);
    }

    /// Returns the first answer to a command.
    pub async fn answer(&self, id: u64) -> Value {
        self.until(&format!("the answer to {id}"), |view| {
            view.answers.get(&id).and_then(|all| all.first().cloned())
        })
        .await
    }

    /// Returns the next message that fits and skips those before it.
    pub async fn next(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let from = self.cursor;
        let (at, frame) = self
            .until(what, |view| {
                let found = view.frames[from..].iter().position(&fits)?;
                Some((from + found, view.frames[from + found].clone()))
            })
            .await;
        self.cursor = at + 1;
        frame
    }

    /// The next frame of a type.
    pub async fn next_of(&mut self, kind: &str) -> Value {
        self.next(kind, |frame| frame["type"] == kind).await
    }

    /// Waits until the model shows something.
    pub async fn until<T>(&self, what: &str, mut shows: impl FnMut(&View) -> Option<T>) -> T {
        let mut changes = self.shared.changes.subscribe();
        let wait = async {
            loop {
                if let Some(found) = shows(&self.look()) {
                    return found;
                }
                changes.changed().await.expect("the sender lives in self");
            }
        };
        match timeout(ANSWER_DEADLINE, wait).await {
            Ok(found) => found,
            Err(_) => panic!(
                "{} waited in vain for {what}; {}",
                self.name,
                self.describe()
            ),
        }
    }

    /// Waits until this event has been seen.
    pub async fn until_seq(&self, seq: u64) {
        self.until(&format!("seq {seq}"), |view| {
            (view.seq >= seq).then_some(())
        })
        .await;
    }

    /// Waits for the end of the connection.
    pub async fn closed(&self) -> Closed {
        self.until("the close", |view| view.closed.clone()).await
    }

    /// The connection must end with this `Goodbye` and close code.
    pub async fn expect_goodbye(&self, reason: &str, close: u16, action: &str) -> Value {
        let closed = self.closed().await;
        let goodbye = self.look().goodbye.clone().unwrap_or_default();
        let seen = format!("{}: {goodbye} {closed:?}", self.name);
        assert_eq!(goodbye["reason"], reason, "{seen}");
        assert_eq!(goodbye["action"], action, "{seen}");
        assert_eq!(closed.code, Some(close), "{seen}");
        goodbye
    }

    /// Drops the TCP connection without a close frame.
    pub async fn drop_abruptly(&mut self) {
        self.sink = None;
        if let Some(reader) = self.reader.take() {
            reader.abort();
            let _ = reader.await; // cancelled, or done already
        }
    }

    /// Stops reading and leaves the connection open.
    pub fn stop_reading(&self) {
        self.reading.send_replace(false);
    }

    /// Reads again.
    pub fn read_on(&self) {
        self.reading.send_replace(true);
    }

    /// Sends raw text.
    pub async fn send_text(&mut self, text: &str) {
        self.send_message(Message::text(text)).await;
    }

    /// Sends any message. A broken connection is no error here: the answer never comes.
    pub async fn send_message(&mut self, message: Message) {
        let sink = self.sink.as_mut().expect("the client is connected");
        let _ = timeout(ANSWER_DEADLINE, sink.send(message)).await;
    }

    /// Locks the view. Never hold it across an await.
    pub fn look(&self) -> MutexGuard<'_, View> {
        self.shared
            .view
            .lock()
            .expect("no test panics with the view")
    }

    /// Own user id.
    pub fn user_id(&self) -> String {
        self.look().user_id.clone()
    }

    /// The last event seen.
    pub fn seq(&self) -> u64 {
        self.look().seq
    }

    /// Returns a participant as this client sees it. `Null` if it is not there.
    pub fn sees(&self, user_id: &str) -> Value {
        let view = self.look();
        view.participants.get(user_id).cloned().unwrap_or_default()
    }

    /// No promise was broken so far.
    #[track_caller]
    pub fn check(&self) {
        let violation = self.look().violation.clone();
        assert_eq!(violation, None, "{} saw a broken promise", self.name);
    }

    fn describe(&self) -> String {
        let view = self.look();
        let from = view.frames.len().saturating_sub(FRAMES_SHOWN);
        format!(
            "violation {:?}, closed {:?}, last frames {:#?}",
            view.violation,
            view.closed,
            view.frames[from..]
                .iter()
                .map(Value::to_string)
                .collect::<Vec<_>>()
        )
    }
}

impl Drop for TestClient {
    fn drop(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.abort();
        }
        if !std::thread::panicking() {
            self.check();
        }
    }
}

/// Events that two clients both saw must be equal.
#[track_caller]
pub fn assert_same_events(one: &TestClient, other: &TestClient) {
    // Copied one after the other, so that a client may be compared with itself.
    let one_events = one.look().events.clone();
    let other_events = other.look().events.clone();
    for (seq, event) in &one_events {
        if let Some(same) = other_events.get(seq) {
            assert_eq!(event, same, "{} and {}", one.name, other.name);
        }
    }
}
