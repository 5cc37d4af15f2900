//! Prometheus metrics of the mirror.

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, core::Collector,
};

use crate::mirror::CommitOutcome;

/// Metrics of the writer; clones share their values.
#[derive(Clone)]
pub struct MirrorMetrics {
    /// Time from submitting a commit to its outcome, retries included.
    pub commit_seconds: Histogram,
    /// Commits in one call of the mirror.
    pub batch_commits: Histogram,
    /// Commits by outcome: `ok`, `fenced`, `behind`, `missing`, `cancelled`.
    pub commits: IntCounterVec,
    /// The counter with the label `ok`, which nearly all commits have.
    committed: IntCounter,
    /// Attempts of commits that met a fault. The writer retries each.
    pub faults: IntCounter,
    /// Commits without outcome.
    pub queue_length: IntGauge,
    /// 1 while the mirror answers.
    pub is_up: IntGauge,
}

impl Default for MirrorMetrics {
    fn default() -> Self {
        Self::new()
    }
}

impl MirrorMetrics {
    /// New metrics. The caller registers them, see [`Self::collectors`].
    #[must_use]
    pub fn new() -> Self {
        let commits = IntCounterVec::new(
            Opts::new("callboard_mirror_commits_total", "Commits by outcome."),
            &["outcome"],
        )
        .expect("the name and label are valid");
        let metrics = Self {
            committed: commits.with_label_values(&["ok"]),
            commits,
            commit_seconds: histogram(
                "callboard_mirror_commit_seconds",
                "From submitting a commit to its outcome, repeats included.",
                &[
                    5e-5, 7e-5, 1e-4, 1.5e-4, 2e-4, 3e-4, 4e-4, 6e-4, 8e-4, 0.001, 0.0015, 0.002,
                    0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
                ],
            ),
            batch_commits: histogram(
                "callboard_mirror_batch_commits",
                "Commits of rooms in one call of the mirror.",
                &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0],
            ),
            faults: IntCounter::new(
                "callboard_mirror_faults_total",
                "Attempts of commits that met a fault and are repeated.",
            )
            .expect("the name is valid"),
            queue_length: gauge(
                "callboard_mirror_queue_length",
                "Commits that have no outcome yet.",
            ),
            is_up: gauge("callboard_mirror_up", "1 while the mirror answers."),
        };
        metrics.is_up.set(1);
        metrics
    }

    /// Returns all metrics, to be registered.
    #[must_use]
    pub fn collectors(&self) -> Vec<Box<dyn Collector>> {
        vec![
            Box::new(self.commit_seconds.clone()),
            Box::new(self.batch_commits.clone()),
            Box::new(self.commits.clone()),
            Box::new(self.faults.clone()),
            Box::new(self.queue_length.clone()),
            Box::new(self.is_up.clone()),
        ]
    }

    pub(super) fn count(&self, outcome: CommitOutcome) {
        let label = match outcome {
            CommitOutcome::Ok => return self.committed.inc(),
            CommitOutcome::Fenced { .. } => "fenced",
            CommitOutcome::Behind => "behind",
            CommitOutcome::Missing => "missing",
        };
        self.commits.with_label_values(&[label]).inc();
    }

    pub(super) fn count_cancelled(&self) {
        self.commits.with_label_values(&["cancelled"]).inc();
    }
}

fn histogram(name: &str, help: &str, buckets: &[f64]) -> Histogram {
    let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
    Histogram::with_opts(options).expect("the name is valid and the buckets are sorted")
}

fn gauge(name: &str, help: &str) -> IntGauge {
    IntGauge::new(name, help).expect("the name is valid")
}
