//! Gives orders at their scheduled times. The load is open-loop: a slow server is not asked less.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{meter::Meter, person::Due};

/// Longest sleep, and so the longest delay of a stop.
const SLEEP_MAX: Duration = Duration::from_millis(50);

/// Gives each order at its time. Runs in a separate thread because the runtime's timers have a
/// resolution of a millisecond. Ends with the plan or with the run.
pub(super) fn pace(
    plan: impl Iterator<Item = Due>,
    meter: &Meter,
    is_stopped: impl Fn() -> bool,
    mut give: impl FnMut(Due),
) {
    for due in plan {
        let at = meter.instant(due.at_ns);
        loop {
            if is_stopped() {
                return;
            }
            let wait = at.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                break;
            }
            thread::sleep(wait.min(SLEEP_MAX));
        }
        give(due);
    }
}
