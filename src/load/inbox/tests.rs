use super::*;
use crate::protocol::ParticipantView;

const ME: &str = "00000000-0000-0000-0000-00000000000a";
const OTHER: &str = "00000000-0000-0000-0000-00000000000b";

/// Somebody who joined at event 3 and has asked 1 (the join, answered), 2 and 3.
fn joined() -> Inbox<&'static str> {
    let mut inbox = Inbox::new(2, false, true);
    let heard = take(&mut inbox, &[&welcome("RoomJoined", 3, "")]);
    assert!(matches!(heard[0], Heard::Joined { .. }), "{heard:?}");
    for id in [2, 3] {
        inbox.asked(Pending {
            id,
            due_ns: 7,
            what: "say",
        });
    }
    inbox
}

fn welcome(kind: &str, seq: u64, more: &str) -> String {
    let people = [participant(OTHER), participant(ME)].join(",");
    format!(
        r#"{{"type":"{kind}","id":1,"seq":{seq},"connectionId":"{ME}","resumeToken":"t","participants":[{people}]{more}}}"#
    )
}

fn participant(id: &str) -> String {
    format!(
        r#"{{"userId":"{id}","connectionId":"{id}","displayName":"x","role":"attendee","isMuted":false,"isVideoOn":false,"isScreenSharing":false,"isHandRaised":false,"isAway":false,"joinedAt":"2030-01-01T00:00:00.000Z"}}"#
    )
}

fn message(seq: u64, number: u32) -> String {
    let text = Mark {
        seat: 1,
        number,
        due_ns: 5,
    }
    .text();
    format!(r#"{{"type":"MessageReceived","sourceUserId":"{OTHER}","text":"{text}","seq":{seq}}}"#)
}

fn take(inbox: &mut Inbox<&'static str>, frames: &[&str]) -> Vec<Heard<&'static str>> {
    let mut heard = Vec::new();
    for frame in frames {
        inbox.take(frame, &mut heard);
    }
    heard
}

/// The promises that these frames break.
fn broken_by(inbox: &mut Inbox<&'static str>, frames: &[&str]) -> Vec<&'static str> {
    let name = |heard| match heard {
        Heard::Broken(breach) => Some(breach.name),
        _ => None,
    };
    take(inbox, frames).into_iter().filter_map(name).collect()
}

#[test]
fn what_comes_once_and_in_order_is_no_breach() {
    let mut inbox = joined();
    let frames = [
        &*message(4, 1),
        r#"{"type":"Ack","id":2,"seq":4,"durable":true}"#,
        r#"{"type":"LobbyChanged","waiting":[]}"#,
        &*message(5, 2),
        r#"{"type":"Error","id":3,"code":"rate_limited","message":"slower"}"#,
        r#"{"type":"KeepAlive","seq":5}"#,
    ];
    assert_eq!(broken_by(&mut inbox, &frames), [""; 0]);
    assert_eq!((inbox.last_seq(), inbox.messages), (Some(5), 2));
    assert_eq!(inbox.pending().len(), 0);
}

#[test]
fn a_dropped_event_is_named() {
    assert_eq!(
        broken_by(&mut joined(), &[&message(4, 1), &message(6, 3)]),
        ["one-order"]
    );
}

#[test]
fn a_repeated_event_is_named() {
    let twice = [&*message(4, 1), &*message(4, 1)];
    assert_eq!(broken_by(&mut joined(), &twice), ["one-order", "each-once"]);
}

#[test]
fn swapped_events_are_named() {
    let swapped = [&*message(5, 2), &*message(4, 1)];
    assert!(broken_by(&mut joined(), &swapped).contains(&"one-order"));
}

#[test]
fn a_message_under_two_events_is_named() {
    let twice = [&*message(4, 1), &*message(5, 1)];
    assert_eq!(broken_by(&mut joined(), &twice), ["each-once"]);
}

#[test]
fn an_ack_before_its_event_is_named() {
    let early = r#"{"type":"Ack","id":2,"seq":4,"durable":true}"#;
    assert_eq!(broken_by(&mut joined(), &[early]), ["event-before-ack"]);
}

#[test]
fn an_ack_of_a_relay_may_overtake_events() {
    let early = r#"{"type":"Ack","id":2,"seq":4}"#;
    assert_eq!(broken_by(&mut joined(), &[early]), [""; 0]);
}

#[test]
fn a_second_answer_is_named() {
    let ack = r#"{"type":"Ack","id":2,"seq":3,"durable":true}"#;
    let error = r#"{"type":"Error","id":2,"code":"unavailable","message":"x"}"#;
    assert_eq!(broken_by(&mut joined(), &[ack, error]), ["one-answer"]);
}

#[test]
fn a_resume_goes_on_with_what_was_missed() {
    let mut inbox = joined();
    let missed = format!(
        r#","missed":[{},{}],"relaysLost":false"#,
        message(4, 1),
        message(5, 2)
    );
    let heard = take(&mut inbox, &[&welcome("RoomResumed", 5, &missed)]);
    let is_same_stay = heard.iter().any(|one| {
        matches!(
            one,
            Heard::Joined {
                is_same_stay: true,
                ..
            }
        )
    });
    assert!(is_same_stay, "{heard:?}");
    assert_eq!(inbox.messages, 2);
    assert_eq!(broken_by(&mut inbox, &[&message(6, 3)]), [""; 0]);
}

#[test]
fn a_resume_that_leaves_out_an_event_is_named() {
    let missed = format!(r#","missed":[{}]"#, message(4, 1));
    let resumed = welcome("RoomResumed", 5, &missed);
    assert_eq!(broken_by(&mut joined(), &[&resumed]), ["one-order"]);
}

#[test]
fn a_snapshot_after_a_gap_begins_a_new_order_in_the_same_stay() {
    let mut inbox = joined();
    let snapshot = welcome("RoomJoined", 40, r#","isSnapshotAfterGap":true"#);
    assert_eq!(
        broken_by(&mut inbox, &[&snapshot, &message(41, 9)]),
        [""; 0]
    );
    assert!(inbox.has_gap);
}

#[test]
fn the_state_follows_the_events() {
    let mut inbox = joined();
    let muted = format!(r#"{{"type":"StateChanged","userId":"{OTHER}","isMuted":true,"seq":4}}"#);
    let left =
        format!(r#"{{"type":"ParticipantLeft","userId":"{OTHER}","reason":"left","seq":5}}"#);
    let before = inbox.fold.clone();
    assert_eq!(broken_by(&mut inbox, &[&muted]), [""; 0]);
    assert_ne!(inbox.fold, before);
    assert_eq!(broken_by(&mut inbox, &[&left]), [""; 0]);
    let own: ParticipantView = serde_json::from_str(&participant(ME)).unwrap();
    assert_eq!(inbox.fold, Some(Fold::of(&[own])));
}

#[test]
fn an_event_of_somebody_who_is_not_there_is_named() {
    let stranger = r#"{"type":"StateChanged","userId":"00000000-0000-0000-0000-00000000000c","isMuted":true,"seq":4}"#;
    assert_eq!(broken_by(&mut joined(), &[stranger]), ["readable"]);
}

#[test]
fn a_target_without_rules_must_deliver_each_message_once() {
    let mut inbox: Inbox<&'static str> = Inbox::new(2, true, false);
    let frames = ["hello", &message(0, 1), &message(0, 2)];
    assert_eq!(broken_by(&mut inbox, &frames), [""; 0]);
    assert_eq!(broken_by(&mut inbox, &[&message(0, 4)]), ["each-once"]);
    assert_eq!(broken_by(&mut inbox, &[&message(0, 4)]), ["each-once"]);
    assert_eq!(inbox.messages, 4);
}
