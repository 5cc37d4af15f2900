//! The checks of the shared client: every lie of a server is reported, and nothing else is.

use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

use serde_json::{Value, json};

use callboard::load::client::{Client, RoomLog};

use crate::common::crowd::wish::Wish;

const SESSION: &str = "session-1";

/// A room with two seats.
struct Room {
    log: Arc<Mutex<RoomLog>>,
}

impl Room {
    fn new() -> Self {
        Self {
            log: Arc::new(Mutex::new(RoomLog::new("room", 2))),
        }
    }

    /// Alice and Bob, both inside at seq 2.
    fn with_two() -> (Self, Client<Wish>, Client<Wish>) {
        let room = Self::new();
        let mut alice = room.person("alice");
        let mut bob = room.person("bob");
        alice.join("room", "token", true);
        bob.join("room", "token", true);
        tell(&mut alice, joined("alice", 1, &["alice"]));
        tell(&mut alice, arrival("bob", 2));
        tell(&mut bob, joined("bob", 2, &["alice", "bob"]));
        room.expect_nothing();
        (room, alice, bob)
    }

    fn person(&self, name: &str) -> Client<Wish> {
        Client::in_room(name, name, &self.log)
    }

    #[track_caller]
    fn expect(&self, promise: &str, what: &str) {
        let log = self.log.lock().expect("no test panics with it");
        let is_meant = log
            .violations()
            .iter()
            .any(|violation| violation.promise == promise && violation.what.contains(what));
        assert!(is_meant, "{:?}", log.violations());
    }

    #[track_caller]
    fn expect_nothing(&self) {
        let log = self.log.lock().expect("no test panics with it");
        assert!(log.violations().is_empty(), "{:?}", log.violations());
    }
}

fn participant(user_id: &str) -> Value {
    json!({
        "userId": user_id, "connectionId": "c", "displayName": user_id, "role": "attendee", "isMuted": false, "isVideoOn": false,
        "isScreenSharing": false, "isHandRaised": false, "isAway": false, "joinedAt": "2026-01-01T00:00:00.000Z",
    })
}

fn joined(user_id: &str, seq: u64, people: &[&str]) -> Value {
    let people: Vec<Value> = people.iter().map(|name| participant(name)).collect();
    json!({
        "type": "RoomJoined", "id": 1, "seq": seq, "sessionId": SESSION, "connectionId": "c", "resumeToken": "t",
        "self": participant(user_id), "room": {}, "participants": people, "durable": true, "isSnapshotAfterGap": false,
    })
}

fn snapshot(user_id: &str, seq: u64) -> Value {
    let mut frame = joined(user_id, seq, &["alice", "bob"]);
    frame["isSnapshotAfterGap"] = true.into();
    frame
}

fn resumed(seq: u64, missed: &[Value]) -> Value {
    json!({
        "type": "RoomResumed", "id": 2, "seq": seq, "sessionId": SESSION, "connectionId": "c", "resumeToken": "t", "missed": missed,
        "relaysLost": false,
    })
}

fn arrival(user_id: &str, seq: u64) -> Value {
    let mut frame = participant(user_id);
    frame["type"] = "ParticipantJoined".into();
    frame["seq"] = seq.into();
    frame
}

fn muted(user_id: &str, seq: u64, is_muted: bool) -> Value {
    json!({"type": "StateChanged", "seq": seq, "userId": user_id, "isMuted": is_muted})
}

fn chat(seq: u64, said: &str) -> Value {
    json!({"type": "MessageReceived", "seq": seq, "sourceUserId": "alice", "text": said, "sentAt": "2026-01-01T00:00:00.000Z"})
}

fn ack(id: u64, seq: u64, durable: bool) -> Value {
    json!({"type": "Ack", "id": id, "seq": seq, "durable": durable})
}

fn durability(durable: bool) -> Value {
    json!({"type": "DurabilityChanged", "durable": durable})
}

fn tell(person: &mut Client<Wish>, frame: Value) {
    person.take(&frame.to_string(), Instant::now(), &mut Vec::new());
}

/// Alice mutes herself, acknowledged.
fn mute_alice(alice: &mut Client<Wish>, seq: u64, durable: bool) {
    let id = alice.pending.ask(Wish::Switch(0, true));
    tell(alice, muted("alice", seq, true));
    tell(alice, ack(id, seq, durable));
}

#[test]
fn a_clean_meeting_has_no_violation() {
    let (room, mut alice, mut bob) = Room::with_two();
    mute_alice(&mut alice, 3, true);
    tell(&mut bob, muted("alice", 3, true));
    let id = alice.pending.ask(Wish::Chat("hello".to_owned()));
    tell(&mut alice, chat(4, "hello"));
    tell(&mut alice, ack(id, 4, true));
    bob.join("room", "token", true);
    tell(&mut bob, resumed(4, &[chat(4, "hello")]));
    tell(&mut bob, json!({"type": "KeepAlive", "seq": 4}));
    assert_eq!(room.log.lock().unwrap().settle(), 0);
    room.expect_nothing();
}

#[test]
fn a_gap_is_reported() {
    let (room, mut alice, _) = Room::with_two();
    tell(&mut alice, chat(4, "hello"));
    room.expect("one-order", "gap or a repeat");
}

#[test]
fn a_repeat_is_reported() {
    let (room, mut alice, _) = Room::with_two();
    tell(&mut alice, chat(3, "hello"));
    tell(&mut alice, chat(3, "hello"));
    room.expect("one-order", "gap or a repeat");
}

#[test]
fn an_ack_before_its_event_is_reported() {
    let (room, mut alice, _) = Room::with_two();
    let id = alice.pending.ask(Wish::Chat("hello".to_owned()));
    tell(&mut alice, ack(id, 3, true));
    room.expect("one-order", "an Ack before its event");
}

#[test]
fn a_keep_alive_ahead_of_the_events_is_reported() {
    let (room, mut alice, _) = Room::with_two();
    tell(&mut alice, json!({"type": "KeepAlive", "seq": 3}));
    room.expect("one-order", "KeepAlive");
}

#[test]
fn a_resume_that_ends_elsewhere_is_reported() {
    let (room, mut alice, _) = Room::with_two();
    alice.join("room", "token", true);
    tell(&mut alice, resumed(4, &[chat(3, "hello")]));
    room.expect("one-order", "not the end of the missed");
}

#[test]
fn an_acked_change_that_a_snapshot_does_not_show_is_reported() {
    let (room, mut alice, _) = Room::with_two();
    mute_alice(&mut alice, 3, true);
    alice.join("room", "token", true);
    tell(&mut alice, snapshot("alice", 3));
    room.expect("durable-ack", "isMuted is older");
}

#[test]
fn a_change_acked_without_durability_may_be_lost() {
    let (room, mut alice, _) = Room::with_two();
    tell(&mut alice, durability(false));
    mute_alice(&mut alice, 3, false);
    alice.join("room", "token", true);
    tell(&mut alice, snapshot("alice", 2));
    room.expect_nothing();
}

#[test]
fn a_change_made_durable_later_may_not_be_lost() {
    let (room, mut alice, _) = Room::with_two();
    tell(&mut alice, durability(false));
    mute_alice(&mut alice, 3, false);
    tell(&mut alice, durability(true));
    alice.join("room", "token", true);
    tell(&mut alice, snapshot("alice", 3));
    room.expect("durable-ack", "isMuted is older");
}

#[test]
fn an_acked_change_that_turns_back_by_itself_is_reported() {
    let (room, mut alice, _) = Room::with_two();
    mute_alice(&mut alice, 3, true);
    tell(&mut alice, muted("alice", 4, false));
    room.expect("durable-ack", "isMuted is older");
}

#[test]
fn a_snapshot_behind_what_was_seen_is_reported() {
    let (room, mut alice, _) = Room::with_two();
    tell(&mut alice, chat(3, "hello"));
    alice.join("room", "token", true);
    tell(&mut alice, snapshot("alice", 2));
    room.expect("durable-ack", "a snapshot at 2, but 3");
}

#[test]
fn an_acked_chat_that_nobody_saw_is_reported() {
    let (room, mut alice, _) = Room::with_two();
    let id = alice.pending.ask(Wish::Chat("hello".to_owned()));
    tell(&mut alice, chat(3, "something else"));
    tell(&mut alice, ack(id, 3, true));
    // Nobody is told of the very first join: seq 1 is known from the snapshot alone.
    assert_eq!(room.log.lock().unwrap().settle(), 0);
    room.expect("durable-ack", "is not there");
}

#[test]
fn an_acked_chat_in_a_part_that_nobody_saw_is_counted() {
    let (room, mut alice, _) = Room::with_two();
    let id = alice.pending.ask(Wish::Chat("hello".to_owned()));
    alice.join("room", "token", true);
    tell(&mut alice, snapshot("alice", 9));
    tell(&mut alice, ack(id, 9, true));
    assert_eq!(room.log.lock().unwrap().settle(), 1);
    room.expect_nothing();
}

#[test]
fn a_chat_said_twice_is_reported() {
    let (room, mut alice, _) = Room::with_two();
    tell(&mut alice, chat(3, "hello"));
    tell(&mut alice, chat(4, "hello"));
    room.expect("once", "seq 4 and at seq 3");
}

#[test]
fn a_chat_said_twice_is_reported_across_a_loss_of_the_connection() {
    let (room, mut alice, mut bob) = Room::with_two();
    tell(&mut alice, chat(3, "hello"));
    bob.join("room", "token", true);
    tell(&mut bob, resumed(4, &[chat(3, "hello"), chat(4, "hello")]));
    // What a resume brings counts when nothing says durable:false behind it.
    room.expect_nothing();
    tell(&mut bob, json!({"type": "KeepAlive", "seq": 4}));
    room.expect("once", "hello");
}

#[test]
fn different_events_under_one_number_are_reported() {
    let (room, mut alice, mut bob) = Room::with_two();
    tell(&mut alice, chat(3, "hello"));
    tell(&mut bob, chat(3, "good morning"));
    room.expect("one-order", "another event than others saw");
}

#[test]
fn different_events_are_allowed_when_one_was_not_durable() {
    let (room, mut alice, mut bob) = Room::with_two();
    tell(&mut alice, durability(false));
    tell(&mut alice, chat(3, "hello"));
    tell(&mut bob, chat(3, "good morning"));
    room.expect_nothing();
}

#[test]
fn events_that_became_durable_may_not_differ() {
    let (room, mut alice, mut bob) = Room::with_two();
    tell(&mut alice, durability(false));
    tell(&mut alice, chat(3, "hello"));
    tell(&mut alice, durability(true));
    tell(&mut bob, chat(3, "good morning"));
    room.expect("one-order", "another event than others saw");
}

#[test]
fn a_snapshot_unlike_the_events_is_reported() {
    let (room, mut alice, mut bob) = Room::with_two();
    tell(&mut alice, muted("bob", 3, true));
    alice.join("room", "token", true);
    // Bob did it, and sees it; Alice's snapshot has it not.
    bob.pending.ask(Wish::Switch(0, true));
    tell(&mut bob, muted("bob", 3, true));
    tell(&mut alice, snapshot("alice", 3));
    room.expect("one-order", "is not what its events made");
}

#[test]
fn one_person_too_many_is_reported() {
    let (room, mut alice, _) = Room::with_two();
    tell(&mut alice, arrival("carol", 3));
    room.expect("capacity", "3 people on 2 seats");
}

#[test]
fn somebody_connected_who_times_out_is_reported() {
    let (room, mut alice, _) = Room::with_two();
    let left = json!({"type": "ParticipantLeft", "seq": 3, "userId": "bob", "reason": "timeout"});
    tell(&mut alice, left);
    room.expect("no-ghosts", "bob left (timeout)");
}

#[test]
fn a_lost_stay_is_reported() {
    let (room, mut alice, _) = Room::with_two();
    alice.join("room", "token", true);
    tell(&mut alice, joined("alice", 4, &["alice", "bob"]));
    room.expect("no-ghosts", "the stay is gone");
}

#[test]
fn another_session_is_reported() {
    let (room, mut alice, _) = Room::with_two();
    alice.join("room", "token", true);
    let mut other = snapshot("alice", 4);
    other["sessionId"] = "session-2".into();
    tell(&mut alice, other);
    room.expect("one-session", "session-2");
}

#[test]
fn an_allowed_loss_of_everything_is_no_violation_and_ends() {
    let (room, mut alice, mut bob) = Room::with_two();
    mute_alice(&mut alice, 3, true);
    tell(&mut bob, muted("alice", 3, true));
    room.log.lock().unwrap().allow_loss(true);
    alice.join("room", "token", true);
    tell(&mut alice, joined("alice", 1, &["alice"]));
    room.log.lock().unwrap().allow_loss(false);
    room.expect_nothing();
    bob.join("room", "token", true);
    tell(&mut bob, joined("bob", 2, &["alice", "bob"]));
    tell(&mut bob, chat(3, "hello"));
    tell(&mut bob, chat(4, "hello"));
    room.expect("once", "hello");
}

#[test]
fn a_refusal_without_reason_is_reported() {
    let (room, mut alice, _) = Room::with_two();
    let id = alice.pending.ask(Wish::Chat("hello".to_owned()));
    tell(
        &mut alice,
        json!({"type": "Error", "id": id, "code": "internal", "message": ""}),
    );
    room.expect("contract", "internal");
}

#[test]
fn a_repeated_command_keeps_its_id() {
    let (_, mut alice, _) = Room::with_two();
    let id = alice.pending.ask(Wish::Chat("hello".to_owned()));
    let now = Instant::now();
    let first = alice.pending.due(now);
    assert!(
        alice.pending.due(now).is_empty(),
        "sent once per connection"
    );
    alice.join("room", "token", true);
    alice.pending.repeat_all();
    assert_eq!(alice.pending.due(now), first);
    assert_eq!(first[0].0, id, "{first:?}");
}
