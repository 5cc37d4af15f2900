//! `callboard migrate`: brings the database to this release's schema.

use anyhow::Context;
use callboard::{secrets::DataLock, store::Store};

use super::{
    CommonArgs, Failure,
    database::{block_on, store_options},
    output, prepare,
};

/// Prints the name of each migration that ran.
pub(super) fn run(common: &CommonArgs) -> Result<(), Failure> {
    let (config, _) = prepare(common, Vec::new(), false)?;
    // The lock keeps a running server's embedded database unchanged, and creates the directory.
    let _lock = config
        .database
        .is_sqlite()
        .then(|| DataLock::acquire(&config.data))
        .transpose()
        .map_err(anyhow::Error::from)?;
    let names = block_on(async {
        Store::migrate(&store_options(&config))
            .await
            .with_context(|| format!("migrating {}", config.database))
            .map_err(Failure::from)
    })?;
    for name in names {
        output::line(&name)?;
    }
    Ok(())
}
