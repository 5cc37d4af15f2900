//! The lobby: waiting, admitting, denying, and what it is switched off for.

use super::{Fixture, OLGA, chat, check, fixture::user};
use crate::{
    protocol::{HostCommand, Kind, OwnCommand, Role, Settings},
    room::{admin::AdminCommand, rules::Rules},
};

fn admit(name: &str) -> HostCommand {
    HostCommand::AdmitParticipant {
        user_id: user(name),
    }
}

fn deny(name: &str) -> HostCommand {
    HostCommand::DenyParticipant {
        user_id: user(name),
    }
}

fn switch_off(fixture: &mut Fixture) -> Vec<String> {
    let mut settings = fixture.room.snapshot().head.settings;
    settings.is_lobby_enabled = false;
    fixture.admin(AdminCommand::ChangeSettings(settings))
}

#[test]
fn attendee_waits_and_hosts_are_told() {
    let mut fixture = Fixture::with_lobby();
    check(
        fixture.join("bob"),
        &["bob: LobbyWaiting", "olga: LobbyChanged bob"],
    );
    assert_eq!(fixture.room.participant_count(), 1);
}

#[test]
fn hosts_do_not_wait() {
    let mut fixture = Fixture::with_lobby();
    assert_eq!(
        fixture.join_as_host("hans").last().unwrap(),
        "hans: RoomJoined @2 olga+hans"
    );
}

#[test]
fn admitted_person_joins_with_the_id_of_their_join() {
    let mut fixture = Fixture::with_lobby();
    fixture.join("bob");
    check(
        fixture.say(OLGA, admit("bob")),
        &[
            "olga: #2 ParticipantJoined bob attendee",
            "bob: RoomJoined @2 olga+bob",
            "olga: LobbyChanged",
            "olga: Ack 2 @2",
        ],
    );
}

#[test]
fn denied_person_is_told_and_sent_away() {
    let mut fixture = Fixture::with_lobby();
    fixture.join("bob");
    check(
        fixture.say(OLGA, deny("bob")),
        &[
            "bob: LobbyDenied",
            "bob: Goodbye denied",
            "olga: LobbyChanged",
            "olga: Ack 2 @1",
        ],
    );
}

#[test]
fn deciding_about_somebody_who_does_not_wait_finds_no_target() {
    let mut fixture = Fixture::with_lobby();
    check(
        fixture.say(OLGA, admit("bob")),
        &["olga: Error target_not_found"],
    );
    check(
        fixture.say(OLGA, deny("bob")),
        &["olga: Error target_not_found"],
    );
}

#[test]
fn attendees_decide_nothing_about_the_lobby() {
    let mut fixture = Fixture::with_lobby();
    fixture.join("bob");
    fixture.say(OLGA, admit("bob"));
    fixture.join("carl");
    check(fixture.say("bob", admit("carl")), &["bob: Error forbidden"]);
}

#[test]
fn waiting_people_get_no_events_and_may_only_leave() {
    let mut fixture = Fixture::with_lobby();
    fixture.join("bob");
    check(
        fixture.say(OLGA, chat("hi")),
        &["olga: #2 MessageReceived olga hi", "olga: Ack 2 @2"],
    );
    check(fixture.say("bob", chat("hi")), &["bob: Error not_in_room"]);
    check(
        fixture.say("bob", OwnCommand::LeaveRoom),
        &["bob: Ack 3 @2", "bob: Goodbye left", "olga: LobbyChanged"],
    );
}

#[test]
fn waiting_begins_no_session() {
    let mut fixture = Fixture::settings(|settings| settings.is_lobby_enabled = true);
    check(fixture.join("bob"), &["bob: LobbyWaiting"]);
    assert_eq!(fixture.room.session(), None);
    check(
        fixture.pass(300_000),
        &["bob: Goodbye ended", "closed: no session"],
    );
}

#[test]
fn coming_host_sees_who_waits() {
    let mut fixture = Fixture::settings(|settings| settings.is_lobby_enabled = true);
    fixture.join("bob");
    fixture.pass(10);
    fixture.join("anna");
    assert_eq!(
        fixture.join(OLGA).last().unwrap(),
        "olga: LobbyChanged bob+anna",
        "longest waiting first"
    );
}

#[test]
fn new_host_sees_who_waits() {
    let mut fixture = Fixture::with_lobby();
    fixture.join("bob");
    fixture.say(OLGA, admit("bob"));
    fixture.join("carl");
    let lines = fixture.say(
        OLGA,
        HostCommand::SetRole {
            user_id: user("bob"),
            role: Role::Host,
        },
    );
    assert_eq!(lines[1], "bob: LobbyChanged carl");
}

#[test]
fn reconnecting_person_keeps_their_place() {
    let mut fixture = Fixture::with_lobby();
    fixture.join("bob");
    fixture.pass(10);
    fixture.join("anna");
    check(fixture.lose("bob"), &[]);
    fixture.pass(10);
    check(
        fixture.join("bob"),
        &["bob2: LobbyWaiting", "olga: LobbyChanged bob+anna"],
    );
    check(
        fixture.join("bob"),
        &[
            "bob2: Goodbye superseded",
            "bob3: LobbyWaiting",
            "olga: LobbyChanged bob+anna",
        ],
    );
}

#[test]
fn unconnected_person_is_forgotten_after_the_grace() {
    let mut fixture = Fixture::with_lobby();
    fixture.join("bob");
    fixture.lose("bob");
    check(fixture.pass(29_999), &[]);
    check(fixture.pass(1), &["olga: LobbyChanged"]);
}

#[test]
fn person_admitted_while_unconnected_does_not_wait_again() {
    let mut fixture = Fixture::with_lobby();
    fixture.join("bob");
    fixture.lose("bob");
    check(
        fixture.say(OLGA, admit("bob")),
        &["olga: LobbyChanged", "olga: Ack 2 @1"],
    );
    check(fixture.say(OLGA, admit("bob")), &["olga: Ack 3 @1"]);
    fixture.takeover(5);
    check(
        fixture.join("bob"),
        &[
            ": #2 ParticipantJoined bob attendee",
            "bob2: RoomJoined @2 olga+bob",
        ],
    );
}

#[test]
fn people_once_admitted_do_not_wait_again_in_this_session() {
    let mut fixture = Fixture::with_lobby();
    fixture.join("bob");
    fixture.say(OLGA, admit("bob"));
    fixture.say("bob", OwnCommand::LeaveRoom);
    fixture.takeover(5);
    assert_eq!(
        fixture.join("bob").last().unwrap(),
        "bob2: RoomJoined @4 olga+bob"
    );
}

#[test]
fn full_room_admits_nobody_from_the_lobby() {
    let mut fixture = Fixture::settings(|settings| {
        settings.is_lobby_enabled = true;
        settings.max_participants = 2;
    });
    fixture.join(OLGA);
    fixture.join("bob");
    fixture.join_as_host("hans");
    check(fixture.say(OLGA, admit("bob")), &["olga: Error room_full"]);
    fixture.say("hans", OwnCommand::LeaveRoom);
    assert_eq!(
        fixture.say(OLGA, admit("bob"))[1],
        "bob: RoomJoined @4 olga+bob"
    );
}

#[test]
fn lobby_is_full_at_its_bound_but_not_for_those_who_wait() {
    let settings = Settings {
        is_lobby_enabled: true,
        ..Settings::default()
    };
    let mut fixture = Fixture::with(
        settings,
        Rules {
            lobby_max: 2,
            ..Rules::default()
        },
    );
    fixture.join("bob");
    fixture.join("carl");
    check(
        fixture.join("dora"),
        &["dora: Error room_full", "dora: Goodbye room_full"],
    );
    assert_eq!(fixture.join("bob").last().unwrap(), "bob2: LobbyWaiting");
}

#[test]
fn switching_the_lobby_off_admits_all_while_there_are_seats_and_tells_hosts_once() {
    let mut fixture = Fixture::with_lobby();
    for name in ["bob", "anna", "carl"] {
        fixture.join(name);
        fixture.pass(1);
    }
    let mut settings = fixture.room.snapshot().head.settings;
    settings.is_lobby_enabled = false;
    settings.max_participants = 3;
    check(
        fixture.admin(AdminCommand::ChangeSettings(settings)),
        &[
            "olga: #2 ParticipantJoined bob attendee",
            "bob: RoomJoined @2 olga+bob",
            "bob olga: #3 ParticipantJoined anna attendee",
            "anna: RoomJoined @3 olga+bob+anna",
            "olga: LobbyChanged carl",
            "admin: Done",
        ],
    );
}

#[test]
fn switching_the_lobby_off_lets_nobody_past_the_lock_until_it_opens() {
    let mut fixture = Fixture::with_lobby();
    fixture.join("bob");
    fixture.say(OLGA, HostCommand::LockRoom { is_locked: true });
    check(switch_off(&mut fixture), &["admin: Done"]);
    let lines = fixture.say(OLGA, HostCommand::LockRoom { is_locked: false });
    assert_eq!(lines[2], "bob: RoomJoined @4 olga+bob");
}

#[test]
fn switching_the_lobby_off_refuses_those_whose_kind_is_no_longer_let_in() {
    let mut fixture = Fixture::with_lobby();
    fixture.join("bob");
    let mut settings = fixture.room.snapshot().head.settings;
    settings.is_lobby_enabled = false;
    settings.allowed_roles = vec![Kind::Host];
    check(
        fixture.admin(AdminCommand::ChangeSettings(settings)),
        &[
            "bob: Error role_not_allowed",
            "bob: Goodbye role_not_allowed",
            "olga: LobbyChanged",
            "admin: Done",
        ],
    );
}

#[test]
fn joining_past_the_lobby_with_a_host_token_tells_the_hosts() {
    let mut fixture = Fixture::with_lobby();
    fixture.join("bob");
    check(
        fixture.join_as_host("bob"),
        &[
            "bob: Goodbye superseded",
            "olga: #2 ParticipantJoined bob host",
            "bob2: RoomJoined @2 olga+bob",
            "bob2: LobbyChanged",
            "olga: LobbyChanged",
        ],
    );
}

#[test]
fn lobby_survives_a_takeover_with_its_order() {
    let mut fixture = Fixture::with_lobby();
    fixture.join("zoe");
    fixture.pass(5);
    fixture.join("anna");
    fixture.takeover(100);
    let lines = fixture.resume(OLGA, 1);
    assert_eq!(lines.last().unwrap(), "olga2: LobbyChanged zoe+anna");
}

#[test]
fn resuming_host_is_told_of_a_lobby_that_became_empty() {
    let mut fixture = Fixture::with_lobby();
    fixture.join("bob");
    fixture.lose(OLGA);
    fixture.say("bob", OwnCommand::LeaveRoom);
    assert_eq!(
        fixture.resume(OLGA, 1).last().unwrap(),
        "olga2: LobbyChanged"
    );
}
