//! What is bounded, at its bound.

use super::{Fixture, OLGA, chat, check, fixture::user};
use crate::{
    protocol::{HostCommand, OwnCommand},
    room::admin::AdminCommand,
};

fn ban(name: &str) -> AdminCommand {
    AdminCommand::Remove {
        user_id: user(name),
        ban: true,
    }
}

#[test]
fn tail_keeps_its_events_also_in_the_mirror() {
    let mut fixture = Fixture::rules(|rules| rules.tail_events_max = 3);
    fixture.join("bob");
    for text in ["a", "b", "c", "d"] {
        fixture.say("bob", chat(text));
    }
    let seqs: Vec<u64> = fixture
        .mirror
        .as_ref()
        .unwrap()
        .tail
        .iter()
        .map(|event| event.seq.0)
        .collect();
    assert_eq!(seqs, [3, 4, 5]);
}

#[test]
fn tail_keeps_its_bytes_and_always_the_newest() {
    let mut fixture = Fixture::rules(|rules| rules.tail_bytes_max = 300);
    fixture.join("bob");
    fixture.say("bob", chat(&"x".repeat(500)));
    assert_eq!(fixture.mirror.as_ref().unwrap().tail.len(), 1);
}

#[test]
fn bans_are_refused_beyond_their_bound_without_removing_anybody() {
    let mut fixture = Fixture::rules(|rules| rules.bans_max = 1);
    fixture.join(OLGA);
    fixture.join("bob");
    fixture.admin(ban("carl"));
    check(fixture.admin(ban("carl")), &["admin: Done"]);
    check(fixture.admin(ban("bob")), &["admin: Error unavailable"]);
    let by_host = HostCommand::RemoveParticipant {
        user_id: user("bob"),
        ban: true,
    };
    check(fixture.say(OLGA, by_host), &["olga: Error unavailable"]);
    assert_eq!(fixture.room.participant_count(), 2);
}

#[test]
fn oldest_attendance_is_forgotten_beyond_its_bound() {
    let mut fixture = Fixture::rules(|rules| rules.left_max = 2);
    fixture.join(OLGA);
    for name in ["bob", "carl", "dora"] {
        fixture.join(name);
        fixture.say(name, OwnCommand::LeaveRoom);
    }
    let left = fixture.mirror.as_ref().unwrap().left.values();
    let names: Vec<String> = left.map(|left| left.display_name.clone()).collect();
    assert_eq!(names, ["carl", "dora"]);
}

#[test]
fn resume_tokens_of_a_stay_are_at_most_three() {
    let mut fixture = Fixture::of(&["bob"]);
    for _ in 0..5 {
        fixture.resume("bob", 1);
    }
    let seat = &fixture.room.snapshot().participants[&user("bob")];
    assert_eq!(seat.resume_token_hashes.len(), 3);
}

#[test]
fn successor_with_a_smaller_lobby_keeps_those_who_wait() {
    let mut fixture = Fixture::with_lobby();
    fixture.join("bob");
    fixture.join("carl");
    let snapshot = fixture.mirror.clone().unwrap();
    let rules = crate::room::rules::Rules {
        lobby_max: 1,
        ..Default::default()
    };
    let epoch = fixture.room.epoch().next();
    let mut room = crate::room::Room::restore(
        rules.into(),
        snapshot,
        epoch,
        fixture.version,
        fixture.now(),
    );
    assert!(
        room.apply(fixture.now(), crate::room::input::Input::Tick)
            .is_empty()
    );
    assert_eq!(room.snapshot().lobby.len(), 2);
}
