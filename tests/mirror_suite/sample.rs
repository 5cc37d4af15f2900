//! Rooms to write: a rich one, and commits on it.

use std::collections::BTreeMap;

use callboard::{
    ids::{
        ConnectionId, Epoch, NodeId, RoomId, Seq, SessionId, StayId, TenantId, Timestamp, UserId,
        Version,
    },
    mirror::{Claim, ClaimOutcome, Commit, Ownership, RoomMirror},
    protocol::{DuplicatePolicy, EndReason, Kind, LeaveReason, ParticipantFlags, Role, Settings},
    room::record::{
        Attendance, BanRecord, ChangeSet, ClosedSession, Closing, EpochStart, Head, LeftRecord,
        LobbyRecord, ParticipantRecord, SessionHead, Snapshot, TailEvent, TokenHash,
    },
};
use uuid::Uuid;

/// 2026-11-22T16:18:51.120Z
pub const NOW: Timestamp = Timestamp(1_795_364_331_120);

pub fn room_id() -> RoomId {
    RoomId(Uuid::new_v4())
}

pub fn node_id() -> NodeId {
    NodeId(Uuid::new_v4())
}

pub fn user_id(number: u128) -> UserId {
    UserId(Uuid::from_u128(number))
}

pub fn participant(name: &str) -> ParticipantRecord {
    ParticipantRecord {
        connection_id: ConnectionId(Uuid::from_u128(77)),
        role: Role::Attendee,
        flags: ParticipantFlags {
            is_muted: true,
            is_screen_sharing: true,
            ..ParticipantFlags::default()
        },
        joined_at: NOW,
        display_name: name.to_owned(),
        is_away: true,
        stay_id: StayId(Uuid::from_u128(78)),
        lost_at: Some(NOW.plus_ms(7)),
        is_role_set: true,
        resume_token_hashes: vec![TokenHash {
            hash: "ab12".to_owned(),
            epoch: Epoch(1_795_364_331_120_004),
        }],
        last_command_id: 70,
        command_bits: u64::MAX - 5,
    }
}

pub fn head() -> Head {
    Head {
        tenant_id: TenantId(Uuid::from_u128(1)),
        host_user_id: user_id(2),
        settings: Settings {
            is_recording_enabled: true,
            max_participants: 12,
            allowed_roles: vec![Kind::Host],
            is_lobby_enabled: true,
            duplicate_policy: DuplicatePolicy::Reject,
            max_duration_secs: Some(90),
        },
        sfu_region: Some("eu-1".to_owned()),
        is_recording: true,
        is_locked: false,
        session: Some(SessionHead {
            session_id: SessionId(Uuid::new_v4()),
            start_time: NOW,
        }),
        epoch_starts: vec![
            EpochStart {
                epoch: Epoch(3),
                seq: Seq(0),
            },
            EpochStart {
                epoch: Epoch(1_795_364_331_120_004),
                seq: Seq(2),
            },
        ],
        empty_at: None,
        depart_at: Some(NOW.plus_ms(20_000)),
        ends_at: Some(NOW.plus_ms(90_000)),
    }
}

pub fn event(seq: u64) -> TailEvent {
    TailEvent {
        seq: Seq(seq),
        frame: format!(r#"{{"type":"StateChanged","seq":{seq},"text":"ü\n\u0000\"'"}}"#).into(),
    }
}

pub fn lobby_record() -> LobbyRecord {
    LobbyRecord {
        display_name: "Wanda \"W\"".to_owned(),
        since: NOW,
        lost_at: None,
        is_admitted: true,
    }
}

pub fn left_record() -> LeftRecord {
    LeftRecord {
        user_id: user_id(9),
        display_name: "Left\u{1F44B}".to_owned(),
        role: Role::Host,
        joined_at: NOW,
        left_at: NOW.plus_ms(5),
        ended_at: NOW.plus_ms(30_005),
        leave_reason: LeaveReason::Timeout,
        is_role_set: false,
        resume_token_hashes: Vec::new(),
    }
}

/// A room with something in every field.
pub fn rich(room_id: RoomId) -> Snapshot {
    Snapshot {
        room_id,
        head: head(),
        seq: Seq(5),
        participants: BTreeMap::from([
            (user_id(2), participant("Hanna")),
            (user_id(3), participant("Göran 'the' \"best\"")),
        ]),
        lobby: BTreeMap::from([(user_id(4), lobby_record())]),
        left: BTreeMap::from([(StayId(Uuid::from_u128(11)), left_record())]),
        bans: BTreeMap::from([(user_id(5), BanRecord { created_at: NOW })]),
        tail: vec![event(3), event(4), event(5)],
    }
}

/// A commit without changes.
pub fn empty_changes(from: u64, to: u64, seq: u64) -> ChangeSet {
    ChangeSet {
        from: Version(from),
        to: Version(to),
        seq: Seq(seq),
        is_full: false,
        head: None,
        participants: BTreeMap::new(),
        lobby: BTreeMap::new(),
        left: BTreeMap::new(),
        bans: BTreeMap::new(),
        tail: Vec::new(),
        tail_keep: 512,
        closing: None,
    }
}

fn all<K: Ord + Copy, V: Clone>(records: &BTreeMap<K, V>) -> BTreeMap<K, Option<V>> {
    let some = |(&id, record): (&K, &V)| (id, Some(record.clone()));
    records.iter().map(some).collect()
}

/// The whole room as changes.
pub fn full_changes(snapshot: &Snapshot, from: u64, to: u64) -> ChangeSet {
    ChangeSet {
        is_full: true,
        head: Some(snapshot.head.clone()),
        participants: all(&snapshot.participants),
        lobby: all(&snapshot.lobby),
        left: all(&snapshot.left),
        bans: all(&snapshot.bans),
        tail: snapshot.tail.clone(),
        ..empty_changes(from, to, snapshot.seq.0)
    }
}

pub fn closed_session(room_id: RoomId, session_id: SessionId) -> ClosedSession {
    ClosedSession {
        session_id,
        room_id,
        tenant_id: TenantId(Uuid::from_u128(1)),
        start_time: NOW,
        end_time: NOW.plus_ms(60_000),
        end_reason: EndReason::MaxDuration,
        attendances: vec![Attendance {
            stay_id: StayId(Uuid::from_u128(11)),
            user_id: user_id(9),
            display_name: "Left".to_owned(),
            role: Role::Host,
            joined_at: NOW,
            left_at: NOW.plus_ms(60_000),
            leave_reason: LeaveReason::Ended,
        }],
        bans: BTreeMap::from([(user_id(5), BanRecord { created_at: NOW })]),
    }
}

pub fn closing_changes(from: u64, to: u64, session: Option<ClosedSession>) -> ChangeSet {
    ChangeSet {
        closing: Some(Closing { session }),
        ..empty_changes(from, to, 5)
    }
}

/// A room as its owner knows it.
#[derive(Clone, Copy)]
pub struct Owned {
    pub room_id: RoomId,
    pub owner: NodeId,
    pub epoch: Epoch,
}

impl Owned {
    /// Claims a room that the mirror does not know.
    pub async fn new(mirror: &dyn RoomMirror) -> Self {
        Self::claim(mirror, room_id(), None, node_id()).await.0
    }

    /// A new room with the rich snapshot at version 1.
    pub async fn rich(mirror: &dyn RoomMirror) -> (Self, Snapshot) {
        let owned = Self::new(mirror).await;
        let snapshot = rich(owned.room_id);
        owned.write(mirror, full_changes(&snapshot, 0, 1)).await;
        (owned, snapshot)
    }

    /// Claims a room and must get it.
    pub async fn claim(
        mirror: &dyn RoomMirror,
        room_id: RoomId,
        expected: Option<Ownership>,
        claimant: NodeId,
    ) -> (Self, Version, Option<Box<Snapshot>>) {
        let claim = Claim {
            room_id,
            expected,
            claimant,
            last_seen: Epoch(0),
        };
        match mirror.claim(claim).await.expect("the mirror answers") {
            ClaimOutcome::Claimed {
                epoch,
                version,
                room,
            } => {
                let owned = Self {
                    room_id,
                    owner: claimant,
                    epoch,
                };
                (owned, version, room)
            }
            other => panic!("not claimed: {other:?}"),
        }
    }

    pub fn ownership(&self) -> Ownership {
        Ownership {
            owner: Some(self.owner),
            epoch: self.epoch,
        }
    }

    pub fn commit(&self, changes: ChangeSet) -> Commit {
        Commit {
            room_id: self.room_id,
            owner: self.owner,
            epoch: self.epoch,
            changes,
        }
    }

    /// Commits and must be answered `Ok`.
    pub async fn write(&self, mirror: &dyn RoomMirror, changes: ChangeSet) {
        let outcome = self.try_write(mirror, changes).await;
        assert_eq!(outcome, callboard::mirror::CommitOutcome::Ok);
    }

    /// Commits and must be answered.
    pub async fn try_write(
        &self,
        mirror: &dyn RoomMirror,
        changes: ChangeSet,
    ) -> callboard::mirror::CommitOutcome {
        let mut results = mirror.commit(&[self.commit(changes)]).await;
        assert_eq!(results.len(), 1);
        results.remove(0).expect("the mirror answers")
    }
}
