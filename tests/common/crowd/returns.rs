//! How long clients were disconnected. Every sample is kept, so percentiles are exact.

use std::time::Duration;

use callboard::load::client::Entry;

/// One client that is back.
#[derive(Clone, Copy, Debug)]
pub struct Return {
    /// Number of the fault at which the connection was lost.
    pub fault: usize,
    pub entry: Entry,
    /// From the begin of the fault.
    pub since_fault: Duration,
    /// From the moment of the loss: `Goodbye`, close, or the end of waiting for an answer.
    pub since_loss: Duration,
}

/// Sorted durations.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<Duration>);

impl Samples {
    /// Sorts the samples.
    pub fn of(samples: impl IntoIterator<Item = Duration>) -> Self {
        let mut samples: Vec<Duration> = samples.into_iter().collect();
        samples.sort_unstable();
        Self(samples)
    }

    /// Returns the number of samples.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the smallest sample that at least this share does not exceed. `None` without
    /// samples.
    pub fn percentile(&self, share: f64) -> Option<Duration> {
        let rank = (self.0.len() as f64 * share).ceil() as usize;
        self.0.get(rank.saturating_sub(1)).copied()
    }

    /// The percentile as text in milliseconds; `–` without samples.
    pub fn show(&self, share: f64) -> String {
        match self.percentile(share) {
            Some(sample) => format!("{} ms", sample.as_millis()),
            None => "–".to_owned(),
        }
    }

    /// Whether a percentile is above a limit.
    pub fn exceeds(&self, share: f64, limit: Duration) -> bool {
        self.percentile(share).is_some_and(|sample| sample > limit)
    }
}
