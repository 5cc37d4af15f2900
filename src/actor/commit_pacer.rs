//! Keeps the commits of a room apart while its thread is busy. What happens between two commits
//! goes together, in one commit and one write per connection, so a busy thread does more in the
//! same time.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::runtime::{Handle, RuntimeMetrics};

/// The load of a thread is measured over at least this time.
const LOAD_WINDOW: Duration = Duration::from_millis(20);

/// When commits are kept apart, and how far.
#[derive(Clone, Copy, Debug)]
pub struct PacingLimits {
    /// Up to this load of the thread commits are not delayed.
    pub load_min: f64,
    /// From this load on commits are `max` apart. In between the distance is proportional.
    pub load_max: f64,
    /// Longest wait of a commit after the one before.
    pub max: Duration,
}

impl Default for PacingLimits {
    fn default() -> Self {
        Self {
            load_min: 0.75,
            load_max: 0.9,
            max: Duration::from_millis(5),
        }
    }
}

impl PacingLimits {
    /// Acts as on a busy thread under any load.
    #[cfg(test)]
    pub(super) const fn always(max: Duration) -> Self {
        Self {
            load_min: -2.0,
            load_max: -1.0,
            max,
        }
    }

    /// Shortest time between two commits of a room on a thread with this load.
    fn at(&self, load: f64) -> Duration {
        let part = (load - self.load_min) / (self.load_max - self.load_min);
        self.max.mul_f64(part.clamp(0.0, 1.0))
    }
}

/// The share of time in which a thread has something to do, between 0 and 1, whether it gets the
/// core for it or not.
#[derive(Debug)]
pub(super) struct ThreadLoad {
    runtime: RuntimeMetrics,
    last: Mutex<Sample>,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    /// How long the thread had been busy by then.
    busy: Duration,
    /// Since the sample before.
    load: f64,
}

impl ThreadLoad {
    /// The load of the current thread, which must be an arbiter's.
    pub(super) fn of_this_thread() -> Self {
        let runtime = Handle::current().metrics();
        let last = Sample {
            at: Instant::now(),
            busy: runtime.worker_total_busy_duration(0),
            load: 0.0,
        };
        Self {
            runtime,
            last: Mutex::new(last),
        }
    }

    fn at(&self, now: Instant) -> f64 {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_duration_since(last.at);
        if passed >= LOAD_WINDOW {
            let busy = self.runtime.worker_total_busy_duration(0);
            let load = busy.saturating_sub(last.busy).div_duration_f64(passed);
            let at = now;
            *last = Sample { at, busy, load };
        }
        last.load
    }
}

/// Keeps the commits of one room apart.
#[derive(Debug)]
pub(super) struct CommitPacer {
    load: Arc<ThreadLoad>,
    /// When the last commit was sent.
    last: Option<Instant>,
    /// A timer for the next commit is set.
    pub(super) is_waiting: bool,
}

impl CommitPacer {
    /// A pacer for a room on the thread with this load.
    pub(super) fn new(load: Arc<ThreadLoad>) -> Self {
        Self {
            load,
            last: None,
            is_waiting: false,
        }
    }

    /// How long the next commit has to wait. If it need not wait, it counts as sent now.
    pub(super) fn wait(&mut self, now: Instant, limits: PacingLimits) -> Duration {
        let apart = limits.at(self.load.at(now));
        let wait = self.last.map_or(Duration::ZERO, |last| {
            apart.saturating_sub(now.saturating_duration_since(last))
        });
        if wait.is_zero() {
            self.last = Some(now);
        }
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALWAYS: PacingLimits = PacingLimits::always(Duration::from_millis(5));

    #[test]
    fn commits_are_further_apart_the_busier_the_thread_is() {
        let limits = PacingLimits::default();
        assert_eq!(limits.at(0.0), Duration::ZERO);
        assert_eq!(limits.at(limits.load_min), Duration::ZERO);
        let half = limits.load_min.midpoint(limits.load_max);
        let off = limits.at(half).abs_diff(limits.max / 2);
        assert!(off < Duration::from_micros(1), "{off:?}");
        assert_eq!(limits.at(limits.load_max), limits.max);
        assert_eq!(limits.at(1.0), limits.max);
    }

    #[actix_web::test]
    async fn commit_waits_for_what_is_left_since_the_one_before() {
        let mut pacing = CommitPacer::new(Arc::new(ThreadLoad::of_this_thread()));
        let first = Instant::now();
        let after = |ms| first + Duration::from_millis(ms);
        assert_eq!(pacing.wait(first, ALWAYS), Duration::ZERO);
        assert_eq!(pacing.wait(after(1), ALWAYS), Duration::from_millis(4));
        assert_eq!(pacing.wait(after(5), ALWAYS), Duration::ZERO);
        assert_eq!(pacing.wait(after(6), ALWAYS), Duration::from_millis(4));
    }

    #[actix_web::test]
    async fn load_is_the_share_of_time_in_which_there_is_something_to_do() {
        let load = ThreadLoad::of_this_thread();
        for _ in 0..10 {
            std::thread::sleep(LOAD_WINDOW);
            tokio::task::yield_now().await;
        }
        let busy = load.at(Instant::now());
        assert!((0.8..1.1).contains(&busy), "{busy} of a busy thread");
        tokio::time::sleep(LOAD_WINDOW * 10).await;
        let idle = load.at(Instant::now());
        assert!(idle < 0.5, "{idle} of an idle thread");
    }
}
