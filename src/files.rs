//! Open files: how many this process may have, and what connections may take of them. The rest is for the mirror, SQL, questions to
//! neighbours and operators, so that a node that is full of people goes on for them and says that it is full.

use std::{fs::File, io, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::warn;

/// Files that lasting connections leave to requests.
pub const KEPT_FOR_REQUESTS: usize = 128;
/// Of few files that part, instead.
const KEPT_PART: usize = 8;
/// Most files for which the kernel's table is made in advance: 8 MiB of its memory.
const TABLE_MAX: u64 = 1 << 20;

/// Raises the limit of open files (`RLIMIT_NOFILE`) to `wanted`, as far as the hard limit allows, and makes the kernel's table of them
/// that large at once. Left to itself it is doubled whenever it is full, and in a process of several threads whoever opens that file, as
/// the one that accepts connections, waits some 15 ms for it. Neither is missed by anybody with few connections, so a kernel that
/// refuses is only complained of.
///
/// Answers how many are allowed.
///
/// # Errors
/// When the limit cannot even be read.
pub fn allow(wanted: u64) -> io::Result<u64> {
    let allowed = match rlimit::increase_nofile_limit(wanted) {
        Ok(allowed) => allowed,
        Err(fault) => {
            warn!(%fault, "the limit of open files cannot be raised");
            rlimit::Resource::NOFILE.get_soft()?
        }
    };
    if let Err(fault) = make_table(allowed.min(wanted).min(TABLE_MAX)) {
        warn!(%fault, "the table of open files cannot be made in advance");
    }
    Ok(allowed)
}

/// A file with the last number needs the table; it is closed again.
fn make_table(files: u64) -> io::Result<()> {
    let last = i32::try_from(files.saturating_sub(1)).unwrap_or(i32::MAX);
    let any = File::open("/dev/null")?;
    drop(rustix::io::fcntl_dupfd_cloexec(any, last)?);
    Ok(())
}

/// The file of a connection, given back when dropped.
pub type ConnectionFile = OwnedSemaphorePermit;

/// What connections may take of the open files; cheap to clone.
#[derive(Clone, Debug)]
pub struct ConnectionFiles {
    free: Arc<Semaphore>,
    /// Of them for requests.
    kept: usize,
}

impl ConnectionFiles {
    /// So many.
    #[must_use]
    pub fn new(max: usize) -> Self {
        let max = max.min(Semaphore::MAX_PERMITS);
        Self {
            free: Arc::new(Semaphore::new(max)),
            kept: KEPT_FOR_REQUESTS.min(max / KEPT_PART),
        }
    }

    /// For a connection that was accepted; none: all are taken.
    #[must_use]
    pub fn take(&self) -> Option<ConnectionFile> {
        Arc::clone(&self.free).try_acquire_owned().ok()
    }

    /// Whether a connection that has its file may last: those that do leave some to requests.
    #[must_use]
    pub fn may_last(&self) -> bool {
        self.free.available_permits() >= self.kept
    }

    /// For a lasting connection that is about to be opened; none: it would be one of those for requests.
    #[must_use]
    pub fn take_lasting(&self) -> Option<ConnectionFile> {
        let file = self.take()?;
        self.may_last().then_some(file)
    }

    /// How many more lasting connections there can be.
    #[must_use]
    pub fn lasting_max(&self) -> usize {
        self.free.available_permits().saturating_sub(self.kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Slots of the kernel's table for this process (proc(5)).
    fn table_size() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("FDSize:"));
        let size = line.unwrap().split_whitespace().nth(1).unwrap();
        size.parse().unwrap()
    }

    #[test]
    fn table_is_made_for_as_many_files_as_are_wanted_and_allowed() {
        let allowed = allow(3_000).unwrap();
        assert!(allowed >= 3_000, "{allowed}");
        assert!(table_size() >= 3_000, "{}", table_size());
        // More than any kernel has.
        make_table(u64::MAX).unwrap_err();
    }

    #[test]
    fn lasting_connections_leave_some_files_to_requests_and_all_are_given_back() {
        let files = ConnectionFiles::new(16);
        let mut lasting = Vec::new();
        while let Some(file) = files.take_lasting() {
            lasting.push(file);
        }
        assert_eq!(lasting.len(), 14, "an eighth is kept");
        let requests = [files.take().unwrap(), files.take().unwrap()];
        assert!(files.take().is_none());
        assert!(!files.may_last());
        drop(requests);
        assert!(files.may_last(), "as many as there can be, and no more");
        assert!(files.take_lasting().is_none());
        assert_eq!(files.lasting_max(), 0);
        drop(lasting);
        assert_eq!(files.lasting_max(), 14);
        assert_eq!(ConnectionFiles::new(10_000).lasting_max(), 10_000 - 128);
    }
}
