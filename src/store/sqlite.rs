//! SQLite on blocking threads, safe to give up on.
//!
//! diesel-async's own way of running SQLite makes whoever drops an unfinished call wait for it, which panics on the
//! current-thread runtimes of HTTP workers. Here a dropped call simply goes on by itself; the pool's lease sees to it that its
//! connection is not used again, and closing the connection rolls back what was open.

use std::{error::Error, path::Path, time::Duration};

use diesel::{
    Connection, ConnectionError, ConnectionResult, QueryResult, SqliteConnection,
    connection::{AnsiTransactionManager, SimpleConnection, TransactionManager},
};
use diesel_async::sync_connection_wrapper::{SpawnBlocking, SyncConnectionWrapper};
use futures_util::{FutureExt, TryFutureExt, future::BoxFuture};
use tokio::runtime::Handle;

use crate::secrets::make_private_file;

/// SQLite behind blocking threads.
pub(super) type SqliteConn = SyncConnectionWrapper<SqliteConnection, BlockingThreads>;

/// The blocking threads of a runtime.
pub(super) struct BlockingThreads(Handle);

impl SpawnBlocking for BlockingThreads {
    fn spawn_blocking<'a, R>(
        &mut self,
        task: impl FnOnce() -> R + Send + 'static,
    ) -> BoxFuture<'a, Result<R, Box<dyn Error + Send + Sync + 'static>>>
    where
        R: Send + 'static,
    {
        self.0.spawn_blocking(task).map_err(Box::from).boxed()
    }

    fn get_runtime() -> Self {
        Self(Handle::current())
    }
}

/// Makes a connection on a blocking thread of `runtime` and keeps using those.
pub(super) async fn connect(
    runtime: Handle,
    open: impl FnOnce() -> ConnectionResult<SqliteConnection> + Send + 'static,
) -> ConnectionResult<SqliteConn> {
    let connection = runtime
        .spawn_blocking(open)
        .await
        .map_err(|error| ConnectionError::BadConnection(error.to_string()))??;
    Ok(SqliteConn::with_runtime(
        connection,
        BlockingThreads(runtime),
    ))
}

/// A connection with foreign keys, write-ahead log and full durability: the mirror forgets a session once it is recorded here.
/// `busy`: how long SQLite itself waits for another writer.
pub(super) fn open(path: &str, busy: Duration) -> ConnectionResult<SqliteConnection> {
    let is_file = !path.starts_with(":memory:") && !path.starts_with("file:");
    if is_file {
        make_private_file(Path::new(path))
            .map_err(|error| ConnectionError::BadConnection(error.to_string()))?;
    }
    let mut connection = SqliteConnection::establish(path)?;
    connection
        .batch_execute(&format!(
            "PRAGMA busy_timeout = {}; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;",
            busy.as_millis()
        ))
        .map_err(ConnectionError::CouldntSetupConfiguration)?;
    Ok(connection)
}

/// Begins a transaction that has the write lock from the start: one that begins by reading cannot wait for it later.
pub(super) async fn begin(connection: &mut SqliteConn) -> QueryResult<()> {
    connection
        .spawn_blocking(|connection| {
            AnsiTransactionManager::begin_transaction_sql(connection, "BEGIN IMMEDIATE")
        })
        .await
}

/// Ends the transaction as its outcome says.
pub(super) async fn end<T>(connection: &mut SqliteConn, outcome: QueryResult<T>) -> QueryResult<T> {
    let is_ok = outcome.is_ok();
    let ended = connection
        .spawn_blocking(move |connection| {
            if is_ok {
                AnsiTransactionManager::commit_transaction(connection)
            } else {
                AnsiTransactionManager::rollback_transaction(connection)
            }
        })
        .await;
    // After a failed rollback the pool refuses the connection; the first error is the one to tell.
    if is_ok {
        ended?;
    }
    outcome
}
