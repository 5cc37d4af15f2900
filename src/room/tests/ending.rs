//! How a room ends, and what its history contains.

use super::{Fixture, OLGA, check, fixture::user};
use crate::{
    ids::Version,
    protocol::{EndReason, HostCommand, LeaveReason, OwnCommand},
    room::{admin::AdminCommand, input::Input},
};

/// Lists name, join, leave and reason of each attendance, in milliseconds since the room was
/// created; then the end.
fn history(fixture: &Fixture) -> Vec<String> {
    let closed = fixture.closed.as_ref().unwrap();
    let mut lines: Vec<String> = closed
        .attendances
        .iter()
        .map(|stay| {
            let (from, to) = (
                fixture.since_start(stay.joined_at),
                fixture.since_start(stay.left_at),
            );
            format!("{} {from}-{to} {:?}", stay.display_name, stay.leave_reason)
        })
        .collect();
    let (start, end) = (
        fixture.since_start(closed.start_time),
        fixture.since_start(closed.end_time),
    );
    lines.push(format!("{start}-{end}"));
    lines
}

#[test]
fn room_without_admitted_join_closes_without_a_session() {
    let mut fixture = Fixture::new();
    check(fixture.pass(299_999), &[]);
    check(fixture.pass(1), &["closed: no session"]);
    assert_eq!(fixture.closed, None);
    assert!(fixture.room.is_closed());
}

#[test]
fn session_closes_after_the_departure_timeout_and_ends_with_the_last_leave() {
    let mut fixture = Fixture::new();
    fixture.pass(1_000);
    fixture.join("bob");
    fixture.pass(1_000);
    fixture.say("bob", OwnCommand::LeaveRoom);
    check(fixture.pass(19_999), &[]);
    check(fixture.pass(1), &[": #3 RoomEnded empty", "closed: empty"]);
    check(history(&fixture), &["bob 1000-2000 Left", "1000-2000"]);
}

#[test]
fn left_at_is_when_the_connection_was_lost() {
    let mut fixture = Fixture::of(&["bob"]);
    fixture.pass(500);
    fixture.lose("bob");
    fixture.pass(50_000);
    check(history(&fixture), &["bob 0-500 Timeout", "0-500"]);
}

#[test]
fn leaving_is_event_ack_goodbye() {
    let mut fixture = Fixture::of(&[OLGA, "bob"]);
    check(
        fixture.say("bob", OwnCommand::LeaveRoom),
        &[
            "bob olga: #3 ParticipantLeft bob left",
            "bob: Ack 2 @3",
            "bob: Goodbye left",
        ],
    );
}

#[test]
fn host_ends_the_meeting_for_all() {
    let mut fixture = Fixture::of(&[OLGA, "bob"]);
    fixture.pass(700);
    check(
        fixture.say(OLGA, HostCommand::EndRoom),
        &[
            "bob olga: #3 RoomEnded ended",
            "olga: Ack 2 @3",
            "olga: Goodbye ended",
            "bob: Goodbye ended",
            "closed: ended",
        ],
    );
    check(
        history(&fixture),
        &["olga 0-700 Ended", "bob 0-700 Ended", "0-700"],
    );
}

#[test]
fn admin_ends_with_the_answer_before_the_goodbyes_and_only_once() {
    let mut fixture = Fixture::of(&["bob"]);
    check(
        fixture.admin(AdminCommand::End(EndReason::Ended)),
        &[
            "bob: #2 RoomEnded ended",
            "admin: Ended(true)",
            "bob: Goodbye ended",
            "closed: ended",
        ],
    );
    check(
        fixture.admin(AdminCommand::End(EndReason::Ended)),
        &["admin: Ended(false)"],
    );
}

#[test]
fn admin_cannot_end_what_has_not_begun_but_delete_it() {
    let mut fixture = Fixture::settings(|settings| settings.is_lobby_enabled = true);
    fixture.join("bob");
    check(
        fixture.admin(AdminCommand::End(EndReason::Ended)),
        &["admin: Ended(false)"],
    );
    check(
        fixture.admin(AdminCommand::End(EndReason::Deleted)),
        &[
            "admin: Ended(false)",
            "bob: Goodbye ended",
            "closed: no session",
        ],
    );
}

#[test]
fn deleted_room_ends_its_session() {
    let mut fixture = Fixture::of(&["bob"]);
    let lines = fixture.admin(AdminCommand::End(EndReason::Deleted));
    assert_eq!(lines[0], "bob: #2 RoomEnded deleted");
    assert_eq!(lines[3], "closed: deleted");
}

#[test]
fn longest_life_runs_from_the_start_of_the_session_also_across_a_takeover() {
    let mut fixture = Fixture::settings(|settings| settings.max_duration_secs = Some(60));
    fixture.pass(5_000);
    fixture.join("bob");
    fixture.takeover(40_000);
    fixture.resume("bob", 1);
    check(fixture.pass(19_999), &[]);
    check(
        fixture.pass(1),
        &[
            "bob2: #2 RoomEnded max_duration",
            "bob2: Goodbye ended",
            "closed: max_duration",
        ],
    );
}

#[test]
fn shortened_life_ends_at_once() {
    let mut fixture = Fixture::of(&["bob"]);
    fixture.pass(10_000);
    let mut settings = fixture.room.snapshot().head.settings;
    settings.max_duration_secs = Some(5);
    fixture.admin(AdminCommand::ChangeSettings(settings));
    assert_eq!(fixture.pass(0)[0], "bob: #2 RoomEnded max_duration");
}

#[test]
fn failed_room_says_so() {
    let mut fixture = Fixture::of(&["bob"]);
    check(
        fixture.apply(Input::End(EndReason::Failed)),
        &[
            "bob: #2 RoomEnded failed",
            "bob: Goodbye failed",
            "closed: failed",
        ],
    );
}

#[test]
fn every_stay_of_a_user_is_in_the_history() {
    let mut fixture = Fixture::of(&[OLGA, "bob"]);
    fixture.pass(100);
    fixture.join("bob");
    fixture.pass(100);
    fixture.say(
        OLGA,
        HostCommand::RemoveParticipant {
            user_id: user("bob"),
            ban: true,
        },
    );
    fixture.pass(100);
    fixture.say(OLGA, HostCommand::EndRoom);
    check(
        history(&fixture),
        &[
            "olga 0-300 Ended",
            "bob 0-100 Superseded",
            "bob 100-200 Banned",
            "0-300",
        ],
    );
    let closed = fixture.closed.as_ref().unwrap();
    assert!(closed.bans.contains_key(&user("bob")));
    assert_eq!(closed.attendances[0].leave_reason, LeaveReason::Ended);
}

#[test]
fn nothing_happens_in_a_closed_room() {
    let mut fixture = Fixture::of(&[OLGA, "bob"]);
    fixture.say(OLGA, HostCommand::EndRoom);
    check(
        fixture.join("carl"),
        &["carl: Error unavailable", "carl: Goodbye unavailable"],
    );
    check(
        fixture.say("bob", OwnCommand::LeaveRoom),
        &["bob: Error not_in_room"],
    );
    check(
        fixture.admin(AdminCommand::Describe),
        &["admin: Error unavailable"],
    );
    check(fixture.apply(Input::End(EndReason::Ended)), &[]);
    check(fixture.apply(Input::Tick), &[]);
    check(fixture.lose("bob"), &[]);
    assert_eq!(fixture.room.seq().0, 3);
}

#[test]
fn closing_is_a_change_of_its_own_that_empties_the_mirror() {
    let mut fixture = Fixture::of(&["bob"]);
    fixture.is_mirrored = false;
    fixture.apply(Input::End(EndReason::Ended));
    let changes = fixture.mirror_now().unwrap();
    assert_eq!(changes.closing.unwrap().session, fixture.closed);
    assert_eq!(fixture.mirror, None);
    assert!(fixture.version > Version(0));
}
