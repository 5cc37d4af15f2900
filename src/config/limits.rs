//! The section `[limits]`: everything that could grow has its bound here.

use std::time::Duration;

use serde::Deserialize;

use super::sections::millis;

/// `[limits]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Open WebSockets of this node.
    pub connections_max: usize,
    /// Largest message of a client.
    pub frame_bytes_max: usize,
    /// Largest chat text.
    pub text_bytes_max: usize,
    /// Longest display name, in Unicode characters.
    pub display_name_chars_max: usize,
    /// Events kept per room for replay.
    pub tail_events_max: usize,
    /// The same in bytes; whichever is reached first.
    pub tail_bytes_max: usize,
    /// Commands per second and connection.
    pub commands_per_second: u32,
    /// Commands of a connection at once.
    pub commands_burst: u32,
    /// Refused commands within the window that close a connection.
    pub refusals_max: u32,
    /// That window.
    #[serde(rename = "refusals_window_ms", deserialize_with = "millis")]
    pub refusals_window: Duration,
    /// Relays that wait for one person who is away.
    pub held_relays_max: usize,
    /// People in one lobby.
    pub lobby_max: usize,
    /// Effects of one room that wait for their commit.
    pub fifo_items_max: usize,
    /// The same in bytes.
    pub fifo_bytes_max: usize,
    /// Bytes that wait for one connection.
    pub outgoing_bytes_max: usize,
    /// How long a connection may take nothing.
    #[serde(rename = "slow_ms", deserialize_with = "millis")]
    pub slow: Duration,
}
