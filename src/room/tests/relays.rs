//! What one participant sends to one other.

use serde_json::value::RawValue;

use super::{OLGA, Stage, check, stage::user};
use crate::protocol::Command;

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(format!("\"{text}\"")).unwrap()
}

fn offer(to: &str, sdp: &str) -> Command {
    Command::SendOffer {
        target_user_id: user(to),
        sdp: raw(sdp),
    }
}

fn direct(to: &str, text: &str) -> Command {
    Command::SendMessage {
        text: text.to_owned(),
        target_user_id: Some(user(to)),
    }
}

#[test]
fn relays_reach_their_target_only_and_are_no_events() {
    let mut stage = Stage::of(&[OLGA, "bob", "carl"]);
    check(
        stage.say("bob", offer("carl", "o")),
        &["carl: ReceiveOffer bob o", "bob: RelayAck 2 @3"],
    );
    let answer = Command::SendAnswer {
        target_user_id: user("bob"),
        sdp: raw("a"),
    };
    check(
        stage.say("carl", answer),
        &["bob: ReceiveAnswer carl a", "carl: RelayAck 2 @3"],
    );
    let candidate = Command::SendIceCandidate {
        target_user_id: user("bob"),
        candidate: raw("c"),
    };
    check(
        stage.say("carl", candidate),
        &["bob: IceCandidate carl c", "carl: RelayAck 3 @3"],
    );
    check(
        stage.say("bob", direct("carl", "psst")),
        &["carl: MessageReceived bob psst", "bob: RelayAck 3 @3"],
    );
}

#[test]
fn relays_change_no_version_and_may_be_repeated() {
    let mut stage = Stage::of(&["bob", "carl"]);
    let before = stage.room.version();
    stage.say_with_id("bob", 4, offer("carl", "o"));
    assert_eq!(
        stage.say_with_id("bob", 4, offer("carl", "o")).len(),
        2,
        "relays are not counted"
    );
    assert_eq!(stage.room.version(), before);
}

#[test]
fn relay_to_somebody_who_is_not_in_the_room_finds_no_target() {
    let mut stage = Stage::with_lobby();
    stage.join("carl");
    check(
        stage.say(OLGA, offer("bob", "o")),
        &["olga: Error target_not_found"],
    );
    check(
        stage.say(OLGA, offer("carl", "o")),
        &["olga: Error target_not_found"],
    );
}

#[test]
fn relays_wait_for_an_away_target_in_order() {
    let mut stage = Stage::of(&["bob", "carl"]);
    stage.lose("carl");
    check(
        stage.say("bob", offer("carl", "1")),
        &["bob: RelayAck 2 @3"],
    );
    stage.say("bob", offer("carl", "2"));
    check(
        stage.resume("carl", 3),
        &[
            "bob: #4 StateChanged carl isAway=false",
            "carl2: RoomResumed @4 [#4 StateChanged carl isAway=false]",
            "carl2: ReceiveOffer bob 1",
            "carl2: ReceiveOffer bob 2",
        ],
    );
}

#[test]
fn beyond_the_bound_the_oldest_held_relay_is_lost_and_said_to_be() {
    for (count, is_lost) in [(64, false), (65, true)] {
        let mut stage = Stage::of(&["bob", "carl"]);
        stage.lose("carl");
        for number in 1..=count {
            stage.say("bob", offer("carl", &number.to_string()));
        }
        let lines = stage.resume("carl", 3);
        assert_eq!(lines[1].ends_with("relays lost"), is_lost, "{count}");
        assert_eq!(lines.len(), 2 + 64);
        assert_eq!(
            lines.last().unwrap(),
            &format!("carl2: ReceiveOffer bob {count}")
        );
    }
}

#[test]
fn held_relays_are_bounded_in_bytes_too() {
    let frame_bytes = |text: &str| 70 + text.len();
    for (count, is_lost) in [(4, false), (5, true)] {
        let mut stage = Stage::rules(|rules| {
            rules.held_relay_bytes_max = 4 * frame_bytes("x".repeat(1_000).as_str()) + 200;
        });
        stage.join("bob");
        stage.join("carl");
        stage.lose("carl");
        for number in 1..=count {
            stage.say(
                "bob",
                offer("carl", &format!("{number}{}", "x".repeat(999))),
            );
        }
        let lines = stage.resume("carl", 3);
        assert_eq!(lines[1].ends_with("relays lost"), is_lost, "{count}");
        assert_eq!(lines.len(), 2 + 4);
    }
}

#[test]
fn held_relays_die_with_the_stay() {
    let mut stage = Stage::of(&["bob", "carl"]);
    stage.lose("carl");
    stage.say("bob", offer("carl", "1"));
    assert_eq!(
        stage.join("carl").last().unwrap(),
        "carl2: RoomJoined @5 bob+carl"
    );
}

#[test]
fn held_relays_die_with_the_node_and_it_is_said() {
    let mut stage = Stage::of(&["bob", "carl"]);
    stage.lose("carl");
    stage.say("bob", offer("carl", "1"));
    stage.takeover(5);
    let lines = stage.resume("carl", 3);
    assert_eq!(
        lines[1],
        "carl2: RoomResumed @4 [#4 StateChanged carl isAway=false] relays lost"
    );
    assert_eq!(lines.len(), 2);
}
