//! What is told to the mirror, and that a successor continues from it.

use super::{Fixture, OLGA, chat, fixture::user, muted};
use crate::{
    ids::Version,
    protocol::OwnCommand,
    room::{Room, rules::Rules},
};

#[test]
fn new_room_is_mirrored_whole_from_version_zero() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.version, Version(1));
    assert!(fixture.mirror.is_some());
    assert_eq!(fixture.mirror_now(), None, "nothing changed since");
}

#[test]
fn changes_that_gather_become_one() {
    let mut fixture = Fixture::of(&["bob"]);
    fixture.is_mirrored = false;
    let before = fixture.room.version();
    for is_muted in [true, false, true] {
        fixture.say("bob", muted(is_muted));
    }
    let changes = fixture.mirror_now().unwrap();
    assert_eq!((changes.from, changes.to), (before, Version(before.0 + 3)));
    assert_eq!(changes.participants.len(), 1);
    assert_eq!(changes.tail.len(), 3);
    assert!(changes.head.is_none() && !changes.is_full);
}

#[test]
fn person_who_came_and_went_meanwhile_is_deleted() {
    let mut fixture = Fixture::of(&[OLGA]);
    fixture.is_mirrored = false;
    fixture.join("bob");
    fixture.say("bob", OwnCommand::LeaveRoom);
    let changes = fixture.mirror_now().unwrap();
    assert_eq!(changes.participants[&user("bob")], None);
    assert_eq!(changes.left.len(), 1);
}

#[test]
fn more_events_than_the_tail_holds_become_a_full_snapshot() {
    for (count, is_full) in [(3, false), (4, true)] {
        let mut fixture = Fixture::rules(|rules| rules.tail_events_max = 3);
        fixture.join("bob");
        fixture.is_mirrored = false;
        for _ in 0..count {
            fixture.say("bob", chat("hi"));
        }
        let changes = fixture.mirror_now().unwrap();
        assert_eq!(changes.is_full, is_full, "{count}");
        assert_eq!(changes.tail.len(), 3);
    }
}

#[test]
fn command_without_change_is_mirrored_with_the_next_change() {
    let mut fixture = Fixture::of(&[OLGA, "bob"]);
    let before = fixture.room.version();
    fixture.say_with_id("bob", 7, muted(false));
    assert_eq!(fixture.room.version(), before);
    assert_eq!(
        fixture.mirror.as_ref().unwrap().participants[&user("bob")].last_command_id,
        0
    );
    fixture.say(OLGA, muted(true));
    assert_eq!(
        fixture.mirror.as_ref().unwrap().participants[&user("bob")].last_command_id,
        7
    );
}

#[test]
fn private_fields_are_mirrored_with_the_command() {
    let mut fixture = Fixture::of(&["bob"]);
    fixture.say_with_id("bob", 3, muted(true));
    fixture.say_with_id("bob", 2, muted(false));
    let seat = &fixture.mirror.as_ref().unwrap().participants[&user("bob")];
    assert_eq!((seat.last_command_id, seat.command_bits), (3, 1));
    assert_eq!(seat.resume_token_hashes.len(), 1);
}

#[test]
fn everything_is_written_again_when_asked() {
    let mut fixture = Fixture::of(&[OLGA, "bob"]);
    fixture.is_mirrored = false;
    fixture.say("bob", chat("hi"));
    fixture.room.mirror_everything();
    fixture.say("bob", chat("ho"));
    let changes = fixture.mirror_now().unwrap();
    assert!(changes.is_full);
    assert_eq!(changes.tail.len(), 4);
    fixture.say("bob", chat("he"));
    assert!(!fixture.mirror_now().unwrap().is_full);
}

#[test]
fn restored_room_is_the_mirrored_one_but_for_epoch_and_lost_times() {
    let mut fixture = Fixture::with_lobby();
    fixture.join("bob");
    fixture.join_as_host("hans");
    fixture.say("hans", chat("hi"));
    fixture.say("hans", OwnCommand::LeaveRoom);
    let before = fixture.room.snapshot();
    let epoch = fixture.room.epoch().next();
    let room = Room::restore(
        Rules::default().into(),
        before.clone(),
        epoch,
        fixture.version,
        fixture.now(),
    );
    let mut after = room.snapshot();
    assert_eq!(
        after
            .head
            .epoch_starts
            .pop()
            .map(|start| (start.epoch, start.seq)),
        Some((epoch, before.seq))
    );
    after
        .participants
        .values_mut()
        .for_each(|seat| seat.lost_at = None);
    after
        .lobby
        .values_mut()
        .for_each(|waiting| waiting.lost_at = None);
    assert_eq!(after, before);
    assert_eq!(
        room.version(),
        fixture.version.next(),
        "the new epoch is a change"
    );
}

#[test]
fn successor_clamps_what_is_left_to_its_own_times() {
    let mut fixture = Fixture::of(&["bob"]);
    fixture.say("bob", OwnCommand::LeaveRoom);
    let mut snapshot = fixture.room.snapshot();
    snapshot.head.depart_at = Some(fixture.now().plus_ms(1_000_000));
    let epoch = fixture.room.epoch().next();
    let room = Room::restore(
        Rules::default().into(),
        snapshot,
        epoch,
        fixture.version,
        fixture.now(),
    );
    assert_eq!(
        room.next_deadline().map(|(at, _)| at),
        Some(fixture.now().plus_ms(20_000))
    );
}

#[test]
fn same_owner_goes_on_under_a_new_epoch() {
    let mut fixture = Fixture::of(&["bob"]);
    let epoch = fixture.room.epoch().next();
    fixture.room.begin_epoch(epoch);
    let changes = fixture.mirror_now().unwrap();
    assert_eq!(changes.head.unwrap().epoch_starts.len(), 2);
    assert_eq!(fixture.say("bob", chat("hi")).len(), 2);
}

#[test]
fn empty_change_set_proves_a_version_without_moving_it() {
    let fixture = Fixture::of(&["bob"]);
    let changes = fixture.room.no_changes(fixture.version);
    assert_eq!(
        (changes.from, changes.to),
        (fixture.version, fixture.version)
    );
    assert!(!changes.is_full && changes.closing.is_none() && changes.tail.is_empty());
}
