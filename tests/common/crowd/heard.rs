//! What one person hears, as far as it matters, and counts.

use std::time::{Duration, Instant};

/// How somebody came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The first join of the run, or a new stay.
    Joined,
    /// A resume with the missed events.
    Resumed,
    /// A resume with a snapshot.
    Snapshot,
}

/// What a frame means for the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing besides what was noted.
    Nothing,
    /// The door opened.
    Entered(Entry),
    /// The join was refused with this code; the `Goodbye` follows.
    Refused(String),
    /// A command was answered that was sent then.
    Answered(Instant),
    /// `KeepAlive`.
    Alive,
    /// `Goodbye`.
    Goodbye {
        /// `reconnect`, `rejoin` or `stop`.
        action: String,
        /// Where to go.
        url: Option<String>,
        /// Not before.
        retry_after: Option<Duration>,
    },
    /// The meeting is over.
    Ended,
}

/// What one person counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Events, live and missed.
    pub events: u64,
    /// Acks.
    pub acks: u64,
    /// Acks that said `durable:false`.
    pub unsure_acks: u64,
    /// `RoomResumed`.
    pub resumes: u64,
    /// `RoomJoined` with `isSnapshotAfterGap`.
    pub snapshots: u64,
    /// Commands and joins refused for now.
    pub refusals: u64,
}
