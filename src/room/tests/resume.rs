//! Coming back with a resume token.

use super::{
    Fixture, OLGA, chat, check,
    fixture::{issued, user},
    muted,
};
use crate::{
    ids::Seq,
    protocol::{Command, HostCommand, OwnCommand},
    room::{
        admin::AdminCommand,
        input::{Input, Join, Resume},
    },
};

#[test]
fn missed_events_are_replayed_as_they_were_sent() {
    let mut fixture = Fixture::of(&[OLGA, "bob"]);
    fixture.lose("bob");
    fixture.say(OLGA, chat("hi"));
    check(
        fixture.resume("bob", 3),
        &[
            "olga: #5 StateChanged bob isAway=false",
            "bob2: RoomResumed @5 [#4 MessageReceived olga hi, #5 StateChanged bob isAway=false]",
        ],
    );
}

#[test]
fn resume_on_a_connected_seat_replaces_silently() {
    let mut fixture = Fixture::of(&[OLGA, "bob"]);
    check(
        fixture.resume("bob", 2),
        &["bob: Goodbye superseded", "bob2: RoomResumed @2 []"],
    );
}

#[test]
fn last_seq_beyond_the_room_gives_a_snapshot() {
    let mut fixture = Fixture::of(&["bob"]);
    assert_eq!(
        fixture.resume("bob", 2)[1],
        "bob2: RoomJoined @1 bob after gap"
    );
    assert_eq!(
        fixture.resume("bob", u64::MAX)[1],
        "bob3: RoomJoined @1 bob after gap"
    );
}

#[test]
fn events_no_longer_kept_give_a_snapshot() {
    let mut fixture = Fixture::rules(|rules| rules.tail_events_max = 2);
    fixture.join("bob");
    for text in ["a", "b", "c"] {
        fixture.say("bob", chat(text));
    }
    assert_eq!(
        fixture.resume("bob", 1)[1],
        "bob2: RoomJoined @4 bob after gap"
    );
    assert!(fixture.resume("bob", 2)[1].starts_with("bob3: RoomResumed @4 [#3"));
}

/// Alice saw events 2 and 3, not durable, from an owner that died; the successor continues from
/// event 1.
#[test]
fn what_was_seen_beyond_a_fork_gives_a_snapshot() {
    let mut fixture = Fixture::of(&["bob"]);
    fixture.is_mirrored = false;
    fixture.say("bob", chat("lost"));
    fixture.say("bob", chat("lost too"));
    fixture.takeover(5);
    fixture.is_mirrored = true;
    let token = fixture.token("bob");
    for _ in 0..3 {
        fixture.admin(AdminCommand::SystemMessage("new".to_owned()));
    }
    let lines = fixture.resume_with("bob", &token, 3);
    assert_eq!(lines[0], "bob2: RoomJoined @4 bob after gap");
    fixture.lose("bob");
    assert!(
        fixture
            .resume("bob", 3)
            .last()
            .unwrap()
            .starts_with("bob3: RoomResumed"),
        "a token of this epoch"
    );
}

#[test]
fn what_was_seen_before_a_fork_is_resumed() {
    let mut fixture = Fixture::of(&["bob"]);
    fixture.takeover(5);
    fixture.admin(AdminCommand::SystemMessage("new".to_owned()));
    assert_eq!(
        fixture.resume("bob", 1)[0],
        "bob2: RoomResumed @2 [#2 MessageReceived new] relays lost"
    );
}

#[test]
fn token_of_an_epoch_that_is_forgotten_gives_a_snapshot() {
    for (takeovers, expect) in [
        (15, "bob2: RoomResumed @1 [] relays lost"),
        (16, "bob2: RoomJoined @1 bob after gap"),
    ] {
        let mut fixture = Fixture::of(&["bob"]);
        for _ in 0..takeovers {
            fixture.takeover(1);
        }
        assert_eq!(
            fixture.room.snapshot().head.epoch_starts.len(),
            16,
            "{takeovers}"
        );
        assert_eq!(fixture.resume("bob", 1)[0], expect, "{takeovers}");
    }
}

#[test]
fn token_is_new_at_every_resume_and_the_previous_stays_valid() {
    let mut fixture = Fixture::of(&["bob"]);
    let first = fixture.token("bob");
    fixture.resume("bob", 1);
    let second = fixture.token("bob");
    assert_ne!(first, second);
    fixture.keep_alive("bob");
    let lines = fixture.resume_with("bob", &first, 1);
    assert!(
        lines[1].contains("RoomResumed"),
        "the second may never have arrived"
    );
    assert!(
        fixture.resume_with("bob", &second, 1)[0].contains("#2 ParticipantLeft"),
        "no longer valid: a new stay"
    );
}

#[test]
fn frame_on_a_connection_opened_with_the_newer_token_ends_the_previous() {
    let mut fixture = Fixture::of(&["bob"]);
    let first = fixture.token("bob");
    fixture.resume("bob", 1);
    fixture.resume("bob", 1);
    fixture.keep_alive("bob");
    let lines = fixture.resume_with("bob", &first, 1);
    assert_eq!(
        lines.last().unwrap(),
        "bob4: RoomJoined @3 bob",
        "a new stay"
    );
}

#[test]
fn tokens_do_not_rotate_while_degraded() {
    let mut fixture = Fixture::of(&["bob"]);
    let first = fixture.token("bob");
    fixture.apply(Input::Durability { durable: false });
    fixture.resume("bob", 1);
    assert_eq!(fixture.token("bob"), first);
    fixture.apply(Input::Durability { durable: true });
    fixture.resume("bob", 1);
    assert_ne!(fixture.token("bob"), first);
}

#[test]
fn resume_while_degraded_needs_no_second_notice() {
    let mut fixture = Fixture::of(&["bob"]);
    fixture.apply(Input::Durability { durable: false });
    check(
        fixture.resume("bob", 1),
        &["bob: Goodbye superseded", "bob2: RoomResumed @1 []"],
    );
}

#[test]
fn expired_token_serves_a_resume_only() {
    let mut fixture = Fixture::of(&[OLGA, "bob"]);
    let expired = |join| {
        Input::Join(Box::new(Join {
            is_expired: true,
            ..join
        }))
    };
    let join = fixture.joining("carol");
    check(
        fixture.apply(expired(join)),
        &["carol: Error unauthorized", "carol: Goodbye unauthorized"],
    );
    let resume = |text: &str| {
        Some(Resume {
            token: issued(text),
            last_seq: Seq(2),
        })
    };
    let token = fixture.token("bob");
    let join = Join {
        resume: resume(&token),
        ..fixture.joining("bob")
    };
    assert!(fixture.apply(expired(join))[1].starts_with("bob2: RoomResumed @2"));
    let join = Join {
        resume: resume("unknown"),
        ..fixture.joining("carol")
    };
    check(
        fixture.apply(expired(join)),
        &["carol2: Error unauthorized", "carol2: Goodbye unauthorized"],
    );
}

#[test]
fn resume_ignores_lock_capacity_kind_and_lobby() {
    let mut fixture = Fixture::of(&[OLGA, "bob"]);
    fixture.say(OLGA, HostCommand::LockRoom { is_locked: true });
    let mut settings = fixture.room.snapshot().head.settings;
    settings.max_participants = 1;
    settings.is_lobby_enabled = true;
    settings.allowed_roles.pop();
    fixture.admin(AdminCommand::ChangeSettings(settings));
    fixture.lose("bob");
    assert!(fixture.resume("bob", 3)[1].starts_with("bob2: RoomResumed"));
}

#[test]
fn stays_that_ended_on_purpose_are_not_resumed() {
    let remove = |ban| {
        Command::Host(HostCommand::RemoveParticipant {
            user_id: user("bob"),
            ban,
        })
    };
    for (by, command, expect) in [
        (
            "bob",
            Command::Own(OwnCommand::LeaveRoom),
            ["bob2: Error forbidden", "bob2: Goodbye left"],
        ),
        (
            OLGA,
            remove(false),
            ["bob2: Error forbidden", "bob2: Goodbye removed"],
        ),
        (
            OLGA,
            remove(true),
            ["bob2: Error banned", "bob2: Goodbye banned"],
        ),
    ] {
        let mut fixture = Fixture::of(&[OLGA, "bob"]);
        fixture.say(by, command);
        fixture.takeover(5);
        check(fixture.resume("bob", 2), &expect);
    }
}

#[test]
fn superseded_stay_is_not_resumed() {
    let mut fixture = Fixture::of(&["bob"]);
    let token = fixture.token("bob");
    fixture.join("bob");
    check(
        fixture.resume_with("bob", &token, 1),
        &["bob3: Error superseded", "bob3: Goodbye superseded"],
    );
}

#[test]
fn ended_stay_is_forgotten_after_the_grace() {
    let mut fixture = Fixture::of(&[OLGA, "bob"]);
    fixture.say("bob", OwnCommand::LeaveRoom);
    fixture.pass(29_999);
    check(
        fixture.resume("bob", 3),
        &["bob2: Error forbidden", "bob2: Goodbye left"],
    );
    fixture.pass(1);
    assert_eq!(fixture.resume("bob", 3)[1], "bob3: RoomJoined @4 olga+bob");
}

#[test]
fn timed_out_stay_and_unknown_token_become_a_new_stay() {
    let mut fixture = Fixture::of(&[OLGA, "bob"]);
    fixture.lose("bob");
    fixture.pass(30_000);
    assert_eq!(fixture.resume("bob", 2)[1], "bob2: RoomJoined @5 olga+bob");
    assert_eq!(
        fixture.resume_with("carl", "made up", 2)[1],
        "carl: RoomJoined @6 olga+bob+carl"
    );
}

#[test]
fn unknown_token_is_admitted_by_the_rules_of_a_join() {
    let mut fixture = Fixture::of(&[OLGA]);
    fixture.say(OLGA, HostCommand::LockRoom { is_locked: true });
    check(
        fixture.resume_with("bob", "made up", 0),
        &["bob: Error room_locked", "bob: Goodbye room_locked"],
    );
}

#[test]
fn token_of_another_user_is_unknown() {
    let mut fixture = Fixture::of(&[OLGA, "bob"]);
    let token = fixture.token(OLGA);
    let lines = fixture.resume_with("carl", &token, 2);
    assert_eq!(lines.last().unwrap(), "carl: RoomJoined @3 olga+bob+carl");
    check(
        fixture.resume_with("bob", &token, 2).split_off(3),
        &["bob2: RoomJoined @5 olga+carl+bob"],
    );
}

#[test]
fn snapshot_after_a_gap_shows_the_state() {
    let mut fixture = Fixture::of(&[OLGA, "bob"]);
    fixture.say("bob", muted(true));
    let lines = fixture.resume("bob", 99);
    assert_eq!(lines[1], "bob2: RoomJoined @3 olga+bob after gap");
}

#[test]
fn only_the_token_of_the_ended_stay_is_refused() {
    let mut fixture = Fixture::of(&[OLGA, "bob"]);
    fixture.say("bob", OwnCommand::LeaveRoom);
    let lines = fixture.resume_with("bob", "made up", 3);
    assert_eq!(lines.last().unwrap(), "bob2: RoomJoined @4 olga+bob");
}

#[test]
fn resuming_needs_no_session_of_the_same_process_but_the_same_life_of_the_room() {
    let mut fixture = Fixture::of(&["bob"]);
    let token = fixture.token("bob");
    let mut later = Fixture::new();
    let lines = later.resume_with("bob", &token, 1);
    assert_eq!(lines[0], "sql: session", "a new session: {lines:?}");
    assert!(fixture.resume_with("bob", &token, 1)[1].starts_with("bob2: RoomResumed"));
}
