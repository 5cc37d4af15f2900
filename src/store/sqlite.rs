//! SQLite on blocking threads, safe to give up on.
//!
//! With diesel-async's own way of running SQLite, dropping an unfinished call waits for it, which
//! panics on the current-thread runtimes of HTTP workers. Here a dropped call continues by itself.
//! Its connection does not return to the pool, and closing the connection rolls back what was open.
//! A [`transaction`] notices that it was given up.

use std::{
    error::Error,
    path::Path,
    sync::{Arc, Weak},
    time::Duration,
};

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

/// A connection with foreign keys, write-ahead log and full durability: the mirror forgets a
/// session once it is recorded here. `busy`: how long SQLite itself waits for another writer.
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

/// Begins a transaction that has the write lock from the start: one that begins by reading cannot
/// wait for it later.
pub(super) async fn begin(connection: &mut SqliteConn) -> QueryResult<()> {
    connection.spawn_blocking(begin_now).await
}

/// Tells work on a blocking thread whether its caller still waits.
pub(super) struct Caller(Weak<()>);

impl Caller {
    /// Fails when the call was given up: work that nobody waits for must not hold the write lock.
    pub(super) fn require(&self) -> QueryResult<()> {
        if self.0.strong_count() == 0 {
            return Err(diesel::result::Error::RollbackTransaction);
        }
        Ok(())
    }
}

/// A whole transaction that may write, in one visit to a blocking thread. It is rolled back when
/// its caller is gone before the work is done.
pub(super) async fn transaction<T: Send + 'static>(
    connection: &mut SqliteConn,
    work: impl FnOnce(&mut SqliteConnection, &Caller) -> QueryResult<T> + Send + 'static,
) -> QueryResult<T> {
    let waiting = Arc::new(());
    let caller = Caller(Arc::downgrade(&waiting));
    let outcome = connection
        .spawn_blocking(move |connection| {
            begin_now(connection)?;
            let outcome = work(connection, &caller);
            let outcome = outcome.and_then(|value| caller.require().map(|()| value));
            let ended = end_now(connection, outcome.is_ok());
            told(outcome, ended)
        })
        .await;
    drop(waiting);
    outcome
}

/// Ends the transaction as its outcome says.
pub(super) async fn end<T>(connection: &mut SqliteConn, outcome: QueryResult<T>) -> QueryResult<T> {
    let is_ok = outcome.is_ok();
    let ended = connection
        .spawn_blocking(move |connection| end_now(connection, is_ok))
        .await;
    told(outcome, ended)
}

fn begin_now(connection: &mut SqliteConnection) -> QueryResult<()> {
    AnsiTransactionManager::begin_transaction_sql(connection, "BEGIN IMMEDIATE")
}

fn end_now(connection: &mut SqliteConnection, is_ok: bool) -> QueryResult<()> {
    if is_ok {
        AnsiTransactionManager::commit_transaction(connection)
    } else {
        AnsiTransactionManager::rollback_transaction(connection)
    }
}

/// After a failed rollback the pool refuses the connection. The first error is the one to report.
fn told<T>(outcome: QueryResult<T>, ended: QueryResult<()>) -> QueryResult<T> {
    let value = outcome?;
    ended?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use diesel::{RunQueryDsl, dsl::sql, sql_types::Bool};

    use super::*;

    #[test]
    fn statements_are_not_planned_anew_for_each_bound_limit() {
        let mut connection = open(":memory:", Duration::ZERO).unwrap();
        let is_stable = sql::<Bool>("sqlite_compileoption_used('ENABLE_QPSG')");
        let is_stable: bool = diesel::select(is_stable)
            .get_result(&mut connection)
            .unwrap();
        assert!(is_stable, "LIBSQLITE3_FLAGS of .cargo/config.toml");
    }
}
