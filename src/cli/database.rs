//! Shared by the commands that use the SQL database.

use std::{future::Future, time::SystemTime};

use anyhow::Context;
use callboard::{
    config::Config,
    ids::Timestamp,
    store::{Page, Store, StoreOptions},
};

use super::Failure;

/// Rows that the lists read at once.
pub(super) const PAGE_ROWS: usize = 500;

/// The store's options.
pub(super) fn store_options(config: &Config) -> StoreOptions {
    StoreOptions {
        url: config.database.expose().to_owned(),
        pool_size: config.store.pool_size,
        timeout: config.store.timeout,
    }
}

/// Runs a command's work on a runtime of its own.
pub(super) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?
        .block_on(work)
}

/// Opens a database that has this release's schema.
pub(super) async fn open(config: &Config) -> Result<Store, Failure> {
    let options = store_options(config);
    let pending = Store::pending_migrations(&options)
        .await
        .with_context(|| format!("opening {}", config.database))?;
    if !pending.is_empty() {
        return Err(Failure::Runtime(anyhow::anyhow!(
            "{} lacks {} migration(s): run `callboard migrate` or start `callboard serve` first",
            config.database,
            pending.len()
        )));
    }
    let store = Store::open(&options)
        .await
        .with_context(|| format!("opening {}", config.database))?;
    Ok(store)
}

/// The first page of a list.
pub(super) fn first_page() -> Page {
    Page::first(PAGE_ROWS)
}

/// Wall time.
pub(super) fn now() -> Timestamp {
    Timestamp::from(chrono::DateTime::<chrono::Utc>::from(SystemTime::now()))
}
