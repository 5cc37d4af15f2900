//! How long the nodes' commits took, from the histogram that they show at `/metrics`.

use serde::Serialize;

/// A line of the histogram, up to its bound in seconds (the exposition format of Prometheus).
const BUCKET: &str = "callboard_mirror_commit_seconds_bucket{le=\"";
/// Microseconds of a second.
const SECOND_US: f64 = 1e6;

/// Commits of all nodes in the window.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Commits {
    /// How many.
    pub count: u64,
    /// Median from submitting one to its outcome, in microseconds; straight between the bounds of
    /// its bucket.
    pub p50_us: u64,
    /// 99th percentile.
    pub p99_us: u64,
}

/// Upper bounds in seconds, each with the number of commits up to it, since the node started.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct CommitTimes(Vec<(f64, f64)>);

impl CommitTimes {
    /// Reads the histogram of a node. `None` if it has none.
    pub fn read(metrics: &str) -> Option<Self> {
        let lines = metrics.lines().filter_map(|line| line.strip_prefix(BUCKET));
        let buckets: Vec<_> = lines.map_while(bucket).collect();
        let is_whole = buckets.last().is_some_and(|(bound, _)| bound.is_infinite());
        is_whole.then_some(Self(buckets))
    }

    /// Adds another node's.
    pub fn add(&mut self, other: &Self) {
        if self.0.is_empty() {
            return self.clone_from(other);
        }
        for ((_, count), (_, more)) in self.0.iter_mut().zip(&other.0) {
            *count += more;
        }
    }

    /// What has come since.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts and times are small and not negative"
    )]
    pub fn since(mut self, before: &Self) -> Commits {
        for ((_, count), (_, known)) in self.0.iter_mut().zip(&before.0) {
            *count -= known;
        }
        Commits {
            count: self.0.last().map_or(0.0, |(_, count)| *count) as u64,
            p50_us: self.quantile_us(0.5).round() as u64,
            p99_us: self.quantile_us(0.99).round() as u64,
        }
    }

    /// Straight between the bounds of the bucket that has it, as `histogram_quantile` of Prometheus
    /// does it.
    fn quantile_us(&self, share: f64) -> f64 {
        let rank = self.0.last().map_or(0.0, |(_, count)| count * share);
        let mut lower = (0.0, 0.0);
        for &(bound, count) in &self.0 {
            if count >= rank && count > lower.1 {
                // Beyond the last bound nothing is known.
                let upper = if bound.is_finite() { bound } else { lower.0 };
                let part = (rank - lower.1) / (count - lower.1);
                return (lower.0 + (upper - lower.0) * part) * SECOND_US;
            }
            lower = (bound, count);
        }
        0.0
    }
}

fn bucket(line: &str) -> Option<(f64, f64)> {
    let (bound, count) = line.split_once("\"} ")?;
    // "+Inf" is what `f64` reads as well.
    Some((bound.parse().ok()?, count.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(counts: [u64; 3]) -> CommitTimes {
        let [first, second, all] = counts;
        let text = format!(
            "# TYPE callboard_mirror_commit_seconds histogram\n\
             callboard_mirror_commit_seconds_bucket{{le=\"0.001\"}} {first}\n\
             callboard_mirror_commit_seconds_bucket{{le=\"0.002\"}} {second}\n\
             callboard_mirror_commit_seconds_bucket{{le=\"+Inf\"}} {all}\n\
             callboard_mirror_commit_seconds_sum 12.5\n"
        );
        CommitTimes::read(&text).unwrap()
    }

    #[test]
    fn only_what_came_in_the_window_counts() {
        let commits = shown([1_050, 1_150, 1_150]).since(&shown([1_000, 1_000, 1_000]));
        assert_eq!(
            commits,
            Commits {
                count: 150,
                p50_us: 1_250,
                p99_us: 1_985,
            }
        );
    }

    #[test]
    fn nodes_are_added_up_and_the_last_bound_is_the_most_that_is_known() {
        let mut all = CommitTimes::default();
        all.add(&shown([1, 1, 1]));
        all.add(&shown([0, 0, 9]));
        let commits = all.since(&shown([0, 0, 0]));
        assert_eq!((commits.count, commits.p50_us), (10, 2_000));
    }

    #[test]
    fn no_commits_take_no_time() {
        let idle = shown([3, 4, 5]);
        assert_eq!(idle.clone().since(&idle), Commits::default());
    }

    #[test]
    fn what_is_no_such_histogram_is_none() {
        for text in [
            "",
            "callboard_up 1\n",
            "callboard_mirror_commit_seconds_bucket{le=\"0.1\"} 3\n",
            "callboard_mirror_commit_seconds_bucket{le=\"x\"} 3\n",
        ] {
            assert_eq!(CommitTimes::read(text), None, "{text}");
        }
    }
}
