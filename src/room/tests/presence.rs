//! Away and back: grace, timeouts, takeovers and restarts.

use super::{Fixture, OLGA, check, fixture::user, muted};
use crate::{
    protocol::{HostCommand, OwnCommand},
    room::{input::Input, lifecycle::WakeReason},
};

#[test]
fn lost_connection_makes_away_and_the_grace_ends_the_stay() {
    let mut fixture = Fixture::of(&[OLGA, "bob"]);
    check(
        fixture.lose("bob"),
        &["olga: #3 StateChanged bob isAway=true"],
    );
    check(fixture.pass(29_999), &[]);
    check(fixture.pass(1), &["olga: #4 ParticipantLeft bob timeout"]);
}

#[test]
fn away_participant_keeps_state_and_role() {
    let mut fixture = Fixture::of(&[OLGA, "bob"]);
    fixture.say(OLGA, muted(true));
    fixture.lose(OLGA);
    fixture.pass(29_000);
    fixture.resume(OLGA, 3);
    let seat = &fixture.room.snapshot().participants[&user(OLGA)];
    assert!(seat.flags.is_muted && !seat.is_away && seat.lost_at.is_none());
    assert_eq!(
        fixture
            .say(OLGA, HostCommand::LockRoom { is_locked: true })
            .len(),
        2
    );
}

#[test]
fn being_back_is_told_to_the_others_and_stops_the_grace() {
    let mut fixture = Fixture::of(&[OLGA, "bob"]);
    fixture.lose("bob");
    fixture.pass(29_999);
    check(
        fixture.resume("bob", 2),
        &[
            "olga: #4 StateChanged bob isAway=false",
            "bob2: RoomResumed @4 [#3 StateChanged bob isAway=true, #4 StateChanged bob isAway=false]",
        ],
    );
    check(fixture.pass(1_000_000), &[]);
}

#[test]
fn lost_twice_is_told_once() {
    let mut fixture = Fixture::of(&[OLGA, "bob"]);
    fixture.lose("bob");
    check(fixture.lose("bob"), &[]);
}

#[test]
fn away_people_are_muted_and_removed_like_others() {
    let mut fixture = Fixture::of(&[OLGA, "bob"]);
    fixture.lose("bob");
    let mute = HostCommand::MuteParticipant {
        user_id: user("bob"),
    };
    check(
        fixture.say(OLGA, mute),
        &[
            "olga: #4 StateChanged bob isMuted=true by olga",
            "olga: Ack 2 @4",
        ],
    );
    let remove = HostCommand::RemoveParticipant {
        user_id: user("bob"),
        ban: false,
    };
    check(
        fixture.say(OLGA, remove),
        &[
            "olga: #5 ParticipantLeft bob removed by olga",
            "olga: Ack 3 @5",
        ],
    );
}

#[test]
fn deadline_names_its_reason() {
    let mut fixture = Fixture::settings(|settings| settings.max_duration_secs = Some(3_600));
    let due = |fixture: &Fixture| {
        fixture
            .room
            .next_deadline()
            .map(|(at, why)| (fixture.since_start(at), why))
    };
    assert_eq!(due(&fixture), Some((300_000, WakeReason::Empty)));
    fixture.join("bob");
    assert_eq!(due(&fixture), Some((3_600_000, WakeReason::MaxDuration)));
    fixture.lose("bob");
    assert_eq!(due(&fixture), Some((30_000, WakeReason::Absence)));
    fixture.pass(30_000);
    assert_eq!(due(&fixture), Some((50_000, WakeReason::Departed)));
    fixture.pass(20_000);
    assert_eq!(due(&fixture), None, "closed");
}

#[test]
fn takeover_is_quiet_for_those_who_resume_in_time() {
    let mut fixture = Fixture::of(&[OLGA, "bob"]);
    fixture.takeover(60_000);
    check(fixture.pass(2_999), &[]);
    check(
        fixture.resume(OLGA, 2),
        &[
            "olga2: RoomResumed @2 [] relays lost",
            "olga2: LobbyChanged",
        ],
    );
    check(fixture.pass(1), &["olga2: #3 StateChanged bob isAway=true"]);
}

#[test]
fn grace_runs_from_the_takeover() {
    let mut fixture = Fixture::of(&[OLGA, "bob"]);
    fixture.lose("bob");
    fixture.takeover(60_000);
    fixture.resume(OLGA, 3);
    check(fixture.pass(29_999), &[]);
    check(fixture.pass(1), &["olga2: #4 ParticipantLeft bob timeout"]);
}

#[test]
fn quiet_people_time_out_at_once_when_the_room_wakes_late() {
    let mut fixture = Fixture::of(&[OLGA, "bob"]);
    fixture.takeover(10);
    fixture.resume(OLGA, 2);
    fixture.sleep(30_000);
    check(
        fixture.apply(Input::Tick),
        &["olga2: #3 ParticipantLeft bob timeout"],
    );
}

#[test]
fn restart_holds_the_seats_of_open_connections_and_shows_the_others_as_away() {
    let mut fixture = Fixture::of(&[OLGA, "bob", "carl"]);
    let connections = vec![fixture.connection(OLGA), fixture.connection("bob")];
    fixture.takeover(3);
    check(
        fixture.apply(Input::Reattach { connections }),
        &["bob olga: #4 StateChanged carl isAway=true"],
    );
    check(
        fixture.say("bob", muted(true)),
        &[
            "bob olga: #5 StateChanged bob isMuted=true",
            "bob: Ack 2 @5",
        ],
    );
    check(
        fixture.pass(30_000),
        &["bob olga: #6 ParticipantLeft carl timeout"],
    );
}

#[test]
fn command_that_made_the_room_fail_is_not_executed_again() {
    let mut fixture = Fixture::of(&["bob"]);
    let connection_id = fixture.connection("bob");
    fixture.apply(Input::Decide {
        connection_id,
        id: 2,
    });
    check(fixture.say("bob", muted(true)), &["bob: Ack 2 @1"]);
    check(
        fixture.say("bob", muted(true)).split_off(1),
        &["bob: Ack 3 @2"],
    );
}

#[test]
fn loss_is_remembered_across_two_takeovers() {
    let mut fixture = Fixture::of(&["bob"]);
    fixture.takeover(1_000);
    fixture.takeover(1_000);
    fixture.pass(60_000);
    let closed = fixture.closed.as_ref().unwrap();
    assert_eq!(fixture.since_start(closed.attendances[0].left_at), 1_000);
}

#[test]
fn somebody_back_in_an_empty_session_stops_its_departure_also_for_a_successor() {
    let mut fixture = Fixture::of(&["bob"]);
    fixture.say("bob", OwnCommand::LeaveRoom);
    fixture.pass(10_000);
    fixture.join("bob");
    fixture.takeover(11_000);
    assert!(
        fixture.resume("bob", 3)[0].starts_with("bob3: RoomResumed")
            || fixture.room.participant_count() == 1
    );
    check(fixture.pass(60_000), &[]);
}

#[test]
fn durability_is_told_once_to_the_connected() {
    let mut fixture = Fixture::of(&[OLGA, "bob", "carl"]);
    fixture.lose("carl");
    check(
        fixture.apply(Input::Durability { durable: false }),
        &[
            "bob: DurabilityChanged false",
            "olga: DurabilityChanged false",
        ],
    );
    check(fixture.apply(Input::Durability { durable: false }), &[]);
    check(
        fixture.apply(Input::Durability { durable: true }),
        &[
            "bob: DurabilityChanged true",
            "olga: DurabilityChanged true",
        ],
    );
}
