//! What is told to the mirror, and that a successor continues from it.

use super::{OLGA, Stage, chat, muted, stage::user};
use crate::{
    ids::Version,
    protocol::Command,
    room::{Room, rules::Rules},
};

#[test]
fn new_room_is_mirrored_whole_from_version_zero() {
    let mut stage = Stage::new();
    assert_eq!(stage.version, Version(1));
    assert!(stage.mirror.is_some());
    assert_eq!(stage.mirror_now(), None, "nothing changed since");
}

#[test]
fn changes_that_gather_become_one() {
    let mut stage = Stage::of(&["bob"]);
    stage.is_mirrored = false;
    let before = stage.room.version();
    for is_muted in [true, false, true] {
        stage.say("bob", muted(is_muted));
    }
    let changes = stage.mirror_now().unwrap();
    assert_eq!((changes.from, changes.to), (before, Version(before.0 + 3)));
    assert_eq!(changes.participants.len(), 1);
    assert_eq!(changes.tail.len(), 3);
    assert!(changes.head.is_none() && !changes.is_full);
}

#[test]
fn person_who_came_and_went_meanwhile_is_deleted() {
    let mut stage = Stage::of(&[OLGA]);
    stage.is_mirrored = false;
    stage.join("bob");
    stage.say("bob", Command::LeaveRoom);
    let changes = stage.mirror_now().unwrap();
    assert_eq!(changes.participants[&user("bob")], None);
    assert_eq!(changes.left.len(), 1);
}

#[test]
fn more_events_than_the_tail_holds_become_a_full_snapshot() {
    for (count, is_full) in [(3, false), (4, true)] {
        let mut stage = Stage::rules(|rules| rules.tail_events_max = 3);
        stage.join("bob");
        stage.is_mirrored = false;
        for _ in 0..count {
            stage.say("bob", chat("hi"));
        }
        let changes = stage.mirror_now().unwrap();
        assert_eq!(changes.is_full, is_full, "{count}");
        assert_eq!(changes.tail.len(), 3);
    }
}

#[test]
fn command_without_change_is_mirrored_with_the_next_change() {
    let mut stage = Stage::of(&[OLGA, "bob"]);
    let before = stage.room.version();
    stage.say_with_id("bob", 7, muted(false));
    assert_eq!(stage.room.version(), before);
    assert_eq!(
        stage.mirror.as_ref().unwrap().participants[&user("bob")].last_command_id,
        0
    );
    stage.say(OLGA, muted(true));
    assert_eq!(
        stage.mirror.as_ref().unwrap().participants[&user("bob")].last_command_id,
        7
    );
}

#[test]
fn private_fields_are_mirrored_with_the_command() {
    let mut stage = Stage::of(&["bob"]);
    stage.say_with_id("bob", 3, muted(true));
    stage.say_with_id("bob", 2, muted(false));
    let seat = &stage.mirror.as_ref().unwrap().participants[&user("bob")];
    assert_eq!((seat.last_command_id, seat.command_bits), (3, 1));
    assert_eq!(seat.resume_token_hashes.len(), 1);
}

#[test]
fn everything_is_written_again_when_asked() {
    let mut stage = Stage::of(&[OLGA, "bob"]);
    stage.is_mirrored = false;
    stage.say("bob", chat("hi"));
    stage.room.mirror_everything();
    stage.say("bob", chat("ho"));
    let changes = stage.mirror_now().unwrap();
    assert!(changes.is_full);
    assert_eq!(changes.tail.len(), 4);
    stage.say("bob", chat("he"));
    assert!(!stage.mirror_now().unwrap().is_full);
}

#[test]
fn restored_room_is_the_mirrored_one_but_for_epoch_and_lost_times() {
    let mut stage = Stage::with_lobby();
    stage.join("bob");
    stage.join_as_host("hans");
    stage.say("hans", chat("hi"));
    stage.say("hans", Command::LeaveRoom);
    let before = stage.room.snapshot();
    let epoch = stage.room.epoch().next();
    let room = Room::restore(
        Rules::default().into(),
        before.clone(),
        epoch,
        stage.version,
        stage.now(),
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
        stage.version.next(),
        "the new epoch is a change"
    );
}

#[test]
fn successor_clamps_what_is_left_to_its_own_times() {
    let mut stage = Stage::of(&["bob"]);
    stage.say("bob", Command::LeaveRoom);
    let mut snapshot = stage.room.snapshot();
    snapshot.head.depart_at = Some(stage.now().plus_ms(1_000_000));
    let epoch = stage.room.epoch().next();
    let room = Room::restore(
        Rules::default().into(),
        snapshot,
        epoch,
        stage.version,
        stage.now(),
    );
    assert_eq!(
        room.next_deadline().map(|(at, _)| at),
        Some(stage.now().plus_ms(20_000))
    );
}

#[test]
fn same_owner_goes_on_under_a_new_epoch() {
    let mut stage = Stage::of(&["bob"]);
    let epoch = stage.room.epoch().next();
    stage.room.begin_epoch(epoch);
    let changes = stage.mirror_now().unwrap();
    assert_eq!(changes.head.unwrap().epoch_starts.len(), 2);
    assert_eq!(stage.say("bob", chat("hi")).len(), 2);
}

#[test]
fn empty_change_set_proves_a_version_without_moving_it() {
    let stage = Stage::of(&["bob"]);
    let changes = stage.room.no_changes(stage.version);
    assert_eq!((changes.from, changes.to), (stage.version, stage.version));
    assert!(!changes.is_full && changes.closing.is_none() && changes.tail.is_empty());
}
