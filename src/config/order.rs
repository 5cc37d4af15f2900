//! Which numbers must be smaller than which.

use std::collections::BTreeMap;

use super::Problem;

/// How two numbers relate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    Below,
    AtMost,
}

use Relation::{AtMost, Below};

/// The first three make a lease safe. An owner notices that its mirror is silent, then stops
/// trusting itself, then is replaced, in this order. The last one lets a resume send the whole tail
/// at once.
pub(super) const ORDER: &[(&str, Relation, &str)] = &[
    ("mirror.stall_ms", Below, "cluster.own_deadline_ms"),
    ("cluster.own_deadline_ms", Below, "cluster.expiry_ms"),
    ("cluster.heartbeat_ms", Below, "cluster.own_deadline_ms"),
    (
        "connection.ping_interval_ms",
        Below,
        "connection.ping_timeout_ms",
    ),
    ("recorder.backoff_min_ms", AtMost, "recorder.backoff_max_ms"),
    ("limits.text_bytes_max", Below, "limits.frame_bytes_max"),
    (
        "limits.frame_bytes_max",
        AtMost,
        "limits.outgoing_bytes_max",
    ),
    ("limits.frame_bytes_max", AtMost, "limits.fifo_bytes_max"),
    ("limits.tail_bytes_max", Below, "limits.outgoing_bytes_max"),
];

/// Returns a problem for each pair in the wrong order. `numbers` holds only those that are within
/// their own bounds; the others are problems already.
pub(super) fn problems(numbers: &BTreeMap<&str, i64>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (low, relation, high) in ORDER {
        let (Some(low_number), Some(high_number)) = (numbers.get(low), numbers.get(high)) else {
            continue;
        };
        let (is_right, word) = match relation {
            Below => (low_number < high_number, "smaller than"),
            AtMost => (low_number <= high_number, "at most"),
        };
        if !is_right {
            problems.push(Problem::new(
                *low,
                format!("is {low_number} but must be {word} {high}, which is {high_number}"),
            ));
        }
    }
    problems
}
