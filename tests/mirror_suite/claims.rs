//! Claims and restores: who owns a room, and what the owner finds.

use std::{collections::HashSet, sync::Arc};

use callboard::{
    ids::{Epoch, RoomId, Seq, Version},
    mirror::{Claim, ClaimOutcome, CommitOutcome, LookUp, NodeRecord, Ownership},
};

use crate::{
    fixture::{Fixture, load, on_every_adapter},
    sample::*,
};

on_every_adapter![
    claim_of_an_unknown_room_stores_its_owner_only,
    one_of_many_claimants_wins,
    claim_with_a_wrong_expectation_is_lost,
    owner_claims_its_own_room_again_under_a_new_epoch,
    epochs_never_go_back,
    room_of_a_newer_format_is_not_claimed,
    restore_is_a_compare_and_set_to_a_new_epoch,
    restore_writes_a_missing_room_anew,
    rooms_are_listed_by_their_owner,
    nodes_are_listed_until_they_are_forgotten,
    generation_begins_with_the_first_heartbeat,
    look_up_tells_owner_and_generation,
];

async fn claim_of_an_unknown_room_stores_its_owner_only(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let room_id = room_id();
    assert_eq!(mirror.ownership(room_id).await.unwrap(), None);
    let (owned, version, room) = Owned::claim(mirror, room_id, None, node_id()).await;
    assert_eq!((version, room), (Version(0), None));
    assert_eq!(
        mirror.ownership(room_id).await.unwrap(),
        Some(owned.ownership())
    );
    // Still nothing but an owner: the claimant died before its first commit.
    let (_, version, room) = load(&fixture, &owned).await;
    assert_eq!((version, room), (Version(0), None));
}

async fn one_of_many_claimants_wins(fixture: Fixture) {
    let (owned, snapshot) = Owned::rich(&*fixture.mirror).await;
    for (room_id, expected) in [(room_id(), None), (owned.room_id, Some(owned.ownership()))] {
        let claims = (0..40).map(|_| {
            let mirror = Arc::clone(&fixture.mirror);
            let claimant = node_id();
            let claim = Claim {
                room_id,
                expected,
                claimant,
                last_seen: Epoch(0),
            };
            tokio::spawn(async move { (claimant, mirror.claim(claim).await.unwrap()) })
        });
        let mut winners = Vec::new();
        let mut losers = HashSet::new();
        for claim in claims.collect::<Vec<_>>() {
            match claim.await.unwrap() {
                (claimant, ClaimOutcome::Claimed { epoch, room, .. }) => {
                    assert_eq!(room.is_some(), expected.is_some());
                    assert!(room.is_none_or(|room| *room == snapshot));
                    winners.push(Ownership {
                        owner: Some(claimant),
                        epoch,
                    });
                }
                (_, ClaimOutcome::Lost(stored)) => {
                    let stored = stored.unwrap();
                    losers.insert((stored.owner, stored.epoch));
                }
                (_, ClaimOutcome::TooNew) => panic!("too new"),
            }
        }
        assert_eq!(winners.len(), 1);
        // Every loser was told the winner: that is where it forwards to.
        assert_eq!(
            losers,
            HashSet::from([(winners[0].owner, winners[0].epoch)])
        );
    }
}

async fn claim_with_a_wrong_expectation_is_lost(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let (owned, _) = Owned::rich(mirror).await;
    let right = owned.ownership();
    let wrong = [
        None,
        Some(Ownership {
            owner: None,
            ..right
        }),
        Some(Ownership {
            owner: Some(node_id()),
            ..right
        }),
        Some(Ownership {
            epoch: right.epoch.next(),
            ..right
        }),
    ];
    for expected in wrong {
        let claim = Claim {
            room_id: owned.room_id,
            expected,
            claimant: node_id(),
            last_seen: Epoch(0),
        };
        let outcome = mirror.claim(claim).await.unwrap();
        assert!(
            matches!(outcome, ClaimOutcome::Lost(Some(stored)) if stored == right),
            "{outcome:?}"
        );
    }
    let claim = Claim {
        room_id: room_id(),
        expected: Some(right),
        claimant: node_id(),
        last_seen: Epoch(0),
    };
    let outcome = mirror.claim(claim).await.unwrap();
    assert!(matches!(outcome, ClaimOutcome::Lost(None)), "{outcome:?}");
    owned.write(mirror, empty_changes(1, 2, 5)).await;
}

async fn owner_claims_its_own_room_again_under_a_new_epoch(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let (owned, snapshot) = Owned::rich(mirror).await;
    let (again, version, room) =
        Owned::claim(mirror, owned.room_id, Some(owned.ownership()), owned.owner).await;
    assert!(again.epoch > owned.epoch);
    assert_eq!((version, room), (Version(1), Some(Box::new(snapshot))));
    let outcome = owned.try_write(mirror, empty_changes(1, 2, 5)).await;
    assert!(matches!(outcome, CommitOutcome::Fenced { .. }));
    again.write(mirror, empty_changes(1, 2, 5)).await;
    assert_eq!(mirror.rooms_of(owned.owner).await.unwrap(), [owned.room_id]);
}

async fn epochs_never_go_back(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let (owned, _) = Owned::rich(mirror).await;
    // A claimant that has seen more than the mirror remembers: a higher epoch, though exact.
    let seen = Epoch(owned.epoch.0 + 1_000_000_000_000);
    let claim = Claim {
        room_id: owned.room_id,
        expected: Some(owned.ownership()),
        claimant: owned.owner,
        last_seen: seen,
    };
    let outcome = mirror.claim(claim).await.unwrap();
    let ClaimOutcome::Claimed { epoch, .. } = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(epoch, seen.next());
    let mut owned = Owned { epoch, ..owned };
    for _ in 0..20 {
        let before = owned.epoch;
        (owned, _, _) = load(&fixture, &owned).await;
        assert_eq!(owned.epoch, before.next());
    }
    // Also when the mirror has forgotten the room.
    let first = Owned::new(mirror).await;
    fixture.lose(first.room_id);
    let (second, ..) = Owned::claim(mirror, first.room_id, None, node_id()).await;
    assert!(second.epoch > first.epoch);
}

async fn room_of_a_newer_format_is_not_claimed(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let (owned, snapshot) = Owned::rich(mirror).await;
    fixture.raise_format(owned.room_id);
    let claim = Claim {
        room_id: owned.room_id,
        expected: Some(owned.ownership()),
        claimant: node_id(),
        last_seen: Epoch(0),
    };
    let outcome = mirror.claim(claim).await.unwrap();
    assert!(matches!(outcome, ClaimOutcome::TooNew), "{outcome:?}");
    let commit = owned.commit(full_changes(&snapshot, 0, 9));
    let outcome = mirror
        .restore(&commit, Some(owned.ownership()))
        .await
        .unwrap();
    assert!(matches!(outcome, ClaimOutcome::TooNew), "{outcome:?}");
    assert_eq!(
        mirror.ownership(owned.room_id).await.unwrap(),
        Some(owned.ownership())
    );
}

async fn restore_is_a_compare_and_set_to_a_new_epoch(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let (owned, mut room) = Owned::rich(mirror).await;
    room.participants.remove(&user_id(3));
    room.seq = Seq(6);
    room.tail.push(event(6));
    let commit = owned.commit(full_changes(&room, 40, 41));
    let stale = Ownership {
        epoch: Epoch(1),
        ..owned.ownership()
    };
    let outcome = mirror.restore(&commit, Some(stale)).await.unwrap();
    assert!(matches!(outcome, ClaimOutcome::Lost(Some(stored)) if stored == owned.ownership()));
    let outcome = mirror.restore(&commit, None).await.unwrap();
    assert!(matches!(outcome, ClaimOutcome::Lost(Some(_))));
    let outcome = mirror.restore(&commit, Some(owned.ownership())).await;
    let ClaimOutcome::Claimed { epoch, version, .. } = outcome.unwrap() else {
        panic!("not restored");
    };
    assert!(epoch > owned.epoch);
    assert_eq!(version, Version(41));
    let restored = Owned { epoch, ..owned };
    restored.write(mirror, empty_changes(41, 42, 6)).await;
    let (_, version, stored) = load(&fixture, &restored).await;
    assert_eq!((version, stored), (Version(42), Some(room)));
}

async fn restore_writes_a_missing_room_anew(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let (owned, room) = Owned::rich(mirror).await;
    fixture.lose(owned.room_id);
    let commit = owned.commit(full_changes(&room, 7, 8));
    let outcome = mirror
        .restore(&commit, Some(owned.ownership()))
        .await
        .unwrap();
    assert!(matches!(outcome, ClaimOutcome::Lost(None)), "{outcome:?}");
    let ClaimOutcome::Claimed { epoch, .. } = mirror.restore(&commit, None).await.unwrap() else {
        panic!("not restored");
    };
    assert!(epoch > owned.epoch);
    assert_eq!(mirror.rooms_of(owned.owner).await.unwrap(), [owned.room_id]);
    let (_, version, stored) = load(&fixture, &Owned { epoch, ..owned }).await;
    assert_eq!((version, stored), (Version(8), Some(room)));
}

async fn rooms_are_listed_by_their_owner(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let owner = node_id();
    let mut rooms = HashSet::new();
    // More than are read at once.
    for _ in 0..600 {
        let id = room_id();
        Owned::claim(mirror, id, None, owner).await;
        rooms.insert(id);
    }
    let listed: HashSet<RoomId> = mirror.rooms_of(owner).await.unwrap().into_iter().collect();
    assert_eq!(listed, rooms);
    let taken = *rooms.iter().next().unwrap();
    let expected = mirror.ownership(taken).await.unwrap();
    let successor = node_id();
    Owned::claim(mirror, taken, expected, successor).await;
    assert_eq!(mirror.rooms_of(successor).await.unwrap(), [taken]);
    assert_eq!(mirror.rooms_of(owner).await.unwrap().len(), 599);
    assert!(mirror.rooms_of(node_id()).await.unwrap().is_empty());
}

fn node() -> NodeRecord {
    NodeRecord {
        node_id: node_id(),
        url: "http://127.0.0.1:8080".to_owned(),
        region: "local".to_owned(),
        version: "0.1.0".to_owned(),
        database_id: "db".to_owned(),
        rooms: 3,
        connections: 12,
        state: "starting".to_owned(),
        heartbeat: 1,
        seen_at: callboard::ids::Timestamp(1_795_376_000_120),
    }
}

async fn generation_begins_with_the_first_heartbeat(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    // Asking begins none, nor does anything but a heartbeat.
    assert_eq!(mirror.generation().await.unwrap(), None);
    Owned::rich(mirror).await;
    assert_eq!(mirror.generation().await.unwrap(), None);
    let generation = mirror.heartbeat(&node()).await.unwrap();
    assert_eq!(mirror.generation().await.unwrap(), Some(generation.clone()));
    fixture.lose_everything();
    assert_eq!(mirror.generation().await.unwrap(), None);
    let next = mirror.heartbeat(&node()).await.unwrap();
    assert_ne!(next, generation);
    assert_eq!(mirror.generation().await.unwrap(), Some(next));
}

async fn look_up_tells_owner_and_generation(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let nothing = LookUp {
        ownership: None,
        generation: None,
    };
    assert_eq!(mirror.look_up(room_id()).await.unwrap(), nothing);
    let (owned, _) = Owned::rich(mirror).await;
    let generation = mirror.heartbeat(&node()).await.unwrap();
    let known = LookUp {
        ownership: Some(owned.ownership()),
        generation: Some(generation.clone()),
    };
    assert_eq!(mirror.look_up(owned.room_id).await.unwrap(), known);
    let unknown = LookUp {
        ownership: None,
        generation: Some(generation),
    };
    assert_eq!(mirror.look_up(room_id()).await.unwrap(), unknown);
    fixture.lose_everything();
    assert_eq!(mirror.look_up(owned.room_id).await.unwrap(), nothing);
}

async fn nodes_are_listed_until_they_are_forgotten(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let mut first = node();
    let generation = mirror.heartbeat(&first).await.unwrap();
    first.heartbeat = 2;
    first.state = "ready".to_owned();
    assert_eq!(mirror.heartbeat(&first).await.unwrap(), generation);
    let second = NodeRecord {
        node_id: node_id(),
        ..first.clone()
    };
    assert_eq!(mirror.heartbeat(&second).await.unwrap(), generation);
    let listed = mirror.nodes().await.unwrap();
    assert_eq!(listed.len(), 2);
    assert!(listed.contains(&first) && listed.contains(&second));
    mirror.forget_node(first.node_id).await.unwrap();
    assert_eq!(mirror.nodes().await.unwrap(), [second]);
}
