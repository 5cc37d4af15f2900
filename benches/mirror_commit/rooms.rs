//! Rooms of ten people, and the changes of an `UpdateState` in them.

use std::collections::BTreeMap;

use callboard::{
    ids::{
        ConnectionId, Epoch, NodeId, RoomId, Seq, SessionId, StayId, TenantId, Timestamp, UserId,
        Version,
    },
    mirror::{Claim, ClaimOutcome, Commit, CommitOutcome, RoomMirror},
    protocol::{ParticipantFlags, Role, Settings},
    room::record::{
        ChangeSet, EpochStart, Head, ParticipantRecord, SessionHead, TailEvent, TokenHash,
    },
};
use uuid::Uuid;

/// People in each room.
const PEOPLE: u64 = 10;
/// Events that the mirror keeps of each room.
const TAIL_KEEP: usize = 512;
/// 2026-11-22T16:18:51.120Z
const NOW: Timestamp = Timestamp(1_795_364_331_120);

/// A room as its owner knows it.
pub struct OwnedRoom {
    room_id: RoomId,
    owner: NodeId,
    epoch: Epoch,
    version: Version,
    seq: Seq,
}

impl OwnedRoom {
    /// Claims a new room and writes all of it.
    pub async fn new(mirror: &dyn RoomMirror, owner: NodeId) -> Self {
        let claim = Claim {
            room_id: RoomId(Uuid::new_v4()),
            expected: None,
            claimant: owner,
            last_seen: Epoch(0),
        };
        let outcome = mirror.claim(claim).await.expect("the mirror answers");
        let ClaimOutcome::Claimed { epoch, .. } = outcome else {
            panic!("a new room was not claimed: {outcome:?}");
        };
        let mut room = Self {
            room_id: claim.room_id,
            owner,
            epoch,
            version: Version(0),
            seq: Seq(0),
        };
        let mut first = room.commit();
        first.changes.is_full = true;
        first.changes.head = Some(head(epoch));
        first.changes.participants = (0..PEOPLE)
            .map(|number| (user_id(number), Some(participant(number, 1))))
            .collect();
        let outcome = mirror.commit(&[first]).await.pop();
        assert!(
            matches!(outcome, Some(Ok(CommitOutcome::Ok))),
            "{outcome:?}"
        );
        room
    }

    /// The next commit: somebody mutes or unmutes.
    pub fn commit(&mut self) -> Commit {
        let from = self.version;
        self.version = from.next();
        self.seq = self.seq.next();
        let Seq(seq) = self.seq;
        let number = seq % PEOPLE;
        let record = participant(number, seq);
        let frame = format!(
            r#"{{"type":"StateChanged","seq":{seq},"userId":"{}","isMuted":{}}}"#,
            user_id(number),
            record.flags.is_muted
        );
        let event = TailEvent {
            seq: self.seq,
            frame: frame.into(),
        };
        Commit {
            room_id: self.room_id,
            owner: self.owner,
            epoch: self.epoch,
            changes: ChangeSet {
                from,
                to: self.version,
                seq: self.seq,
                is_full: false,
                head: None,
                participants: BTreeMap::from([(user_id(number), Some(record))]),
                lobby: BTreeMap::new(),
                left: BTreeMap::new(),
                bans: BTreeMap::new(),
                tail: vec![event],
                tail_keep: TAIL_KEEP,
                closing: None,
            },
        }
    }
}

fn user_id(number: u64) -> UserId {
    UserId(Uuid::from_u128(
        0x0195_0000_0000_7000_8000_0000_0000_0000 + u128::from(number),
    ))
}

fn participant(number: u64, seq: u64) -> ParticipantRecord {
    let id = |kind: u128| Uuid::from_u128(0x0195_0000_0000_7000_8000_0000_0000_0000 + kind);
    ParticipantRecord {
        connection_id: ConnectionId(id(100)),
        role: Role::Attendee,
        flags: ParticipantFlags {
            is_muted: (seq / PEOPLE).is_multiple_of(2),
            is_video_on: true,
            ..ParticipantFlags::default()
        },
        joined_at: NOW,
        display_name: format!("Participant {number}"),
        is_away: false,
        stay_id: StayId(id(200)),
        lost_at: None,
        is_role_set: false,
        resume_token_hashes: vec![TokenHash {
            hash: "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU".to_owned(),
            epoch: Epoch(1_795_364_331_120_004),
        }],
        last_command_id: seq / PEOPLE + 1,
        command_bits: u64::MAX,
    }
}

fn head(epoch: Epoch) -> Head {
    Head {
        tenant_id: TenantId(Uuid::new_v4()),
        host_user_id: user_id(0),
        settings: Settings::default(),
        sfu_region: Some("eu-1".to_owned()),
        is_recording: false,
        is_locked: false,
        session: Some(SessionHead {
            session_id: SessionId(Uuid::new_v4()),
            start_time: NOW,
        }),
        epoch_starts: vec![EpochStart { epoch, seq: Seq(0) }],
        empty_at: None,
        depart_at: None,
        ends_at: None,
    }
}
