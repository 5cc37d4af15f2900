//! The share of the process's open files that client connections may use, derived once at start.

use anyhow::{Context, bail};
use tracing::info;

use super::listeners::ADMIN_CONNECTIONS_MAX;
use crate::{
    config::Config,
    fd_budget::{self, FdBudget, REQUEST_RESERVE},
};

/// Files of the process itself: standard streams, the log, the data directory, Redis.
const PROCESS: usize = 128;
/// Calls to neighbours. When the node is full, each request of the reserve may make one.
const NEIGHBOUR_CALLS: usize = REQUEST_RESERVE;
/// Files per thread: its epoll, its waker, its Redis connection.
const PER_THREAD: usize = 8;
/// Files per database connection: SQLite's database, log and shared memory.
const PER_STORE_CONNECTION: usize = 4;
/// Connections that the kernel has accepted and no thread has counted yet. A low limit keeps one
/// part in `UNCOUNTED_DIVISOR` instead.
const UNCOUNTED: usize = 256;
const UNCOUNTED_DIVISOR: usize = 8;
/// A person whose room is on another node needs a second file, for the socket to that node.
const PER_PERSON: usize = 2;
/// A node with fewer files for connections does not start.
const CONNECTIONS_MIN: usize = 64;

/// Raises the limit of open files to what `limits.connections_max` needs, and returns what that
/// leaves to connections. Must run before the process has threads.
///
/// # Errors
/// Fails when the hard limit leaves fewer than `CONNECTIONS_MIN` files to connections.
pub(super) fn connection_budget(config: &Config, threads: usize) -> anyhow::Result<FdBudget> {
    let calls = if config.redis.is_some() {
        NEIGHBOUR_CALLS
    } else {
        0
    };
    let own = PROCESS
        + calls
        + ADMIN_CONNECTIONS_MAX
        + threads * PER_THREAD
        + config.store.pool_size * PER_STORE_CONNECTION;
    let connections_max = config.limits.connections_max;
    let wanted = own + UNCOUNTED + REQUEST_RESERVE + connections_max * PER_PERSON;
    let allowed = fd_budget::raise_limit(u64::try_from(wanted).unwrap_or(u64::MAX))
        .context("cannot read the limit of open files")?;
    let allowed = usize::try_from(allowed).unwrap_or(usize::MAX);
    let left = allowed.saturating_sub(own + UNCOUNTED.min(allowed / UNCOUNTED_DIVISOR));
    if left < CONNECTIONS_MIN {
        bail!(
            "{allowed} open files are allowed, at least {} are needed: raise the hard limit (ulimit -Hn)",
            (own + CONNECTIONS_MIN) * UNCOUNTED_DIVISOR / (UNCOUNTED_DIVISOR - 1) + 1
        );
    }
    let budget = FdBudget::new(left);
    let lasting = budget.lasting_left();
    if lasting < connections_max {
        info!(
            open_files = allowed,
            "open files suffice for {lasting} of the {connections_max} connections of limits.connections_max"
        );
    }
    Ok(budget)
}
