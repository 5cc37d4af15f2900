//! How many files the node may open, and which part of them is for connections.

use anyhow::{Context, bail};
use tracing::info;

use super::listeners::ADMIN_CONNECTIONS_MAX;
use crate::{
    config::Config,
    files::{self, ConnectionFiles, KEPT_FOR_REQUESTS},
};

/// Standard streams, the log, the data directory, Redis.
const OWN: usize = 128;
/// Questions to neighbours: as many as there may be requests that ask them when the node is full.
const ASKED: usize = KEPT_FOR_REQUESTS;
/// Of each thread: its epoll, what wakes it, its connection to Redis.
const OF_A_THREAD: usize = 8;
/// Of each connection to the database: SQLite's file, its log and their index.
const OF_A_STORE_CONNECTION: usize = 4;
/// Connections that the kernel has handed over and no thread has looked at yet; of few files that part.
const UNSEEN: usize = 256;
const UNSEEN_PART: usize = 8;
/// A person whose room is on another node needs a file more, for the socket to there.
const OF_A_PERSON: usize = 2;
/// A node with fewer files for connections does not start.
const CONNECTIONS_MIN: usize = 64;

/// The part for connections: as many as `limits.connections_max` needs, or as the hard limit of open files leaves.
///
/// # Errors
/// When the hard limit leaves hardly any.
pub(super) fn for_connections(config: &Config, threads: usize) -> anyhow::Result<ConnectionFiles> {
    let asked = if config.redis.is_some() { ASKED } else { 0 };
    let own = OWN
        + asked
        + ADMIN_CONNECTIONS_MAX
        + threads * OF_A_THREAD
        + config.store.pool_size * OF_A_STORE_CONNECTION;
    let connections_max = config.limits.connections_max;
    let wanted = own + UNSEEN + KEPT_FOR_REQUESTS + connections_max * OF_A_PERSON;
    let allowed = files::allow(u64::try_from(wanted).unwrap_or(u64::MAX))
        .context("cannot read the limit of open files")?;
    let allowed = usize::try_from(allowed).unwrap_or(usize::MAX);
    let left = allowed.saturating_sub(own + UNSEEN.min(allowed / UNSEEN_PART));
    if left < CONNECTIONS_MIN {
        bail!(
            "{allowed} open files are allowed, at least {} are needed: raise the hard limit (ulimit -Hn)",
            (own + CONNECTIONS_MIN) * UNSEEN_PART / (UNSEEN_PART - 1) + 1
        );
    }
    let files = ConnectionFiles::new(left);
    let lasting_max = files.lasting_max();
    if lasting_max < connections_max {
        info!(
            open_files = allowed,
            "there are files for {lasting_max} of the {connections_max} connections of limits.connections_max"
        );
    }
    Ok(files)
}
