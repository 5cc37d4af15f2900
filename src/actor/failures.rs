//! The restart budget of rooms that crash.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use crate::ids::RoomId;

/// Restarts of one room within [`RESTART_WINDOW`]. One more crash ends its session.
const RESTARTS_MAX: usize = 3;
/// See [`RESTARTS_MAX`].
const RESTART_WINDOW: Duration = Duration::from_secs(60);

/// What follows a crash of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// It is restarted.
    Restart,
    /// It is restarted to end its session.
    End,
    /// That crashed too: it is not started again until the window is over.
    GiveUp,
}

impl Budget {
    /// After so many failures within the window.
    fn after(failures: usize) -> Self {
        match failures {
            0..=RESTARTS_MAX => Self::Restart,
            _ if failures == RESTARTS_MAX + 1 => Self::End,
            _ => Self::GiveUp,
        }
    }
}

/// When rooms crashed within the window.
#[derive(Debug, Default)]
pub struct Failures {
    times: HashMap<RoomId, VecDeque<Instant>>,
}

impl Failures {
    /// Counts a crash, and returns what follows it.
    pub fn count(&mut self, room_id: RoomId, now: Instant) -> Budget {
        self.times.retain(|_, times| {
            times.retain(|time| now.duration_since(*time) < RESTART_WINDOW);
            !times.is_empty()
        });
        let times = self.times.entry(room_id).or_default();
        times.push_back(now);
        Budget::after(times.len())
    }

    /// Whether a room crashed so often that it is not started now.
    #[must_use]
    pub fn is_given_up(&self, room_id: RoomId, now: Instant) -> bool {
        self.times.get(&room_id).is_some_and(|times| {
            let is_recent = |last: &Instant| now.duration_since(*last) < RESTART_WINDOW;
            Budget::after(times.len()) == Budget::GiveUp && times.back().is_some_and(is_recent)
        })
    }

    /// A room ended by decision: its next session has a new budget.
    pub fn forget(&mut self, room_id: RoomId) {
        self.times.remove(&room_id);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn room_is_restarted_three_times_then_ended_then_left_alone_until_the_window_is_over() {
        let (room, begun) = (RoomId(Uuid::nil()), Instant::now());
        let mut failures = Failures::default();
        let budgets: Vec<Budget> = (0..5).map(|_| failures.count(room, begun)).collect();
        use Budget::{End, GiveUp, Restart};
        assert_eq!(budgets, [Restart, Restart, Restart, End, GiveUp]);
        assert!(failures.is_given_up(room, begun));
        let later = begun + RESTART_WINDOW;
        assert!(!failures.is_given_up(room, later));
        assert_eq!(failures.count(room, later), Restart);
    }

    #[test]
    fn room_that_ended_by_decision_has_a_new_budget() {
        let (room, now) = (RoomId(Uuid::nil()), Instant::now());
        let mut failures = Failures::default();
        for _ in 0..4 {
            failures.count(room, now);
        }
        failures.forget(room);
        assert_eq!(failures.count(room, now), Budget::Restart);
        assert!(!failures.is_given_up(room, now));
    }
}
