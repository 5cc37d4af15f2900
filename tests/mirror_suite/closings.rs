//! Closings: the session moves to the outbox, once.

use std::collections::HashSet;

use callboard::{
    ids::{SessionId, Version},
    mirror::ClaimOutcome,
};

use crate::{
    fixture::{Fixture, load, on_every_adapter},
    sample::*,
};

on_every_adapter![
    closing_moves_the_session_to_the_outbox,
    repeated_closing_is_ok_also_behind_a_new_session,
    repeated_closing_without_session_is_ok,
    restore_may_close_the_room,
    finished_is_what_the_outbox_holds,
];

async fn closing_moves_the_session_to_the_outbox(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let (owned, snapshot) = Owned::rich(mirror).await;
    let (other, _) = Owned::rich(mirror).await;
    let session_id = snapshot.head.session.unwrap().session_id;
    let session = closed_session(owned.room_id, session_id);
    owned
        .write(mirror, closing_changes(1, 2, Some(session.clone())))
        .await;
    assert_eq!(mirror.ownership(owned.room_id).await.unwrap(), None);
    assert!(mirror.rooms_of(owned.owner).await.unwrap().is_empty());
    // Reading takes nothing away.
    for _ in 0..2 {
        let entries = mirror.outbox(10).await.unwrap();
        assert_eq!(entries, std::slice::from_ref(&session));
    }
    assert!(mirror.outbox(0).await.unwrap().is_empty());
    mirror
        .recorded(&[(owned.room_id, session_id)])
        .await
        .unwrap();
    mirror
        .recorded(&[(owned.room_id, session_id)])
        .await
        .unwrap();
    assert!(mirror.outbox(10).await.unwrap().is_empty());
    // The neighbour lives.
    other.write(mirror, empty_changes(1, 2, 5)).await;
}

async fn repeated_closing_is_ok_also_behind_a_new_session(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let (owned, snapshot) = Owned::rich(mirror).await;
    let session_id = snapshot.head.session.unwrap().session_id;
    let closing = closing_changes(1, 2, Some(closed_session(owned.room_id, session_id)));
    owned.write(mirror, closing.clone()).await;
    owned.write(mirror, closing.clone()).await;
    let (next, version, room) = Owned::claim(mirror, owned.room_id, None, node_id()).await;
    assert_eq!((version, room), (Version(0), None));
    let next_room = rich(owned.room_id);
    next.write(mirror, full_changes(&next_room, 0, 1)).await;
    owned.write(mirror, closing).await;
    assert_eq!(mirror.outbox(10).await.unwrap().len(), 1);
    // The new session is whole, and ends in an entry of its own.
    let (next, _, room) = load(&fixture, &next).await;
    assert_eq!(room, Some(next_room.clone()));
    let next_session = closed_session(owned.room_id, next_room.head.session.unwrap().session_id);
    next.write(mirror, closing_changes(1, 2, Some(next_session)))
        .await;
    let entries = mirror.outbox(10).await.unwrap();
    let ids: HashSet<SessionId> = entries.iter().map(|entry| entry.session_id).collect();
    assert_eq!(ids.len(), 2);
}

async fn repeated_closing_without_session_is_ok(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let (owned, _) = Owned::rich(mirror).await;
    owned.write(mirror, closing_changes(1, 2, None)).await;
    owned.write(mirror, closing_changes(1, 2, None)).await;
    assert_eq!(mirror.ownership(owned.room_id).await.unwrap(), None);
    assert!(mirror.outbox(10).await.unwrap().is_empty());
}

async fn restore_may_close_the_room(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let (owned, room) = Owned::rich(mirror).await;
    let session = closed_session(owned.room_id, room.head.session.unwrap().session_id);
    let mut changes = closing_changes(4, 5, Some(session.clone()));
    changes.is_full = true;
    let commit = owned.commit(changes);
    for _ in 0..2 {
        let outcome = mirror.restore(&commit, Some(owned.ownership())).await;
        assert!(matches!(outcome.unwrap(), ClaimOutcome::Claimed { .. }));
    }
    assert_eq!(mirror.ownership(owned.room_id).await.unwrap(), None);
    assert_eq!(mirror.outbox(10).await.unwrap(), [session]);
}

async fn finished_is_what_the_outbox_holds(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let (owned, room) = Owned::rich(mirror).await;
    let session_id = room.head.session.unwrap().session_id;
    let is_finished = async |room_id, id| mirror.is_finished(room_id, id).await.unwrap();
    assert!(!is_finished(owned.room_id, session_id).await);
    let session = closed_session(owned.room_id, session_id);
    owned
        .write(mirror, closing_changes(1, 2, Some(session)))
        .await;
    assert!(is_finished(owned.room_id, session_id).await);
    // Both ids count, and the next session of the room is another.
    assert!(!is_finished(room_id(), session_id).await);
    assert!(!is_finished(owned.room_id, SessionId(uuid::Uuid::new_v4())).await);
    let (next, ..) = Owned::claim(mirror, owned.room_id, None, node_id()).await;
    next.write(mirror, full_changes(&rich(owned.room_id), 0, 1))
        .await;
    assert!(is_finished(owned.room_id, session_id).await);
    mirror
        .recorded(&[(owned.room_id, session_id)])
        .await
        .unwrap();
    assert!(!is_finished(owned.room_id, session_id).await);
}
