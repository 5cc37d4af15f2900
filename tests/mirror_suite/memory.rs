//! The controls of the mirror in memory that simulations rely on.

use std::{sync::Arc, time::Duration};

use callboard::{
    ids::{Epoch, Version},
    mirror::{Claim, ClaimOutcome, CommitOutcome, Ownership, RoomMirror, memory::MemoryMirror},
};
use tokio::time::Instant;

use crate::sample::*;

#[tokio::test(start_paused = true)]
async fn delay_is_that_of_the_paused_clock() {
    let mirror = Arc::new(MemoryMirror::new());
    let (owned, _) = Owned::rich(&*mirror).await;
    mirror.set_delay(Duration::from_secs(3600));
    let begun = Instant::now();
    let commit = tokio::spawn({
        let mirror = Arc::clone(&mirror);
        async move { owned.write(&*mirror, empty_changes(1, 2, 5)).await }
    });
    // The clock moves only when all tasks wait: by then the commit is under way, and nothing of it
    // is written.
    tokio::time::sleep(Duration::from_secs(3599)).await;
    assert!(!commit.is_finished());
    commit.await.unwrap();
    assert_eq!(begun.elapsed().as_secs(), 3600);
    mirror.set_delay(Duration::ZERO);
    let expected = Some(owned.ownership());
    let (_, version, _) = Owned::claim(&*mirror, owned.room_id, expected, node_id()).await;
    assert_eq!(version, Version(2));
}

#[tokio::test]
async fn broken_fence_lets_a_former_owner_write() {
    let mirror = MemoryMirror::new();
    let (previous, mut snapshot) = Owned::rich(&mirror).await;
    let expected = Some(previous.ownership());
    let (owner, ..) = Owned::claim(&mirror, previous.room_id, expected, node_id()).await;
    owner.write(&mirror, empty_changes(1, 2, 5)).await;
    let mut changes = empty_changes(1, 2, 6);
    changes.participants.insert(user_id(2), None);
    let outcome = previous.try_write(&mirror, changes.clone()).await;
    assert!(matches!(outcome, CommitOutcome::Fenced { .. }));

    mirror.break_fence();
    previous.write(&mirror, changes).await;
    // The mirror checks neither the owner nor the chain.
    owner.write(&mirror, empty_changes(40, 41, 6)).await;
    assert_eq!(
        mirror.ownership(owner.room_id).await.unwrap(),
        Some(owner.ownership())
    );
    let claim = Claim {
        room_id: owner.room_id,
        expected: Some(Ownership {
            owner: Some(node_id()),
            epoch: Epoch(1),
        }),
        claimant: node_id(),
        last_seen: Epoch(0),
    };
    let ClaimOutcome::Claimed { version, room, .. } = mirror.claim(claim).await.unwrap() else {
        panic!("not claimed");
    };
    snapshot.participants.remove(&user_id(2));
    snapshot.seq = callboard::ids::Seq(6);
    assert_eq!((version, room), (Version(41), Some(Box::new(snapshot))));
    let outcome = mirror.release(previous.room_id, previous.owner, previous.epoch);
    assert_eq!(outcome.await.unwrap(), CommitOutcome::Ok);
}

#[tokio::test]
async fn broken_fence_lets_a_closed_room_come_back() {
    let mirror = MemoryMirror::new();
    let (owned, snapshot) = Owned::rich(&mirror).await;
    let session_id = snapshot.head.session.as_ref().unwrap().session_id;
    let session = closed_session(owned.room_id, session_id);
    let closing = closing_changes(1, 2, Some(session));
    owned.write(&mirror, closing.clone()).await;
    mirror.break_fence();
    // Still no commit is written twice.
    owned.write(&mirror, full_changes(&snapshot, 2, 3)).await;
    owned.write(&mirror, closing).await;
    assert_eq!(mirror.outbox(10).await.unwrap().len(), 1);
    assert_eq!(
        mirror.ownership(owned.room_id).await.unwrap(),
        Some(owned.ownership())
    );
}
