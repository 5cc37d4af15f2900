use super::*;

const ME: &str = "00000000-0000-0000-0000-00000000000a";
const OTHER: &str = "00000000-0000-0000-0000-00000000000b";

impl Command for &'static str {}

/// A client that joined at event 3 and waits for the answers to 2 and 3. The join was 1.
fn joined() -> Client<&'static str> {
    let mut client = Client::new(true);
    client.join("room", "token", false);
    let heard = take(&mut client, &[&welcome("RoomJoined", 3, "")]);
    assert!(matches!(heard[0], Heard::Entered { .. }), "{heard:?}");
    assert_eq!([2, 3], [2, 3].map(|_| client.pending.ask("say")));
    client
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

fn take(client: &mut Client<&'static str>, frames: &[&str]) -> Vec<Heard<&'static str>> {
    let mut heard = Vec::new();
    for frame in frames {
        client.take(frame, Instant::now(), &mut heard);
    }
    heard
}

/// The promises that these frames break.
fn broken_by(client: &mut Client<&'static str>, frames: &[&str]) -> Vec<&'static str> {
    let name = |heard| match heard {
        Heard::Violation(violation) => Some(violation.promise),
        _ => None,
    };
    take(client, frames).into_iter().filter_map(name).collect()
}

#[test]
fn what_comes_once_and_in_order_is_no_violation() {
    let mut client = joined();
    let frames = [
        &*message(4, 1),
        r#"{"type":"Ack","id":2,"seq":4,"durable":true}"#,
        r#"{"type":"LobbyChanged","waiting":[]}"#,
        &*message(5, 2),
        r#"{"type":"Error","id":3,"code":"rate_limited","message":"slower"}"#,
        r#"{"type":"KeepAlive","seq":5}"#,
    ];
    assert_eq!(broken_by(&mut client, &frames), [""; 0]);
    assert_eq!(client.last_seq(), Some(5));
    assert!(client.pending.is_empty());
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
    assert_eq!(broken_by(&mut joined(), &twice), ["one-order"]);
}

#[test]
fn swapped_events_are_named() {
    let swapped = [&*message(5, 2), &*message(4, 1)];
    assert!(broken_by(&mut joined(), &swapped).contains(&"one-order"));
}

#[test]
fn an_ack_before_its_event_is_named() {
    let early = r#"{"type":"Ack","id":2,"seq":4,"durable":true}"#;
    assert_eq!(broken_by(&mut joined(), &[early]), ["one-order"]);
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
    let mut client = joined();
    let missed = format!(
        r#","missed":[{},{}],"relaysLost":false"#,
        message(4, 1),
        message(5, 2)
    );
    let heard = take(&mut client, &[&welcome("RoomResumed", 5, &missed)]);
    assert!(has_entered(&heard, Entry::Resumed), "{heard:?}");
    assert_eq!(messages(&heard), 2);
    assert_eq!(broken_by(&mut client, &[&message(6, 3)]), [""; 0]);
}

#[test]
fn a_resume_that_leaves_out_an_event_is_named() {
    let missed = format!(r#","missed":[{}]"#, message(4, 1));
    let resumed = welcome("RoomResumed", 5, &missed);
    assert_eq!(broken_by(&mut joined(), &[&resumed]), ["one-order"]);
}

#[test]
fn a_snapshot_after_a_gap_begins_a_new_order_in_the_same_stay() {
    let mut client = joined();
    let snapshot = welcome("RoomJoined", 40, r#","isSnapshotAfterGap":true"#);
    let heard = take(&mut client, &[&snapshot]);
    assert!(has_entered(&heard, Entry::Snapshot), "{heard:?}");
    assert_eq!(
        broken_by(&mut client, &[&snapshot, &message(41, 9)]),
        [""; 0]
    );
}

#[test]
fn the_state_follows_the_events() {
    let mut client = joined();
    let muted = format!(r#"{{"type":"StateChanged","userId":"{OTHER}","isMuted":true,"seq":4}}"#);
    let left =
        format!(r#"{{"type":"ParticipantLeft","userId":"{OTHER}","reason":"left","seq":5}}"#);
    let before = client.participants.clone();
    assert_eq!(broken_by(&mut client, &[&muted]), [""; 0]);
    assert_ne!(client.participants, before);
    assert_eq!(broken_by(&mut client, &[&left]), [""; 0]);
    let own = serde_json::from_str(&participant(ME)).unwrap();
    assert_eq!(client.participants, Participants::of(&[own]));
}

#[test]
fn an_event_of_somebody_who_is_not_there_is_named() {
    let stranger = r#"{"type":"StateChanged","userId":"00000000-0000-0000-0000-00000000000c","isMuted":true,"seq":4}"#;
    assert_eq!(broken_by(&mut joined(), &[stranger]), ["one-order"]);
}

#[test]
fn an_unreadable_message_is_named() {
    for text in [
        "hello",
        r#"{"type":"Error","id":2}"#,
        r#"{"type":"RoomJoined","id":1,"seq":4}"#,
    ] {
        assert_eq!(broken_by(&mut joined(), &[text]), ["readable"], "{text}");
    }
}

fn has_entered(heard: &[Heard<&'static str>], how: Entry) -> bool {
    let is_entry = |one: &Heard<_>| matches!(one, Heard::Entered { entry, .. } if *entry == how);
    heard.iter().any(is_entry)
}

fn messages(heard: &[Heard<&'static str>]) -> usize {
    let is_message = |one: &&Heard<_>| matches!(one, Heard::Message(_));
    heard.iter().filter(is_message).count()
}
