//! Releases: a room without an owner, kept for the next claim.

use std::time::Duration;

use callboard::{
    ids::{Epoch, Version},
    mirror::{Claim, ClaimOutcome, CommitOutcome, Ownership},
};

use crate::{
    fixture::{Fixture, on_every_adapter},
    sample::*,
};

on_every_adapter![
    released_room_keeps_its_epoch_and_has_no_owner,
    released_room_is_claimed_whole_under_a_higher_epoch,
    former_owner_is_fenced_by_its_own_release,
    repeated_release_is_ok_until_somebody_claims,
    release_of_what_is_not_owned_changes_nothing,
    one_of_many_claimants_gets_a_released_room,
];

const DEADLINE: Duration = Duration::from_secs(20);

fn released(owned: &Owned) -> Ownership {
    Ownership {
        owner: None,
        epoch: owned.epoch,
    }
}

async fn release(fixture: &Fixture, owned: &Owned) -> CommitOutcome {
    let call = fixture
        .mirror
        .release(owned.room_id, owned.owner, owned.epoch);
    let answer = tokio::time::timeout(DEADLINE, call).await;
    answer.expect("an answer in time").unwrap()
}

async fn released_room_keeps_its_epoch_and_has_no_owner(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let (owned, _) = Owned::rich(mirror).await;
    assert_eq!(release(&fixture, &owned).await, CommitOutcome::Ok);
    assert_eq!(
        mirror.ownership(owned.room_id).await.unwrap(),
        Some(released(&owned))
    );
    // Other nodes find the rooms that a node left.
    assert_eq!(mirror.rooms_of(owned.owner).await.unwrap(), [owned.room_id]);
}

async fn released_room_is_claimed_whole_under_a_higher_epoch(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let (owned, snapshot) = Owned::rich(mirror).await;
    release(&fixture, &owned).await;
    for wrong in [None, Some(owned.ownership())] {
        let claim = Claim {
            room_id: owned.room_id,
            expected: wrong,
            claimant: node_id(),
            last_seen: Epoch(0),
        };
        let outcome = mirror.claim(claim).await.unwrap();
        assert!(
            matches!(outcome, ClaimOutcome::Lost(Some(stored)) if stored == released(&owned)),
            "{outcome:?}"
        );
    }
    let expected = Some(released(&owned));
    let (next, version, room) = Owned::claim(mirror, owned.room_id, expected, node_id()).await;
    assert!(next.epoch > owned.epoch);
    assert_eq!((version, room), (Version(1), Some(Box::new(snapshot))));
    assert_eq!(mirror.rooms_of(next.owner).await.unwrap(), [owned.room_id]);
    next.write(mirror, empty_changes(1, 2, 5)).await;
}

async fn former_owner_is_fenced_by_its_own_release(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let (owned, snapshot) = Owned::rich(mirror).await;
    owned.write(mirror, empty_changes(1, 2, 5)).await;
    release(&fixture, &owned).await;
    let session = closed_session(owned.room_id, snapshot.head.session.unwrap().session_id);
    for changes in [
        // The next one, the last one again, nothing at all, and the end of the room.
        empty_changes(2, 3, 5),
        empty_changes(1, 2, 5),
        empty_changes(2, 2, 5),
        closing_changes(2, 3, Some(session)),
    ] {
        let outcome = owned.try_write(mirror, changes).await;
        let fenced = CommitOutcome::Fenced {
            epoch: owned.epoch,
            owner: None,
        };
        assert_eq!(outcome, fenced);
    }
    let expected = Some(released(&owned));
    let (_, version, room) = Owned::claim(mirror, owned.room_id, expected, node_id()).await;
    assert_eq!((version, room), (Version(2), Some(Box::new(snapshot))));
}

async fn repeated_release_is_ok_until_somebody_claims(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let (owned, _) = Owned::rich(mirror).await;
    for _ in 0..3 {
        assert_eq!(release(&fixture, &owned).await, CommitOutcome::Ok);
    }
    let expected = Some(released(&owned));
    // Also when the previous owner claims it again: that is another epoch.
    let (next, ..) = Owned::claim(mirror, owned.room_id, expected, owned.owner).await;
    let fenced = CommitOutcome::Fenced {
        epoch: next.epoch,
        owner: Some(next.owner),
    };
    assert_eq!(release(&fixture, &owned).await, fenced);
    assert_eq!(
        mirror.ownership(owned.room_id).await.unwrap(),
        Some(next.ownership())
    );
    assert_eq!(mirror.rooms_of(next.owner).await.unwrap(), [next.room_id]);
}

async fn release_of_what_is_not_owned_changes_nothing(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let (owned, _) = Owned::rich(mirror).await;
    let fenced = CommitOutcome::Fenced {
        epoch: owned.epoch,
        owner: Some(owned.owner),
    };
    let stranger = Owned {
        owner: node_id(),
        ..owned
    };
    let late = Owned {
        epoch: Epoch(owned.epoch.0 - 1),
        ..owned
    };
    let ahead = Owned {
        epoch: owned.epoch.next(),
        ..owned
    };
    let unknown = Owned {
        room_id: room_id(),
        ..owned
    };
    for (asked, wanted) in [
        (stranger, fenced),
        (late, fenced),
        (ahead, CommitOutcome::Behind),
        (unknown, CommitOutcome::Missing),
    ] {
        assert_eq!(release(&fixture, &asked).await, wanted);
    }
    assert_eq!(mirror.ownership(unknown.room_id).await.unwrap(), None);
    assert_eq!(
        mirror.ownership(owned.room_id).await.unwrap(),
        Some(owned.ownership())
    );
    assert_eq!(mirror.rooms_of(owned.owner).await.unwrap(), [owned.room_id]);
    owned.write(mirror, empty_changes(1, 2, 5)).await;
}

async fn one_of_many_claimants_gets_a_released_room(fixture: Fixture) {
    let (owned, _) = Owned::rich(&*fixture.mirror).await;
    release(&fixture, &owned).await;
    let claims = (0..20).map(|_| {
        let mirror = std::sync::Arc::clone(&fixture.mirror);
        let claim = Claim {
            room_id: owned.room_id,
            expected: Some(released(&owned)),
            claimant: node_id(),
            last_seen: Epoch(0),
        };
        tokio::spawn(async move { mirror.claim(claim).await.unwrap() })
    });
    let mut winners = 0;
    for claim in claims.collect::<Vec<_>>() {
        match claim.await.unwrap() {
            ClaimOutcome::Claimed { .. } => winners += 1,
            ClaimOutcome::Lost(stored) => assert!(stored.unwrap().owner.is_some()),
            ClaimOutcome::TooNew => panic!("too new"),
        }
    }
    assert_eq!(winners, 1);
}
