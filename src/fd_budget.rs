//! Open files (file descriptors): how many this process may have, and how many of them client
//! connections may use. A node whose connections have used up their share can still reach the
//! mirror, SQL and its neighbours, and still answers requests.

use std::{fs::File, io, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::warn;

/// Files that WebSockets leave to plain requests.
pub const REQUEST_RESERVE: usize = 128;
/// A small budget reserves one part in so many instead.
const RESERVE_DIVISOR: usize = 8;
/// Upper bound of the kernel's file table made in advance: 8 MiB of kernel memory.
const TABLE_MAX: u64 = 1 << 20;

/// Raises the limit of open files (`RLIMIT_NOFILE`) to `wanted`, as far as the hard limit allows,
/// and grows the kernel's table of open files to that size at once. Returns the new limit.
///
/// The kernel doubles a full table. In a process with several threads, the thread that opens the
/// next file waits some 15 ms for that. A kernel that refuses either step only causes a warning,
/// because a node with few connections needs neither.
///
/// # Errors
/// Fails when the limit cannot be read.
pub fn raise_limit(wanted: u64) -> io::Result<u64> {
    let allowed = match rlimit::increase_nofile_limit(wanted) {
        Ok(allowed) => allowed,
        Err(fault) => {
            warn!(%fault, "cannot raise the limit of open files");
            rlimit::Resource::NOFILE.get_soft()?
        }
    };
    if let Err(fault) = grow_table(allowed.min(wanted).min(TABLE_MAX)) {
        warn!(%fault, "cannot grow the table of open files in advance");
    }
    Ok(allowed)
}

/// Opens and closes a file with the highest number, for which the kernel grows the table.
fn grow_table(files: u64) -> io::Result<()> {
    let last = i32::try_from(files.saturating_sub(1)).unwrap_or(i32::MAX);
    let any = File::open("/dev/null")?;
    drop(rustix::io::fcntl_dupfd_cloexec(any, last)?);
    Ok(())
}

/// One file of a budget, given back when dropped. Keep it next to the socket that it pays for.
pub type FdPermit = OwnedSemaphorePermit;

/// The files that the connections of one listener may use. Clones share the budget.
#[derive(Clone, Debug)]
pub struct FdBudget {
    free: Arc<Semaphore>,
    /// How many of the files WebSockets leave to requests.
    reserve: usize,
}

impl FdBudget {
    /// Creates a budget of `max` files.
    #[must_use]
    pub fn new(max: usize) -> Self {
        let max = max.min(Semaphore::MAX_PERMITS);
        Self {
            free: Arc::new(Semaphore::new(max)),
            reserve: REQUEST_RESERVE.min(max / RESERVE_DIVISOR),
        }
    }

    /// Takes a file for an accepted connection. None if the budget is used up.
    #[must_use]
    pub fn acquire(&self) -> Option<FdPermit> {
        Arc::clone(&self.free).try_acquire_owned().ok()
    }

    /// Whether the reserve is untouched, so that a connection with a permit may stay open.
    #[must_use]
    pub fn has_reserve(&self) -> bool {
        self.free.available_permits() >= self.reserve
    }

    /// Takes a file for a connection that stays open. None if that would use the reserve.
    #[must_use]
    pub fn acquire_lasting(&self) -> Option<FdPermit> {
        let permit = self.acquire()?;
        self.has_reserve().then_some(permit)
    }

    /// How many more files [`acquire_lasting`](Self::acquire_lasting) would give.
    #[must_use]
    pub fn lasting_left(&self) -> usize {
        self.free.available_permits().saturating_sub(self.reserve)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Size of the kernel's file table for this process (proc(5)).
    fn table_size() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("FDSize:"));
        let size = line.unwrap().split_whitespace().nth(1).unwrap();
        size.parse().unwrap()
    }

    #[test]
    fn table_is_made_for_as_many_files_as_are_wanted_and_allowed() {
        let allowed = raise_limit(3_000).unwrap();
        assert!(allowed >= 3_000, "{allowed}");
        assert!(table_size() >= 3_000, "{}", table_size());
        // No kernel allows this many.
        grow_table(u64::MAX).unwrap_err();
    }

    #[test]
    fn lasting_connections_leave_some_files_to_requests_and_all_are_given_back() {
        let budget = FdBudget::new(16);
        let mut lasting = Vec::new();
        while let Some(permit) = budget.acquire_lasting() {
            lasting.push(permit);
        }
        assert_eq!(lasting.len(), 14, "an eighth is reserved");
        let requests = [budget.acquire().unwrap(), budget.acquire().unwrap()];
        assert!(budget.acquire().is_none());
        assert!(!budget.has_reserve());
        drop(requests);
        assert!(budget.has_reserve(), "exactly the reserve is free");
        assert!(budget.acquire_lasting().is_none());
        assert_eq!(budget.lasting_left(), 0);
        drop(lasting);
        assert_eq!(budget.lasting_left(), 14);
        assert_eq!(FdBudget::new(10_000).lasting_left(), 10_000 - 128);
    }
}
