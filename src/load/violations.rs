//! The violations of a run: a bounded list, and the number beyond it.

use std::sync::{Mutex, PoisonError};

use super::client::Violation;

/// Longest list. Further violations are only counted.
const VIOLATIONS_MAX: usize = 25;

/// All violations of a run.
#[derive(Default)]
pub(super) struct Violations(Mutex<(Vec<String>, u64)>);

impl Violations {
    /// Adds a violation that the client on this seat saw.
    pub fn add(&self, room: usize, seat: usize, violation: &Violation) {
        self.add_line(format!(
            "{}: room {room}, seat {seat}: {}",
            violation.promise, violation.what
        ));
    }

    pub fn add_line(&self, line: String) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.0.len() < VIOLATIONS_MAX {
            all.0.push(line);
        } else {
            all.1 += 1;
        }
    }

    pub fn count(&self) -> u64 {
        let (list, beyond) = self.listed();
        u64::try_from(list.len()).unwrap_or(u64::MAX) + beyond
    }

    /// Returns the list and the number of violations beyond it.
    pub fn listed(&self) -> (Vec<String>, u64) {
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
        let violations = Violations::default();
        for number in 0..30 {
            let what = format!("number {number}");
            violations.add(1, 2, &Violation::new("one-order", &what));
        }
        let (list, beyond) = violations.listed();
        assert_eq!(list[0], "one-order: room 1, seat 2: number 0");
        assert_eq!((list.len(), beyond), (VIOLATIONS_MAX, 5));
    }
}
