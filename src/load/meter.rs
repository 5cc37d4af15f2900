//! What is measured: counters, and latencies in histograms that are gathered once a second.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use hdrhistogram::Histogram;
use serde::Serialize;

/// Histograms of a kind that are written side by side, for each thread, so that threads seldom wait
/// for each other.
const STRIPES: usize = 4;
/// Longest latency that is told apart: ten minutes.
const LATENCY_MAX_US: u64 = 600_000_000;
/// Significant digits kept of a latency.
const DIGITS: u8 = 3;

/// What takes time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// From the due time of the connect until in the room.
    Join,
    /// From the due time of a command until its `Ack`.
    Command,
    /// From the due time of a message until a member has it.
    Delivery,
    /// From the loss of a connection to the end of the resume.
    Resume,
    /// How late the load tool itself was.
    Late,
}

/// Number of kinds.
const KINDS: usize = 5;

/// What is counted, each from the start of the run.
#[derive(Default)]
pub(super) struct Counts {
    /// Joins that were due.
    pub joins_offered: AtomicU64,
    /// Joins that ended in the room.
    pub joins_done: AtomicU64,
    /// Joins refused for load: `rate_limited`, `unavailable`, 503, 429.
    pub joins_refused: AtomicU64,
    /// Joins that failed otherwise.
    pub joins_failed: AtomicU64,
    /// Commands that were due.
    pub commands_offered: AtomicU64,
    /// Commands that took effect.
    pub commands_acked: AtomicU64,
    /// Commands refused for load.
    pub commands_refused: AtomicU64,
    /// Commands not sent because too many waited for an answer, or their sender was not in the
    /// room.
    pub commands_withheld: AtomicU64,
    /// Commands whose answer will never come: their stay was lost.
    pub commands_lost: AtomicU64,
    /// Messages owed to members.
    pub deliveries_expected: AtomicU64,
    /// Messages that members have got.
    pub deliveries_seen: AtomicU64,
    /// Signalling requests that were sent.
    pub requests: AtomicU64,
    /// Connections that ended and were not meant to.
    pub connections_lost: AtomicU64,
    /// Stays that went on over a new connection.
    pub resumes_done: AtomicU64,
}

/// One second of the run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Second {
    /// End of the second, from the start of the run.
    pub at_secs: u64,
    /// Joins done.
    pub joins: u64,
    /// Commands acked.
    pub commands: u64,
    /// Messages delivered.
    pub deliveries: u64,
    /// Joins and commands refused for load.
    pub refused: u64,
    /// Latency of what the profile is about, in microseconds.
    pub p50_us: u64,
    /// See `p50_us`.
    pub p99_us: u64,
}

/// Percentiles of a latency, in microseconds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Latency {
    /// Median.
    pub p50: u64,
    /// 90th percentile.
    pub p90: u64,
    /// 99th percentile.
    pub p99: u64,
    /// 99.9th percentile.
    pub p999: u64,
    /// The worst.
    pub max: u64,
}

/// Histograms by [`Kind`]. `None` before the first value.
type Stripe = [Option<Box<Histogram<u64>>>; KINDS];

/// Where everything is measured.
pub(super) struct Meter {
    /// Zero of all times.
    base: Instant,
    /// Counters.
    pub counts: Counts,
    /// The second that is being measured.
    stripes: Box<[Mutex<Stripe>]>,
    /// All seconds before it.
    totals: Mutex<Totals>,
}

#[derive(Default)]
struct Totals {
    histograms: Stripe,
    seconds: Vec<Second>,
    before: [u64; 4],
}

impl Meter {
    /// Starts the clock; so many threads will measure.
    pub fn new(threads: usize) -> Self {
        Self {
            base: Instant::now(),
            counts: Counts::default(),
            stripes: (0..threads * STRIPES).map(|_| Mutex::default()).collect(),
            totals: Mutex::default(),
        }
    }

    /// Nanoseconds since the start.
    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.base.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The instant of a time in nanoseconds.
    pub fn instant(&self, at_ns: u64) -> Instant {
        self.base + std::time::Duration::from_nanos(at_ns)
    }

    /// Records that something due then is done now; `by` spreads the writers.
    pub fn record(&self, kind: Kind, by: usize, due_ns: u64) {
        self.record_us(kind, by, self.now_ns().saturating_sub(due_ns) / 1_000);
    }

    fn record_us(&self, kind: Kind, by: usize, us: u64) {
        let mut stripe = lock(&self.stripes[by % self.stripes.len()]);
        let histogram = stripe[kind as usize].get_or_insert_with(histogram);
        // It grows as far as that.
        let _ = histogram.record(us.clamp(1, LATENCY_MAX_US));
    }

    /// Gathers what the stripes have; `main` is the latency that the series shows. Called once a
    /// second, on a thread that does nothing else meanwhile: it must not take long.
    pub fn end_second(&self, main: Kind) {
        let mut second = histogram();
        let mut totals = lock(&self.totals);
        for stripe in &self.stripes {
            let mut stripe = lock(stripe);
            for (kind, slot) in stripe.iter_mut().enumerate() {
                let Some(some) = slot.as_mut().filter(|some| !some.is_empty()) else {
                    continue;
                };
                let total = totals.histograms[kind].get_or_insert_with(histogram);
                // It grows as the others have.
                let _ = total.add(&**some);
                if kind == main as usize {
                    let _ = second.add(&**some);
                }
                some.reset();
            }
        }
        let counts = &self.counts;
        let now = [
            counts.joins_done.load(Relaxed),
            counts.commands_acked.load(Relaxed),
            counts.deliveries_seen.load(Relaxed),
            counts.joins_refused.load(Relaxed) + counts.commands_refused.load(Relaxed),
        ];
        let before = std::mem::replace(&mut totals.before, now);
        let since = |index: usize| now[index].saturating_sub(before[index]);
        totals.seconds.push(Second {
            at_secs: self.base.elapsed().as_secs(),
            joins: since(0),
            commands: since(1),
            deliveries: since(2),
            refused: since(3),
            p50_us: second.value_at_quantile(0.5),
            p99_us: second.value_at_quantile(0.99),
        });
    }

    /// Percentiles of all gathered so far.
    pub fn latency(&self, kind: Kind) -> Latency {
        match &lock(&self.totals).histograms[kind as usize] {
            None => Latency::default(),
            Some(all) => Latency {
                p50: all.value_at_quantile(0.5),
                p90: all.value_at_quantile(0.9),
                p99: all.value_at_quantile(0.99),
                p999: all.value_at_quantile(0.999),
                max: all.max(),
            },
        }
    }

    /// The seconds gathered so far.
    pub fn seconds(&self) -> Vec<Second> {
        lock(&self.totals).seconds.clone()
    }

    /// Commands that still wait for an answer.
    pub fn unanswered(&self) -> u64 {
        let counts = &self.counts;
        let answered = counts.commands_acked.load(Relaxed)
            + counts.commands_refused.load(Relaxed)
            + counts.commands_withheld.load(Relaxed)
            + counts.commands_lost.load(Relaxed);
        counts
            .commands_offered
            .load(Relaxed)
            .saturating_sub(answered)
    }
}

/// Adds one.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// As large as what was in it: one that reaches ten minutes from the start takes milliseconds to be
/// gathered.
fn histogram() -> Box<Histogram<u64>> {
    Box::new(Histogram::new(DIGITS).expect("at most five digits"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_show_what_happened_in_them_and_totals_keep_all() {
        let meter = Meter::new(2);
        for by in 0..20 {
            meter.record(Kind::Delivery, by, 0);
            count(&meter.counts.deliveries_seen);
        }
        meter.end_second(Kind::Delivery);
        meter.end_second(Kind::Delivery);
        let seconds = meter.seconds();
        assert_eq!((seconds[0].deliveries, seconds[1].deliveries), (20, 0));
        assert!(seconds[0].p99_us > 0);
        assert_eq!(seconds[1].p99_us, 0);
        assert!(meter.latency(Kind::Delivery).max > 0);
        assert_eq!(meter.latency(Kind::Join).max, 0);
    }

    #[test]
    fn any_latency_is_counted() {
        let meter = Meter::new(1);
        for us in [0, 7, LATENCY_MAX_US, u64::MAX] {
            meter.record_us(Kind::Join, 0, us);
        }
        meter.end_second(Kind::Join);
        let Latency { p50, p90, max, .. } = meter.latency(Kind::Join);
        assert_eq!(p50, 7);
        assert!(p90 >= LATENCY_MAX_US, "{p90}");
        assert!(max < LATENCY_MAX_US + LATENCY_MAX_US / 1_000, "{max}");
    }
}
