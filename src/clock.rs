//! The node's clock: wall time taken once at start plus monotonic time since, so that it never steps.

use chrono::Utc;
use tokio::time::Instant;

use crate::ids::Timestamp;

/// Gives every room its `now`.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started_at: Timestamp,
    started: Instant,
}

impl Clock {
    /// Takes the wall time.
    #[must_use]
    pub fn start() -> Self {
        Self::showing(wall_time())
    }

    /// A clock that shows `now`.
    #[must_use]
    pub fn showing(now: Timestamp) -> Self {
        Self {
            started_at: now,
            started: Instant::now(),
        }
    }

    /// Now, in whole milliseconds.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let elapsed_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.started_at.plus_ms(elapsed_ms)
    }
}

/// Wall time as it is now, for what machines compare with each other: a clock that was set after the start of a process stays
/// wrong in [`Clock`].
#[must_use]
pub fn wall_time() -> Timestamp {
    Utc::now().into()
}
