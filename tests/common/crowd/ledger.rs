//! What all people of one room have seen, put together: who saw what is forgotten, what contradicts is a violation.
//!
//! An entry is *sure* when somebody has seen it while nothing said `durable:false`: **durable-ack** promises that it survives. Other
//! entries may be replaced by the next owner of the room (README, *What survives what*).

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};

/// Violations kept per room and promise: the first ones tell, the rest is counted.
const VIOLATIONS_MAX: usize = 3;
/// Characters of a violation that are kept.
const CHARACTERS_MAX: usize = 600;

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The promise by its name in the contract.
    pub promise: &'static str,
    /// What happened.
    pub what: String,
    /// When it was noticed; the logs of the nodes have the same clock.
    pub at: DateTime<Utc>,
}

impl Violation {
    /// Noticed now.
    pub fn new(promise: &'static str, what: &str) -> Self {
        Self {
            promise,
            what: what.chars().take(CHARACTERS_MAX).collect(),
            at: Utc::now(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at.format("%H:%M:%S%.3f");
        write!(out, "{at} {}: {}", self.promise, self.what)
    }
}

/// One event as somebody saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Its number.
    pub seq: u64,
    /// Of its JSON.
    pub hash: u64,
    /// Of the room after it, see [`super::fold::Fold`].
    pub digest: u64,
    /// The text, when it is chat.
    pub chat: Option<String>,
}

#[derive(Debug)]
struct Entry {
    hash: u64,
    digest: u64,
    is_sure: bool,
}

/// One life of the room.
#[derive(Debug, Default)]
struct Session {
    entries: BTreeMap<u64, Entry>,
    /// What snapshots showed: the digest after this `seq`.
    snapshots: HashMap<u64, u64>,
}

/// What is known about one room.
#[derive(Debug)]
pub struct Ledger {
    /// Which room.
    pub room_id: String,
    /// Seats.
    pub seats: usize,
    /// When the first of us asked to come in: the session cannot be older.
    pub first_knock: Option<DateTime<Utc>>,
    /// When the first of us was told to be inside.
    pub first_joined: Option<DateTime<Utc>>,
    /// Times at which history was allowed to be lost; people who see a new number trust nothing they saw before.
    pub amnesties: u64,
    /// Nothing is sure at present, see [`Self::forgive`].
    is_forgiving: bool,
    /// Sessions by their id, in order of appearance.
    sessions: Vec<(String, Session)>,
    /// Sure chats: text to session and `seq`.
    chats: HashMap<String, (String, u64)>,
    /// Chats acknowledged as durable: text to session and `seq` of the ack.
    acked_chats: HashMap<String, (String, u64)>,
    /// Ours who are not connected, since when.
    out: HashMap<String, Instant>,
    /// In order; at most [`VIOLATIONS_MAX`] of each promise.
    violations: Vec<Violation>,
    /// Violations beyond.
    pub violations_beyond: usize,
}

impl Ledger {
    /// Nothing is known yet.
    pub fn new(room_id: &str, seats: usize) -> Self {
        Self {
            room_id: room_id.to_owned(),
            seats,
            first_knock: None,
            first_joined: None,
            amnesties: 0,
            is_forgiving: false,
            sessions: Vec::new(),
            chats: HashMap::new(),
            acked_chats: HashMap::new(),
            out: HashMap::new(),
            violations: Vec::new(),
            violations_beyond: 0,
        }
    }

    /// All violations kept.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// Session ids in order of appearance.
    pub fn session_ids(&self) -> Vec<&str> {
        self.sessions.iter().map(|(id, _)| id.as_str()).collect()
    }

    /// Notes a broken promise.
    pub fn violate(&mut self, promise: &'static str, what: String) {
        let of_promise = |violation: &&Violation| violation.promise == promise;
        if self.violations.iter().filter(of_promise).count() < VIOLATIONS_MAX {
            self.violations.push(Violation::new(promise, &what));
        } else {
            self.violations_beyond += 1;
        }
    }

    /// Redis has lost everything *and* the owner of this room is lost at the same time: what only Redis had is gone, and the contract
    /// says so (section 6, what durable means). Until `false` is given nothing is sure, and nothing seen before is.
    pub fn forgive(&mut self, is_forgiving: bool) {
        self.is_forgiving = is_forgiving;
        self.amnesties += 1;
        for (_, session) in &mut self.sessions {
            session.snapshots.clear();
            for entry in session.entries.values_mut() {
                entry.is_sure = false;
            }
        }
        self.chats.clear();
        self.acked_chats.clear();
    }

    /// Somebody is inside a session: must be the one session of this room (**one-session**). The first begins it.
    pub fn enter(&mut self, session_id: &str, name: &str) {
        self.first_joined.get_or_insert_with(Utc::now);
        if self.sessions.iter().any(|(id, _)| id == session_id) {
            return;
        }
        if !self.sessions.is_empty() && self.amnesties == 0 {
            let what = format!("{name} found the new session {session_id} in a room that has one");
            self.violate("one-session", what);
        }
        self.sessions
            .push((session_id.to_owned(), Session::default()));
    }

    /// Somebody saw an event.
    pub fn see(&mut self, session_id: &str, seen: &Sighting, is_sure: bool, name: &str) {
        let is_sure = is_sure && !self.is_forgiving;
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
            // Seen without durability: may be replaced by what others have for sure.
            Some(_) => {}
        }
        if is_sure && shown.is_some_and(|digest| digest != seen.digest) {
            broken = broken.or(Some("a snapshot at this number showed another room"));
        }
        if let Some(broken) = broken {
            self.violate("one-order", format!("{name} saw at seq {seq} {broken}"));
        }
        if is_sure && let Some(text) = &seen.chat {
            self.chat(session_id, seq, text, name);
        }
    }

    /// A snapshot that says `durable:true` must show what the events up to it made.
    pub fn snapshot(&mut self, session_id: &str, seq: u64, digest: u64, name: &str) {
        if self.is_forgiving {
            return;
        }
        let session = self.session(session_id);
        let known = session.entries.get(&seq).filter(|entry| entry.is_sure);
        let is_other = known.is_some_and(|entry| entry.digest != digest);
        session.snapshots.insert(seq, digest);
        if is_other {
            let what = format!("the snapshot of {name} at seq {seq} is not what its events made");
            self.violate("one-order", what);
        }
    }

    /// The last sure event of a session.
    pub fn last_sure(&self, session_id: &str) -> u64 {
        let session = self.sessions.iter().find(|(id, _)| id == session_id);
        session
            .and_then(|(_, session)| {
                session
                    .entries
                    .iter()
                    .rev()
                    .find(|(_, entry)| entry.is_sure)
            })
            .map_or(0, |(seq, _)| *seq)
    }

    /// A chat was acknowledged as durable.
    pub fn acked_chat(&mut self, session_id: &str, seq: u64, text: &str) {
        if !self.is_forgiving {
            self.acked_chats
                .insert(text.to_owned(), (session_id.to_owned(), seq));
        }
    }

    /// One of ours lost the connection, or is back.
    pub fn mark_out(&mut self, user_id: &str, since: Option<Instant>) {
        if let Some(since) = since {
            self.out.entry(user_id.to_owned()).or_insert(since);
        } else {
            self.out.remove(user_id);
        }
    }

    /// A `ParticipantLeft`: nobody of ours leaves by themself, so only one who is out longer than the grace may be gone.
    pub fn left(&mut self, user_id: &str, reason: &str, grace: Duration, name: &str) {
        let out_for = self.out.get(user_id).map(Instant::elapsed);
        let is_due = reason == "timeout" && out_for.is_some_and(|out_for| out_for >= grace);
        if !is_due && self.amnesties == 0 {
            let what =
                format!("{name} was told that {user_id} left ({reason}), out for {out_for:?}");
            self.violate("no-ghosts", what);
        }
    }

    /// At the end: every chat acknowledged as durable was said. Answers how many cannot be judged, because nobody saw that part.
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
                // The first event of a session is the first join: told to nobody, shown by the snapshot.
                (2..=seq).all(|number| entries.get(&number).is_some_and(|entry| entry.is_sure))
            };
            if is_whole {
                let what = format!("chat {text:?} was acknowledged at seq {seq} and is not there");
                self.violate("durable-ack", what);
            } else {
                unseen += 1;
            }
        }
        unseen
    }

    fn chat(&mut self, session_id: &str, seq: u64, text: &str, name: &str) {
        let place = (session_id.to_owned(), seq);
        let known = self
            .chats
            .entry(text.to_owned())
            .or_insert_with(|| place.clone())
            .clone();
        if known != place {
            let what = format!(
                "{name} saw chat {text:?} at seq {seq} and at seq {}",
                known.1
            );
            self.violate("once", what);
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
