//! A command takes effect once, and what its author is told.

use super::{Fixture, OLGA, chat, check, muted};
use crate::protocol::{HostCommand, OwnCommand, StateChange};

#[test]
fn author_gets_the_event_then_the_ack() {
    let mut fixture = Fixture::of(&[OLGA, "bob"]);
    check(
        fixture.say("bob", chat("hi")),
        &["bob olga: #3 MessageReceived bob hi", "bob: Ack 2 @3"],
    );
}

#[test]
fn only_what_changed_is_told() {
    let mut fixture = Fixture::of(&["bob"]);
    fixture.say("bob", muted(true));
    let both = StateChange {
        is_muted: Some(true),
        is_video_on: Some(true),
        is_screen_sharing: Some(false),
        is_hand_raised: Some(true),
    };
    check(
        fixture.say("bob", OwnCommand::UpdateState { change: both }),
        &[
            "bob: #3 StateChanged bob isVideoOn=true isHandRaised=true",
            "bob: Ack 3 @3",
        ],
    );
    check(
        fixture.say("bob", OwnCommand::UpdateState { change: both }),
        &["bob: Ack 4 @3"],
    );
}

#[test]
fn repeat_is_acknowledged_again_with_the_current_seq_and_does_nothing() {
    let mut fixture = Fixture::of(&[OLGA, "bob"]);
    fixture.say_with_id("bob", 5, chat("hi"));
    fixture.say(OLGA, chat("ho"));
    check(
        fixture.say_with_id("bob", 5, chat("hi")),
        &["bob: Ack 5 @4"],
    );
}

#[test]
fn repeat_is_recognized_after_a_resume_on_another_node() {
    let mut fixture = Fixture::of(&["bob"]);
    fixture.say_with_id("bob", 5, chat("hi"));
    fixture.takeover(50);
    fixture.resume("bob", 2);
    check(
        fixture.say_with_id("bob", 5, chat("hi")),
        &["bob2: Ack 5 @2"],
    );
    check(
        fixture.say_with_id("bob", 4, chat("late")),
        &["bob2: #3 MessageReceived bob late", "bob2: Ack 4 @3"],
    );
}

#[test]
fn ids_below_the_window_and_zero_are_bad_requests() {
    let mut fixture = Fixture::of(&["bob"]);
    check(
        fixture.say_with_id("bob", 0, muted(true)),
        &["bob: Error bad_request"],
    );
    fixture.say_with_id("bob", 100, chat("hi"));
    check(
        fixture.say_with_id("bob", 35, chat("no")),
        &["bob: Error bad_request"],
    );
    assert_eq!(fixture.say_with_id("bob", 36, chat("yes")).len(), 2);
}

#[test]
fn refused_commands_do_not_count() {
    let mut fixture = Fixture::of(&["bob"]);
    let lock = HostCommand::LockRoom { is_locked: true };
    check(
        fixture.say_with_id("bob", 9, lock.clone()),
        &["bob: Error forbidden"],
    );
    check(
        fixture.say_with_id("bob", 9, lock),
        &["bob: Error forbidden"],
    );
    assert_eq!(fixture.say_with_id("bob", 9, muted(true)).len(), 2);
}

#[test]
fn commands_without_effect_count() {
    let mut fixture = Fixture::of(&["bob"]);
    check(
        fixture.say_with_id("bob", 9, muted(false)),
        &["bob: Ack 9 @1"],
    );
    check(
        fixture.say_with_id("bob", 9, muted(true)),
        &["bob: Ack 9 @1"],
    );
}

#[test]
fn new_stay_begins_with_an_empty_window() {
    let mut fixture = Fixture::of(&["bob"]);
    fixture.say_with_id("bob", 9, muted(true));
    fixture.join("bob");
    assert_eq!(fixture.say_with_id("bob", 9, muted(true)).len(), 2);
}

#[test]
fn commands_from_connections_without_a_seat_are_refused() {
    let mut fixture = Fixture::of(&["bob"]);
    fixture.say("bob", OwnCommand::LeaveRoom);
    check(fixture.say("bob", chat("hi")), &["bob: Error not_in_room"]);
}

#[test]
fn keep_alive_tells_the_last_event() {
    let mut fixture = Fixture::of(&[OLGA, "bob"]);
    check(fixture.keep_alive("bob"), &["bob: KeepAlive @2"]);
}
