//! The room as data: what a commit writes, and how a successor continues from a snapshot.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use bytestring::ByteString;

use super::{
    Room,
    journal::Journal,
    record::{
        BanRecord, ChangeSet, EpochStart, LeftRecord, LobbyRecord, ParticipantRecord, Snapshot,
    },
    rules::Rules,
    seat::{Presence, Seat, Waiting},
    tail::Tail,
};
use crate::ids::{ConnectionMap, Epoch, Seq, StayId, Timestamp, UserId, Version};

/// How many epoch starts are remembered.
const EPOCH_STARTS_MAX: usize = 16;

impl Room {
    /// Continues a room from the mirror under a new epoch. Its seats are unconnected: participants
    /// have the grace period from `now` to resume, and are shown as away only after
    /// `takeover_quiet_ms`.
    #[must_use]
    pub fn restore(
        rules: Arc<Rules>,
        snapshot: Snapshot,
        epoch: Epoch,
        version: Version,
        now: Timestamp,
    ) -> Self {
        let seats = snapshot
            .participants
            .into_iter()
            .map(|(user_id, record)| (user_id, restored_seat(&rules, record, now)))
            .collect();
        let waiting = snapshot
            .lobby
            .into_iter()
            .map(|(user_id, record)| (user_id, restored_waiting(&rules, record, now)))
            .collect();
        let mut room = Self {
            room_id: snapshot.room_id,
            epoch,
            head: snapshot.head,
            seq: snapshot.seq,
            seats,
            waiting,
            last_stays: last_stays(&snapshot.left),
            left: snapshot.left,
            bans: snapshot.bans,
            tail: Tail::load(snapshot.tail),
            attachments: ConnectionMap::default(),
            audience: None,
            journal: Journal::new(version, false),
            is_durable: true,
            closing: None,
            effects: Vec::new(),
            rules,
        };
        room.clamp_deadlines(now);
        room.note_lost(now);
        room.note_epoch(epoch);
        room
    }

    /// Continues under a new epoch of the same owner. Holders of tokens of its previous epoch have
    /// seen only its events, so those tokens count as issued in the new epoch.
    pub fn begin_epoch(&mut self, epoch: Epoch) {
        let previous = self.epoch;
        for (user_id, seat) in &mut self.seats {
            seat.carry_tokens(previous, epoch);
            self.journal.participant(*user_id);
        }
        self.note_epoch(epoch);
    }

    fn note_epoch(&mut self, epoch: Epoch) {
        self.epoch = epoch;
        let starts = &mut self.head.epoch_starts;
        starts.push(EpochStart {
            epoch,
            seq: self.seq,
        });
        let excess = starts.len().saturating_sub(EPOCH_STARTS_MAX);
        starts.drain(..excess);
        self.journal.head();
        self.journal.end_input();
    }

    /// Returns whether [`Room::take_changes`] returns changes.
    #[must_use]
    pub fn has_changes(&self) -> bool {
        self.journal.taken != self.journal.version
    }

    /// Takes what changed since the last call, for one commit. `None` if nothing must be mirrored.
    pub fn take_changes(&mut self) -> Option<ChangeSet> {
        let (from, to) = (self.journal.taken, self.journal.version);
        if !self.has_changes() {
            return None;
        }
        let journal = std::mem::replace(&mut self.journal, Journal::new(to, false));
        if journal.is_full {
            return Some(self.full_changes(from, to));
        }
        Some(ChangeSet {
            from,
            to,
            seq: self.seq,
            is_full: false,
            head: journal.head.then(|| self.head.clone()),
            participants: pick(journal.participants, |user_id| {
                self.participant_record(user_id)
            }),
            lobby: pick(journal.lobby, |user_id| self.lobby_record(user_id)),
            left: pick(journal.left, |stay_id| self.left.get(&stay_id).cloned()),
            bans: pick(journal.bans, |user_id| self.bans.get(&user_id).cloned()),
            tail: journal.events,
            tail_keep: self.tail.len(),
            closing: self.closing.clone(),
        })
    }

    /// Makes the next change set a full snapshot, because the mirror may have lost writes.
    pub fn mirror_everything(&mut self) {
        self.journal.full();
    }

    /// Returns the full snapshot for a mirror that lost writes: it holds `from`, or nothing.
    #[must_use]
    pub fn full_changes(&self, from: Version, to: Version) -> ChangeSet {
        let snapshot = self.snapshot();
        ChangeSet {
            from,
            to,
            seq: self.seq,
            is_full: true,
            head: Some(snapshot.head),
            participants: whole(snapshot.participants),
            lobby: whole(snapshot.lobby),
            left: whole(snapshot.left),
            bans: whole(snapshot.bans),
            tail_keep: snapshot.tail.len(),
            tail: snapshot.tail,
            closing: self.closing.clone(),
        }
    }

    /// Returns an empty commit at `version`; it shows whether the mirror still has the room.
    #[must_use]
    pub fn no_changes(&self, version: Version) -> ChangeSet {
        ChangeSet {
            from: version,
            to: version,
            seq: self.seq,
            is_full: false,
            head: None,
            participants: BTreeMap::new(),
            lobby: BTreeMap::new(),
            left: BTreeMap::new(),
            bans: BTreeMap::new(),
            tail: Vec::new(),
            tail_keep: self.tail.len(),
            closing: None,
        }
    }

    /// Returns the events after `seq` as they were sent. `None` if some are no longer kept, or
    /// `seq` is beyond the last event.
    #[must_use]
    pub fn events_after(&self, seq: Seq) -> Option<Vec<ByteString>> {
        self.tail.after(seq, self.seq)
    }

    /// Returns the room as data.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let participants = self
            .seats
            .iter()
            .map(|(user_id, seat)| (*user_id, seat.record.clone()))
            .collect();
        let lobby = self
            .waiting
            .iter()
            .map(|(user_id, waiting)| (*user_id, waiting.record.clone()))
            .collect();
        Snapshot {
            room_id: self.room_id,
            head: self.head.clone(),
            seq: self.seq,
            participants,
            lobby,
            left: self.left.clone(),
            bans: self.bans.clone(),
            tail: self.tail.to_vec(),
        }
    }

    /// Returns all bans of the room.
    pub fn bans(&self) -> impl Iterator<Item = (UserId, &BanRecord)> {
        self.bans.iter().map(|(user_id, ban)| (*user_id, ban))
    }

    fn participant_record(&self, user_id: UserId) -> Option<ParticipantRecord> {
        self.seats.get(&user_id).map(|seat| seat.record.clone())
    }

    fn lobby_record(&self, user_id: UserId) -> Option<LobbyRecord> {
        self.waiting
            .get(&user_id)
            .map(|waiting| waiting.record.clone())
    }

    /// Marks everybody as lost at `now` at the latest. An earlier mark stays, also for the next
    /// successor.
    pub(super) fn note_lost(&mut self, now: Timestamp) {
        for (user_id, seat) in &mut self.seats {
            seat.record.lost_at.get_or_insert(now);
            self.journal.participant(*user_id);
        }
        for (user_id, waiting) in &mut self.waiting {
            waiting.record.lost_at.get_or_insert(now);
            self.journal.lobby(*user_id);
        }
    }

    /// Keeps the deadlines of the previous owner, but limits them to the times configured here.
    fn clamp_deadlines(&mut self, now: Timestamp) {
        let rules = &self.rules;
        let clamp = |deadline: &mut Option<Timestamp>, ms: u64| {
            *deadline = deadline.map(|at| at.min(now.plus_ms(ms)));
        };
        clamp(&mut self.head.empty_at, rules.empty_timeout_ms);
        clamp(&mut self.head.depart_at, rules.departure_timeout_ms);
    }
}

fn restored_seat(rules: &Rules, record: ParticipantRecord, now: Timestamp) -> Seat {
    let grace_until = now.plus_ms(rules.reconnect_grace_ms);
    let presence = if record.is_away {
        Presence::Away { grace_until }
    } else {
        Presence::Quiet {
            until: now.plus_ms(rules.takeover_quiet_ms),
            grace_until,
        }
    };
    Seat::new(record, presence)
}

fn restored_waiting(rules: &Rules, record: LobbyRecord, now: Timestamp) -> Waiting {
    Waiting {
        record,
        join: None,
        grace_until: Some(now.plus_ms(rules.reconnect_grace_ms)),
    }
}

/// Returns the latest ended stay of each user.
fn last_stays(left: &BTreeMap<StayId, LeftRecord>) -> HashMap<UserId, StayId> {
    let mut last: HashMap<UserId, StayId> = HashMap::new();
    for (stay_id, record) in left {
        let is_later = last
            .get(&record.user_id)
            .and_then(|other| left.get(other))
            .is_none_or(|other| other.ended_at <= record.ended_at);
        if is_later {
            last.insert(record.user_id, *stay_id);
        }
    }
    last
}

fn pick<K: Ord + Copy, V>(
    keys: impl IntoIterator<Item = K>,
    value: impl Fn(K) -> Option<V>,
) -> BTreeMap<K, Option<V>> {
    keys.into_iter().map(|key| (key, value(key))).collect()
}

fn whole<K: Ord, V>(records: BTreeMap<K, V>) -> BTreeMap<K, Option<V>> {
    records
        .into_iter()
        .map(|(key, record)| (key, Some(record)))
        .collect()
}
