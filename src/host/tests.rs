//! Which connections are listed, what is written to them, and what outlives a crash.

use std::sync::Arc;

use uuid::Uuid;

use super::*;
use crate::{
    ids::{Epoch, NodeId, RoomId, SessionId, StayId, TenantId, UserId},
    lease::LeaseState,
    mirror::Ownership,
    owner::{OwnerLimits, QueueLimits},
    protocol::{Command, GoodbyeReason, Kind, OwnCommand, Settings},
    room::{
        RoomBasis,
        input::{IssuedToken, Join},
        rules::Rules,
    },
};

impl<C> Host<C> {
    /// Breaks the rules' state: they panic at the next event.
    pub(crate) fn break_rules(&mut self) {
        self.owner.break_rules();
    }

    /// Breaks the queue: performing the event with this text panics. False if the event does not
    /// wait there.
    pub(crate) fn break_telling(&mut self, text: &str) -> bool {
        self.owner.break_telling(text)
    }
}

const LEASE: LeaseView = LeaseView {
    state: LeaseState::Held,
    term: 0,
};

fn connection(number: u128) -> ConnectionId {
    ConnectionId(Uuid::from_u128(number))
}

fn at(ms: u64) -> Moment {
    Moment {
        now: Timestamp(1_000_000).plus_ms(ms),
        lease: LEASE,
    }
}

fn host() -> Host<u128> {
    let basis = RoomBasis {
        room_id: RoomId(Uuid::nil()),
        tenant_id: TenantId(Uuid::nil()),
        host_user_id: UserId(Uuid::from_u128(1)),
        settings: Settings::default(),
        bans: std::collections::BTreeMap::new(),
    };
    let room = Room::create(Arc::new(Rules::default()), basis, Epoch(1), at(0).now);
    let limits = OwnerLimits {
        queue: QueueLimits {
            items_max: 100,
            bytes_max: 100_000,
        },
        stall_ms: 1_000,
        verify_ms: 10_000,
        expiry_ms: 6_000,
    };
    let node_id = NodeId(Uuid::nil());
    Host::new(Owner::new(
        room,
        Version(0),
        node_id,
        limits,
        at(0).now,
        LEASE,
    ))
}

fn join(number: u128) -> Input {
    let token = IssuedToken {
        text: format!("token{number}"),
        hash: format!("#token{number}"),
    };
    Input::Join(Box::new(Join {
        connection_id: connection(number),
        id: 1,
        user_id: UserId(Uuid::from_u128(number)),
        display_name: format!("user {number}"),
        kind: Kind::Host,
        is_expired: false,
        region: None,
        resume: None,
        stay_id: StayId(Uuid::from_u128(number)),
        session_id: SessionId(Uuid::from_u128(1)),
        resume_token: token,
    }))
}

/// Answers commits until there are none, and puts all that is due into the outboxes.
fn settle(host: &mut Host<u128>) {
    while let Some(commit) = host.next_commit() {
        let _ = host.committed(at(1), commit.changes.to, CommitOutcome::Ok);
    }
    while let Some(released) = host.next_effect() {
        let _ = host.perform(released);
    }
}

/// Takes what is to be written to each connection.
fn written(host: &mut Host<u128>) -> Vec<(u128, Vec<String>)> {
    let mut written = Vec::new();
    for connection_id in host.take_listed(usize::MAX) {
        let outbox = host.outbox_mut(connection_id).unwrap();
        let (number, frames) = outbox.start_write();
        let frames = frames.iter().map(ToString::to_string).collect();
        written.push((*number, frames));
        outbox.clear();
    }
    written
}

/// A room with two people who have been told everything.
fn two_people() -> Host<u128> {
    let mut host = host();
    for number in [1, 2] {
        host.connect(connection(number), number);
        host.apply(at(0), join(number)).unwrap();
    }
    settle(&mut host);
    written(&mut host);
    host
}

fn say(host: &mut Host<u128>, number: u128, id: u64, text: &str) -> Option<Applied> {
    let input = Input::Command {
        connection_id: connection(number),
        id,
        command: Command::Own(OwnCommand::SendMessage {
            text: text.to_owned(),
        }),
    };
    host.apply(at(2), input)
}

#[test]
fn nothing_is_listed_before_its_commit_and_each_connection_once_after_it() {
    let mut host = two_people();
    say(&mut host, 1, 2, "one").unwrap();
    say(&mut host, 1, 3, "two").unwrap();
    assert!(!host.has_listed());
    settle(&mut host);
    let written = written(&mut host);
    assert_eq!(written.len(), 2);
    for (number, frames) in written {
        assert_eq!(frames.len(), if number == 1 { 4 } else { 2 });
    }
    assert!(!host.has_listed());
}

#[test]
fn room_that_is_fenced_says_nothing_but_where_it_is_now() {
    let mut host = two_people();
    say(&mut host, 1, 2, "never told").unwrap();
    let commit = host.next_commit().unwrap();
    let owner = NodeId(Uuid::from_u128(7));
    let fenced = CommitOutcome::Fenced {
        epoch: Epoch(2),
        owner: Some(owner),
    };
    assert!(host.committed(at(3), commit.changes.to, fenced));
    assert_eq!(host.end(), Some(End::GivenUp));
    assert!(host.next_effect().is_none() && host.next_commit().is_none());
    for number in [1, 2] {
        let outbox = host.outbox(connection(number)).unwrap();
        assert!(outbox.frames().is_empty());
        let closing = outbox.closing().unwrap();
        assert_eq!(closing.reason, GoodbyeReason::Moved);
        assert_eq!(closing.next_owner, NextOwner::Node(owner));
    }
}

#[test]
fn room_is_handed_off_once_and_only_after_its_last_commit() {
    let mut host = two_people();
    say(&mut host, 1, 2, "last words").unwrap();
    host.hand_off(at(3));
    assert_eq!(host.intake(), Intake::Closing);
    assert_eq!(host.next_hand_off(), None);
    settle(&mut host);
    let ownership = Ownership {
        owner: Some(NodeId(Uuid::nil())),
        epoch: Epoch(1),
    };
    assert_eq!(host.next_hand_off(), Some(ownership));
    assert_eq!(host.next_hand_off(), None);
    host.handed_off(None);
    host.stop();
    assert_eq!(host.end(), Some(End::HandedOff));
    let closing = host.outbox(connection(2)).unwrap().closing().unwrap();
    assert_eq!(closing, Closing::from(GoodbyeReason::Draining));
}

#[test]
fn crash_keeps_connections_and_the_first_goodbye_counts() {
    let mut host = two_people();
    host.outboxes
        .close(connection(2), Closing::from(GoodbyeReason::Removed));
    host.outboxes
        .close(connection(2), Closing::from(GoodbyeReason::Moved));
    host.break_rules();
    assert!(say(&mut host, 1, 9, "crash").is_none());
    assert!(host.has_panicked());
    assert_eq!(host.intake(), Intake::Closing);
    let crash = host.take_crash_state();
    assert_eq!(crash.crashing_command, Some((connection(1), 9)));
    assert_eq!(crash.outboxes.len(), 2);
    let closing = crash.outboxes[&connection(2)].closing().unwrap();
    assert_eq!(closing.reason, GoodbyeReason::Removed);
}
