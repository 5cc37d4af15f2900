//! Limits how fast a client may send, and closes a client that keeps exceeding the limit.

use std::{num::NonZeroU32, time::Duration};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, MonotonicClock, Reference},
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed},
};

/// Slots of the refusal window, which is therefore exact to a tenth of its length.
const SLOTS: usize = 10;

/// The rate limit of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Sustained messages per second.
    pub per_second: NonZeroU32,
    /// Messages at once after a pause.
    pub burst: NonZeroU32,
    /// More refusals than this within `refusal_window` end the connection.
    pub refusals_max: u32,
    /// The window over which refusals are counted.
    pub refusal_window: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            per_second: NonZeroU32::new(100).expect("100 is not zero"),
            burst: NonZeroU32::new(200).expect("200 is not zero"),
            refusals_max: 1_000,
            refusal_window: Duration::from_secs(10),
        }
    }
}

/// How to handle a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateDecision {
    /// Handle it.
    Admit,
    /// Answer `rate_limited`.
    Refuse,
    /// End the connection.
    Close,
}

/// Limits everything that a connection sends and that needs an answer: commands, binary messages,
/// pings.
#[derive(Debug)]
pub struct CommandLimiter<C: Clock = MonotonicClock> {
    clock: C,
    start: C::Instant,
    limiter: RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<C::Instant>>,
    refusals: RefusalWindow,
}

impl CommandLimiter {
    /// Uses the monotonic clock of the process.
    #[must_use]
    pub fn new(pace: Pace) -> Self {
        Self::with_clock(pace, MonotonicClock)
    }
}

impl<C: Clock + Clone> CommandLimiter<C> {
    fn with_clock(pace: Pace, clock: C) -> Self {
        let quota = Quota::per_second(pace.per_second).allow_burst(pace.burst);
        Self {
            start: clock.now(),
            limiter: RateLimiter::direct_with_clock(quota, clock.clone()),
            clock,
            refusals: RefusalWindow::new(pace),
        }
    }

    /// Counts one message.
    pub fn check(&mut self) -> RateDecision {
        if self.limiter.check().is_ok() {
            return RateDecision::Admit;
        }
        let elapsed = Duration::from(self.clock.now().duration_since(self.start));
        if self.refusals.is_over_after_one_more(elapsed) {
            RateDecision::Close
        } else {
            RateDecision::Refuse
        }
    }
}

/// Counts the refusals of the last `refusal_window` in a ring of slots.
#[derive(Debug)]
struct RefusalWindow {
    refusals_max: u32,
    slot_ns: u128,
    counts: [u32; SLOTS],
    /// Number of the newest slot, counted from the start.
    newest: u128,
}

impl RefusalWindow {
    fn new(pace: Pace) -> Self {
        Self {
            refusals_max: pace.refusals_max,
            slot_ns: (pace.refusal_window.as_nanos() / SLOTS as u128).max(1),
            counts: [0; SLOTS],
            newest: 0,
        }
    }

    fn is_over_after_one_more(&mut self, elapsed: Duration) -> bool {
        let slot = elapsed.as_nanos() / self.slot_ns;
        let passed = slot.saturating_sub(self.newest).min(SLOTS as u128);
        for step in 1..=passed {
            self.counts[index(self.newest + step)] = 0;
        }
        // A pause longer than the window clears all slots.
        if passed == SLOTS as u128 {
            self.counts = [0; SLOTS];
        }
        self.newest = self.newest.max(slot);
        let count = &mut self.counts[index(self.newest)];
        *count = count.saturating_add(1);
        self.counts.iter().copied().fold(0, u32::saturating_add) > self.refusals_max
    }
}

const fn index(slot: u128) -> usize {
    (slot % SLOTS as u128) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use governor::clock::FakeRelativeClock;

    fn limiter() -> (FakeRelativeClock, CommandLimiter<FakeRelativeClock>) {
        let clock = FakeRelativeClock::default();
        let limiter = CommandLimiter::with_clock(Pace::default(), clock.clone());
        (clock, limiter)
    }

    /// Decisions on `count` messages at once: admitted, refused, closing.
    fn verdicts<C: Clock + Clone>(limiter: &mut CommandLimiter<C>, count: usize) -> [usize; 3] {
        let mut tally = [0; 3];
        for _ in 0..count {
            tally[limiter.check() as usize] += 1;
        }
        tally
    }

    #[test]
    fn burst_is_admitted_then_the_steady_pace() {
        let (clock, mut limiter) = limiter();
        assert_eq!(verdicts(&mut limiter, 210), [200, 10, 0]);
        clock.advance(Duration::from_millis(100));
        assert_eq!(verdicts(&mut limiter, 20), [10, 10, 0]);
        clock.advance(Duration::from_secs(60));
        assert_eq!(verdicts(&mut limiter, 201), [200, 1, 0]);
    }

    #[test]
    fn flood_is_closed_at_the_first_refusal_over_the_limit() {
        let (_, mut limiter) = limiter();
        assert_eq!(verdicts(&mut limiter, 1_200), [200, 1_000, 0]);
        assert_eq!(limiter.check(), RateDecision::Close);
    }

    #[test]
    fn flood_across_the_seam_of_two_windows_is_closed_too() {
        let (clock, mut limiter) = limiter();
        clock.advance(Duration::from_secs(9));
        assert_eq!(verdicts(&mut limiter, 800), [200, 600, 0]);
        clock.advance(Duration::from_secs(3));
        assert_eq!(verdicts(&mut limiter, 601), [200, 400, 1]);
    }

    #[test]
    fn refusals_are_forgiven_after_the_window() {
        let (clock, mut limiter) = limiter();
        for _ in 0..100 {
            let tally = verdicts(&mut limiter, 1_100);
            assert_eq!((tally[0], tally[2]), (200, 0));
            clock.advance(Duration::from_secs(11));
        }
        // A client that is always a little too fast is slowed down, not closed.
        for _ in 0..200 {
            assert_eq!(verdicts(&mut limiter, 190)[2], 0);
            clock.advance(Duration::from_secs(1));
        }
    }
}
