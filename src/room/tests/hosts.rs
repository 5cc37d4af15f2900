//! Hosts' controls and admins' commands: who may, on whom, and what all are told.

use super::{Fixture, OLGA, check, fixture::user, muted};
use crate::{
    protocol::{HostCommand, OwnCommand, Role},
    room::admin::AdminCommand,
};

fn remove(name: &str, ban: bool) -> HostCommand {
    HostCommand::RemoveParticipant {
        user_id: user(name),
        ban,
    }
}

fn admin_removes(name: &str, ban: bool) -> AdminCommand {
    AdminCommand::Remove {
        user_id: user(name),
        ban,
    }
}

fn set_role(name: &str, role: Role) -> HostCommand {
    HostCommand::SetRole {
        user_id: user(name),
        role,
    }
}

fn mute(name: &str) -> HostCommand {
    HostCommand::MuteParticipant {
        user_id: user(name),
    }
}

#[test]
fn attendees_may_use_no_control() {
    let mut fixture = Fixture::of(&[OLGA, "bob"]);
    for command in [
        mute(OLGA),
        remove(OLGA, false),
        remove(OLGA, true),
        set_role("bob", Role::Host),
        HostCommand::AdmitParticipant {
            user_id: user("carl"),
        },
        HostCommand::DenyParticipant {
            user_id: user("carl"),
        },
        HostCommand::LockRoom { is_locked: true },
        HostCommand::StartRecording,
        HostCommand::StopRecording,
        HostCommand::EndRoom,
    ] {
        check(fixture.say("bob", command), &["bob: Error forbidden"]);
    }
    assert_eq!(fixture.room.seq().0, 2);
}

#[test]
fn host_mutes_and_only_the_person_unmutes() {
    let mut fixture = Fixture::of(&[OLGA, "bob"]);
    check(
        fixture.say(OLGA, mute("bob")),
        &[
            "bob olga: #3 StateChanged bob isMuted=true by olga",
            "olga: Ack 2 @3",
        ],
    );
    check(fixture.say(OLGA, mute("bob")), &["olga: Ack 3 @3"]);
    check(
        fixture.say("bob", muted(false)),
        &[
            "bob olga: #4 StateChanged bob isMuted=false",
            "bob: Ack 2 @4",
        ],
    );
}

#[test]
fn controls_on_somebody_who_is_not_there_find_no_target() {
    let mut fixture = Fixture::of(&[OLGA]);
    for command in [
        mute("bob"),
        remove("bob", false),
        remove("bob", true),
        set_role("bob", Role::Host),
    ] {
        check(
            fixture.say(OLGA, command),
            &["olga: Error target_not_found"],
        );
    }
}

#[test]
fn removed_person_may_return() {
    let mut fixture = Fixture::of(&[OLGA, "bob"]);
    check(
        fixture.say(OLGA, remove("bob", false)),
        &[
            "bob olga: #3 ParticipantLeft bob removed by olga",
            "olga: Ack 2 @3",
            "bob: Goodbye removed",
        ],
    );
    assert_eq!(
        fixture.join("bob").last().unwrap(),
        "bob2: RoomJoined @4 olga+bob"
    );
}

#[test]
fn host_removing_themself_is_acknowledged_before_the_goodbye() {
    let mut fixture = Fixture::of(&[OLGA]);
    fixture.join_as_host("hans");
    check(
        fixture.say("hans", remove("hans", false)),
        &[
            "hans olga: #3 ParticipantLeft hans removed by hans",
            "hans: Ack 2 @3",
            "hans: Goodbye removed",
        ],
    );
}

#[test]
fn ban_of_a_present_person_is_stored_and_keeps_them_out() {
    let mut fixture = Fixture::of(&[OLGA, "bob"]);
    check(
        fixture.say(OLGA, remove("bob", true)),
        &[
            "sql: ban bob",
            "bob olga: #3 ParticipantLeft bob banned by olga",
            "olga: Ack 2 @3",
            "bob: Goodbye banned",
        ],
    );
    check(
        fixture.join("bob"),
        &["bob2: Error banned", "bob2: Goodbye banned"],
    );
    fixture.takeover(5);
    check(
        fixture.join("bob"),
        &["bob3: Error banned", "bob3: Goodbye banned"],
    );
}

#[test]
fn ban_of_a_waiting_person_sends_them_away() {
    let mut fixture = Fixture::with_lobby();
    fixture.join("bob");
    check(
        fixture.say(OLGA, remove("bob", true)),
        &[
            "sql: ban bob",
            "bob: Goodbye banned",
            "olga: LobbyChanged",
            "olga: Ack 2 @1",
        ],
    );
}

#[test]
fn ban_of_somebody_who_has_left_works_and_is_idempotent() {
    let mut fixture = Fixture::of(&[OLGA, "bob"]);
    fixture.say("bob", OwnCommand::LeaveRoom);
    check(
        fixture.say(OLGA, remove("bob", true)),
        &["sql: ban bob", "olga: Ack 2 @3"],
    );
    check(fixture.say(OLGA, remove("bob", true)), &["olga: Ack 3 @3"]);
    check(
        fixture.say(OLGA, remove("bob", false)),
        &["olga: Error target_not_found"],
    );
}

#[test]
fn admin_bans_strangers_too_and_lifts_bans() {
    let mut fixture = Fixture::of(&[OLGA]);
    check(
        fixture.admin(admin_removes("bob", false)),
        &["admin: Error target_not_found"],
    );
    check(
        fixture.admin(admin_removes("bob", true)),
        &["sql: ban bob", "admin: Done"],
    );
    let lift = AdminCommand::LiftBan {
        user_id: user("bob"),
    };
    check(fixture.admin(lift.clone()), &["admin: Lifted(true)"]);
    check(fixture.admin(lift), &["admin: Lifted(false)"]);
    assert_eq!(fixture.join("bob").len(), 2);
}

#[test]
fn owner_keeps_seat_and_role_against_other_hosts() {
    let mut fixture = Fixture::of(&[OLGA]);
    fixture.join_as_host("hans");
    for command in [
        remove(OLGA, false),
        remove(OLGA, true),
        set_role(OLGA, Role::Attendee),
        set_role(OLGA, Role::Host),
    ] {
        check(fixture.say("hans", command), &["hans: Error forbidden"]);
    }
    assert_eq!(fixture.say("hans", mute(OLGA)).len(), 2, "but may be muted");
}

#[test]
fn admin_may_remove_the_owner_but_not_change_the_role() {
    let mut fixture = Fixture::of(&[OLGA]);
    let demote = AdminCommand::ChangeParticipant {
        user_id: user(OLGA),
        mute: true,
        role: Some(Role::Attendee),
    };
    check(fixture.admin(demote), &["admin: Error forbidden"]);
    check(
        fixture.admin(admin_removes(OLGA, false)),
        &[
            "olga: #2 ParticipantLeft olga removed",
            "olga: Goodbye removed",
            "admin: Done",
        ],
    );
}

#[test]
fn admin_changes_role_and_mutes_in_one_go() {
    let mut fixture = Fixture::of(&["bob"]);
    let change = AdminCommand::ChangeParticipant {
        user_id: user("bob"),
        mute: true,
        role: Some(Role::Host),
    };
    check(
        fixture.admin(change),
        &[
            "bob: #2 RoleChanged bob host",
            "bob: #3 StateChanged bob isMuted=true",
            "admin: bob host muted=true",
        ],
    );
}

#[test]
fn role_change_is_told_once_and_takes_effect() {
    let mut fixture = Fixture::of(&[OLGA, "bob"]);
    check(
        fixture.say(OLGA, set_role("bob", Role::Host)),
        &[
            "bob olga: #3 RoleChanged bob host by olga",
            "olga: Ack 2 @3",
        ],
    );
    check(
        fixture.say(OLGA, set_role("bob", Role::Host)),
        &["olga: Ack 3 @3"],
    );
    check(
        fixture.say("bob", HostCommand::LockRoom { is_locked: true }),
        &[
            "bob olga: #4 RoomLocked isLocked=true by bob",
            "bob: Ack 2 @4",
        ],
    );
}

#[test]
fn host_may_give_up_the_role() {
    let mut fixture = Fixture::of(&[OLGA]);
    fixture.join_as_host("hans");
    fixture.say("hans", set_role("hans", Role::Attendee));
    check(fixture.say("hans", mute(OLGA)), &["hans: Error forbidden"]);
}

#[test]
fn meeting_goes_on_without_hosts() {
    let mut fixture = Fixture::of(&[OLGA, "bob"]);
    fixture.say(OLGA, OwnCommand::LeaveRoom);
    assert_eq!(fixture.say("bob", muted(true)).len(), 2);
}

#[test]
fn locking_twice_is_told_once() {
    let mut fixture = Fixture::of(&[OLGA]);
    fixture.say(OLGA, HostCommand::LockRoom { is_locked: true });
    check(
        fixture.say(OLGA, HostCommand::LockRoom { is_locked: true }),
        &["olga: Ack 3 @2"],
    );
}

#[test]
fn lock_survives_a_takeover() {
    let mut fixture = Fixture::of(&[OLGA]);
    fixture.say(OLGA, HostCommand::LockRoom { is_locked: true });
    fixture.takeover(5);
    check(
        fixture.join("bob"),
        &["bob: Error room_locked", "bob: Goodbye room_locked"],
    );
}

#[test]
fn recording_needs_the_setting_and_is_told_once() {
    let mut fixture = Fixture::of(&[OLGA]);
    check(
        fixture.say(OLGA, HostCommand::StartRecording),
        &["olga: Error forbidden"],
    );
    let mut fixture = Fixture::settings(|settings| settings.is_recording_enabled = true);
    fixture.join(OLGA);
    check(
        fixture.say(OLGA, HostCommand::StartRecording),
        &[
            "olga: #2 RecordingChanged isRecording=true by olga",
            "olga: Ack 2 @2",
        ],
    );
    check(
        fixture.say(OLGA, HostCommand::StartRecording),
        &["olga: Ack 3 @2"],
    );
    check(
        fixture.say(OLGA, HostCommand::StopRecording),
        &[
            "olga: #3 RecordingChanged isRecording=false by olga",
            "olga: Ack 4 @3",
        ],
    );
}

#[test]
fn recording_can_be_stopped_after_the_setting_was_taken_away() {
    let mut fixture = Fixture::settings(|settings| settings.is_recording_enabled = true);
    fixture.join(OLGA);
    fixture.say(OLGA, HostCommand::StartRecording);
    let mut settings = fixture.room.snapshot().head.settings;
    settings.is_recording_enabled = false;
    fixture.admin(AdminCommand::ChangeSettings(settings));
    assert_eq!(fixture.say(OLGA, HostCommand::StopRecording).len(), 2);
}

#[test]
fn system_message_is_an_event_of_nobody() {
    let mut fixture = Fixture::new();
    let hello = AdminCommand::SystemMessage("hello".to_owned());
    check(
        fixture.admin(hello.clone()),
        &["admin: Error target_not_found"],
    );
    fixture.join("bob");
    check(
        fixture.admin(hello),
        &["bob: #2 MessageReceived hello", "admin: Done"],
    );
}

#[test]
fn owner_banned_by_an_admin_stays_out_until_it_is_lifted() {
    let mut fixture = Fixture::of(&[OLGA]);
    fixture.admin(admin_removes(OLGA, true));
    check(
        fixture.join(OLGA),
        &["olga2: Error banned", "olga2: Goodbye banned"],
    );
    fixture.admin(AdminCommand::LiftBan {
        user_id: user(OLGA),
    });
    assert_eq!(
        fixture.join(OLGA).last().unwrap(),
        "olga3: RoomJoined @3 olga"
    );
}
