//! A command takes effect once, and what its author is told.

use super::{OLGA, Stage, chat, check, muted};
use crate::protocol::{Command, StateChange};

#[test]
fn author_gets_the_event_then_the_ack() {
    let mut stage = Stage::of(&[OLGA, "bob"]);
    check(
        stage.say("bob", chat("hi")),
        &["bob olga: #3 MessageReceived bob hi", "bob: Ack 2 @3"],
    );
}

#[test]
fn only_what_changed_is_told() {
    let mut stage = Stage::of(&["bob"]);
    stage.say("bob", muted(true));
    let both = StateChange {
        is_muted: Some(true),
        is_video_on: Some(true),
        is_screen_sharing: Some(false),
        is_hand_raised: Some(true),
    };
    check(
        stage.say("bob", Command::UpdateState(both)),
        &[
            "bob: #3 StateChanged bob isVideoOn=true isHandRaised=true",
            "bob: Ack 3 @3",
        ],
    );
    check(
        stage.say("bob", Command::UpdateState(both)),
        &["bob: Ack 4 @3"],
    );
}

#[test]
fn repeat_is_acknowledged_again_with_the_current_seq_and_does_nothing() {
    let mut stage = Stage::of(&[OLGA, "bob"]);
    stage.say_with_id("bob", 5, chat("hi"));
    stage.say(OLGA, chat("ho"));
    check(stage.say_with_id("bob", 5, chat("hi")), &["bob: Ack 5 @4"]);
}

#[test]
fn repeat_is_recognized_after_a_resume_on_another_node() {
    let mut stage = Stage::of(&["bob"]);
    stage.say_with_id("bob", 5, chat("hi"));
    stage.takeover(50);
    stage.resume("bob", 2);
    check(stage.say_with_id("bob", 5, chat("hi")), &["bob2: Ack 5 @2"]);
    check(
        stage.say_with_id("bob", 4, chat("late")),
        &["bob2: #3 MessageReceived bob late", "bob2: Ack 4 @3"],
    );
}

#[test]
fn ids_below_the_window_and_zero_are_bad_requests() {
    let mut stage = Stage::of(&["bob"]);
    check(
        stage.say_with_id("bob", 0, muted(true)),
        &["bob: Error bad_request"],
    );
    stage.say_with_id("bob", 100, chat("hi"));
    check(
        stage.say_with_id("bob", 35, chat("no")),
        &["bob: Error bad_request"],
    );
    assert_eq!(stage.say_with_id("bob", 36, chat("yes")).len(), 2);
}

#[test]
fn refused_commands_do_not_count() {
    let mut stage = Stage::of(&["bob"]);
    let lock = Command::LockRoom { is_locked: true };
    check(
        stage.say_with_id("bob", 9, lock.clone()),
        &["bob: Error forbidden"],
    );
    check(stage.say_with_id("bob", 9, lock), &["bob: Error forbidden"]);
    assert_eq!(stage.say_with_id("bob", 9, muted(true)).len(), 2);
}

#[test]
fn commands_without_effect_count() {
    let mut stage = Stage::of(&["bob"]);
    check(
        stage.say_with_id("bob", 9, muted(false)),
        &["bob: Ack 9 @1"],
    );
    check(stage.say_with_id("bob", 9, muted(true)), &["bob: Ack 9 @1"]);
}

#[test]
fn new_stay_begins_with_an_empty_window() {
    let mut stage = Stage::of(&["bob"]);
    stage.say_with_id("bob", 9, muted(true));
    stage.join("bob");
    assert_eq!(stage.say_with_id("bob", 9, muted(true)).len(), 2);
}

#[test]
fn commands_from_connections_without_a_seat_are_refused() {
    let mut stage = Stage::of(&["bob"]);
    stage.say("bob", Command::LeaveRoom);
    check(stage.say("bob", chat("hi")), &["bob: Error not_in_room"]);
}

#[test]
fn keep_alive_tells_the_last_event() {
    let mut stage = Stage::of(&[OLGA, "bob"]);
    check(stage.keep_alive("bob"), &["bob: KeepAlive @2"]);
}
