//! What a test decides of its node.

use std::time::Duration;

use crate::{
    actor::{ActorLimits, ConnectionLimits, LinkLimits, PacingLimits, pace},
    owner::{OwnerLimits, QueueLimits},
    protocol::Settings,
    room::rules::Rules,
};

/// See the module.
pub struct Plan {
    pub settings: Settings,
    pub rules: Rules,
    pub actors: ActorLimits,
    pub connections: ConnectionLimits,
    /// Threads for rooms and connections.
    pub workers: usize,
}

impl Default for Plan {
    /// As configured by default, but the mirror counts as stalled only after longer than any test
    /// takes.
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            rules: Rules::default(),
            actors: ActorLimits {
                owner: OwnerLimits {
                    queue: QueueLimits {
                        items_max: 4_096,
                        bytes_max: 4 << 20,
                    },
                    stall_ms: 120_000,
                    verify_ms: 10_000,
                    expiry_ms: 6_000,
                },
                link: LinkLimits {
                    slow_ms: 2_000,
                    outgoing_bytes_max: 512 << 10,
                },
                pacing: PacingLimits::default(),
                ping_interval_ms: 15_000,
                ping_timeout_ms: 35_000,
            },
            connections: ConnectionLimits {
                frame_bytes_max: 64 << 10,
                text_bytes_max: 4 << 10,
                pace: pace(10_000, 10_000, 1_000, Duration::from_secs(10)),
                join_timeout: Duration::from_secs(10),
                connections_max: 1_000,
            },
            workers: 2,
        }
    }
}
