//! Gives orders when they are due, whatever the server does: open loop, so that a slow server is not asked less.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{meter::Meter, person::Due};

/// Longest sleep: how long a stop may go unnoticed.
const SLEEP_MAX: Duration = Duration::from_millis(50);

/// Hands each order over at its time, in a thread of its own: the runtime's timers are a millisecond coarse. Ends with the
/// plan, or when told to stop.
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
