//! The node's clock: wall time read once at the start plus monotonic time since then, so it never
//! steps.

use chrono::Utc;
use tokio::time::Instant;

use crate::ids::Timestamp;

/// The source of `now` for every room.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started_at: Timestamp,
    started: Instant,
}

impl Clock {
    /// Starts at the present wall time.
    #[must_use]
    pub fn start() -> Self {
        Self::showing(wall_time())
    }

    /// Starts at `now`.
    #[must_use]
    pub fn showing(now: Timestamp) -> Self {
        Self {
            started_at: now,
            started: Instant::now(),
        }
    }

    /// Returns the present time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let elapsed_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.started_at.plus_ms(elapsed_ms)
    }
}

/// Returns the present wall time, for times that machines compare with each other. [`Clock`] does
/// not follow a wall clock that is set after the start of the process.
#[must_use]
pub fn wall_time() -> Timestamp {
    Utc::now().into()
}
