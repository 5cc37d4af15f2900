//! One broken promise.

use std::fmt;

use chrono::{DateTime, Utc};

/// Characters of a description that are kept.
const CHARACTERS_MAX: usize = 600;

/// A promise that the server broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The stable name of the promise.
    pub promise: &'static str,
    /// What the client saw instead.
    pub what: String,
    /// The wall time, for a search in the logs of the nodes.
    pub at: DateTime<Utc>,
}

impl Violation {
    /// Returns a violation noticed now.
    #[must_use]
    pub fn new(promise: &'static str, what: &str) -> Self {
        Self {
            promise,
            what: what.chars().take(CHARACTERS_MAX).collect(),
            at: Utc::now(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at.format("%H:%M:%S%.3f");
        write!(out, "{at} {}: {}", self.promise, self.what)
    }
}
