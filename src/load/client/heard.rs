//! What a message of the server means for the client that receives it.

use std::time::Duration;

use serde::Deserialize;
use uuid::Uuid;

use super::{pending::Sent, violation::Violation};
use crate::{
    load::mark::Mark,
    protocol::{Action, Code},
};

/// How a client entered the room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A new stay.
    Joined,
    /// The same stay; the server sent the missed events.
    Resumed,
    /// The same stay; a snapshot replaced the missed events.
    Snapshot,
}

/// What one message means. One message can mean several things.
#[derive(Debug)]
pub enum Heard<T> {
    /// The client is in the room.
    Entered {
        /// How it entered.
        entry: Entry,
        /// The newest other participants, at most [`OTHERS_MAX`](super::OTHERS_MAX).
        others: Vec<Uuid>,
    },
    /// The server refused the join.
    JoinRefused(Code),
    /// A command took effect.
    Acked(Sent<T>),
    /// A command was refused. `None` if the answer names no command of this client.
    Refused(Option<Sent<T>>, Code),
    /// A chat message of a load run.
    Message(Mark),
    /// A participant offers a media connection.
    Offer(Uuid),
    /// The answer to `KeepAlive`.
    KeepAlive,
    /// The server closes the connection after this.
    Goodbye(Goodbye),
    /// The session ended.
    RoomEnded,
    /// The server broke a promise.
    Violation(Violation),
}

/// What a client does with its stay and its connection after a `Goodbye`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Goodbye {
    /// Whether to resume, to join anew or to stay away.
    pub action: Action,
    /// The reason on the wire.
    pub reason: String,
    /// The signal URL to use next, if it is another one.
    pub url: Option<String>,
    retry_after_ms: Option<u64>,
}

impl Goodbye {
    /// Returns the shortest time before the next connection.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after_ms.map(Duration::from_millis)
    }
}

/// What one client counted over all its connections.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Events, live and missed.
    pub events: u64,
    /// Acks.
    pub acks: u64,
    /// Acks with `durable:false`.
    pub unsure_acks: u64,
    /// `RoomResumed`.
    pub resumes: u64,
    /// `RoomJoined` with `isSnapshotAfterGap`.
    pub snapshots: u64,
    /// Refused commands and joins.
    pub refusals: u64,
}

impl Counts {
    /// Adds the counts of another client.
    pub fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.acks += other.acks;
        self.unsure_acks += other.unsure_acks;
        self.resumes += other.resumes;
        self.snapshots += other.snapshots;
        self.refusals += other.refusals;
    }
}

/// Returns whether a refusal means that the server is busy or cannot tell: the client may repeat.
#[must_use]
pub const fn is_for_now(code: Code) -> bool {
    matches!(code, Code::RateLimited | Code::Unavailable | Code::Timeout)
}
