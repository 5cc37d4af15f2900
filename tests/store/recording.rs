//! Sessions are recorded exactly once with their true times, in any order and
//! for any number of repeats of the pieces.

use callboard::{
    ids::{RoomId, UserId},
    protocol::EndReason,
    room::record::BanRecord,
    store::{DEFAULT_TENANT, Page, RECORD_BATCH, RoomStatus, Session},
};
use uuid::Uuid;

use crate::{World, at, attendance, closed, on_both, opening, session_id};

on_both!(
    session_that_was_never_opened_is_recorded_whole,
    openings_of_many_rooms_share_transactions,
    opened_session_is_closed_with_its_attendances,
    session_recorded_twice_changes_nothing,
    ban_lifted_after_the_first_recording_stays_lifted,
    room_stays_active_while_a_newer_session_is_open,
    late_opening_of_a_closed_session_does_not_revive_the_room,
    opening_and_recording_at_once_leave_the_right_status,
    session_of_an_unknown_room_is_skipped,
    lost_session_ends_when_it_was_last_seen,
    truth_replaces_lost_and_not_the_other_way_round,
    differing_clocks_and_nul_do_not_make_a_session_unrecordable,
    large_sessions_and_long_lists_are_recorded,
);

async fn session_that_was_never_opened_is_recorded_whole(world: World) {
    let room = world.room().await.id;
    let session = closed(room, session_id());
    let store = &world.store;
    store
        .record_sessions(std::slice::from_ref(&session))
        .await
        .unwrap();
    let (row, attendances) = store
        .session(DEFAULT_TENANT, session.session_id)
        .await
        .unwrap()
        .unwrap();
    let wanted = Session {
        id: session.session_id,
        room_id: room,
        start_time: session.start_time,
        end_time: Some(session.end_time),
        end_reason: Some(EndReason::Empty),
        recording_url: None,
        last_seen_at: session.end_time,
    };
    assert_eq!(row, wanted);
    assert_eq!(attendances, session.attendances);
    assert_eq!(world.status(room).await, RoomStatus::Completed);
    assert!(store.session_closed(session.session_id).await.unwrap());
    assert!(store.open_sessions_of(room).await.unwrap().is_empty());
}

async fn openings_of_many_rooms_share_transactions(world: World) {
    let mut openings = Vec::new();
    for _ in 0..=RECORD_BATCH {
        let room = world.room().await.id;
        openings.push(opening(session_id(), room, at(1)));
    }
    // Of a room that is gone.
    openings.insert(1, opening(session_id(), RoomId(Uuid::new_v4()), at(1)));
    world.store.record_openings(&openings).await.unwrap();
    openings.remove(1);
    for opening in openings {
        assert_eq!(world.status(opening.room_id).await, RoomStatus::Active);
        assert_eq!(world.session(opening.session_id).await.end_time, None);
    }
}

async fn opened_session_is_closed_with_its_attendances(world: World) {
    let room = world.room().await.id;
    let session = closed(room, session_id());
    let store = &world.store;
    for _ in 0..2 {
        store
            .record_openings(&[opening(session.session_id, room, session.start_time)])
            .await
            .unwrap();
        assert_eq!(world.status(room).await, RoomStatus::Active);
    }
    assert!(!store.open_sessions_of(room).await.unwrap().is_empty());
    assert!(!store.session_closed(session.session_id).await.unwrap());
    assert_eq!(world.session(session.session_id).await.end_time, None);
    store
        .record_sessions(std::slice::from_ref(&session))
        .await
        .unwrap();
    let (row, attendances) = store
        .session(DEFAULT_TENANT, session.session_id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(row.end_time, Some(session.end_time));
    assert_eq!(attendances, session.attendances);
    assert_eq!(world.status(room).await, RoomStatus::Completed);
}

async fn session_recorded_twice_changes_nothing(world: World) {
    let room = world.room().await.id;
    let session = closed(room, session_id());
    let store = &world.store;
    store
        .record_sessions(&[session.clone(), session.clone()])
        .await
        .unwrap();
    let mut other = session.clone();
    other.end_time = at(999_000);
    other.end_reason = EndReason::Ended;
    store.record_sessions(&[other]).await.unwrap();
    let (row, attendances) = store
        .session(DEFAULT_TENANT, session.session_id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (row.end_time, row.end_reason),
        (Some(session.end_time), Some(EndReason::Empty))
    );
    assert_eq!(attendances, session.attendances);
}

async fn ban_lifted_after_the_first_recording_stays_lifted(world: World) {
    let room = world.room().await.id;
    let eve = UserId(Uuid::new_v4());
    let mut session = closed(room, session_id());
    session.bans.insert(eve, BanRecord { created_at: at(5) });
    let store = &world.store;
    store
        .record_sessions(std::slice::from_ref(&session))
        .await
        .unwrap();
    assert_eq!(store.bans(room).await.unwrap(), [(eve, at(5))]);
    assert!(store.remove_ban(room, eve).await.unwrap());
    store.record_sessions(&[session]).await.unwrap();
    assert_eq!(store.bans(room).await.unwrap(), []);
}

async fn room_stays_active_while_a_newer_session_is_open(world: World) {
    let room = world.room().await.id;
    let old = closed(room, session_id());
    let new = session_id();
    let store = &world.store;
    store
        .record_openings(&[opening(old.session_id, room, old.start_time)])
        .await
        .unwrap();
    store
        .record_openings(&[opening(new, room, at(130_000))])
        .await
        .unwrap();
    store.record_sessions(&[old]).await.unwrap();
    assert_eq!(world.status(room).await, RoomStatus::Active);
    assert!(!store.open_sessions_of(room).await.unwrap().is_empty());
    let mut end = closed(room, new);
    end.start_time = at(130_000);
    end.end_time = at(140_000);
    store.record_sessions(&[end]).await.unwrap();
    assert_eq!(world.status(room).await, RoomStatus::Completed);
}

async fn late_opening_of_a_closed_session_does_not_revive_the_room(world: World) {
    let room = world.room().await.id;
    let session = closed(room, session_id());
    let store = &world.store;
    store
        .record_sessions(std::slice::from_ref(&session))
        .await
        .unwrap();
    store
        .record_openings(&[opening(session.session_id, room, session.start_time)])
        .await
        .unwrap();
    assert_eq!(world.status(room).await, RoomStatus::Completed);
    assert!(store.session_closed(session.session_id).await.unwrap());
}

async fn opening_and_recording_at_once_leave_the_right_status(world: World) {
    let room = world.room().await.id;
    for _ in 0..20 {
        let old = closed(room, session_id());
        let new = [opening(session_id(), room, at(130_000))];
        let store = &world.store;
        store
            .record_openings(&[opening(old.session_id, room, old.start_time)])
            .await
            .unwrap();
        let old = [old];
        let (recorded, opened) =
            tokio::join!(store.record_sessions(&old), store.record_openings(&new));
        recorded.unwrap();
        opened.unwrap();
        assert_eq!(world.status(room).await, RoomStatus::Active);
        assert!(store.close_lost(new[0].session_id).await.unwrap());
        assert_eq!(world.status(room).await, RoomStatus::Completed);
    }
}

async fn session_of_an_unknown_room_is_skipped(world: World) {
    let known = closed(world.room().await.id, session_id());
    let unknown = closed(RoomId(Uuid::new_v4()), session_id());
    let store = &world.store;
    store
        .record_openings(&[opening(unknown.session_id, unknown.room_id, at(1))])
        .await
        .unwrap();
    store
        .record_sessions(&[unknown.clone(), known.clone()])
        .await
        .unwrap();
    assert!(store.session_closed(known.session_id).await.unwrap());
    assert!(!store.session_closed(unknown.session_id).await.unwrap());
}

async fn lost_session_ends_when_it_was_last_seen(world: World) {
    let room = world.room().await.id;
    let (seen, unseen) = (session_id(), session_id());
    let store = &world.store;
    store
        .record_openings(&[opening(seen, room, at(10))])
        .await
        .unwrap();
    store
        .record_openings(&[opening(unseen, room, at(20))])
        .await
        .unwrap();
    store
        .touch_sessions(&[seen, session_id()], at(70_000))
        .await
        .unwrap();
    store.touch_sessions(&[seen, unseen], at(5)).await.unwrap();

    let first = store.open_sessions(None, 1).await.unwrap();
    let second = store
        .open_sessions(Some(first[0].session_id), 5)
        .await
        .unwrap();
    let mut open: Vec<_> = first
        .iter()
        .chain(&second)
        .map(|open| (open.session_id, open.last_seen_at))
        .collect();
    open.sort_by_key(|(_, at)| *at);
    assert_eq!(open, [(unseen, at(20)), (seen, at(70_000))]);

    assert!(store.close_lost(seen).await.unwrap());
    assert_eq!(world.status(room).await, RoomStatus::Active);
    assert!(store.close_lost(unseen).await.unwrap());
    assert_eq!(world.status(room).await, RoomStatus::Completed);
    assert!(!store.close_lost(seen).await.unwrap());
    assert!(!store.close_lost(session_id()).await.unwrap());
    let row = world.session(seen).await;
    assert_eq!(
        (row.end_time, row.end_reason),
        (Some(at(70_000)), Some(EndReason::Lost))
    );
    assert_eq!(world.session(unseen).await.end_time, Some(at(20)));
    assert_eq!(store.open_sessions(None, 5).await.unwrap(), []);
}

async fn truth_replaces_lost_and_not_the_other_way_round(world: World) {
    let room = world.room().await.id;
    let session = closed(room, session_id());
    let store = &world.store;
    store
        .record_openings(&[opening(session.session_id, room, session.start_time)])
        .await
        .unwrap();
    assert!(store.close_lost(session.session_id).await.unwrap());
    store
        .record_sessions(std::slice::from_ref(&session))
        .await
        .unwrap();
    let row = world.session(session.session_id).await;
    assert_eq!(
        (row.end_time, row.end_reason),
        (Some(session.end_time), Some(EndReason::Empty))
    );
    let mut lost = session.clone();
    lost.end_reason = EndReason::Lost;
    store.record_sessions(&[lost]).await.unwrap();
    assert_eq!(
        world.session(session.session_id).await.end_reason,
        Some(EndReason::Empty)
    );
}

async fn differing_clocks_and_nul_do_not_make_a_session_unrecordable(world: World) {
    let room = world.room().await.id;
    let mut session = closed(room, session_id());
    session.end_time = at(1);
    session.attendances[0].left_at = at(2);
    session.attendances[0].display_name = "A\0da 🎭".to_owned();
    let store = &world.store;
    store
        .record_sessions(std::slice::from_ref(&session))
        .await
        .unwrap();
    let (row, attendances) = store
        .session(DEFAULT_TENANT, session.session_id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(row.end_time, Some(session.start_time));
    assert_eq!(attendances[0].left_at, session.attendances[0].joined_at);
    assert_eq!(attendances[0].display_name, "Ada 🎭");
}

async fn large_sessions_and_long_lists_are_recorded(world: World) {
    let room = world.room().await.id;
    let mut large = closed(room, session_id());
    large.attendances = (0..2_500)
        .map(|n| attendance(&format!("person {n}")))
        .collect();
    let mut list: Vec<_> = (0..RECORD_BATCH + 3)
        .map(|_| closed(room, session_id()))
        .collect();
    list.push(large.clone());
    let store = &world.store;
    store.record_sessions(&list).await.unwrap();
    let (_, attendances) = store
        .session(DEFAULT_TENANT, large.session_id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(attendances.len(), 2_500);
    let page = store
        .sessions(DEFAULT_TENANT, room, Page::first(500))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(page.items.len(), list.len());
}
