//! What one participant sends to one other.

use serde_json::value::RawValue;

use super::{Fixture, OLGA, check, fixture::user};
use crate::protocol::RelayCommand;

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(format!("\"{text}\"")).unwrap()
}

fn offer(to: &str, sdp: &str) -> RelayCommand {
    RelayCommand::SendOffer {
        target_user_id: user(to),
        sdp: raw(sdp),
    }
}

fn direct(to: &str, text: &str) -> RelayCommand {
    RelayCommand::SendMessage {
        text: text.to_owned(),
        target_user_id: user(to),
    }
}

#[test]
fn relays_reach_their_target_only_and_are_no_events() {
    let mut fixture = Fixture::of(&[OLGA, "bob", "carl"]);
    check(
        fixture.say("bob", offer("carl", "o")),
        &["carl: ReceiveOffer bob o", "bob: RelayAck 2 @3"],
    );
    let answer = RelayCommand::SendAnswer {
        target_user_id: user("bob"),
        sdp: raw("a"),
    };
    check(
        fixture.say("carl", answer),
        &["bob: ReceiveAnswer carl a", "carl: RelayAck 2 @3"],
    );
    let candidate = RelayCommand::SendIceCandidate {
        target_user_id: user("bob"),
        candidate: raw("c"),
    };
    check(
        fixture.say("carl", candidate),
        &["bob: IceCandidate carl c", "carl: RelayAck 3 @3"],
    );
    check(
        fixture.say("bob", direct("carl", "psst")),
        &["carl: MessageReceived bob psst", "bob: RelayAck 3 @3"],
    );
}

#[test]
fn relays_change_no_version_and_may_be_repeated() {
    let mut fixture = Fixture::of(&["bob", "carl"]);
    let before = fixture.room.version();
    fixture.say_with_id("bob", 4, offer("carl", "o"));
    assert_eq!(
        fixture.say_with_id("bob", 4, offer("carl", "o")).len(),
        2,
        "relays are not counted"
    );
    assert_eq!(fixture.room.version(), before);
}

#[test]
fn relay_to_somebody_who_is_not_in_the_room_finds_no_target() {
    let mut fixture = Fixture::with_lobby();
    fixture.join("carl");
    check(
        fixture.say(OLGA, offer("bob", "o")),
        &["olga: Error target_not_found"],
    );
    check(
        fixture.say(OLGA, offer("carl", "o")),
        &["olga: Error target_not_found"],
    );
}

#[test]
fn relays_wait_for_an_away_target_in_order() {
    let mut fixture = Fixture::of(&["bob", "carl"]);
    fixture.lose("carl");
    check(
        fixture.say("bob", offer("carl", "1")),
        &["bob: RelayAck 2 @3"],
    );
    fixture.say("bob", offer("carl", "2"));
    check(
        fixture.resume("carl", 3),
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
        let mut fixture = Fixture::of(&["bob", "carl"]);
        fixture.lose("carl");
        for number in 1..=count {
            fixture.say("bob", offer("carl", &number.to_string()));
        }
        let lines = fixture.resume("carl", 3);
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
        let mut fixture = Fixture::rules(|rules| {
            rules.held_relay_bytes_max = 4 * frame_bytes("x".repeat(1_000).as_str()) + 200;
        });
        fixture.join("bob");
        fixture.join("carl");
        fixture.lose("carl");
        for number in 1..=count {
            fixture.say(
                "bob",
                offer("carl", &format!("{number}{}", "x".repeat(999))),
            );
        }
        let lines = fixture.resume("carl", 3);
        assert_eq!(lines[1].ends_with("relays lost"), is_lost, "{count}");
        assert_eq!(lines.len(), 2 + 4);
    }
}

#[test]
fn held_relays_die_with_the_stay() {
    let mut fixture = Fixture::of(&["bob", "carl"]);
    fixture.lose("carl");
    fixture.say("bob", offer("carl", "1"));
    assert_eq!(
        fixture.join("carl").last().unwrap(),
        "carl2: RoomJoined @5 bob+carl"
    );
}

#[test]
fn held_relays_die_with_the_node_and_it_is_said() {
    let mut fixture = Fixture::of(&["bob", "carl"]);
    fixture.lose("carl");
    fixture.say("bob", offer("carl", "1"));
    fixture.takeover(5);
    let lines = fixture.resume("carl", 3);
    assert_eq!(
        lines[1],
        "carl2: RoomResumed @4 [#4 StateChanged carl isAway=false] relays lost"
    );
    assert_eq!(lines.len(), 2);
}
