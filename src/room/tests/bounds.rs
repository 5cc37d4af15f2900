//! What is bounded, at its bound.

use super::{OLGA, Stage, chat, check, stage::user};
use crate::{protocol::Command, room::admin::AdminCommand};

fn ban(name: &str) -> AdminCommand {
    AdminCommand::Remove {
        user_id: user(name),
        ban: true,
    }
}

#[test]
fn tail_keeps_its_events_also_in_the_mirror() {
    let mut stage = Stage::rules(|rules| rules.tail_events_max = 3);
    stage.join("bob");
    for text in ["a", "b", "c", "d"] {
        stage.say("bob", chat(text));
    }
    let seqs: Vec<u64> = stage
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
    let mut stage = Stage::rules(|rules| rules.tail_bytes_max = 300);
    stage.join("bob");
    stage.say("bob", chat(&"x".repeat(500)));
    assert_eq!(stage.mirror.as_ref().unwrap().tail.len(), 1);
}

#[test]
fn bans_are_refused_beyond_their_bound_without_removing_anybody() {
    let mut stage = Stage::rules(|rules| rules.bans_max = 1);
    stage.join(OLGA);
    stage.join("bob");
    stage.admin(ban("carl"));
    check(stage.admin(ban("carl")), &["admin: Done"]);
    check(stage.admin(ban("bob")), &["admin: Error unavailable"]);
    let by_host = Command::RemoveParticipant {
        user_id: user("bob"),
        ban: true,
    };
    check(stage.say(OLGA, by_host), &["olga: Error unavailable"]);
    assert_eq!(stage.room.participant_count(), 2);
}

#[test]
fn oldest_attendance_is_forgotten_beyond_its_bound() {
    let mut stage = Stage::rules(|rules| rules.left_max = 2);
    stage.join(OLGA);
    for name in ["bob", "carl", "dora"] {
        stage.join(name);
        stage.say(name, Command::LeaveRoom);
    }
    let left = stage.mirror.as_ref().unwrap().left.values();
    let names: Vec<String> = left.map(|left| left.display_name.clone()).collect();
    assert_eq!(names, ["carl", "dora"]);
}

#[test]
fn resume_tokens_of_a_stay_are_at_most_three() {
    let mut stage = Stage::of(&["bob"]);
    for _ in 0..5 {
        stage.resume("bob", 1);
    }
    let seat = &stage.room.snapshot().participants[&user("bob")];
    assert_eq!(seat.resume_token_hashes.len(), 3);
}

#[test]
fn successor_with_a_smaller_lobby_keeps_those_who_wait() {
    let mut stage = Stage::with_lobby();
    stage.join("bob");
    stage.join("carl");
    let snapshot = stage.mirror.clone().unwrap();
    let rules = crate::room::rules::Rules {
        lobby_max: 1,
        ..Default::default()
    };
    let epoch = stage.room.epoch().next();
    let mut room =
        crate::room::Room::restore(rules.into(), snapshot, epoch, stage.version, stage.now());
    assert!(
        room.apply(stage.now(), crate::room::input::Input::Tick)
            .is_empty()
    );
    assert_eq!(room.snapshot().lobby.len(), 2);
}
