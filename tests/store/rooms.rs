//! Rooms, their settings and their bans.

use callboard::{
    ids::UserId,
    protocol::{DuplicatePolicy, Kind, Settings},
    store::{Created, DEFAULT_TENANT, Page, Room, RoomStatus, Update},
};
use uuid::Uuid;

use crate::{World, at, closed, on_both, opening, room, session_id};

on_both!(
    room_is_created_once_for_a_host_of_its_tenant,
    settings_come_back_as_written_and_their_version_grows,
    one_of_many_changes_to_the_same_version_wins,
    rooms_are_listed_by_status_and_not_after_their_deletion,
    bans_are_idempotent_and_can_be_lifted,
    facts_of_a_room_are_those_that_are_read_one_by_one,
    many_writers_at_once_all_succeed,
);

async fn room_is_created_once_for_a_host_of_its_tenant(world: World) {
    let created = world.room().await;
    let store = &world.store;
    assert_eq!(
        store.create_room(created.clone()).await.unwrap(),
        Created::Same(created.clone())
    );
    let other = Room {
        settings: Settings::default(),
        ..created.clone()
    };
    assert_eq!(store.create_room(other).await.unwrap(), Created::Conflict);
    let nobody = room(UserId(Uuid::new_v4()));
    assert_eq!(
        store.create_room(nobody).await.unwrap(),
        Created::HostMissing
    );
    let foreign = Room {
        tenant_id: world.tenant().await,
        ..room(created.host_user_id)
    };
    assert_eq!(
        store.create_room(foreign).await.unwrap(),
        Created::HostMissing
    );
    assert!(
        store
            .delete_room(DEFAULT_TENANT, created.id, at(1))
            .await
            .unwrap()
    );
    assert_eq!(store.create_room(created).await.unwrap(), Created::Conflict);
}

async fn settings_come_back_as_written_and_their_version_grows(world: World) {
    let room = world.room().await;
    let settings = Settings {
        is_recording_enabled: true,
        max_participants: 10_000,
        allowed_roles: vec![Kind::Guest],
        is_lobby_enabled: true,
        duplicate_policy: DuplicatePolicy::Reject,
        max_duration_secs: None,
    };
    let update = |version| {
        world
            .store
            .update_room_settings(DEFAULT_TENANT, room.id, settings.clone(), version)
    };
    let wanted = Room {
        settings: settings.clone(),
        version: 2,
        ..room.clone()
    };
    assert_eq!(update(Some(1)).await.unwrap(), Update::Done(wanted.clone()));
    assert_eq!(
        world.store.any_room(room.id).await.unwrap(),
        Some(wanted.clone())
    );
    assert_eq!(update(Some(1)).await.unwrap(), Update::Stale);
    assert_eq!(
        update(None).await.unwrap(),
        Update::Done(Room {
            version: 3,
            ..wanted
        })
    );
}

async fn one_of_many_changes_to_the_same_version_wins(world: World) {
    let room = world.room().await;
    let tries = (0..16).map(|seats| {
        let settings = Settings {
            max_participants: 50 + seats,
            ..Settings::default()
        };
        world
            .store
            .update_room_settings(DEFAULT_TENANT, room.id, settings, Some(1))
    });
    let outcomes = futures_util::future::join_all(tries).await;
    let done = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Ok(Update::Done(_))))
        .count();
    let stale = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Ok(Update::Stale)))
        .count();
    assert_eq!((done, stale), (1, 15), "{outcomes:?}");
}

async fn rooms_are_listed_by_status_and_not_after_their_deletion(world: World) {
    let (one, two, three) = (world.room().await, world.room().await, world.room().await);
    let store = &world.store;
    store
        .record_openings(&[opening(session_id(), two.id, at(1))])
        .await
        .unwrap();
    assert!(
        store
            .delete_room(DEFAULT_TENANT, three.id, at(2))
            .await
            .unwrap()
    );
    assert!(
        !store
            .delete_room(DEFAULT_TENANT, three.id, at(3))
            .await
            .unwrap()
    );
    let ids = async |status| {
        let page = store
            .rooms(DEFAULT_TENANT, status, Page::first(500))
            .await
            .unwrap();
        page.items.iter().map(|room| room.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(Some(RoomStatus::Active)).await, [two.id]);
    assert_eq!(ids(Some(RoomStatus::Scheduled)).await, [one.id]);
    assert_eq!(ids(None).await.len(), 2);
    assert_eq!(store.any_room(three.id).await.unwrap(), None);
}

async fn bans_are_idempotent_and_can_be_lifted(world: World) {
    let room = world.room().await.id;
    let (one, two) = (UserId(Uuid::new_v4()), UserId(Uuid::new_v4()));
    let store = &world.store;
    store.add_ban(room, two, at(2)).await.unwrap();
    store.add_ban(room, one, at(1)).await.unwrap();
    store.add_ban(room, one, at(3)).await.unwrap();
    assert_eq!(
        store.bans(room).await.unwrap(),
        [(one, at(1)), (two, at(2))]
    );
    assert!(store.remove_ban(room, one).await.unwrap());
    assert!(!store.remove_ban(room, one).await.unwrap());
    let unknown = callboard::ids::RoomId(Uuid::new_v4());
    store.add_ban(unknown, one, at(1)).await.unwrap();
    assert_eq!(store.bans(unknown).await.unwrap(), []);
}

async fn facts_of_a_room_are_those_that_are_read_one_by_one(world: World) {
    let (room, other) = (world.room().await, world.room().await);
    let store = &world.store;
    let facts = store.room_facts(room.id).await.unwrap().unwrap();
    assert_eq!(
        (facts.room, facts.bans, facts.open),
        (room.clone(), vec![], vec![])
    );
    for n in [3, 1, 2] {
        for id in [room.id, other.id] {
            let user = UserId(Uuid::new_v4());
            store.add_ban(id, user, at(n)).await.unwrap();
            let opening = opening(session_id(), id, at(n));
            store.record_openings(&[opening]).await.unwrap();
        }
    }
    let done = closed(room.id, session_id());
    store.record_sessions(&[done]).await.unwrap();
    let facts = store.room_facts(room.id).await.unwrap().unwrap();
    assert_eq!(Some(facts.room), store.any_room(room.id).await.unwrap());
    assert_eq!(facts.bans, store.bans(room.id).await.unwrap());
    let times: Vec<_> = facts.bans.iter().map(|(_, at)| *at).collect();
    assert_eq!(times, [at(1), at(2), at(3)]);
    assert_eq!(facts.open, store.open_sessions_of(room.id).await.unwrap());
    let times: Vec<_> = facts.open.iter().map(|open| open.start_time).collect();
    assert_eq!(times, [at(3), at(2), at(1)]);

    let unknown = callboard::ids::RoomId(Uuid::new_v4());
    assert_eq!(store.room_facts(unknown).await.unwrap(), None);
    let deleted = store.delete_room(room.tenant_id, room.id, at(9));
    assert!(deleted.await.unwrap());
    assert_eq!(store.room_facts(room.id).await.unwrap(), None);
}

async fn many_writers_at_once_all_succeed(world: World) {
    let room = world.room().await.id;
    let writes = (0..64).map(|n| world.store.add_ban(room, UserId(Uuid::new_v4()), at(n)));
    for outcome in futures_util::future::join_all(writes).await {
        outcome.unwrap();
    }
    assert_eq!(world.store.bans(room).await.unwrap().len(), 64);
}
