//! The checkpoint thread copies the write-ahead log into the mirror file.
//!
//! Without it, SQLite runs a checkpoint inside every commit that makes the log exceed 1,000 pages.
//! That commit, and all that wait behind it, then wait for two `fsync`. The thread does the same
//! work on a connection of its own while commits continue. Commits wait only for a restart of the
//! log, and then only for the pages that were written during the copying.

use std::{fs::File, path::Path, sync::mpsc, thread};

use diesel::{
    QueryableByName, RunQueryDsl, sql_query, sql_types::Integer, sqlite::SqliteConnection,
};

use super::fault;
use crate::mirror::MirrorFault;

/// Commits between two checkpoints. Each writes three to five pages.
const COMMITS_BETWEEN: usize = 500;
/// Pages of the log (64 MiB) beyond which commits must wait for its restart.
const LOG_PAGES_MAX: i32 = 16_384;

/// Handle of the checkpoint thread. The thread ends when this is dropped.
pub(super) struct Checkpointer {
    commits: usize,
    wake: mpsc::SyncSender<()>,
}

/// The state of the thread. Fields are dropped in this order, see `database`.
struct Task {
    connection: SqliteConnection,
    /// Must be closed after all connections: closing it drops the locks of this process.
    database: File,
}

/// The state of the log after a checkpoint, in pages.
#[derive(QueryableByName)]
struct Log {
    #[diesel(sql_type = Integer)]
    log: i32,
    #[diesel(sql_type = Integer)]
    checkpointed: i32,
}

impl Checkpointer {
    /// Starts the thread on a connection of its own.
    pub(super) fn start(path: &Path, connection: SqliteConnection) -> Result<Self, MirrorFault> {
        let database = File::open(path).map_err(fault)?;
        let (wake, woken) = mpsc::sync_channel(1);
        let mut task = Task {
            connection,
            database,
        };
        thread::Builder::new()
            .name("mirror-log".to_owned())
            .spawn(move || {
                while woken.recv().is_ok() {
                    if let Err(fault) = task.checkpoint() {
                        tracing::warn!(%fault, "a checkpoint of the mirror file failed; its log grows");
                    }
                }
            })
            .map_err(fault)?;
        Ok(Self { commits: 0, wake })
    }

    /// Counts commits and wakes the thread when there were enough.
    pub(super) fn committed(&mut self, commits: usize) {
        self.commits += commits;
        // A full channel means that the thread runs a checkpoint soon anyway.
        if self.commits >= COMMITS_BETWEEN && self.wake.try_send(()).is_ok() {
            self.commits = 0;
        }
    }
}

impl Task {
    fn checkpoint(&mut self) -> Result<(), MirrorFault> {
        if !self.run("PASSIVE")?.needs_full_checkpoint() {
            return Ok(());
        }
        // Commits wait during the last checkpoint. This makes its own `fsync` short.
        self.database.sync_data().map_err(fault)?;
        if self.run("PASSIVE")?.needs_full_checkpoint() {
            let log = self.run("FULL")?;
            tracing::debug!(
                pages = log.log,
                "the log of the mirror file was copied while commits waited"
            );
        }
        Ok(())
    }

    fn run(&mut self, mode: &str) -> Result<Log, MirrorFault> {
        Ok(sql_query(format!("PRAGMA wal_checkpoint({mode})")).get_result(&mut self.connection)?)
    }
}

impl Log {
    /// The log is long and not copied completely, so SQLite cannot start it anew.
    fn needs_full_checkpoint(&self) -> bool {
        self.log > LOG_PAGES_MAX && self.checkpointed < self.log
    }
}
