//! What the operator decides for all rooms: times and bounds the core works with.

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
    /// How long a session without participants goes on.
    pub departure_timeout_ms: u64,
    /// How long a room without a session waits for its first admitted join.
    pub empty_timeout_ms: u64,
    /// After a takeover: how long people may resume before they are shown as away.
    pub takeover_quiet_ms: u64,
    /// Events kept for replay.
    pub tail_events_max: usize,
    /// Bytes of events kept for replay.
    pub tail_bytes_max: usize,
    /// People in the lobby.
    pub lobby_max: usize,
    /// Relays held for one away person.
    pub held_relays_max: usize,
    /// The same in bytes; whichever is reached first.
    pub held_relay_bytes_max: usize,
    /// Ended stays remembered per session; beyond it the oldest attendance is forgotten.
    pub left_max: usize,
    /// Bans per room.
    pub bans_max: usize,
    /// Region of this node: a room's region when its first joiner names none.
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
