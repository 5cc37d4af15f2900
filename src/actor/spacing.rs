//! How far apart a room's commits are: not at all while its thread has time to spare, further the busier it is. What happens between
//! two commits goes together, in one commit and one write per connection, so a busy thread does more with the time that it has.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::runtime::{Handle, RuntimeMetrics};

/// Over how long the load of a thread is measured, at least.
const LOAD_WINDOW: Duration = Duration::from_millis(20);

/// When commits are spaced, and how far.
#[derive(Clone, Copy, Debug)]
pub struct SpacingLimits {
    /// Up to this load of the thread they are not.
    pub load_min: f64,
    /// From this load on they are `max` apart; in between less, in proportion.
    pub load_max: f64,
    /// The most that a commit waits after the one before.
    pub max: Duration,
}

impl Default for SpacingLimits {
    fn default() -> Self {
        Self {
            load_min: 0.75,
            load_max: 0.9,
            max: Duration::from_millis(5),
        }
    }
}

impl SpacingLimits {
    /// As on a busy thread, whatever it does.
    #[cfg(test)]
    pub(super) const fn always(max: Duration) -> Self {
        Self {
            load_min: -2.0,
            load_max: -1.0,
            max,
        }
    }

    /// Least time between two commits of a room on a thread with this load.
    fn at(&self, load: f64) -> Duration {
        let part = (load - self.load_min) / (self.load_max - self.load_min);
        self.max.mul_f64(part.clamp(0.0, 1.0))
    }
}

/// The share of its time in which a thread has something to do, between 0 and 1, whether it gets the core for it or not.
#[derive(Debug)]
pub(super) struct ThreadLoad {
    runtime: RuntimeMetrics,
    last: Mutex<Look>,
}

#[derive(Clone, Copy, Debug)]
struct Look {
    at: Instant,
    /// For how long the thread had had something to do then.
    busy: Duration,
    /// Between the look before and this one.
    load: f64,
}

impl ThreadLoad {
    /// Of the current thread, which must be an arbiter's.
    pub(super) fn of_this_thread() -> Self {
        let runtime = Handle::current().metrics();
        let last = Look {
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
            *last = Look { at, busy, load };
        }
        last.load
    }
}

/// Keeps the commits of one room apart.
#[derive(Debug)]
pub(super) struct Spacing {
    load: Arc<ThreadLoad>,
    /// When the last commit was sent.
    last: Option<Instant>,
    /// The next one is to be sent later, and that has been seen to.
    pub(super) is_waiting: bool,
}

impl Spacing {
    /// Of a room on the thread with this load.
    pub(super) fn new(load: Arc<ThreadLoad>) -> Self {
        Self {
            load,
            last: None,
            is_waiting: false,
        }
    }

    /// How long the next commit has to wait. Not at all: it counts as sent now.
    pub(super) fn wait(&mut self, now: Instant, limits: SpacingLimits) -> Duration {
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

    const ALWAYS: SpacingLimits = SpacingLimits::always(Duration::from_millis(5));

    #[test]
    fn commits_are_further_apart_the_busier_the_thread_is() {
        let limits = SpacingLimits::default();
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
        let mut spacing = Spacing::new(Arc::new(ThreadLoad::of_this_thread()));
        let first = Instant::now();
        let after = |ms| first + Duration::from_millis(ms);
        assert_eq!(spacing.wait(first, ALWAYS), Duration::ZERO);
        assert_eq!(spacing.wait(after(1), ALWAYS), Duration::from_millis(4));
        assert_eq!(spacing.wait(after(5), ALWAYS), Duration::ZERO);
        assert_eq!(spacing.wait(after(6), ALWAYS), Duration::from_millis(4));
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
