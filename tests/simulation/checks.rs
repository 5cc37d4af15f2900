//! The promises, checked from what was written and what was told.
//!
//! The truth is the mirror's own history. What the mirror itself loses (it goes back in time, or
//! forgets) is excused where the owner did not write it again before somebody else went on: such a
//! session is *excused* from then on (README, *What survives what*).

use std::collections::{BTreeMap, BTreeSet};

use bytestring::ByteString;
use callboard::{
    ids::{Epoch, NodeId, RoomId, Seq, SessionId, UserId, Version},
    lease::PartitionPolicy,
    mirror::Commit,
    room::record::{ChangeSet, Snapshot, TailEvent},
};

/// Who wrote a room last, and how far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Writer {
    pub owner: NodeId,
    pub epoch: Epoch,
    pub version: Version,
    pub session: Option<SessionId>,
}

/// What the mirror holds of each room.
pub type Known = BTreeMap<RoomId, Writer>;

#[derive(Default)]
struct History {
    room: Option<RoomId>,
    /// Events in the mirror.
    frames: BTreeMap<Seq, ByteString>,
    /// Chat in them.
    texts: BTreeMap<String, Seq>,
    /// The last event that was told as durable.
    told: Seq,
    /// Events up to here were written without their text: the tail of a full snapshot is bounded.
    beyond_tail: Seq,
    people: BTreeSet<UserId>,
    is_excused: bool,
    is_closed: bool,
}

/// See the module.
pub struct Truth {
    policy: PartitionPolicy,
    /// A broken fence must be seen by what it does to promises, not by the epochs themselves.
    trusts_no_epochs: bool,
    stored: Known,
    /// The highest epoch ever stored of a room, by whom.
    highest: BTreeMap<RoomId, (Epoch, NodeId)>,
    /// Rooms that the mirror has lost something of, with the writer before.
    at_risk: BTreeMap<RoomId, Writer>,
    sessions: BTreeMap<SessionId, History>,
    capacities: BTreeMap<RoomId, usize>,
}

type Check = Result<(), String>;

impl Truth {
    pub fn new(policy: PartitionPolicy, trusts_no_epochs: bool) -> Self {
        Self {
            policy,
            trusts_no_epochs,
            stored: Known::new(),
            highest: BTreeMap::new(),
            at_risk: BTreeMap::new(),
            sessions: BTreeMap::new(),
            capacities: BTreeMap::new(),
        }
    }

    pub fn limit(&mut self, room_id: RoomId, people: usize) {
        self.capacities.insert(room_id, people);
    }

    pub fn known(&self) -> Known {
        self.stored.clone()
    }

    /// The outbox is lost or old: what was closed and is not recorded is not the room's to write
    /// again.
    pub fn outbox_is_lost(&mut self, is_recorded: impl Fn(SessionId) -> bool) {
        for (session_id, history) in &mut self.sessions {
            history.is_excused |= history.is_closed && !is_recorded(*session_id);
        }
    }

    /// The mirror lost what it had.
    pub fn mirror_is(&mut self, known: Known) {
        for (room_id, writer) in &self.stored {
            if known.get(room_id) != Some(writer) {
                self.at_risk.entry(*room_id).or_insert(*writer);
            }
        }
        for room_id in known.keys() {
            // A closed room is back: its next owner continues from the past.
            if let (false, Some(writer)) = (self.stored.contains_key(room_id), known.get(room_id)) {
                self.at_risk.entry(*room_id).or_insert(*writer);
                self.excuse(writer.session);
            }
        }
        self.stored = known;
    }

    pub fn is_excused(&self, room_id: RoomId) -> bool {
        self.at_risk.contains_key(&room_id)
            || self
                .sessions
                .values()
                .any(|history| history.room == Some(room_id) && history.is_excused)
    }

    /// Whether a session must be closed in the end.
    pub fn sessions(&self) -> impl Iterator<Item = (SessionId, bool)> + '_ {
        // What an owner began without the mirror and then lost was never durable.
        self.sessions.iter().filter_map(|(session_id, history)| {
            let room_id = history.room?;
            // Lost by the mirror, and nobody has gone on with it since.
            let is_lost = self.at_risk.contains_key(&room_id);
            Some((*session_id, history.is_excused || is_lost))
        })
    }

    fn excuse(&mut self, session: Option<SessionId>) {
        if let Some(session_id) = session {
            self.sessions.entry(session_id).or_default().is_excused = true;
        }
    }

    /// A commit was answered `Ok`; whether the mirror still has the room.
    pub fn committed(&mut self, commit: &Commit, is_stored: bool) -> Check {
        let checked = self.check_commit(commit);
        if !is_stored {
            self.stored.remove(&commit.room_id);
            self.at_risk.remove(&commit.room_id);
        }
        checked
    }

    fn check_commit(&mut self, commit: &Commit) -> Check {
        let changes = &commit.changes;
        let before = self.stored.get(&commit.room_id).copied();
        if let Some(closing) = &changes.closing {
            let Some(session) = &closing.session else {
                return Ok(());
            };
            let is_repeat = self
                .sessions
                .get(&session.session_id)
                .is_some_and(|history| history.is_closed);
            if is_repeat {
                return Ok(());
            }
        }
        let session = match (&changes.head, before) {
            (Some(head), _) => head.session.map(|session| session.session_id),
            (None, Some(writer)) => writer.session,
            (None, None) => None,
        };
        self.settle_risk(commit, session, before);
        self.check_epoch(commit)?;
        self.write(commit.room_id, session, changes)?;
        let closed = changes
            .closing
            .as_ref()
            .and_then(|closing| closing.session.as_ref());
        if let Some(closed) = closed {
            self.sessions
                .entry(closed.session_id)
                .or_default()
                .is_closed = true;
        } else {
            self.stored.insert(
                commit.room_id,
                Writer {
                    owner: commit.owner,
                    epoch: commit.epoch,
                    version: changes.to,
                    session,
                },
            );
        }
        Ok(())
    }

    /// After a loss: the writer before may write everything again, others continue with less.
    fn settle_risk(&mut self, commit: &Commit, session: Option<SessionId>, before: Option<Writer>) {
        let Some(risk) = self.at_risk.get(&commit.room_id).copied() else {
            return;
        };
        let is_heir = risk.owner == commit.owner && commit.epoch >= risk.epoch;
        let is_unharmed = before.is_some_and(|before| before == risk);
        if is_heir && (commit.changes.is_full || is_unharmed) {
            self.at_risk.remove(&commit.room_id);
        } else if !is_heir || before.is_none_or(|before| before.version >= commit.changes.to) {
            self.excuse(session);
            self.excuse(risk.session);
            self.at_risk.remove(&commit.room_id);
        }
    }

    fn check_epoch(&mut self, commit: &Commit) -> Check {
        let mine = (commit.epoch, commit.owner);
        let highest = *self.highest.entry(commit.room_id).or_insert(mine);
        if mine == highest || self.trusts_no_epochs || self.is_excused(commit.room_id) {
            return Ok(());
        }
        if commit.epoch > highest.0 {
            self.highest.insert(commit.room_id, mine);
            return Ok(());
        }
        Err(format!(
            "one-owner: {} wrote {} under epoch {} after {} had epoch {}",
            commit.owner, commit.room_id, commit.epoch, highest.1, highest.0
        ))
    }

    fn write(&mut self, room_id: RoomId, session: Option<SessionId>, changes: &ChangeSet) -> Check {
        let Some(session_id) = session else {
            return Ok(());
        };
        let capacity = self.capacities.get(&room_id).copied();
        let history = self.sessions.entry(session_id).or_default();
        history.room = Some(room_id);
        if history.is_excused {
            return Ok(());
        }
        if history.is_closed {
            return Err(format!(
                "one-session: {session_id} is written after its close"
            ));
        }
        if changes.is_full {
            let first = changes
                .tail
                .first()
                .map_or(changes.seq.next(), |event| event.seq);
            history.beyond_tail = history.beyond_tail.max(Seq(first.0 - 1));
        }
        for event in &changes.tail {
            history.append(session_id, event)?;
        }
        if changes.is_full {
            history.people.clear();
        }
        for (user_id, record) in &changes.participants {
            if record.is_some() {
                history.people.insert(*user_id);
            } else {
                history.people.remove(user_id);
            }
        }
        if capacity.is_some_and(|capacity| history.people.len() > capacity) {
            return Err(format!(
                "capacity: {} people in {room_id}",
                history.people.len()
            ));
        }
        Ok(())
    }

    /// A node owns the room now and continues from this state.
    pub fn claimed(
        &mut self,
        room_id: RoomId,
        owner: NodeId,
        epoch: Epoch,
        version: Version,
        snapshot: Option<&Snapshot>,
    ) -> Check {
        let session = snapshot
            .and_then(|room| room.head.session)
            .map(|head| head.session_id);
        let before = self.stored.get(&room_id).copied();
        let is_loss = match self.at_risk.remove(&room_id) {
            Some(risk) => {
                let is_unharmed = before.is_some_and(|before| before == risk);
                if !is_unharmed {
                    self.excuse(risk.session);
                    self.excuse(session);
                }
                !is_unharmed
            }
            None => false,
        };
        let writer = Writer {
            owner,
            epoch,
            version,
            session,
        };
        self.stored.insert(room_id, writer);
        let highest = self.highest.insert(room_id, (epoch, owner));
        if !self.trusts_no_epochs && highest.is_some_and(|(highest, _)| highest >= epoch) {
            return Err(format!("one-owner: {room_id} claimed under an old epoch"));
        }
        if is_loss {
            return Ok(());
        }
        match (snapshot, session) {
            (Some(room), Some(session_id)) => self.go_on(session_id, room.seq, &room.tail),
            _ => match before.and_then(|before| before.session) {
                Some(lost) if !self.trusts_no_epochs => Err(format!(
                    "durable-ack: {room_id} began anew while session {lost} was live"
                )),
                Some(_) | None => Ok(()),
            },
        }
    }

    /// A state that a session continues from must hold all that was told.
    fn go_on(&mut self, session_id: SessionId, seq: Seq, tail: &[TailEvent]) -> Check {
        let history = self.sessions.entry(session_id).or_default();
        if history.is_excused {
            return Ok(());
        }
        if history.is_closed {
            return Err(format!("one-session: {session_id} goes on after its close"));
        }
        if history.told > seq {
            return Err(format!(
                "durable-ack: {session_id} goes on at {seq}, and {} was told",
                history.told
            ));
        }
        for event in tail {
            let known = history.frames.get(&event.seq);
            if known.is_some_and(|known| *known != event.frame) {
                return Err(format!(
                    "one-order: {session_id} goes on with another {}",
                    event.seq
                ));
            }
        }
        Ok(())
    }

    /// The owner wrote its room again.
    pub fn restored(&mut self, commit: &Commit, epoch: Epoch, is_stored: bool) -> Check {
        let is_closed = commit
            .changes
            .closing
            .as_ref()
            .and_then(|closing| closing.session.as_ref())
            .is_some_and(|session| {
                let history = self.sessions.get(&session.session_id);
                history.is_some_and(|history| history.is_closed)
            });
        if is_closed {
            return Ok(());
        }
        let mut commit = commit.clone();
        let session = commit.changes.head.as_ref().and_then(|head| head.session);
        if let Some(session) = session
            && !self.at_risk.contains_key(&commit.room_id)
        {
            self.go_on(session.session_id, commit.changes.seq, &commit.changes.tail)?;
        }
        commit.epoch = epoch;
        self.committed(&commit, is_stored)
    }

    /// A process told an event to the room's people.
    pub fn told(
        &mut self,
        owner: (NodeId, Epoch),
        room_id: RoomId,
        session_id: SessionId,
        event: &TailEvent,
        is_durable: bool,
    ) -> Check {
        let is_stale = self.is_stale(owner, room_id);
        let history = self.sessions.entry(session_id).or_default();
        if history.is_excused || self.at_risk.contains_key(&room_id) {
            return Ok(());
        }
        if !is_durable {
            return if is_stale && self.policy == PartitionPolicy::Stop {
                Err(format!(
                    "one-owner: {} published {} beside the owner",
                    owner.0, event.seq
                ))
            } else {
                Ok(())
            };
        }
        history.told = history.told.max(event.seq);
        match history.frames.get(&event.seq) {
            Some(known) if *known == event.frame => Ok(()),
            None if event.seq <= history.beyond_tail => history.append(session_id, event),
            Some(_) => Err(format!(
                "one-order: another {} was told in {session_id}",
                event.seq
            )),
            None => Err(format!(
                "durable-ack: {} was told in {session_id} before the mirror had it",
                event.seq
            )),
        }
    }

    /// Whether somebody else has a higher epoch.
    fn is_stale(&self, (node_id, epoch): (NodeId, Epoch), room_id: RoomId) -> bool {
        let highest = self.highest.get(&room_id);
        highest.is_some_and(|(highest, owner)| *highest > epoch && *owner != node_id)
    }

    /// Somebody was told that their message is durable.
    pub fn acked(&self, session_id: SessionId, text: &str) -> Check {
        let Some(history) = self.sessions.get(&session_id) else {
            return Err(format!("durable-ack: nothing is known of {session_id}"));
        };
        let is_trimmed = history.beyond_tail > Seq(0);
        let is_at_risk = history
            .room
            .is_some_and(|room_id| self.at_risk.contains_key(&room_id));
        if history.is_excused || is_at_risk || is_trimmed || history.texts.contains_key(text) {
            Ok(())
        } else {
            Err(format!(
                "durable-ack: \"{text}\" was acknowledged and is not there"
            ))
        }
    }
}

impl History {
    fn append(&mut self, session_id: SessionId, event: &TailEvent) -> Check {
        if let Some(known) = self.frames.get(&event.seq) {
            return if *known == event.frame {
                Ok(())
            } else {
                Err(format!(
                    "one-order: {} of {session_id} is written anew",
                    event.seq
                ))
            };
        }
        if let Some(text) = chat_of(&event.frame) {
            if let Some(seq) = self.texts.get(text) {
                return Err(format!("once: \"{text}\" is {seq} and {}", event.seq));
            }
            self.texts.insert(text.to_owned(), event.seq);
        }
        self.frames.insert(event.seq, event.frame.clone());
        Ok(())
    }
}

/// The text of a chat message; the simulated ones need no escapes.
fn chat_of(frame: &str) -> Option<&str> {
    if !frame.contains("\"MessageReceived\"") {
        return None;
    }
    let (_, rest) = frame.split_once("\"text\":\"")?;
    rest.split_once('"').map(|(text, _)| text)
}
