//! Rooms and outbox in maps.

use std::collections::{BTreeMap, HashMap};

use crate::{
    ids::{Epoch, NodeId, RoomId, Seq, SessionId, Version},
    mirror::{
        Claim, ClaimOutcome, Commit, CommitOutcome, Ownership,
        fields::FORMAT,
        rules::{self, Decision},
    },
    room::record::{ChangeSet, ClosedSession, Snapshot},
};

/// What the mirror holds.
#[derive(Clone, Default)]
pub(super) struct Rooms {
    rooms: HashMap<RoomId, StoredRoom>,
    outbox: BTreeMap<(RoomId, SessionId), ClosedSession>,
    /// See [`super::MemoryMirror::break_fence`].
    is_fence_broken: bool,
}

#[derive(Clone)]
struct StoredRoom {
    ownership: Ownership,
    version: Version,
    format: u32,
    /// `None` if the room was claimed and never written.
    snapshot: Option<Box<Snapshot>>,
}

impl StoredRoom {
    /// A room that is owned and was never written.
    fn new(ownership: Ownership) -> Self {
        Self {
            ownership,
            version: Version::default(),
            format: FORMAT,
            snapshot: None,
        }
    }
}

impl Rooms {
    pub(super) fn commit(&mut self, commit: &Commit) -> CommitOutcome {
        let stored = self
            .rooms
            .get(&commit.room_id)
            .map(|room| (room.ownership, room.version));
        match rules::decide_commit(stored, self.is_in_outbox(commit), commit) {
            // A repeat is not written twice, fence or no fence.
            Decision::Answer(outcome) if outcome == CommitOutcome::Ok || !self.is_fence_broken => {
                outcome
            }
            Decision::Answer(_) => {
                let ownership = Ownership {
                    owner: Some(commit.owner),
                    epoch: commit.epoch,
                };
                let room = self.rooms.entry(commit.room_id);
                room.or_insert_with(|| StoredRoom::new(ownership));
                self.write(commit);
                CommitOutcome::Ok
            }
            Decision::Apply => {
                self.write(commit);
                CommitOutcome::Ok
            }
        }
    }

    pub(super) fn release(
        &mut self,
        room_id: RoomId,
        owner: NodeId,
        epoch: Epoch,
    ) -> CommitOutcome {
        match rules::decide_release(self.ownership(room_id), owner, epoch) {
            Decision::Answer(outcome) if !self.is_fence_broken => outcome,
            Decision::Answer(_) | Decision::Apply => {
                if let Some(room) = self.rooms.get_mut(&room_id) {
                    room.ownership.owner = None;
                }
                CommitOutcome::Ok
            }
        }
    }

    /// `now_us`: what new epochs are never lower than.
    pub(super) fn claim(&mut self, claim: &Claim, now_us: u64) -> ClaimOutcome {
        match self.try_claim(claim, now_us) {
            Ok(epoch) => {
                let room = &self.rooms[&claim.room_id];
                ClaimOutcome::Claimed {
                    epoch,
                    version: room.version,
                    room: room.snapshot.clone(),
                }
            }
            Err(refusal) => refusal,
        }
    }

    pub(super) fn restore(
        &mut self,
        commit: &Commit,
        expected: Option<Ownership>,
        now_us: u64,
    ) -> ClaimOutcome {
        let claimed = if self.is_in_outbox(commit) {
            Ok(commit.epoch)
        } else {
            let claim = rules::claim_of_restore(commit, expected);
            self.try_claim(&claim, now_us)
                .inspect(|_| self.write(commit))
        };
        match claimed {
            Ok(epoch) => ClaimOutcome::Claimed {
                epoch,
                version: commit.changes.to,
                room: None,
            },
            Err(refusal) => refusal,
        }
    }

    pub(super) fn snapshot(&self, room_id: RoomId) -> Option<&Snapshot> {
        self.rooms.get(&room_id)?.snapshot.as_deref()
    }

    pub(super) fn ownership(&self, room_id: RoomId) -> Option<Ownership> {
        self.rooms.get(&room_id).map(|room| room.ownership)
    }

    pub(super) fn rooms_of(&self, node_id: NodeId) -> Vec<RoomId> {
        self.rooms
            .iter()
            .filter(|(_, room)| room.ownership.owner.is_none_or(|owner| owner == node_id))
            .map(|(&room_id, _)| room_id)
            .collect()
    }

    pub(super) fn outbox(&self, limit: usize) -> Vec<ClosedSession> {
        self.outbox.values().take(limit).cloned().collect()
    }

    pub(super) fn is_finished(&self, room_id: RoomId, session_id: SessionId) -> bool {
        self.outbox.contains_key(&(room_id, session_id))
    }

    pub(super) fn recorded(&mut self, sessions: &[(RoomId, SessionId)]) {
        for session in sessions {
            self.outbox.remove(session);
        }
    }

    pub(super) fn lose(&mut self, room_id: RoomId) {
        self.rooms.remove(&room_id);
    }

    pub(super) fn lose_all(&mut self) {
        self.rooms.clear();
        self.outbox.clear();
    }

    pub(super) fn break_fence(&mut self) {
        self.is_fence_broken = true;
    }

    pub(super) fn raise_format(&mut self, room_id: RoomId) {
        if let Some(room) = self.rooms.get_mut(&room_id) {
            room.format = FORMAT + 1;
        }
    }

    fn is_in_outbox(&self, commit: &Commit) -> bool {
        rules::closed_session(commit)
            .is_some_and(|session| self.is_finished(commit.room_id, session.session_id))
    }

    /// Compare-and-set on the ownership: the new epoch, or why not.
    fn try_claim(&mut self, claim: &Claim, now_us: u64) -> Result<Epoch, ClaimOutcome> {
        let stored = self.ownership(claim.room_id);
        if stored != claim.expected && !self.is_fence_broken {
            return Err(ClaimOutcome::Lost(stored));
        }
        let room = self.rooms.get_mut(&claim.room_id);
        if room.as_ref().is_some_and(|room| room.format > FORMAT) {
            return Err(ClaimOutcome::TooNew);
        }
        let epoch = rules::next_epoch(stored.map(|stored| stored.epoch), claim.last_seen, now_us);
        let ownership = Ownership {
            owner: Some(claim.claimant),
            epoch,
        };
        match room {
            Some(room) => room.ownership = ownership,
            None => {
                self.rooms.insert(claim.room_id, StoredRoom::new(ownership));
            }
        }
        Ok(epoch)
    }

    /// Writes what a commit changes; its right to do so was checked.
    fn write(&mut self, commit: &Commit) {
        if let Some(closing) = &commit.changes.closing {
            self.rooms.remove(&commit.room_id);
            if let Some(session) = &closing.session {
                self.outbox
                    .insert((commit.room_id, session.session_id), session.clone());
            }
            return;
        }
        let room = self
            .rooms
            .get_mut(&commit.room_id)
            .expect("a room is written by its owner only");
        room.version = commit.changes.to;
        if commit.changes.is_full {
            room.snapshot = None;
        }
        match &mut room.snapshot {
            Some(snapshot) => apply(snapshot, &commit.changes),
            // Without fields of its own a room stays one that only has an owner.
            None => {
                if let Some(head) = &commit.changes.head {
                    let mut snapshot = Snapshot {
                        room_id: commit.room_id,
                        head: head.clone(),
                        seq: Seq::default(),
                        participants: BTreeMap::new(),
                        lobby: BTreeMap::new(),
                        left: BTreeMap::new(),
                        bans: BTreeMap::new(),
                        tail: Vec::new(),
                    };
                    apply(&mut snapshot, &commit.changes);
                    room.snapshot = Some(Box::new(snapshot));
                }
            }
        }
    }
}

fn apply(snapshot: &mut Snapshot, changes: &ChangeSet) {
    if let Some(head) = &changes.head {
        snapshot.head = head.clone();
    }
    snapshot.seq = changes.seq;
    apply_records(&mut snapshot.participants, &changes.participants);
    apply_records(&mut snapshot.lobby, &changes.lobby);
    apply_records(&mut snapshot.left, &changes.left);
    apply_records(&mut snapshot.bans, &changes.bans);
    snapshot.tail.extend(changes.tail.iter().cloned());
    let excess = snapshot.tail.len().saturating_sub(changes.tail_keep);
    snapshot.tail.drain(..excess);
}

fn apply_records<K: Ord + Copy, V: Clone>(
    stored: &mut BTreeMap<K, V>,
    changes: &BTreeMap<K, Option<V>>,
) {
    for (&id, record) in changes {
        match record {
            Some(record) => stored.insert(id, record.clone()),
            None => stored.remove(&id),
        };
    }
}
