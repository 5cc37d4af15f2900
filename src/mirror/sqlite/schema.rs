//! The file: its tables, pragmas and mode. Tables and columns have the names of the Redis data
//! model.

use std::path::Path;

use diesel::{
    Connection, QueryableByName, RunQueryDsl, connection::SimpleConnection, sql_query,
    sql_types::Integer, sqlite::SqliteConnection,
};

use super::{SqliteSync, fault};
use crate::{mirror::MirrorFault, secrets::make_private_file};

/// Layout of the tables, stored in `user_version`.
const LAYOUT: i32 = 1;

/// How long a statement waits for a lock: that of another process, as at a restart, or that of the
/// checkpoint thread.
const BUSY_TIMEOUT_MS: u32 = 2_000;

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS room (
    room_id TEXT PRIMARY KEY, owner TEXT, epoch INTEGER NOT NULL, version INTEGER NOT NULL,
    seq INTEGER NOT NULL, format INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS room_owner ON room (owner);
CREATE TABLE IF NOT EXISTS record (
    room_id TEXT NOT NULL, collection TEXT NOT NULL, id TEXT NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (room_id, collection, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tail (
    room_id TEXT NOT NULL, seq INTEGER NOT NULL, frame TEXT NOT NULL,
    PRIMARY KEY (room_id, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outbox (
    room_id TEXT NOT NULL, session_id TEXT NOT NULL, session TEXT NOT NULL,
    PRIMARY KEY (room_id, session_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS node (
    node_id TEXT PRIMARY KEY, url TEXT NOT NULL, region TEXT NOT NULL, version TEXT NOT NULL,
    database_id TEXT NOT NULL, rooms INTEGER NOT NULL, connections INTEGER NOT NULL,
    state TEXT NOT NULL, heartbeat INTEGER NOT NULL, seen_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
";

diesel::table! {
    room (room_id) { room_id -> Text, owner -> Nullable<Text>, epoch -> BigInt, version -> BigInt, seq -> BigInt, format -> Integer, }
}
diesel::table! {
    record (room_id, collection, id) { room_id -> Text, collection -> Text, id -> Text, value -> Text, }
}
diesel::table! {
    tail (room_id, seq) { room_id -> Text, seq -> BigInt, frame -> Text, }
}
diesel::table! {
    outbox (room_id, session_id) { room_id -> Text, session_id -> Text, session -> Text, }
}
diesel::table! {
    node (node_id) {
        node_id -> Text, url -> Text, region -> Text, version -> Text, database_id -> Text, rooms -> BigInt,
        connections -> BigInt, state -> Text, heartbeat -> BigInt, seen_us -> BigInt,
    }
}
diesel::table! {
    meta (name) { name -> Text, value -> Text, }
}

#[derive(QueryableByName)]
struct Layout {
    #[diesel(sql_type = Integer)]
    user_version: i32,
}

/// Opens the file with its tables. Creates it if it does not exist, readable by its owner only.
pub(super) fn open(path: &Path, sync: SqliteSync) -> Result<SqliteConnection, MirrorFault> {
    if !is_in_memory(path) {
        // The file holds display names and token hashes.
        make_private_file(path)
            .map_err(|error| fault(format!("cannot open the mirror file: {error}")))?;
    }
    let mut connection = connect(path, sync)?;
    connection.immediate_transaction(|connection| {
        let Layout { user_version } = sql_query("PRAGMA user_version").get_result(connection)?;
        if user_version > LAYOUT {
            return Err(fault("the mirror file was written by a newer release"));
        }
        connection.batch_execute(TABLES)?;
        connection.batch_execute(&format!("PRAGMA user_version = {LAYOUT}"))?;
        Ok(())
    })?;
    Ok(connection)
}

/// Connects to an existing file. Commits never run a checkpoint, see `checkpoint.rs`.
pub(super) fn connect(path: &Path, sync: SqliteSync) -> Result<SqliteConnection, MirrorFault> {
    let text = path
        .to_str()
        .ok_or_else(|| fault("the path of the mirror file is not UTF-8"))?;
    let mut connection = SqliteConnection::establish(text).map_err(fault)?;
    let sync = match sync {
        SqliteSync::Normal => "NORMAL",
        SqliteSync::Full => "FULL",
    };
    connection.batch_execute(&format!(
        "PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}; PRAGMA journal_mode = WAL;
         PRAGMA synchronous = {sync}; PRAGMA wal_autocheckpoint = 0;"
    ))?;
    Ok(connection)
}

/// Whether the mirror lives in memory only.
pub(super) fn is_in_memory(path: &Path) -> bool {
    path == Path::new(":memory:")
}
