//! The table of results.

use std::time::Duration;

use hdrhistogram::Histogram;

/// What was seen of one load.
pub struct Figures {
    /// Answered.
    pub count: u64,
    /// Answered a second while the load lasted.
    pub per_second: f64,
    /// Microseconds from when a commit was due to its outcome.
    pub latencies: Histogram<u64>,
    /// Mean number of commits that travelled together.
    pub batch: f64,
    /// Microseconds of CPU for each, of this process.
    pub own_us: f64,
    /// Microseconds of CPU for each, of Redis.
    pub redis_us: Option<f64>,
}

/// An empty histogram of microseconds, up to a minute.
pub fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("valid bounds")
}

/// A line of the table.
pub struct Row<'a> {
    /// Where commits went.
    pub mirror: &'a str,
    /// How they came.
    pub load: String,
    /// What was seen.
    pub figures: &'a Figures,
}

/// What the columns are.
pub fn print_head(rooms: usize, duration: Duration) {
    println!(
        "{rooms} rooms, {:.1} s each; times in µs",
        duration.as_secs_f64()
    );
    println!(
        "{:<18} {:<28} {:>8} {:>9} {:>9} {:>7} {:>10} {:>9}",
        "mirror", "load", "done/s", "p50", "p99", "batch", "Redis CPU", "own CPU"
    );
}

impl Row<'_> {
    /// Prints the line.
    pub fn print(&self) {
        let figures = self.figures;
        let redis_us = figures
            .redis_us
            .map_or_else(|| "–".to_owned(), |us| format!("{us:.1}"));
        println!(
            "{:<18} {:<28} {:>8.0} {:>9} {:>9} {:>7.1} {:>10} {:>9.1}",
            self.mirror,
            self.load,
            figures.per_second,
            figures.latencies.value_at_quantile(0.5),
            figures.latencies.value_at_quantile(0.99),
            figures.batch,
            redis_us,
            figures.own_us,
        );
    }
}
