//! Broken promises: named, in a bounded list, counted beyond it.

use std::sync::{Mutex, PoisonError};

/// Longest list; more are only counted.
const BREACHES_MAX: usize = 25;

/// A promise that the server did not keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Breach {
    /// Stable name of the promise.
    pub name: &'static str,
    /// What was seen.
    pub seen: String,
}

impl Breach {
    /// A breach.
    pub fn new(name: &'static str, seen: String) -> Self {
        Self { name, seen }
    }
}

/// All breaches of a run.
#[derive(Default)]
pub(super) struct Breaches(Mutex<(Vec<String>, u64)>);

impl Breaches {
    /// Adds one, seen by somebody.
    pub fn add(&self, room: usize, seat: usize, breach: &Breach) {
        self.add_line(format!(
            "{}: room {room}, seat {seat}: {}",
            breach.name, breach.seen
        ));
    }

    /// Adds one as text.
    pub fn add_line(&self, line: String) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.0.len() < BREACHES_MAX {
            all.0.push(line);
        } else {
            all.1 += 1;
        }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        let (list, beyond) = self.taken();
        u64::try_from(list.len()).unwrap_or(u64::MAX) + beyond
    }

    /// The list, and how many more there were.
    pub fn taken(&self) -> (Vec<String>, u64) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_is_bounded_and_the_rest_is_counted() {
        let breaches = Breaches::default();
        for number in 0..30 {
            breaches.add(1, 2, &Breach::new("one-order", format!("number {number}")));
        }
        let (list, beyond) = breaches.taken();
        assert_eq!(list[0], "one-order: room 1, seat 2: number 0");
        assert_eq!((list.len(), beyond), (BREACHES_MAX, 5));
    }
}
