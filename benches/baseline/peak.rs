//! The highest rate at which the slowest hundredth of the median second is still fast enough.

use std::time::Duration;

use crate::{
    measure,
    processes::{Ground, Server},
    rows::PEAK,
    table::PEAK_P99_MS,
};

/// Where the search begins; deliveries a second.
const FIRST: u32 = 10_000;
/// Where it ends at the latest: beyond what one core can do.
const LAST: u32 = 2_560_000;
/// The search ends when it knows the rate to this part.
const PRECISION: f64 = 0.04;
/// The least share of due deliveries that must have come.
const SHARE_MIN: f64 = 0.995;

/// What the search found.
#[derive(Clone, Copy, Debug)]
pub struct Peak {
    /// Deliveries a second that were kept up.
    pub rate: f64,
    /// At the next higher rate tried the load tool was too slow: the server could do more.
    pub is_of_generator: bool,
}

/// Doubles the rate until it is too much, then halves the interval.
///
/// # Errors
/// What the load tool said when it gave no report.
pub fn search(
    ground: &Ground,
    start: fn(&Ground) -> Server,
    duration: Duration,
) -> Result<Peak, String> {
    let (mut good, mut bad, mut is_of_generator) = (0, LAST, false);
    while bad - good > (f64::from(bad) * PRECISION) as u32 {
        let rate = match good {
            0 => FIRST.min(bad / 2),
            good => (good * 2).min(good.midpoint(bad)),
        };
        let row = crate::rows::Row { rate, ..PEAK };
        // Fresh each time: what an overload left behind is not measured here.
        let server = start(ground);
        let figures = measure::run(ground, &server, &row, duration)?;
        let p99_us = figures.median_second_p99_us;
        let is_kept = p99_us <= PEAK_P99_MS * 1e3 && figures.share_done >= SHARE_MIN;
        eprintln!(
            "  {rate}/s: p99 {p99_us:.0} µs, CPU {:.0} %, {:.1} % done{}",
            figures.cpu_percent,
            figures.share_done * 100.0,
            if figures.is_generator_bottleneck {
                ", the load tool is the bottleneck"
            } else {
                ""
            }
        );
        if is_kept {
            good = rate;
        } else {
            bad = rate;
            is_of_generator = figures.is_generator_bottleneck;
        }
    }
    Ok(Peak {
        rate: f64::from(good),
        is_of_generator,
    })
}
