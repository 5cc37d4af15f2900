//! What an owner says and when: after its commit, under its lease, with its proof.

mod lease;

use std::{collections::BTreeMap, sync::Arc};

use uuid::Uuid;

use super::*;
use crate::{
    ids::{Epoch, RoomId, Seq, SessionId, StayId, TenantId, UserId},
    protocol::{Command, Kind, Notice, OwnCommand, Settings},
    room::{
        RoomBasis,
        input::{IssuedToken, Join},
        rules::Rules,
    },
};

impl Owner {
    pub(crate) fn break_rules(&mut self) {
        self.room.break_rules();
    }

    pub(crate) fn break_telling(&mut self, text: &str) -> bool {
        self.queue.break_telling(text)
    }
}

const LIMITS: OwnerLimits = OwnerLimits {
    queue: QueueLimits {
        items_max: 1_000,
        bytes_max: 1_000_000,
    },
    stall_ms: 1_000,
    verify_ms: 10_000,
    expiry_ms: 6_000,
};

/// An owner, its clock and its lease.
struct Stage {
    owner: Owner,
    now: Timestamp,
    lease: LeaseView,
    last_id: u64,
}

fn connection(number: u128) -> ConnectionId {
    ConnectionId(Uuid::from_u128(number))
}

fn in_term(state: LeaseState, term: u64) -> LeaseView {
    LeaseView { state, term }
}

impl Stage {
    /// A new room whose first state the mirror has.
    fn new() -> Self {
        let basis = RoomBasis {
            room_id: RoomId(Uuid::nil()),
            tenant_id: TenantId(Uuid::nil()),
            host_user_id: UserId(Uuid::from_u128(1)),
            settings: Settings::default(),
            bans: BTreeMap::new(),
        };
        let now = Timestamp(1_000_000);
        let room = Room::create(Arc::new(Rules::default()), basis, Epoch(5), now);
        let lease = in_term(LeaseState::Held, 0);
        let node_id = NodeId(Uuid::from_u128(9));
        let mut stage = Self {
            owner: Owner::new(room, Version(0), node_id, LIMITS, now, lease),
            now,
            lease,
            last_id: 0,
        };
        assert_eq!(stage.commit(CommitOutcome::Ok), StillOwner::Yes);
        stage
    }

    /// With one person inside, who has been told everything.
    fn with_one() -> Self {
        let mut stage = Self::new();
        stage.join(1);
        assert_eq!(stage.commit(CommitOutcome::Ok), StillOwner::Yes);
        assert_eq!(stage.told(), ["RoomJoined durable"]);
        stage
    }

    fn join(&mut self, number: u128) {
        let token = IssuedToken {
            text: format!("token{number}"),
            hash: format!("hash{number}"),
        };
        let join = Join {
            connection_id: connection(number),
            id: 1,
            user_id: UserId(Uuid::from_u128(number)),
            display_name: "somebody".to_owned(),
            kind: Kind::Guest,
            is_expired: false,
            region: None,
            resume: None,
            stay_id: StayId(Uuid::from_u128(number)),
            session_id: SessionId(Uuid::from_u128(number)),
            resume_token: token,
        };
        let _ = self.owner.apply(self.now, Input::Join(Box::new(join)));
    }

    fn say(&mut self, text: &str) {
        self.last_id += 1;
        let command = Command::Own(OwnCommand::SendMessage {
            text: text.to_owned(),
        });
        let input = Input::Command {
            connection_id: connection(1),
            id: self.last_id,
            command,
        };
        let _ = self.owner.apply(self.now, input);
    }

    fn leave(&mut self) {
        self.last_id += 1;
        let input = Input::Command {
            connection_id: connection(1),
            id: self.last_id,
            command: Command::Own(OwnCommand::LeaveRoom),
        };
        let _ = self.owner.apply(self.now, input);
    }

    /// Sends what is due and answers it.
    fn commit(&mut self, outcome: CommitOutcome) -> StillOwner {
        let commit = self.owner.next_commit().unwrap();
        self.owner
            .committed_to(self.now, commit.changes.to, outcome)
    }

    /// Time passes in looks of a tenth of a second.
    fn pass(&mut self, ms: u64) {
        for _ in 0..ms / 100 {
            self.now = self.now.plus_ms(100);
            assert_eq!(self.owner.read_lease(self.lease), StillOwner::Yes);
            self.owner.tick(self.now);
        }
    }

    fn stand(&mut self, state: LeaseState, term: u64) {
        self.lease = in_term(state, term);
        assert_eq!(self.owner.read_lease(self.lease), StillOwner::Yes);
    }

    /// What leaves now, in brief.
    fn told(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        while let Some((effect, durable)) = self.owner.next_effect() {
            let name = match effect {
                Effect::Broadcast { event, .. } if event.frame.contains("MessageReceived") => {
                    "message"
                }
                Effect::Broadcast { .. } => "event",
                Effect::Send { notice, .. } => match notice {
                    Notice::Ack { .. } => "Ack",
                    Notice::RoomJoined(_) => "RoomJoined",
                    Notice::DurabilityChanged { durable: true } => "is durable",
                    Notice::DurabilityChanged { durable: false } => "is not durable",
                    _ => "notice",
                },
                Effect::OpenSession { .. } => continue,
                Effect::Disconnect { .. } => "goodbye",
                Effect::Closed { .. } => "Closed",
                Effect::Relay { .. } | Effect::Reply { .. } | Effect::StoreBan { .. } => "other",
            };
            let how = if durable { "durable" } else { "not durable" };
            told.push(format!("{name} {how}"));
        }
        // A first join is told to nobody else.
        told.retain(|line| !line.starts_with("event"));
        told
    }
}

#[test]
fn nothing_leaves_before_its_commit() {
    let mut stage = Stage::with_one();
    stage.say("one");
    assert!(stage.told().is_empty());
    assert_eq!(stage.commit(CommitOutcome::Ok), StillOwner::Yes);
    assert_eq!(stage.told(), ["message durable", "Ack durable"]);
}

#[test]
fn one_commit_is_on_its_way_and_the_next_gathers() {
    let mut stage = Stage::with_one();
    stage.say("one");
    let first = stage.owner.next_commit().unwrap();
    stage.say("two");
    stage.say("three");
    assert!(stage.owner.next_commit().is_none());
    let _ = stage
        .owner
        .committed_to(stage.now, first.changes.to, CommitOutcome::Ok);
    assert_eq!(stage.told().len(), 2);
    let second = stage.owner.next_commit().unwrap();
    assert_eq!(second.changes.from, first.changes.to);
    assert_eq!(second.changes.tail.len(), 2);
}

#[test]
fn news_of_a_commit_that_is_not_on_its_way_is_ignored() {
    let mut stage = Stage::with_one();
    stage.say("one");
    let commit = stage.owner.next_commit().unwrap();
    let older = Version(commit.changes.to.0 - 1);
    let fenced = CommitOutcome::Fenced {
        epoch: Epoch(6),
        owner: None,
    };
    assert_eq!(
        stage.owner.committed_to(stage.now, older, fenced),
        StillOwner::Yes
    );
    assert!(stage.told().is_empty());
}

#[test]
fn a_fenced_commit_loses_the_room() {
    let mut stage = Stage::with_one();
    stage.say("one");
    let fenced = CommitOutcome::Fenced {
        epoch: Epoch(6),
        owner: None,
    };
    assert_eq!(stage.commit(fenced), StillOwner::No);
    stage.owner.fall_silent();
    assert!(stage.told().is_empty());
}

#[test]
fn without_an_answer_the_room_goes_on_and_says_so_first() {
    let mut stage = Stage::with_one();
    stage.say("one");
    let _ = stage.owner.next_commit().unwrap();
    stage.pass(900);
    assert!(stage.told().is_empty());
    stage.pass(100);
    assert_eq!(
        stage.told(),
        [
            "is not durable not durable",
            "message not durable",
            "Ack not durable"
        ]
    );
}

#[test]
fn who_has_left_meanwhile_is_told_as_well_that_the_last_events_are_not_durable() {
    let mut stage = Stage::with_one();
    stage.leave();
    let _ = stage.owner.next_commit().unwrap();
    stage.pass(1_000);
    assert_eq!(
        stage.told(),
        [
            "is not durable not durable",
            "Ack not durable",
            "goodbye not durable"
        ]
    );
}

#[test]
fn a_joiner_is_answered_before_anything_is_said_of_durability() {
    let mut stage = Stage::new();
    stage.join(1);
    let _ = stage.owner.next_commit().unwrap();
    stage.pass(1_000);
    assert_eq!(
        stage.told(),
        ["RoomJoined not durable", "is not durable not durable"]
    );
}

#[test]
fn a_full_snapshot_ends_the_degraded_time_and_is_told_before_the_next_one_begins() {
    let mut stage = Stage::with_one();
    stage.say("one");
    let late = stage.owner.next_commit().unwrap();
    stage.pass(1_000);
    assert_eq!(stage.told().len(), 3);
    let _ = stage
        .owner
        .committed_to(stage.now, late.changes.to, CommitOutcome::Ok);
    assert!(stage.owner.is_degraded(), "what it missed is not known");
    let full = stage.owner.next_commit().unwrap();
    assert!(full.changes.is_full);
    // A change that this snapshot does not hold must not keep the news back.
    stage.say("two");
    let _ = stage
        .owner
        .committed_to(stage.now, full.changes.to, CommitOutcome::Ok);
    assert_eq!(stage.told(), ["is durable durable"]);
    let _ = stage.owner.next_commit().unwrap();
    stage.pass(1_000);
    assert_eq!(stage.told()[0], "is not durable not durable");
    assert!(stage.told().is_empty());
}

#[test]
fn time_in_which_the_process_stood_still_is_not_the_mirrors() {
    let mut stage = Stage::with_one();
    stage.say("one");
    let commit = stage.owner.next_commit().unwrap();
    stage.now = stage.now.plus_ms(3_000);
    stage.owner.tick(stage.now);
    assert!(!stage.owner.is_degraded());
    let _ = stage
        .owner
        .committed_to(stage.now, commit.changes.to, CommitOutcome::Ok);
    assert_eq!(stage.told(), ["message durable", "Ack durable"]);
}
