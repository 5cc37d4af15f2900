//! One call to the database: a pooled connection, a deadline over everything, and one more try when
//! the connection was dead.

use std::{
    ops::{Deref, DerefMut},
    time::Duration,
};

use deadpool::managed::{Manager, Object, Pool};
use diesel::result::{DatabaseErrorKind, Error};
use diesel_async::{AsyncPgConnection, pooled_connection};
use tokio::time::{Instant, error::Elapsed, timeout_at};

use super::{StoreFault, connect, sqlite::SqliteConn};

/// What diesel-async's managers fail with.
type PoolError = pooled_connection::PoolError;

/// A connection out of the pool. Only [`PooledConnection::give_back`] returns it: a call that is
/// dropped or fails half-way must not leave an open transaction, and its locks, in the pool.
pub(super) struct PooledConnection<M: Manager> {
    object: Option<Object<M>>,
}

impl<M: Manager> PooledConnection<M> {
    /// Returns the connection: its work is done and no transaction is open.
    fn give_back(mut self) {
        drop(self.object.take());
    }
}

impl<M: Manager> Drop for PooledConnection<M> {
    fn drop(&mut self) {
        if let Some(object) = self.object.take() {
            drop(Object::take(object));
        }
    }
}

impl<M: Manager> Deref for PooledConnection<M> {
    type Target = M::Type;

    fn deref(&self) -> &M::Type {
        self.object.as_ref().expect("taken only when given back")
    }
}

impl<M: Manager> DerefMut for PooledConnection<M> {
    fn deref_mut(&mut self) -> &mut M::Type {
        self.object.as_mut().expect("taken only when given back")
    }
}

/// Tells whether an error came from a dead connection.
pub(super) trait Probe {
    /// Checks the error and, if it says too little, the connection.
    fn is_dead(&mut self, error: &Error) -> impl Future<Output = bool> + Send;
}

impl Probe for AsyncPgConnection {
    async fn is_dead(&mut self, error: &Error) -> bool {
        match error {
            Error::DatabaseError(
                DatabaseErrorKind::UnableToSendCommand | DatabaseErrorKind::ClosedConnection,
                _,
            )
            | Error::BrokenTransactionManager => true,
            // Such as "terminating connection due to administrator command", in the server's
            // language.
            Error::DatabaseError(DatabaseErrorKind::Unknown, _)
            | Error::RollbackErrorOnCommit { .. } => !connect::is_answering(self).await,
            _ => false,
        }
    }
}

impl Probe for SqliteConn {
    async fn is_dead(&mut self, error: &Error) -> bool {
        // The blocking threads are gone, or the transaction did not end.
        matches!(
            error,
            Error::DatabaseError(DatabaseErrorKind::UnableToSendCommand, _)
                | Error::BrokenTransactionManager
        )
    }
}

/// The state of one call.
pub(super) struct Call<'p, M: Manager> {
    /// Where connections come from.
    pool: &'p Pool<M>,
    /// The caller gets an answer before this time.
    pub(super) deadline: Instant,
    /// An earlier try of this call ended in a dead connection. It may have taken effect.
    pub(super) is_repeat: bool,
}

impl<'p, M> Call<'p, M>
where
    M: Manager<Error = PoolError>,
    M::Type: Probe,
{
    /// Starts the clock.
    pub(super) fn start(pool: &'p Pool<M>, timeout: Duration) -> Self {
        Self {
            pool,
            deadline: Instant::now() + timeout,
            is_repeat: false,
        }
    }

    /// A live connection.
    pub(super) async fn connection(&self) -> Result<PooledConnection<M>, StoreFault> {
        match timeout_at(self.deadline, self.pool.get()).await {
            Ok(Ok(object)) => Ok(PooledConnection {
                object: Some(object),
            }),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => {
                self.forget_idle();
                Err(late("waiting for a connection"))
            }
        }
    }

    /// Returns the result of the call. `None` means: try once more with a fresh connection.
    pub(super) async fn settle<T>(
        &mut self,
        mut pooled: PooledConnection<M>,
        outcome: Result<Result<T, Error>, Elapsed>,
    ) -> Option<Result<T, StoreFault>> {
        let error = match outcome {
            Ok(Ok(value)) => {
                pooled.give_back();
                return Some(Ok(value));
            }
            Ok(Err(error)) => error,
            Err(_) => {
                self.forget_idle();
                return Some(Err(late("the statement")));
            }
        };
        let is_dead = timeout_at(self.deadline, pooled.is_dead(&error))
            .await
            .unwrap_or(true);
        if !is_dead {
            // Not given back: errors are rare, and a commit that failed may have left its
            // transaction open.
            return Some(Err(error.into()));
        }
        self.forget_idle();
        if self.is_repeat {
            return Some(Err(StoreFault::Unavailable(error.to_string())));
        }
        self.is_repeat = true;
        None
    }

    /// Closes the idle connections: what happened to one probably happened to all.
    fn forget_idle(&self) {
        self.pool.retain(|_, _| false);
    }
}

fn late(doing: &str) -> StoreFault {
    StoreFault::Unavailable(format!("{doing} took too long"))
}

/// Runs a body against a pool until it is settled.
macro_rules! drive {
    ($pool:expr, $timeout:expr, |$connection:ident, $is_repeat:ident| $body:expr) => {{
        let mut call = $crate::store::pool::Call::start($pool, $timeout);
        loop {
            let mut pooled = match call.connection().await {
                Ok(pooled) => pooled,
                Err(fault) => break Err(fault),
            };
            let $is_repeat = call.is_repeat;
            let outcome = {
                let $connection = &mut *pooled;
                let work = async {
                    let outcome: diesel::QueryResult<_> = $body;
                    outcome
                };
                tokio::time::timeout_at(call.deadline, work).await
            };
            if let Some(result) = call.settle(pooled, outcome).await {
                break result;
            }
        }
    }};
}

/// Runs the same queries on the store's database. Each copy is checked against its own dialect.
/// `$is_repeat` says that an earlier try of the same call may have taken effect.
macro_rules! on_connection {
    ($store:expr, |$connection:ident, $is_repeat:ident| $body:expr) => {
        match &$store.database {
            $crate::store::Database::Postgres(pool) => {
                $crate::store::pool::drive!(pool, $store.timeout, |$connection, $is_repeat| $body)
            }
            $crate::store::Database::Sqlite(pool) => {
                $crate::store::pool::drive!(pool, $store.timeout, |$connection, $is_repeat| $body)
            }
        }
    };
}

/// Like [`on_connection`], in one transaction that may write: on SQLite it takes the write lock at
/// once, because a transaction that begins by reading cannot wait for it. With `foreign_key`, a
/// violated foreign key gives that answer.
macro_rules! in_transaction {
    ($store:expr, |$connection:ident, $is_repeat:ident| $body:expr $(, foreign_key => $answer:expr)?) => {
        match &$store.database {
            $crate::store::Database::Postgres(pool) => {
                $crate::store::pool::drive!(pool, $store.timeout, |connection, $is_repeat| {
                    let outcome = connection.transaction(async |$connection| $body).await;
                    $(let outcome = $crate::store::pool::or_foreign_key(outcome, $answer);)?
                    outcome
                })
            }
            $crate::store::Database::Sqlite(pool) => {
                $crate::store::pool::drive!(pool, $store.timeout, |connection, $is_repeat| {
                    $crate::store::sqlite::begin(connection).await?;
                    let outcome = {
                        let $connection = &mut *connection;
                        async { $body }.await
                    };
                    let outcome = $crate::store::sqlite::end(connection, outcome).await;
                    $(let outcome = $crate::store::pool::or_foreign_key(outcome, $answer);)?
                    outcome
                })
            }
        }
    };
}

/// Turns a violated foreign key into an answer. The transaction is rolled back already.
pub(super) fn or_foreign_key<T>(outcome: Result<T, Error>, answer: T) -> Result<T, Error> {
    match outcome {
        Err(Error::DatabaseError(DatabaseErrorKind::ForeignKeyViolation, _)) => Ok(answer),
        other => other,
    }
}

pub(super) use {drive, in_transaction, on_connection};
