//! Away and back: grace, timeouts, takeovers and restarts.

use super::{OLGA, Stage, check, muted, stage::user};
use crate::{
    protocol::Command,
    room::{input::Input, life::WakeReason},
};

#[test]
fn lost_connection_makes_away_and_the_grace_ends_the_stay() {
    let mut stage = Stage::of(&[OLGA, "bob"]);
    check(
        stage.lose("bob"),
        &["olga: #3 StateChanged bob isAway=true"],
    );
    check(stage.pass(29_999), &[]);
    check(stage.pass(1), &["olga: #4 ParticipantLeft bob timeout"]);
}

#[test]
fn away_participant_keeps_state_and_role() {
    let mut stage = Stage::of(&[OLGA, "bob"]);
    stage.say(OLGA, muted(true));
    stage.lose(OLGA);
    stage.pass(29_000);
    stage.resume(OLGA, 3);
    let seat = &stage.room.snapshot().participants[&user(OLGA)];
    assert!(seat.is_muted && !seat.is_away && seat.lost_at.is_none());
    assert_eq!(
        stage.say(OLGA, Command::LockRoom { is_locked: true }).len(),
        2
    );
}

#[test]
fn being_back_is_told_to_the_others_and_stops_the_grace() {
    let mut stage = Stage::of(&[OLGA, "bob"]);
    stage.lose("bob");
    stage.pass(29_999);
    check(
        stage.resume("bob", 2),
        &[
            "olga: #4 StateChanged bob isAway=false",
            "bob2: RoomResumed @4 [#3 StateChanged bob isAway=true, #4 StateChanged bob isAway=false]",
        ],
    );
    check(stage.pass(1_000_000), &[]);
}

#[test]
fn lost_twice_is_told_once() {
    let mut stage = Stage::of(&[OLGA, "bob"]);
    stage.lose("bob");
    check(stage.lose("bob"), &[]);
}

#[test]
fn away_people_are_muted_and_removed_like_others() {
    let mut stage = Stage::of(&[OLGA, "bob"]);
    stage.lose("bob");
    let mute = Command::MuteParticipant {
        user_id: user("bob"),
    };
    check(
        stage.say(OLGA, mute),
        &[
            "olga: #4 StateChanged bob isMuted=true by olga",
            "olga: Ack 2 @4",
        ],
    );
    let remove = Command::RemoveParticipant {
        user_id: user("bob"),
        ban: false,
    };
    check(
        stage.say(OLGA, remove),
        &[
            "olga: #5 ParticipantLeft bob removed by olga",
            "olga: Ack 3 @5",
        ],
    );
}

#[test]
fn deadline_names_its_reason() {
    let mut stage = Stage::settings(|settings| settings.max_duration_secs = Some(3_600));
    let due = |stage: &Stage| {
        stage
            .room
            .next_deadline()
            .map(|(at, why)| (stage.since_start(at), why))
    };
    assert_eq!(due(&stage), Some((300_000, WakeReason::Empty)));
    stage.join("bob");
    assert_eq!(due(&stage), Some((3_600_000, WakeReason::MaxDuration)));
    stage.lose("bob");
    assert_eq!(due(&stage), Some((30_000, WakeReason::Absence)));
    stage.pass(30_000);
    assert_eq!(due(&stage), Some((50_000, WakeReason::Departed)));
    stage.pass(20_000);
    assert_eq!(due(&stage), None, "closed");
}

#[test]
fn takeover_is_quiet_for_those_who_resume_in_time() {
    let mut stage = Stage::of(&[OLGA, "bob"]);
    stage.takeover(60_000);
    check(stage.pass(2_999), &[]);
    check(
        stage.resume(OLGA, 2),
        &[
            "olga2: RoomResumed @2 [] relays lost",
            "olga2: LobbyChanged",
        ],
    );
    check(stage.pass(1), &["olga2: #3 StateChanged bob isAway=true"]);
}

#[test]
fn grace_runs_from_the_takeover() {
    let mut stage = Stage::of(&[OLGA, "bob"]);
    stage.lose("bob");
    stage.takeover(60_000);
    stage.resume(OLGA, 3);
    check(stage.pass(29_999), &[]);
    check(stage.pass(1), &["olga2: #4 ParticipantLeft bob timeout"]);
}

#[test]
fn quiet_people_time_out_at_once_when_the_room_wakes_late() {
    let mut stage = Stage::of(&[OLGA, "bob"]);
    stage.takeover(10);
    stage.resume(OLGA, 2);
    stage.sleep(30_000);
    check(
        stage.apply(Input::Tick),
        &["olga2: #3 ParticipantLeft bob timeout"],
    );
}

#[test]
fn restart_holds_the_seats_of_open_connections_and_shows_the_others_as_away() {
    let mut stage = Stage::of(&[OLGA, "bob", "carl"]);
    let connections = vec![stage.connection(OLGA), stage.connection("bob")];
    stage.takeover(3);
    check(
        stage.apply(Input::Reattach { connections }),
        &["bob olga: #4 StateChanged carl isAway=true"],
    );
    check(
        stage.say("bob", muted(true)),
        &[
            "bob olga: #5 StateChanged bob isMuted=true",
            "bob: Ack 2 @5",
        ],
    );
    check(
        stage.pass(30_000),
        &["bob olga: #6 ParticipantLeft carl timeout"],
    );
}

#[test]
fn command_that_made_the_room_fail_is_not_executed_again() {
    let mut stage = Stage::of(&["bob"]);
    let connection_id = stage.connection("bob");
    stage.apply(Input::Decide {
        connection_id,
        id: 2,
    });
    check(stage.say("bob", muted(true)), &["bob: Ack 2 @1"]);
    check(
        stage.say("bob", muted(true)).split_off(1),
        &["bob: Ack 3 @2"],
    );
}

#[test]
fn loss_is_remembered_across_two_takeovers() {
    let mut stage = Stage::of(&["bob"]);
    stage.takeover(1_000);
    stage.takeover(1_000);
    stage.pass(60_000);
    let closed = stage.closed.as_ref().unwrap();
    assert_eq!(stage.since_start(closed.attendances[0].left_at), 1_000);
}

#[test]
fn somebody_back_in_an_empty_session_stops_its_departure_also_for_a_successor() {
    let mut stage = Stage::of(&["bob"]);
    stage.say("bob", Command::LeaveRoom);
    stage.pass(10_000);
    stage.join("bob");
    stage.takeover(11_000);
    assert!(
        stage.resume("bob", 3)[0].starts_with("bob3: RoomResumed")
            || stage.room.participant_count() == 1
    );
    check(stage.pass(60_000), &[]);
}

#[test]
fn durability_is_told_once_to_the_connected() {
    let mut stage = Stage::of(&[OLGA, "bob", "carl"]);
    stage.lose("carl");
    check(
        stage.apply(Input::Durability { durable: false }),
        &[
            "bob: DurabilityChanged false",
            "olga: DurabilityChanged false",
        ],
    );
    check(stage.apply(Input::Durability { durable: false }), &[]);
    check(
        stage.apply(Input::Durability { durable: true }),
        &[
            "bob: DurabilityChanged true",
            "olga: DurabilityChanged true",
        ],
    );
}
