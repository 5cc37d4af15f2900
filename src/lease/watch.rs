//! Watches the heartbeats of other nodes by this node's own clock.

use std::collections::HashMap;

use crate::ids::{NodeId, Timestamp};

/// Nodes that are watched. Beyond it the watch starts again.
const WATCHED_MAX: usize = 10_000;

/// Longest time between two observations that counts as watching.
const GAP_MS_MAX: u64 = 2_000;

/// See the module.
#[derive(Debug)]
pub struct Watch {
    expiry_ms: u64,
    /// The last heartbeat seen of each node.
    seen: HashMap<NodeId, Seen>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    heartbeat: u64,
    still_ms: u64,
    last: Timestamp,
}

impl Watch {
    /// A watch that has seen nothing.
    #[must_use]
    pub fn new(expiry_ms: u64) -> Self {
        Self {
            expiry_ms,
            seen: HashMap::new(),
        }
    }

    /// The registry shows this heartbeat of a node at `now`.
    pub fn see(&mut self, node_id: NodeId, heartbeat: u64, now: Timestamp) {
        if self.seen.len() >= WATCHED_MAX && !self.seen.contains_key(&node_id) {
            self.seen.clear();
        }
        let new = Seen {
            heartbeat,
            still_ms: 0,
            last: now,
        };
        let seen = self.seen.entry(node_id).or_insert(new);
        if seen.heartbeat != heartbeat {
            *seen = new;
        }
        let gap_ms = now.ms_since(seen.last);
        if gap_ms <= GAP_MS_MAX {
            seen.still_ms += gap_ms;
        }
        seen.last = now;
    }

    /// Whether a node's heartbeat stood still for the whole expiry. Only time between observations
    /// counts.
    #[must_use]
    pub fn is_expired(&self, node_id: NodeId) -> bool {
        self.still_ms(node_id) >= self.expiry_ms
    }

    /// How long a node's heartbeat has stood still, in milliseconds. 0 if the node was never seen.
    #[must_use]
    pub fn still_ms(&self, node_id: NodeId) -> u64 {
        let seen = self.seen.get(&node_id);
        seen.map_or(0, |seen| seen.still_ms)
    }

    #[cfg(test)]
    pub(super) fn watched(&self) -> usize {
        self.seen.len()
    }

    /// A node is no longer listed.
    pub fn forget(&mut self, node_id: NodeId) {
        self.seen.remove(&node_id);
    }
}
