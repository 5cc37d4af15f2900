//! Who comes in, in which order the refusals are, and what the same user's second join does.

use super::{Fixture, OLGA, check, fixture::user};
use crate::{
    protocol::{DuplicatePolicy, HostCommand, Kind, OwnCommand, Role},
    room::{admin::AdminCommand, input::Input, rules::MediaServer},
};

fn ban(name: &str) -> AdminCommand {
    AdminCommand::Remove {
        user_id: user(name),
        ban: true,
    }
}

const LOCK: HostCommand = HostCommand::LockRoom { is_locked: true };

#[test]
fn first_join_begins_the_session_and_is_event_one() {
    let mut fixture = Fixture::new();
    check(
        fixture.join("bob"),
        &[
            "sql: session",
            ": #1 ParticipantJoined bob attendee",
            "bob: RoomJoined @1 bob",
        ],
    );
}

#[test]
fn second_join_is_told_to_the_others_and_lists_everybody() {
    let mut fixture = Fixture::of(&[OLGA]);
    check(
        fixture.join("bob"),
        &[
            "olga: #2 ParticipantJoined bob attendee",
            "bob: RoomJoined @2 olga+bob",
        ],
    );
}

#[test]
fn owner_is_host_whatever_the_token_says() {
    let mut fixture = Fixture::of(&["bob"]);
    check(
        fixture.join(OLGA),
        &[
            "bob: #2 ParticipantJoined olga host",
            "olga: RoomJoined @2 bob+olga",
        ],
    );
}

#[test]
fn host_token_makes_a_host() {
    let mut fixture = Fixture::of(&[OLGA]);
    assert_eq!(
        fixture.join_as_host("hans")[0],
        "olga: #2 ParticipantJoined hans host"
    );
}

#[test]
fn second_join_on_one_connection_is_a_bad_request_and_changes_nothing() {
    let mut fixture = Fixture::new();
    let join = Box::new(fixture.joining("bob"));
    fixture.apply(Input::Join(join.clone()));
    check(
        fixture.apply(Input::Join(join)),
        &["bob: Error bad_request"],
    );
    check(fixture.keep_alive("bob"), &["bob: KeepAlive @1"]);
}

/// Everything that can refuse a join is set; then one after the other is removed.
#[test]
fn refusals_come_in_the_order_of_the_contract() {
    let mut fixture = Fixture::settings(|settings| {
        settings.max_participants = 1;
        settings.is_lobby_enabled = true;
        settings.allowed_roles = vec![Kind::Host];
    });
    fixture.join(OLGA);
    fixture.say(OLGA, LOCK);
    fixture.admin(ban("bob"));
    check(
        fixture.join("bob"),
        &["bob: Error banned", "bob: Goodbye banned"],
    );
    fixture.admin(AdminCommand::LiftBan {
        user_id: user("bob"),
    });
    check(
        fixture.join("bob"),
        &["bob2: Error room_locked", "bob2: Goodbye room_locked"],
    );
    fixture.say(OLGA, HostCommand::LockRoom { is_locked: false });
    check(
        fixture.join("bob"),
        &[
            "bob3: Error role_not_allowed",
            "bob3: Goodbye role_not_allowed",
        ],
    );
    let mut settings = fixture.room.snapshot().head.settings;
    settings.allowed_roles = vec![Kind::Host, Kind::Guest];
    fixture.admin(AdminCommand::ChangeSettings(settings.clone()));
    check(
        fixture.join("bob"),
        &["bob4: Error room_full", "bob4: Goodbye room_full"],
    );
    settings.max_participants = 2;
    fixture.admin(AdminCommand::ChangeSettings(settings));
    check(
        fixture.join("bob"),
        &["bob5: LobbyWaiting", "olga: LobbyChanged bob"],
    );
}

#[test]
fn room_with_only_guests_allowed_refuses_hosts() {
    let mut fixture = Fixture::settings(|settings| settings.allowed_roles = vec![Kind::Guest]);
    check(
        fixture.join(OLGA),
        &[
            "olga: Error role_not_allowed",
            "olga: Goodbye role_not_allowed",
        ],
    );
    assert_eq!(fixture.join("bob").len(), 3);
}

#[test]
fn capacity_is_reached_at_its_bound_and_counts_away_seats() {
    let mut fixture = Fixture::settings(|settings| settings.max_participants = 2);
    fixture.join(OLGA);
    fixture.join("bob");
    fixture.lose("bob");
    check(
        fixture.join("carl"),
        &["carl: Error room_full", "carl: Goodbye room_full"],
    );
    fixture.pass(30_000);
    assert_eq!(fixture.join("carl").len(), 2, "the seat was given up");
}

#[test]
fn holder_of_a_seat_is_never_refused_as_full_or_locked() {
    let mut fixture = Fixture::settings(|settings| settings.max_participants = 2);
    fixture.join(OLGA);
    fixture.join("bob");
    fixture.say(OLGA, LOCK);
    check(
        fixture.join("bob"),
        &[
            "bob olga: #4 ParticipantLeft bob superseded",
            "bob: Goodbye superseded",
            "olga: #5 ParticipantJoined bob attendee",
            "bob2: RoomJoined @5 olga+bob",
        ],
    );
}

#[test]
fn lowering_the_capacity_throws_nobody_out_and_lets_nobody_in() {
    let mut fixture = Fixture::of(&[OLGA, "bob", "carl"]);
    let mut settings = fixture.room.snapshot().head.settings;
    settings.max_participants = 1;
    check(
        fixture.admin(AdminCommand::ChangeSettings(settings)),
        &["admin: Done"],
    );
    assert_eq!(fixture.room.participant_count(), 3);
    check(
        fixture.join("dora"),
        &["dora: Error room_full", "dora: Goodbye room_full"],
    );
}

#[test]
fn superseding_is_two_neighbouring_events_in_one_version() {
    let mut fixture = Fixture::of(&[OLGA, "bob"]);
    let before = fixture.room.version();
    fixture.join("bob");
    assert_eq!(fixture.room.version(), before.next());
    assert_eq!(fixture.room.seq().0, 4);
}

#[test]
fn reject_refuses_a_second_join_only_while_the_seat_is_connected() {
    let mut fixture =
        Fixture::settings(|settings| settings.duplicate_policy = DuplicatePolicy::Reject);
    fixture.join(OLGA);
    fixture.join("bob");
    check(
        fixture.join("bob"),
        &["bob2: Error duplicate", "bob2: Goodbye duplicate"],
    );
    let mut fixture =
        Fixture::settings(|settings| settings.duplicate_policy = DuplicatePolicy::Reject);
    fixture.join(OLGA);
    fixture.join("bob");
    fixture.lose("bob");
    check(
        fixture.join("bob"),
        &[
            "olga: #4 ParticipantLeft bob superseded",
            "olga: #5 ParticipantJoined bob attendee",
            "bob2: RoomJoined @5 olga+bob",
        ],
    );
}

#[test]
fn reject_lets_a_seat_be_taken_that_nobody_has_resumed_since_a_takeover() {
    let mut fixture =
        Fixture::settings(|settings| settings.duplicate_policy = DuplicatePolicy::Reject);
    fixture.join("bob");
    fixture.takeover(10);
    assert_eq!(
        fixture.join("bob").last().unwrap(),
        "bob2: RoomJoined @3 bob"
    );
}

#[test]
fn late_news_of_a_superseded_connection_is_ignored() {
    let mut fixture = Fixture::of(&[OLGA, "bob"]);
    let older = fixture.connection("bob");
    fixture.join("bob");
    check(
        fixture.apply(Input::ConnectionLost {
            connection_id: older,
        }),
        &[],
    );
}

#[test]
fn set_role_wins_over_the_token_when_the_user_joins_again() {
    let mut fixture = Fixture::of(&[OLGA, "bob"]);
    fixture.say(
        OLGA,
        HostCommand::SetRole {
            user_id: user("bob"),
            role: Role::Host,
        },
    );
    fixture.say("bob", OwnCommand::LeaveRoom);
    assert_eq!(
        fixture.join("bob")[0],
        "olga: #5 ParticipantJoined bob host"
    );
    assert_eq!(
        fixture.join("bob")[2],
        "olga: #7 ParticipantJoined bob host",
        "also when superseding"
    );
}

#[test]
fn demoted_host_stays_attendee_with_a_host_token_also_after_a_takeover() {
    let mut fixture = Fixture::of(&[OLGA]);
    fixture.join_as_host("hans");
    fixture.say(
        OLGA,
        HostCommand::SetRole {
            user_id: user("hans"),
            role: Role::Attendee,
        },
    );
    fixture.say("hans", OwnCommand::LeaveRoom);
    fixture.takeover(5);
    fixture.resume(OLGA, 4);
    assert_eq!(
        fixture.join_as_host("hans")[0],
        "olga2: #5 ParticipantJoined hans attendee"
    );
}

#[test]
fn those_made_host_are_of_the_kind_host() {
    let mut fixture = Fixture::of(&[OLGA, "bob"]);
    fixture.say(
        OLGA,
        HostCommand::SetRole {
            user_id: user("bob"),
            role: Role::Host,
        },
    );
    let mut settings = fixture.room.snapshot().head.settings;
    settings.allowed_roles = vec![Kind::Host];
    fixture.admin(AdminCommand::ChangeSettings(settings));
    fixture.say("bob", OwnCommand::LeaveRoom);
    assert_eq!(
        fixture.join("bob").last().unwrap(),
        "bob2: RoomJoined @5 olga+bob"
    );
    check(
        fixture.join("carl"),
        &[
            "carl: Error role_not_allowed",
            "carl: Goodbye role_not_allowed",
        ],
    );
}

#[test]
fn region_is_the_first_joiners_or_the_nodes_and_sticks() {
    for (named, expect) in [(Some("eu"), "eu"), (None, "local")] {
        let mut fixture = Fixture::new();
        let mut join = fixture.joining("bob");
        join.region = named.map(str::to_owned);
        fixture.apply(Input::Join(Box::new(join)));
        let mut later = fixture.joining("carl");
        later.region = Some("us".to_owned());
        fixture.apply(Input::Join(Box::new(later)));
        assert_eq!(
            fixture.room.snapshot().head.sfu_region.as_deref(),
            Some(expect)
        );
    }
}

#[test]
fn media_server_of_the_region_is_told_after_the_join() {
    let mut fixture = Fixture::rules(|rules| {
        let server = MediaServer {
            ip: "192.0.2.1".to_owned(),
            port: 3478,
        };
        rules.media_servers.insert("local".to_owned(), vec![server]);
    });
    assert_eq!(
        fixture.join("bob").last().unwrap(),
        "bob: SfuEndpoint 192.0.2.1:3478 local"
    );
}
