//! How a room's life ends, and what history says of it.

use super::{OLGA, Stage, check, stage::user};
use crate::{
    ids::Version,
    protocol::{Command, EndReason, LeaveReason},
    room::{admin::AdminCommand, input::Input},
};

/// Name, joined, left and why of each attendance, in milliseconds since the room was made; then the end.
fn history(stage: &Stage) -> Vec<String> {
    let closed = stage.closed.as_ref().unwrap();
    let mut lines: Vec<String> = closed
        .attendances
        .iter()
        .map(|stay| {
            let (from, to) = (
                stage.since_start(stay.joined_at),
                stage.since_start(stay.left_at),
            );
            format!("{} {from}-{to} {:?}", stay.display_name, stay.leave_reason)
        })
        .collect();
    let (start, end) = (
        stage.since_start(closed.start_time),
        stage.since_start(closed.end_time),
    );
    lines.push(format!("{start}-{end}"));
    lines
}

#[test]
fn room_without_admitted_join_closes_without_a_session() {
    let mut stage = Stage::new();
    check(stage.pass(299_999), &[]);
    check(stage.pass(1), &["closed: no session"]);
    assert_eq!(stage.closed, None);
    assert!(stage.room.is_closed());
}

#[test]
fn session_closes_after_the_departure_timeout_and_ends_with_the_last_leave() {
    let mut stage = Stage::new();
    stage.pass(1_000);
    stage.join("bob");
    stage.pass(1_000);
    stage.say("bob", Command::LeaveRoom);
    check(stage.pass(19_999), &[]);
    check(stage.pass(1), &[": #3 RoomEnded empty", "closed: empty"]);
    check(history(&stage), &["bob 1000-2000 Left", "1000-2000"]);
}

#[test]
fn left_at_is_when_the_connection_was_lost() {
    let mut stage = Stage::of(&["bob"]);
    stage.pass(500);
    stage.lose("bob");
    stage.pass(50_000);
    check(history(&stage), &["bob 0-500 Timeout", "0-500"]);
}

#[test]
fn leaving_is_event_ack_goodbye() {
    let mut stage = Stage::of(&[OLGA, "bob"]);
    check(
        stage.say("bob", Command::LeaveRoom),
        &[
            "bob olga: #3 ParticipantLeft bob left",
            "bob: Ack 2 @3",
            "bob: Goodbye left",
        ],
    );
}

#[test]
fn host_ends_the_meeting_for_all() {
    let mut stage = Stage::of(&[OLGA, "bob"]);
    stage.pass(700);
    check(
        stage.say(OLGA, Command::EndRoom),
        &[
            "bob olga: #3 RoomEnded ended",
            "olga: Ack 2 @3",
            "olga: Goodbye ended",
            "bob: Goodbye ended",
            "closed: ended",
        ],
    );
    check(
        history(&stage),
        &["olga 0-700 Ended", "bob 0-700 Ended", "0-700"],
    );
}

#[test]
fn admin_ends_with_the_answer_before_the_goodbyes_and_only_once() {
    let mut stage = Stage::of(&["bob"]);
    check(
        stage.admin(AdminCommand::End(EndReason::Ended)),
        &[
            "bob: #2 RoomEnded ended",
            "admin: Ended(true)",
            "bob: Goodbye ended",
            "closed: ended",
        ],
    );
    check(
        stage.admin(AdminCommand::End(EndReason::Ended)),
        &["admin: Ended(false)"],
    );
}

#[test]
fn admin_cannot_end_what_has_not_begun_but_delete_it() {
    let mut stage = Stage::settings(|settings| settings.is_lobby_enabled = true);
    stage.join("bob");
    check(
        stage.admin(AdminCommand::End(EndReason::Ended)),
        &["admin: Ended(false)"],
    );
    check(
        stage.admin(AdminCommand::End(EndReason::Deleted)),
        &[
            "admin: Ended(false)",
            "bob: Goodbye ended",
            "closed: no session",
        ],
    );
}

#[test]
fn deleted_room_ends_its_session() {
    let mut stage = Stage::of(&["bob"]);
    let lines = stage.admin(AdminCommand::End(EndReason::Deleted));
    assert_eq!(lines[0], "bob: #2 RoomEnded deleted");
    assert_eq!(lines[3], "closed: deleted");
}

#[test]
fn longest_life_runs_from_the_start_of_the_session_also_across_a_takeover() {
    let mut stage = Stage::settings(|settings| settings.max_duration_secs = Some(60));
    stage.pass(5_000);
    stage.join("bob");
    stage.takeover(40_000);
    stage.resume("bob", 1);
    check(stage.pass(19_999), &[]);
    check(
        stage.pass(1),
        &[
            "bob2: #2 RoomEnded max_duration",
            "bob2: Goodbye ended",
            "closed: max_duration",
        ],
    );
}

#[test]
fn shortened_life_ends_at_once() {
    let mut stage = Stage::of(&["bob"]);
    stage.pass(10_000);
    let mut settings = stage.room.snapshot().head.settings;
    settings.max_duration_secs = Some(5);
    stage.admin(AdminCommand::ChangeSettings(settings));
    assert_eq!(stage.pass(0)[0], "bob: #2 RoomEnded max_duration");
}

#[test]
fn failed_room_says_so() {
    let mut stage = Stage::of(&["bob"]);
    check(
        stage.apply(Input::End(EndReason::Failed)),
        &[
            "bob: #2 RoomEnded failed",
            "bob: Goodbye failed",
            "closed: failed",
        ],
    );
}

#[test]
fn every_stay_of_a_user_is_in_the_history() {
    let mut stage = Stage::of(&[OLGA, "bob"]);
    stage.pass(100);
    stage.join("bob");
    stage.pass(100);
    stage.say(
        OLGA,
        Command::RemoveParticipant {
            user_id: user("bob"),
            ban: true,
        },
    );
    stage.pass(100);
    stage.say(OLGA, Command::EndRoom);
    check(
        history(&stage),
        &[
            "olga 0-300 Ended",
            "bob 0-100 Superseded",
            "bob 100-200 Banned",
            "0-300",
        ],
    );
    let closed = stage.closed.as_ref().unwrap();
    assert!(closed.bans.contains_key(&user("bob")));
    assert_eq!(closed.attendances[0].leave_reason, LeaveReason::Ended);
}

#[test]
fn nothing_happens_in_a_closed_room() {
    let mut stage = Stage::of(&[OLGA, "bob"]);
    stage.say(OLGA, Command::EndRoom);
    check(
        stage.join("carl"),
        &["carl: Error unavailable", "carl: Goodbye unavailable"],
    );
    check(
        stage.say("bob", Command::LeaveRoom),
        &["bob: Error not_in_room"],
    );
    check(
        stage.admin(AdminCommand::Describe),
        &["admin: Error unavailable"],
    );
    check(stage.apply(Input::End(EndReason::Ended)), &[]);
    check(stage.apply(Input::Tick), &[]);
    check(stage.lose("bob"), &[]);
    assert_eq!(stage.room.seq().0, 3);
}

#[test]
fn closing_is_a_change_of_its_own_that_empties_the_mirror() {
    let mut stage = Stage::of(&["bob"]);
    stage.is_mirrored = false;
    stage.apply(Input::End(EndReason::Ended));
    let changes = stage.mirror_now().unwrap();
    assert_eq!(changes.closing.unwrap().session, stage.closed);
    assert_eq!(stage.mirror, None);
    assert!(stage.version > Version(0));
}
