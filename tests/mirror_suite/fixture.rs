//! The adapters under test, and how a behaviour is run on each.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use callboard::{
    ids::{RoomId, Version},
    mirror::{
        RoomMirror,
        memory::MemoryMirror,
        redis::{RedisMirror, RedisOptions},
        sqlite::{SqliteMirror, SqliteSync},
    },
    room::record::{ChangeSet, Snapshot},
};
use diesel::{Connection, RunQueryDsl, SqliteConnection, connection::SimpleConnection, sql_query};

use crate::{redis_server::RedisServer, sample::*};

/// Where a mirror's file is in a directory of its own.
pub fn file_in(directory: &tempfile::TempDir) -> PathBuf {
    directory.path().join("mirror.db")
}

/// Runs a statement without the mirror. Returns how many rows it changed. The thread of a closed
/// mirror holds the file for a moment.
pub fn run_sql(path: &Path, statement: &str) -> usize {
    let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    connection
        .batch_execute("PRAGMA busy_timeout = 5000")
        .unwrap();
    sql_query(statement).execute(&mut connection).unwrap()
}

/// An adapter under test and ways to harm what it holds.
pub struct Fixture {
    pub mirror: Arc<dyn RoomMirror>,
    hold: Hold,
}

enum Hold {
    Memory(Arc<MemoryMirror>),
    Sqlite(tempfile::TempDir),
    Redis(RedisServer),
}

impl Fixture {
    pub async fn memory() -> Self {
        let mirror = Arc::new(MemoryMirror::new());
        Self {
            mirror: mirror.clone(),
            hold: Hold::Memory(mirror),
        }
    }

    pub async fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = file_in(&directory);
        Self {
            mirror: Arc::new(SqliteMirror::open(path, SqliteSync::Normal).unwrap()),
            hold: Hold::Sqlite(directory),
        }
    }

    pub async fn redis() -> Self {
        let server = RedisServer::start();
        let mirror = RedisMirror::connect(&RedisOptions::new(server.url())).await;
        Self {
            mirror: Arc::new(mirror.unwrap()),
            hold: Hold::Redis(server),
        }
    }

    /// As a thread's commits reach it.
    pub async fn dedicated() -> Self {
        let shared = Self::redis().await;
        Self {
            mirror: shared.mirror.for_this_thread().unwrap(),
            ..shared
        }
    }

    /// A Redis Cluster of one node that serves every slot.
    pub async fn cluster() -> Self {
        let server = RedisServer::start_with(&["--cluster-enabled", "yes"]);
        let _: String = server.command(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
        while !server
            .command::<String>(&["CLUSTER", "INFO"])
            .contains("cluster_state:ok")
        {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        let url = format!("redis+cluster://127.0.0.1:{}", server.port());
        let mirror = RedisMirror::connect(&RedisOptions::new(url)).await;
        Self {
            mirror: Arc::new(mirror.unwrap()),
            hold: Hold::Redis(server),
        }
    }

    /// As if a newer release had written the room.
    pub fn raise_format(&self, room_id: RoomId) {
        match &self.hold {
            Hold::Memory(mirror) => mirror.raise_format(room_id),
            Hold::Sqlite(directory) => {
                run_sql(&file_in(directory), "UPDATE room SET format = 2");
            }
            Hold::Redis(server) => {
                let _: u64 =
                    server.command(&["HSET", &format!("room:{{{room_id}}}"), "format", "2"]);
            }
        }
    }

    /// The mirror forgets everything.
    pub fn lose_everything(&self) {
        match &self.hold {
            Hold::Memory(mirror) => mirror.lose_everything(),
            Hold::Sqlite(directory) => {
                for table in ["room", "record", "tail", "outbox", "node", "meta"] {
                    run_sql(&file_in(directory), &format!("DELETE FROM {table}"));
                }
            }
            Hold::Redis(server) => {
                let _: String = server.command(&["FLUSHALL"]);
            }
        }
    }

    /// The mirror forgets the room.
    pub fn lose(&self, room_id: RoomId) {
        match &self.hold {
            Hold::Memory(mirror) => mirror.lose_room(room_id),
            Hold::Sqlite(directory) => {
                run_sql(&file_in(directory), "DELETE FROM room");
            }
            Hold::Redis(server) => {
                let _: u64 = server.command(&["DEL", &format!("room:{{{room_id}}}")]);
            }
        }
    }
}

/// Runs each behaviour on each adapter.
macro_rules! on_every_adapter {
    ($($behaviour:ident),+ $(,)?) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $behaviour() { super::$behaviour(crate::fixture::Fixture::memory().await).await })+
        }
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $behaviour() { super::$behaviour(crate::fixture::Fixture::sqlite().await).await })+
        }
        mod cluster {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $behaviour() { super::$behaviour(crate::fixture::Fixture::cluster().await).await })+
        }
        mod dedicated {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $behaviour() { super::$behaviour(crate::fixture::Fixture::dedicated().await).await })+
        }
        mod redis {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $behaviour() { super::$behaviour(crate::fixture::Fixture::redis().await).await })+
        }
    };
}

pub(crate) use on_every_adapter;

pub async fn load(fixture: &Fixture, owned: &Owned) -> (Owned, Version, Option<Snapshot>) {
    let expected = Some(owned.ownership());
    let claimant = node_id();
    let (owned, version, room) =
        Owned::claim(&*fixture.mirror, owned.room_id, expected, claimant).await;
    (owned, version, room.map(|room| *room))
}

/// The meaning of a change set.
pub fn apply(snapshot: &mut Snapshot, changes: &ChangeSet) {
    fn records<K: Ord + Copy, V: Clone>(
        stored: &mut std::collections::BTreeMap<K, V>,
        changes: &std::collections::BTreeMap<K, Option<V>>,
    ) {
        for (&id, change) in changes {
            stored.remove(&id);
            stored.extend(change.clone().map(|record| (id, record)));
        }
    }
    if changes.is_full {
        snapshot.participants.clear();
        snapshot.lobby.clear();
        snapshot.left.clear();
        snapshot.bans.clear();
        snapshot.tail.clear();
    }
    snapshot.head = changes.head.clone().unwrap_or(snapshot.head.clone());
    snapshot.seq = changes.seq;
    records(&mut snapshot.participants, &changes.participants);
    records(&mut snapshot.lobby, &changes.lobby);
    records(&mut snapshot.left, &changes.left);
    records(&mut snapshot.bans, &changes.bans);
    snapshot.tail.extend(changes.tail.iter().cloned());
    let excess = snapshot.tail.len().saturating_sub(changes.tail_keep);
    snapshot.tail.drain(..excess);
}
