//! A database that is away, dies, hangs or is locked: told apart, bounded in time, survived where
//! it can be.

use std::time::{Duration, Instant};

use callboard::store::{DEFAULT_TENANT, DeleteUser, Store, StoreFault, StoreOptions, UserPatch};
use diesel::{Connection, SqliteConnection, connection::SimpleConnection};
use futures_util::{FutureExt, future::join_all};
use tempfile::TempDir;

use crate::{
    World, at, attendance, closed, on_both, opening, postgres::Postgres, server, session_id,
};

on_both!(
    dropped_calls_leave_no_lock_behind,
    call_given_up_in_the_middle_leaves_nothing_behind,
    calls_run_as_tasks_on_any_thread,
);

const SHORT: Duration = Duration::from_secs(2);

fn options(url: String) -> StoreOptions {
    StoreOptions {
        url,
        pool_size: 4,
        timeout: SHORT,
    }
}

/// Uses every connection of the pool at the same time.
async fn warm(store: &Store) {
    for outcome in join_all((0..4).map(|_| store.ping())).await {
        outcome.unwrap();
    }
}

async fn dropped_calls_leave_no_lock_behind(world: World) {
    let room = world.room().await.id;
    for polls in 1..12 {
        let openings = [opening(session_id(), room, at(1))];
        let mut call = Box::pin(world.store.record_openings(&openings));
        // Somewhere in the middle of the transaction the caller loses interest.
        for _ in 0..polls {
            if (&mut call).now_or_never().is_some() {
                break;
            }
            tokio::task::yield_now().await;
            world.store.ping().await.unwrap();
        }
        drop(call);
        world
            .store
            .record_openings(&[opening(session_id(), room, at(2))])
            .await
            .unwrap();
    }
}

async fn call_given_up_in_the_middle_leaves_nothing_behind(world: World) {
    let room = world.room().await.id;
    let mut large = closed(room, session_id());
    large.attendances = (0..20_000).map(|_| attendance("Ada")).collect();
    let small = closed(room, session_id());
    let store = &world.store;
    let batch = [large];
    let call = tokio::time::timeout(Duration::from_millis(20), store.record_sessions(&batch));
    assert!(call.await.is_err(), "it takes longer");
    store
        .record_sessions(std::slice::from_ref(&small))
        .await
        .unwrap();
    assert!(store.session_closed(small.session_id).await.unwrap());
    assert!(!store.session_closed(batch[0].session_id).await.unwrap());
}

async fn calls_run_as_tasks_on_any_thread(world: World) {
    let room = world.room().await;
    let task = tokio::spawn(async move {
        let store = &world.store;
        let (tenant, host) = (room.tenant_id, room.host_user_id);
        store
            .record_sessions(&[closed(room.id, session_id())])
            .await?;
        store.touch_sessions(&[session_id()], at(1)).await?;
        store
            .set_recording_url(tenant, session_id(), None, None)
            .await?;
        store
            .update_room_settings(tenant, room.id, room.settings, None)
            .await?;
        store
            .update_user(tenant, host, UserPatch::default(), None)
            .await?;
        store.delete_user(tenant, host, None).await
    });
    assert_eq!(task.await.unwrap(), Ok(DeleteUser::OwnsRooms));
}

#[tokio::test]
async fn refused_connection_is_unavailable() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let options = options(format!("postgres://postgres@127.0.0.1:{port}/nowhere"));
    let store = Store::open(&options).await.unwrap();
    assert!(store.ping().await.unwrap_err().is_unavailable());
    assert!(Store::migrate(&options).await.unwrap_err().is_unavailable());
}

#[tokio::test]
async fn wrong_address_is_broken_and_says_why() {
    let store = Store::open(&options(server().url("no_such_database")))
        .await
        .unwrap();
    let fault = store.ping().await.unwrap_err();
    assert!(
        matches!(&fault, StoreFault::Broken(text) if text.contains("no_such_database")),
        "{fault}"
    );
    for url in [
        "mysql://x",
        "sqlite::memory:",
        "sqlite:",
        "postgres://h:notaport/x",
    ] {
        assert!(
            Store::open(&options(url.to_owned())).await.is_err(),
            "{url}"
        );
    }
}

#[tokio::test]
async fn tls_is_refused_rather_than_left_out() {
    for mode in ["require", "verify-ca", "verify-full"] {
        let url = format!("{}?sslmode={mode}", server().url("postgres"));
        let Err(fault) = Store::open(&options(url)).await else {
            panic!("{mode} must not be accepted");
        };
        assert!(fault.to_string().contains("TLS"), "{fault}");
    }
    let url = format!("{}?sslmode=disable", server().url("postgres"));
    Store::open(&options(url))
        .await
        .unwrap()
        .ping()
        .await
        .unwrap();
}

#[tokio::test]
async fn cut_connections_are_replaced_without_a_fault() {
    let database = server().create_database();
    let world = World::open(server().url(&database), None).await;
    for _ in 0..5 {
        warm(&world.store).await;
        server().cut_connections(&database);
        for outcome in join_all((0..8).map(|_| world.store.tenant(DEFAULT_TENANT))).await {
            assert!(outcome.unwrap().is_some());
        }
    }
}

#[tokio::test]
async fn restarted_server_is_found_again_by_the_first_call() {
    let server = Postgres::start();
    let database = server.create_database();
    let world = World::open(server.url(&database), None).await;
    let store = Store::open(&options(server.url(&database))).await.unwrap();
    warm(&store).await;
    warm(&world.store).await; // this one never notices that the server was away
    server.stop();
    assert!(store.ping().await.unwrap_err().is_unavailable());
    server.start_again();
    for outcome in join_all((0..4).map(|_| store.tenant(DEFAULT_TENANT))).await {
        assert!(outcome.unwrap().is_some());
    }
    assert!(world.store.tenant(DEFAULT_TENANT).await.unwrap().is_some());
}

#[tokio::test]
async fn frozen_server_costs_each_call_no_more_than_the_timeout() {
    let server = Postgres::start();
    let database = server.create_database();
    drop(World::open(server.url(&database), None).await);
    let store = Store::open(&options(server.url(&database))).await.unwrap();
    warm(&store).await;
    server.freeze();
    for _ in 0..2 {
        let start = Instant::now();
        for outcome in join_all((0..8).map(|_| store.ping())).await {
            assert!(outcome.unwrap_err().is_unavailable());
        }
        assert!(
            start.elapsed() < SHORT + Duration::from_secs(1),
            "{:?}",
            start.elapsed()
        );
    }
    server.thaw();
    assert!(store.tenant(DEFAULT_TENANT).await.unwrap().is_some());
}

#[tokio::test]
async fn locked_sqlite_file_is_unavailable_in_time() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("callboard.db");
    let options = options(format!("sqlite:{}", path.display()));
    Store::migrate(&options).await.unwrap();
    let store = Store::open(&options).await.unwrap();
    let mut other = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    other
        .batch_execute("PRAGMA busy_timeout = 5000; BEGIN IMMEDIATE")
        .unwrap();
    let start = Instant::now();
    let room = callboard::ids::RoomId(uuid::Uuid::new_v4());
    let fault = store
        .record_openings(&[opening(session_id(), room, at(1))])
        .await
        .unwrap_err();
    assert!(fault.is_unavailable(), "{fault}");
    assert!(fault.to_string().contains("locked"), "{fault}");
    assert!(start.elapsed() < SHORT + Duration::from_secs(1));
    assert!(
        store.tenant(DEFAULT_TENANT).await.unwrap().is_some(),
        "reading goes on"
    );
    other.batch_execute("COMMIT").unwrap();
    store
        .record_openings(&[opening(session_id(), room, at(1))])
        .await
        .unwrap();
}

#[tokio::test]
async fn missing_sqlite_directory_is_unavailable() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("not there/callboard.db");
    let store = Store::open(&options(format!("sqlite:{}", path.display())))
        .await
        .unwrap();
    let fault = store.ping().await.unwrap_err();
    assert!(fault.is_unavailable(), "{fault}");
}
