//! From a database URL to connections that end their work in time.

use std::{error::Error, time::Duration};

use deadpool::managed::{Hook, HookError, Manager, PoolBuilder, QueueMode};
use diesel::{ConnectionError, ConnectionResult};
use diesel_async::{
    AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection,
    pooled_connection::{
        AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod, deadpool::Pool,
    },
};
use futures_util::FutureExt;
use tokio::{runtime::Handle, time};
use tokio_postgres::{Config, NoTls, config::SslMode, error::SqlState};

use super::{
    StoreFault, StoreOptions,
    sqlite::{self, SqliteConn},
};

/// A silent TCP connection is probed after this time.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
/// A connection that was lent more recently is lent again without asking the server first: a call
/// that meets a closed one is repeated on a fresh one, and one that hangs costs those calls their
/// whole timeout.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

/// Where a URL leads.
pub(super) enum Target {
    /// A server.
    Postgres(Box<Config>),
    /// A file.
    Sqlite(String),
}

/// Reads a database URL. Errors never repeat it: it may hold a password.
pub(super) fn target(options: &StoreOptions) -> Result<Target, StoreFault> {
    let url = options.url.as_str();
    if let Some(path) = url.strip_prefix("sqlite:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        // Every pooled connection would have a memory of its own.
        if path.is_empty() || path.contains(":memory:") {
            return Err(StoreFault::Broken(
                "the database URL must be sqlite:<path of a file>".to_owned(),
            ));
        }
        return Ok(Target::Sqlite(path.to_owned()));
    }
    if !(url.starts_with("postgres://") || url.starts_with("postgresql://")) {
        return Err(StoreFault::Broken(
            "the database URL must begin with postgres:// or sqlite:".to_owned(),
        ));
    }
    refuse_tls(url)?;
    let mut config: Config = url.parse().map_err(|error| {
        StoreFault::Broken(format!(
            "the database URL is not valid: {}",
            with_causes(&error)
        ))
    })?;
    config.ssl_mode(SslMode::Disable);
    config.keepalives_idle(KEEPALIVE_IDLE);
    config.tcp_user_timeout(options.timeout);
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(options.timeout);
    }
    if config.get_application_name().is_none() {
        config.application_name("callboard");
    }
    Ok(Target::Postgres(Box::new(config)))
}

/// A URL that asks for TLS must not be connected in the clear.
fn refuse_tls(url: &str) -> Result<(), StoreFault> {
    let Ok(url) = url::Url::parse(url) else {
        return Ok(()); // several hosts: the driver's own parser decides
    };
    let asks_for_tls = url.query_pairs().any(|(key, value)| {
        key.starts_with("ssl")
            && !(key == "sslmode" && ["disable", "allow", "prefer"].contains(&&*value))
    });
    if asks_for_tls {
        return Err(StoreFault::Broken(
            "the database URL asks for TLS (sslmode), which is not supported: use sslmode=disable on a trusted network or a TLS proxy"
                .to_owned(),
        ));
    }
    Ok(())
}

/// A lazy pool: nothing is connected yet. Connections are driven by the runtime that calls this,
/// even if others use them later.
pub(super) fn postgres_pool(
    config: Config,
    options: &StoreOptions,
) -> Result<Pool<AsyncPgConnection>, StoreFault> {
    let timeout = options.timeout;
    let runtime = Handle::current();
    let mut manager = ManagerConfig::<AsyncPgConnection>::default();
    manager.custom_setup = Box::new(move |_| {
        let config = config.clone();
        let task = runtime.spawn(async move {
            time::timeout(timeout, pooled_postgres(&config, timeout))
                .await
                .unwrap_or_else(|_| Err(timed_out("connecting")))
        });
        async move {
            task.await
                .unwrap_or_else(|error| Err(ConnectionError::BadConnection(error.to_string())))
        }
        .boxed()
    });
    // What the driver saw being closed is refused without asking.
    manager.recycling_method = RecyclingMethod::Fast;
    let manager = AsyncDieselConnectionManager::new_with_config("", manager);
    finish(builder(manager, options).pre_recycle(probe(timeout)))
}

/// Finds a connection that died while idle, so that it is replaced. One that hangs must leave time
/// for the next.
fn probe(timeout: Duration) -> Hook<AsyncDieselConnectionManager<AsyncPgConnection>> {
    Hook::async_fn(move |connection, metrics| {
        let is_trusted = metrics.last_used() < TRUSTED_FOR;
        async move {
            if is_trusted {
                return Ok(());
            }
            match time::timeout(timeout / 4, is_answering(connection)).await {
                Ok(true) => Ok(()),
                Ok(false) | Err(_) => Err(HookError::message("no answer")),
            }
        }
        .boxed()
    })
}

/// A lazy pool over one file. Statements run on the blocking threads of the runtime that calls
/// this.
pub(super) fn sqlite_pool(
    path: &str,
    options: &StoreOptions,
) -> Result<Pool<SqliteConn>, StoreFault> {
    // Less than the call's deadline, so that the wait for another writer ends with SQLite's own
    // reason.
    let busy = options.timeout * 3 / 4;
    let runtime = Handle::current();
    let mut manager = ManagerConfig::<SqliteConn>::default();
    manager.custom_setup = Box::new(move |path| {
        let path = path.to_owned();
        sqlite::connect(runtime.clone(), move || sqlite::open(&path, busy)).boxed()
    });
    manager.recycling_method = RecyclingMethod::Fast;
    let manager = AsyncDieselConnectionManager::new_with_config(path, manager);
    finish(builder(manager, options))
}

fn builder<M: Manager>(manager: M, options: &StoreOptions) -> PoolBuilder<M> {
    deadpool::managed::Pool::builder(manager)
        .max_size(options.pool_size.max(1))
        // The one used last has its statements prepared, and SQLite its pages read.
        .queue_mode(QueueMode::Lifo)
}

fn finish<M: Manager>(builder: PoolBuilder<M>) -> Result<deadpool::managed::Pool<M>, StoreFault> {
    builder
        .build()
        .map_err(|error| StoreFault::Broken(error.to_string()))
}

/// A connection with the server's own time limits, so that work nobody waits for does not hold
/// locks.
async fn pooled_postgres(
    config: &Config,
    timeout: Duration,
) -> ConnectionResult<AsyncPgConnection> {
    let mut connection = postgres(config).await?;
    let statement_ms = timeout.as_millis().max(1);
    let idle_ms = statement_ms * 2;
    connection
        .batch_execute(&format!(
            "SET statement_timeout = {statement_ms}; SET idle_in_transaction_session_timeout = {idle_ms}"
        ))
        .await
        .map_err(ConnectionError::CouldntSetupConfiguration)?;
    Ok(connection)
}

/// A connection without limits on statements, for migrations.
pub(super) async fn postgres(config: &Config) -> ConnectionResult<AsyncPgConnection> {
    let (client, connection) = config.connect(NoTls).await.map_err(refused)?;
    AsyncPgConnection::try_from_client_and_connection(client, connection).await
}

/// Whether the server answers on this connection.
pub(super) async fn is_answering(connection: &mut AsyncPgConnection) -> bool {
    diesel::sql_query("SELECT 1")
        .execute(connection)
        .await
        .is_ok()
}

pub(super) fn timed_out(doing: &str) -> ConnectionError {
    ConnectionError::BadConnection(format!("{doing} took too long"))
}

/// Sorts a failed connect: a server that is away, starting or full, or an address that will never
/// work.
fn refused(error: tokio_postgres::Error) -> ConnectionError {
    let text = with_causes(&error);
    let is_final = error.code().is_some_and(|code| {
        let wrong_address = [
            SqlState::INVALID_PASSWORD,
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
            SqlState::INVALID_CATALOG_NAME,
            SqlState::INSUFFICIENT_PRIVILEGE,
        ];
        wrong_address.contains(code)
    });
    if is_final {
        ConnectionError::InvalidConnectionUrl(text)
    } else {
        ConnectionError::BadConnection(text)
    }
}

/// An error with its causes in one line.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
