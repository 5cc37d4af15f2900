//! Migrations: embedded in the binary, the same versions for both databases, run by one process at
//! a time.

use std::{error::Error, time::Duration};

use diesel::backend::Backend;
use diesel_async::{AsyncMigrationHarness, AsyncPgConnection, SimpleAsyncConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use tokio::{task, time};

use super::{
    Store, StoreFault, StoreOptions,
    connect::{self, Target},
    sqlite,
};

const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");
const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

/// How long one process waits for another that is migrating the same database.
const LOCK_WAIT: Duration = Duration::from_secs(60);

/// What is asked of the migrations.
#[derive(Clone, Copy)]
enum Task {
    List,
    Run,
    RevertAll,
}

impl Store {
    /// Names of the migrations that this database lacks, oldest first.
    ///
    /// # Errors
    /// When the database cannot be reached or read.
    pub async fn pending_migrations(options: &StoreOptions) -> Result<Vec<String>, StoreFault> {
        perform(options, Task::List).await
    }

    /// Brings the database to this release's schema. Returns the names of the migrations it ran,
    /// oldest first.
    ///
    /// # Errors
    /// When the database cannot be reached, another process is migrating it for too long, or a
    /// migration fails.
    pub async fn migrate(options: &StoreOptions) -> Result<Vec<String>, StoreFault> {
        perform(options, Task::Run).await
    }

    /// Removes the whole schema and all data. Returns the versions it reverted, newest first.
    ///
    /// # Errors
    /// Like [`Store::migrate`].
    pub async fn revert_all(options: &StoreOptions) -> Result<Vec<String>, StoreFault> {
        perform(options, Task::RevertAll).await
    }
}

async fn perform(options: &StoreOptions, asked: Task) -> Result<Vec<String>, StoreFault> {
    let joined = match connect::target(options)? {
        Target::Postgres(config) => {
            let connecting = connect::postgres(&config);
            let mut connection: AsyncPgConnection = time::timeout(options.timeout, connecting)
                .await
                .unwrap_or_else(|_| Err(connect::timed_out("connecting")))?;
            lock(&mut connection).await?;
            task::spawn_blocking(move || {
                perform_with(&mut AsyncMigrationHarness::new(connection), POSTGRES, asked)
            })
            .await
        }
        Target::Sqlite(path) => task::spawn_blocking(move || perform_on_sqlite(&path, asked)).await,
    };
    joined.unwrap_or_else(|error| Err(StoreFault::Broken(error.to_string())))
}

/// Makes the other processes wait until this connection closes.
async fn lock(connection: &mut AsyncPgConnection) -> Result<(), StoreFault> {
    let wait_ms = LOCK_WAIT.as_millis();
    connection
        .batch_execute(&format!(
            "SET lock_timeout = {wait_ms}; SELECT pg_advisory_lock(hashtext('callboard migrations'))"
        ))
        .await
        .map_err(|error| StoreFault::Unavailable(format!("waiting for another migration: {error}")))
}

fn perform_on_sqlite(path: &str, asked: Task) -> Result<Vec<String>, StoreFault> {
    let mut connection = sqlite::open(path, LOCK_WAIT)?;
    // The write lock from the beginning: two processes must not find the same migration missing.
    connection.immediate_transaction(|connection| perform_with(connection, SQLITE, asked))
}

fn perform_with<DB: Backend>(
    harness: &mut impl MigrationHarness<DB>,
    migrations: EmbeddedMigrations,
    asked: Task,
) -> Result<Vec<String>, StoreFault> {
    match asked {
        Task::List => {
            let pending = harness.pending_migrations(migrations).map_err(fault)?;
            Ok(pending
                .iter()
                .map(|migration| migration.name().to_string())
                .collect())
        }
        Task::Run => {
            let pending = harness.pending_migrations(migrations).map_err(fault)?;
            let mut names = Vec::with_capacity(pending.len());
            for migration in pending {
                let name = migration.name().to_string();
                harness
                    .run_migration(&*migration)
                    .map_err(|error| named(&name, fault(error)))?;
                names.push(name);
            }
            Ok(names)
        }
        Task::RevertAll => {
            let versions = harness.revert_all_migrations(migrations).map_err(fault)?;
            Ok(versions.iter().map(ToString::to_string).collect())
        }
    }
}

fn named(migration: &str, fault: StoreFault) -> StoreFault {
    match fault {
        StoreFault::Unavailable(text) => StoreFault::Unavailable(format!("{migration}: {text}")),
        StoreFault::Broken(text) => StoreFault::Broken(format!("{migration}: {text}")),
    }
}

fn fault(error: Box<dyn Error + Send + Sync>) -> StoreFault {
    match error.downcast::<diesel::result::Error>() {
        Ok(error) => (*error).into(),
        Err(error) => StoreFault::Broken(error.to_string()),
    }
}
