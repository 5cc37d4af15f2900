//! Commits: the chain, the fence, what is stored.

use callboard::{
    ids::{Seq, SessionId, StayId, UserId, Version},
    mirror::CommitOutcome,
};
use uuid::Uuid;

use crate::{
    fixture::{Fixture, apply, load, on_every_adapter},
    sample::*,
};

on_every_adapter![
    claim_loads_exactly_what_was_committed,
    claim_loads_partial_commits_applied_in_order,
    commit_out_of_the_chain_is_behind,
    repeated_commit_is_ok_and_changes_nothing,
    former_owner_is_fenced_and_told_by_whom,
    commit_to_an_unknown_room_is_missing,
    empty_commit_verifies_the_room,
    empty_commits_among_others_say_what_is_wrong,
    commits_of_many_rooms_are_answered_in_their_order,
    full_commit_drops_what_was_there,
    ten_thousand_participants_fit_one_commit,
    tail_keeps_the_newest_events,
];

async fn claim_loads_exactly_what_was_committed(fixture: Fixture) {
    let (owned, snapshot) = Owned::rich(&*fixture.mirror).await;
    let (_, version, room) = load(&fixture, &owned).await;
    assert_eq!(version, Version(1));
    assert_eq!(room, Some(snapshot));
}

async fn claim_loads_partial_commits_applied_in_order(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let (owned, mut snapshot) = Owned::rich(mirror).await;
    let mut changes = empty_changes(1, 4, 7);
    snapshot.head.sfu_region = None;
    snapshot.head.depart_at = None;
    snapshot.head.is_locked = true;
    snapshot.head.epoch_starts.clear();
    changes.head = Some(snapshot.head.clone());
    changes.participants.insert(user_id(2), None);
    changes
        .participants
        .insert(user_id(6), Some(participant("New")));
    changes.lobby.insert(user_id(4), None);
    changes.bans.insert(user_id(5), None);
    changes
        .left
        .insert(StayId(Uuid::from_u128(12)), Some(left_record()));
    changes.tail = vec![event(6), event(7)];
    owned.write(mirror, changes.clone()).await;
    apply(&mut snapshot, &changes);

    let mut second = empty_changes(4, 5, 7);
    second
        .participants
        .insert(user_id(6), Some(participant("Renamed")));
    owned.write(mirror, second.clone()).await;
    apply(&mut snapshot, &second);

    let (_, version, room) = load(&fixture, &owned).await;
    assert_eq!(version, Version(5));
    assert_eq!(room, Some(snapshot));
}

async fn commit_out_of_the_chain_is_behind(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let (owned, snapshot) = Owned::rich(mirror).await;
    let outcome = owned.try_write(mirror, empty_changes(3, 4, 5)).await;
    assert_eq!(outcome, CommitOutcome::Behind);
    let newer = Owned {
        epoch: owned.epoch.next(),
        ..owned
    };
    let outcome = newer.try_write(mirror, empty_changes(1, 2, 5)).await;
    assert_eq!(outcome, CommitOutcome::Behind);
    let (_, version, room) = load(&fixture, &owned).await;
    assert_eq!((version, room), (Version(1), Some(snapshot)));
}

async fn repeated_commit_is_ok_and_changes_nothing(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let (owned, mut snapshot) = Owned::rich(mirror).await;
    let mut changes = empty_changes(1, 2, 6);
    changes.tail = vec![event(6)];
    owned.write(mirror, changes.clone()).await;
    owned.write(mirror, changes.clone()).await;
    apply(&mut snapshot, &changes);
    let (_, version, room) = load(&fixture, &owned).await;
    assert_eq!((version, room), (Version(2), Some(snapshot)));
}

async fn former_owner_is_fenced_and_told_by_whom(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let (owned, snapshot) = Owned::rich(mirror).await;
    let (successor, ..) = load(&fixture, &owned).await;
    let fenced = CommitOutcome::Fenced {
        epoch: successor.epoch,
        owner: Some(successor.owner),
    };
    for changes in [
        empty_changes(1, 2, 5),
        empty_changes(0, 1, 5),
        empty_changes(7, 8, 5),
        closing_changes(1, 2, None),
    ] {
        assert_eq!(owned.try_write(mirror, changes).await, fenced);
    }
    // The same epoch under another name: the mirror once forgot a claim.
    let twin = Owned {
        owner: node_id(),
        ..successor
    };
    assert_eq!(twin.try_write(mirror, empty_changes(1, 2, 5)).await, fenced);
    successor.write(mirror, empty_changes(1, 2, 5)).await;
    let (_, version, room) = load(&fixture, &successor).await;
    assert_eq!((version, room), (Version(2), Some(snapshot)));
}

async fn commit_to_an_unknown_room_is_missing(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let (owned, snapshot) = Owned::rich(mirror).await;
    fixture.lose(owned.room_id);
    let session = closed_session(owned.room_id, SessionId(Uuid::new_v4()));
    for changes in [
        empty_changes(1, 2, 5),
        full_changes(&snapshot, 1, 2),
        closing_changes(1, 2, Some(session)),
    ] {
        let outcome = owned.try_write(mirror, changes).await;
        assert_eq!(outcome, CommitOutcome::Missing);
    }
    assert_eq!(mirror.ownership(owned.room_id).await.unwrap(), None);
    assert!(mirror.outbox(10).await.unwrap().is_empty());
}

async fn empty_commit_verifies_the_room(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let (owned, snapshot) = Owned::rich(mirror).await;
    owned.write(mirror, empty_changes(1, 1, 5)).await;
    let (_, version, room) = load(&fixture, &owned).await;
    assert_eq!((version, room), (Version(1), Some(snapshot)));
}

async fn empty_commits_among_others_say_what_is_wrong(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let (right, _) = Owned::rich(mirror).await;
    let (older, _) = Owned::rich(mirror).await;
    let (newer, _) = Owned::rich(mirror).await;
    let (previous, _) = Owned::rich(mirror).await;
    let (busy, _) = Owned::rich(mirror).await;
    let (unknown, _) = Owned::rich(mirror).await;
    let unknown = Owned {
        room_id: room_id(),
        ..unknown
    };
    let (taker, _, _) = Owned::claim(
        mirror,
        previous.room_id,
        Some(previous.ownership()),
        node_id(),
    )
    .await;
    let results = mirror
        .commit(&[
            older.commit(empty_changes(2, 2, 5)),
            right.commit(empty_changes(1, 1, 5)),
            previous.commit(empty_changes(1, 1, 5)),
            busy.commit(empty_changes(1, 2, 5)),
            unknown.commit(empty_changes(1, 1, 5)),
            newer.commit(empty_changes(0, 0, 5)),
        ])
        .await;
    let outcomes: Vec<_> = results.into_iter().map(Result::unwrap).collect();
    let fenced = |by: &Owned| CommitOutcome::Fenced {
        epoch: by.epoch,
        owner: Some(by.owner),
    };
    assert_eq!(
        outcomes,
        [
            CommitOutcome::Behind,
            CommitOutcome::Ok,
            fenced(&taker),
            CommitOutcome::Ok,
            CommitOutcome::Missing,
            fenced(&newer),
        ]
    );
}

async fn commits_of_many_rooms_are_answered_in_their_order(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let mut commits = Vec::new();
    let mut wanted = Vec::new();
    for number in 0..60 {
        let (owned, _) = Owned::rich(mirror).await;
        match number % 3 {
            0 => {
                commits.push(owned.commit(empty_changes(1, 2, 5)));
                wanted.push(CommitOutcome::Ok);
            }
            1 => {
                commits.push(owned.commit(empty_changes(2, 3, 5)));
                wanted.push(CommitOutcome::Behind);
            }
            _ => {
                let unknown = Owned {
                    room_id: room_id(),
                    ..owned
                };
                commits.push(unknown.commit(empty_changes(1, 2, 5)));
                wanted.push(CommitOutcome::Missing);
            }
        }
    }
    let results = mirror.commit(&commits).await;
    let outcomes: Vec<_> = results.into_iter().map(Result::unwrap).collect();
    assert_eq!(outcomes, wanted);
    assert!(mirror.commit(&[]).await.is_empty());
}

async fn full_commit_drops_what_was_there(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let (owned, mut room) = Owned::rich(mirror).await;
    room.participants.remove(&user_id(2));
    room.lobby.clear();
    room.left.clear();
    room.bans.clear();
    room.tail.drain(..2);
    room.head.session = None;
    room.head.ends_at = None;
    owned.write(mirror, full_changes(&room, 1, 2)).await;
    let (_, _, stored) = load(&fixture, &owned).await;
    assert_eq!(stored, Some(room));
}

async fn ten_thousand_participants_fit_one_commit(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let owned = Owned::new(mirror).await;
    let mut room = rich(owned.room_id);
    room.participants = (0..10_000_u128)
        .map(|number| (user_id(number), participant(&format!("user {number}"))))
        .collect();
    owned.write(mirror, full_changes(&room, 0, 1)).await;
    let (owned, _, stored) = load(&fixture, &owned).await;
    assert!(stored == Some(room), "10,000 came back as they were");
    let mut changes = empty_changes(1, 2, 5);
    changes.participants = (0..9_999_u128)
        .map(|number| (user_id(number), None))
        .collect();
    owned.write(mirror, changes).await;
    let (_, _, stored) = load(&fixture, &owned).await;
    let left: Vec<UserId> = stored.unwrap().participants.into_keys().collect();
    assert_eq!(left, [user_id(9_999)]);
}

async fn tail_keeps_the_newest_events(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let (owned, _) = Owned::rich(mirror).await;
    let mut changes = empty_changes(1, 2, 3_005);
    changes.tail = (6..=3_005).map(event).collect();
    changes.tail_keep = 4;
    owned.write(mirror, changes).await;
    let (owned, _, stored) = load(&fixture, &owned).await;
    let wanted: Vec<_> = (3_002..=3_005).map(event).collect();
    assert_eq!(stored.unwrap().tail, wanted);
    let mut changes = empty_changes(2, 3, 3_006);
    changes.tail = vec![event(3_006)];
    changes.tail_keep = 0;
    owned.write(mirror, changes).await;
    let (_, _, stored) = load(&fixture, &owned).await;
    let stored = stored.unwrap();
    assert_eq!((stored.seq, stored.tail), (Seq(3_006), Vec::new()));
}
