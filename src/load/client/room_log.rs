//! What all clients of one room saw, put together: what contradicts is a violation.
//!
//! An entry is *sure* when a client saw it while nothing said `durable:false`: **durable-ack**
//! promises that it survives. The next owner of the room may replace other entries.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};

use super::violation::Violation;

/// Violations kept per room and promise. Further ones are only counted.
const VIOLATIONS_MAX: usize = 3;

/// One event as a client saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The number of the event.
    pub seq: u64,
    /// The hash of its JSON.
    pub hash: u64,
    /// The digest of the participants after it.
    pub digest: u64,
    /// The text of a chat message.
    pub chat: Option<String>,
}

#[derive(Debug)]
struct Entry {
    hash: u64,
    digest: u64,
    is_sure: bool,
}

/// One session of the room.
#[derive(Debug, Default)]
struct Session {
    entries: BTreeMap<u64, Entry>,
    /// The digests that snapshots showed, by `seq`.
    snapshots: HashMap<u64, u64>,
}

/// What the clients of one room know together.
#[derive(Debug)]
pub struct RoomLog {
    /// The room on the wire.
    pub room_id: String,
    /// The number of seats.
    pub seats: usize,
    /// When the first client asked to join: the session cannot be older.
    pub first_join_at: Option<DateTime<Utc>>,
    /// When the first client entered.
    pub first_joined: Option<DateTime<Utc>>,
    /// How often the loss of history was allowed or disallowed. A client that sees a new number
    /// trusts nothing that it saw before.
    pub losses: u64,
    /// Nothing is sure at present, see [`Self::allow_loss`].
    is_loss_allowed: bool,
    /// Sessions with their ids, in order of appearance.
    sessions: Vec<(String, Session)>,
    /// Sure chat texts, with session and `seq`.
    chats: HashMap<String, (String, u64)>,
    /// Chat texts acknowledged as durable, with session and `seq` of the ack.
    acked_chats: HashMap<String, (String, u64)>,
    /// Clients without a connection, with the time of the loss.
    disconnected: HashMap<String, Instant>,
    /// At most [`VIOLATIONS_MAX`] of each promise.
    violations: Vec<Violation>,
    /// Violations beyond those kept.
    pub violations_beyond: usize,
}

impl RoomLog {
    /// Returns an empty log.
    #[must_use]
    pub fn new(room_id: &str, seats: usize) -> Self {
        Self {
            room_id: room_id.to_owned(),
            seats,
            first_join_at: None,
            first_joined: None,
            losses: 0,
            is_loss_allowed: false,
            sessions: Vec::new(),
            chats: HashMap::new(),
            acked_chats: HashMap::new(),
            disconnected: HashMap::new(),
            violations: Vec::new(),
            violations_beyond: 0,
        }
    }

    /// Returns the violations kept.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// Returns the session ids in order of appearance.
    #[must_use]
    pub fn session_ids(&self) -> Vec<&str> {
        self.sessions.iter().map(|(id, _)| id.as_str()).collect()
    }

    /// Adds a violation.
    pub fn violate(&mut self, promise: &'static str, what: &str) {
        let of_promise = |violation: &&Violation| violation.promise == promise;
        if self.violations.iter().filter(of_promise).count() < VIOLATIONS_MAX {
            self.violations.push(Violation::new(promise, what));
        } else {
            self.violations_beyond += 1;
        }
    }

    /// Allows the loss of history while Redis has lost everything and the owner of this room fails.
    /// Until `false` is given nothing is sure. Nothing seen before either call is sure.
    pub fn allow_loss(&mut self, is_loss_allowed: bool) {
        self.is_loss_allowed = is_loss_allowed;
        self.losses += 1;
        for (_, session) in &mut self.sessions {
            session.snapshots.clear();
            for entry in session.entries.values_mut() {
                entry.is_sure = false;
            }
        }
        self.chats.clear();
        self.acked_chats.clear();
    }

    /// A client entered a session. It must be the only session of this room (**one-session**).
    pub fn enter(&mut self, session_id: &str, name: &str) {
        self.first_joined.get_or_insert_with(Utc::now);
        if self.sessions.iter().any(|(id, _)| id == session_id) {
            return;
        }
        if !self.sessions.is_empty() && self.losses == 0 {
            let what = format!("{name} found the new session {session_id} in a room that has one");
            self.violate("one-session", &what);
        }
        self.sessions
            .push((session_id.to_owned(), Session::default()));
    }

    /// A client saw an event.
    pub fn see(&mut self, session_id: &str, seen: &Sighting, is_sure: bool, name: &str) {
        let is_sure = is_sure && !self.is_loss_allowed;
        let seq = seen.seq;
        let entry = Entry {
            hash: seen.hash,
            digest: seen.digest,
            is_sure,
        };
        let session = self.session(session_id);
        let shown = session.snapshots.get(&seq).copied();
        let mut broken = None;
        match session.entries.get_mut(&seq) {
            None => {
                session.entries.insert(seq, entry);
            }
            Some(known) if known.hash == seen.hash => {
                if known.is_sure && is_sure && known.digest != seen.digest {
                    broken = Some("the same event, but another state of the room behind it");
                } else if is_sure && !known.is_sure {
                    *known = entry;
                }
            }
            Some(known) if known.is_sure && is_sure => {
                broken = Some("another event than others saw under this number");
            }
            Some(known) if !known.is_sure => *known = entry,
            // The sure entry of another client replaces an event seen without durability.
            Some(_) => {}
        }
        if is_sure && shown.is_some_and(|digest| digest != seen.digest) {
            broken = broken.or(Some("a snapshot at this number showed another room"));
        }
        if let Some(broken) = broken {
            self.violate("one-order", &format!("{name} saw at seq {seq} {broken}"));
        }
        if is_sure && let Some(text) = &seen.chat {
            self.chat(session_id, seq, text, name);
        }
    }

    /// A client got a snapshot with `durable:true`. It must show what the events before it made.
    pub fn snapshot(&mut self, session_id: &str, seq: u64, digest: u64, name: &str) {
        if self.is_loss_allowed {
            return;
        }
        let session = self.session(session_id);
        let known = session.entries.get(&seq).filter(|entry| entry.is_sure);
        let is_other = known.is_some_and(|entry| entry.digest != digest);
        session.snapshots.insert(seq, digest);
        if is_other {
            let what = format!("the snapshot of {name} at seq {seq} is not what its events made");
            self.violate("one-order", &what);
        }
    }

    /// A chat message was acknowledged as durable.
    pub fn acked_chat(&mut self, session_id: &str, seq: u64, text: &str) {
        if !self.is_loss_allowed {
            self.acked_chats
                .insert(text.to_owned(), (session_id.to_owned(), seq));
        }
    }

    /// A client lost its connection at `since`, or has one again.
    pub fn mark_disconnected(&mut self, user_id: &str, since: Option<Instant>) {
        if let Some(since) = since {
            self.disconnected.entry(user_id.to_owned()).or_insert(since);
        } else {
            self.disconnected.remove(user_id);
        }
    }

    /// Checks a `ParticipantLeft`. No client leaves by itself, so only one without a connection for
    /// longer than the grace may be gone.
    pub fn left(&mut self, user_id: &str, reason: &str, now: Instant, grace: Duration, name: &str) {
        let since = self.disconnected.get(user_id);
        let out_for = since.map(|since| now.saturating_duration_since(*since));
        let is_due = reason == "timeout" && out_for.is_some_and(|out_for| out_for >= grace);
        if !is_due && self.losses == 0 {
            let what =
                format!("{name} was told that {user_id} left ({reason}), out for {out_for:?}");
            self.violate("no-ghosts", &what);
        }
    }

    /// Checks at the end that each chat message acknowledged as durable was delivered. Returns how
    /// many cannot be checked because no client saw that part of the session.
    pub fn settle(&mut self) -> usize {
        let mut unseen = 0;
        let missing: Vec<(String, String, u64)> = self
            .acked_chats
            .iter()
            .filter(|(text, _)| !self.chats.contains_key(*text))
            .map(|(text, (session, seq))| (text.clone(), session.clone(), *seq))
            .collect();
        for (text, session_id, seq) in missing {
            let is_whole = {
                let entries = &self.session(&session_id).entries;
                // The first event of a session is the first join. Only the snapshot shows it.
                (2..=seq).all(|number| entries.get(&number).is_some_and(|entry| entry.is_sure))
            };
            if is_whole {
                let what = format!("chat {text:?} was acknowledged at seq {seq} and is not there");
                self.violate("durable-ack", &what);
            } else {
                unseen += 1;
            }
        }
        unseen
    }

    fn chat(&mut self, session_id: &str, seq: u64, text: &str, name: &str) {
        let position = (session_id.to_owned(), seq);
        let known = self
            .chats
            .entry(text.to_owned())
            .or_insert_with(|| position.clone())
            .clone();
        if known != position {
            let what = format!(
                "{name} saw chat {text:?} at seq {seq} and at seq {}",
                known.1
            );
            self.violate("once", &what);
        }
    }

    fn session(&mut self, session_id: &str) -> &mut Session {
        let index = match self.sessions.iter().position(|(id, _)| id == session_id) {
            Some(index) => index,
            None => {
                self.sessions
                    .push((session_id.to_owned(), Session::default()));
                self.sessions.len() - 1
            }
        };
        &mut self.sessions[index].1
    }
}
