//! What the operator decides for all rooms: times and bounds.

use std::collections::BTreeMap;

/// One media server of a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaServer {
    /// Address as clients reach it.
    pub ip: String,
    /// UDP or TCP port.
    pub port: u16,
}

/// Times (milliseconds) and bounds of every room of this node.
#[derive(Clone, Debug)]
pub struct Rules {
    /// How long a seat is held for a lost connection.
    pub reconnect_grace_ms: u64,
    /// How long a session continues without participants.
    pub departure_timeout_ms: u64,
    /// How long a room without a session waits for its first admitted join.
    pub empty_timeout_ms: u64,
    /// After a takeover, how long people may resume before they are shown as away.
    pub takeover_quiet_ms: u64,
    /// How many events are kept for replay.
    pub tail_events_max: usize,
    /// How many bytes of events are kept for replay.
    pub tail_bytes_max: usize,
    /// How many people may wait in the lobby.
    pub lobby_max: usize,
    /// How many relays are held for one away participant.
    pub held_relays_max: usize,
    /// How many bytes of relays are held for one away participant.
    pub held_relay_bytes_max: usize,
    /// How many ended stays a session keeps; beyond it the oldest is dropped.
    pub left_max: usize,
    /// How many bans a room has.
    pub bans_max: usize,
    /// This node's region, used for rooms whose first joiner names no region.
    pub region: String,
    /// Media servers by region.
    pub media_servers: BTreeMap<String, Vec<MediaServer>>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            reconnect_grace_ms: 30_000,
            departure_timeout_ms: 20_000,
            empty_timeout_ms: 300_000,
            takeover_quiet_ms: 3_000,
            tail_events_max: 512,
            tail_bytes_max: 256 * 1024,
            lobby_max: 100,
            held_relays_max: 64,
            held_relay_bytes_max: 256 * 1024,
            left_max: 20_000,
            bans_max: 10_000,
            region: "local".to_owned(),
            media_servers: BTreeMap::new(),
        }
    }
}
