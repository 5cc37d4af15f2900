//! The store: tenants, users, rooms, sessions, attendances, bans and API keys in SQL, on PostgreSQL
//! or SQLite.
//!
//! Both databases share one schema and one text per query. Only starting a room and recording
//! sessions differ, because each database needs few exchanges in its own way. Every call ends
//! within [`StoreOptions::timeout`] and fails with a [`StoreFault`] that says whether waiting
//! helps; what the caller may have done wrong is an ordinary answer ([`Created`], [`Update`] and
//! their like). When a pooled connection turns out dead, the call is repeated once on a fresh one,
//! so the queries are written to be harmless when repeated.

mod api_keys;
mod bans;
mod connect;
mod facts;
mod fault;
mod migrations;
mod page;
mod pool;
mod record;
mod rooms;
mod schema;
mod sessions;
mod sql_types;
mod sqlite;
mod tenants;
mod users;
mod values;

use std::{fmt, time::Duration};

use diesel::{ExpressionMethods, QueryDsl};
use diesel_async::{AsyncPgConnection, RunQueryDsl, pooled_connection::deadpool::Pool};
use uuid::Uuid;

pub use api_keys::{ApiKey, Scope};
pub use bans::BANS_MAX;
pub use facts::RoomFacts;
pub use fault::StoreFault;
pub use page::{PAGE_MAX, Page, Paged};
pub use record::{OpenSession, Opening, RECORD_BATCH};
pub use rooms::{Room, RoomStatus};
pub use sessions::{RECORDINGS_MAX, Session};
pub use tenants::Tenant;
pub use users::{DeleteUser, UpdateUser, User, UserPatch};

use crate::ids::TenantId;
use connect::Target;
use pool::on_connection;
use schema::database_identity;
use sqlite::SqliteConn;
use values::AnyId;

/// The tenant that exists from the first migration on.
pub const DEFAULT_TENANT: TenantId = TenantId(Uuid::from_u128(1));

/// Where the database is and how long to wait for it.
#[derive(Clone)]
pub struct StoreOptions {
    /// `postgres://…` or `sqlite:<path>`.
    pub url: String,
    /// Most connections at the same time.
    pub pool_size: usize,
    /// Longest time from a call to its answer, waiting for a connection and repeating included.
    pub timeout: Duration,
}

impl fmt::Debug for StoreOptions {
    /// Without the URL: it may hold a password.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("StoreOptions")
            .field("pool_size", &self.pool_size)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// The long-lived data. Clones share the connections.
#[derive(Clone)]
pub struct Store {
    /// Which database.
    database: Database,
    /// See [`StoreOptions::timeout`].
    timeout: Duration,
}

/// The pool of one of the two databases.
#[derive(Clone)]
enum Database {
    Postgres(Pool<AsyncPgConnection>),
    Sqlite(Pool<SqliteConn>),
}

impl Store {
    /// Prepares a pool. Nothing is connected before the first call, so this succeeds while the
    /// database is away. Connections are driven by the runtime that calls this, which therefore
    /// must outlive the store. Does not migrate.
    ///
    /// # Errors
    /// [`StoreFault::Broken`] when the URL cannot be used.
    #[expect(clippy::unused_async, reason = "the caller must be inside a runtime")]
    pub async fn open(options: &StoreOptions) -> Result<Store, StoreFault> {
        let database = match connect::target(options)? {
            Target::Postgres(config) => {
                Database::Postgres(connect::postgres_pool(*config, options)?)
            }
            Target::Sqlite(path) => Database::Sqlite(connect::sqlite_pool(&path, options)?),
        };
        Ok(Self {
            database,
            timeout: options.timeout,
        })
    }

    /// Checks that the database answers.
    ///
    /// # Errors
    /// When there is none.
    pub async fn ping(&self) -> Result<(), StoreFault> {
        on_connection!(self, |conn, _is_repeat| {
            diesel::sql_query("SELECT 1")
                .execute(conn)
                .await
                .map(|_| ())
        })
    }

    /// Tells databases apart: random, written by the first migration.
    ///
    /// # Errors
    /// When the database is away or was not migrated.
    pub async fn database_id(&self) -> Result<String, StoreFault> {
        let AnyId(id) = on_connection!(self, |conn, _is_repeat| {
            database_identity::table
                .filter(database_identity::id.eq(1))
                .select(database_identity::database_id)
                .get_result::<AnyId>(conn)
                .await
        })?;
        Ok(id.to_string())
    }
}

/// The outcome of creating a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created<T> {
    /// It is new.
    New(T),
    /// It exists already with the same content: the call is a repeat.
    Same(T),
    /// The id is taken by a row with other content, or of another tenant.
    Conflict,
    /// Another user of the tenant has this e-mail address.
    EmailTaken,
    /// The tenant has no user with the room's `host_user_id`.
    HostMissing,
}

/// The outcome of changing a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update<T> {
    /// The row as it is now.
    Done(T),
    /// The tenant has no such row.
    Missing,
    /// The row is not what the caller expected to change.
    Stale,
}
