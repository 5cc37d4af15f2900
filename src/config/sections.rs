//! The sections of the configuration, typed. `config/default.toml` says more about each key.

use std::{fmt, net::IpAddr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize};

use crate::lease::PartitionPolicy;

/// Reads a whole number of milliseconds.
pub(super) fn millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}

fn secs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_secs)
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// How lines look.
    pub format: LogFormat,
    /// Filter directives.
    pub level: String,
}

/// `[http]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// Threads, of rooms too; 0: one per core.
    pub workers: usize,
    /// Largest request body.
    pub body_bytes_max: usize,
    /// Origins that browsers may call from; `*`: any.
    pub allowed_origins: Vec<String>,
    /// Joins without API key, per client address.
    pub keyless_joins_per_second: u32,
    /// Of these at once.
    pub keyless_joins_burst: u32,
}

/// `[connection]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectionConfig {
    /// Until a connection must have joined.
    #[serde(rename = "join_timeout_ms", deserialize_with = "millis")]
    pub join_timeout: Duration,
    /// Between two pings of the server.
    #[serde(rename = "ping_interval_ms", deserialize_with = "millis")]
    pub ping_interval: Duration,
    /// Silence after which a connection is lost.
    #[serde(rename = "ping_timeout_ms", deserialize_with = "millis")]
    pub ping_timeout: Duration,
}

/// `[room]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoomConfig {
    /// How long a lost connection keeps its seat.
    #[serde(rename = "reconnect_grace_ms", deserialize_with = "millis")]
    pub reconnect_grace: Duration,
    /// How long a session outlives its last participant.
    #[serde(rename = "departure_timeout_ms", deserialize_with = "millis")]
    pub departure_timeout: Duration,
    /// How long a room waits for its first admitted joiner.
    #[serde(rename = "empty_timeout_ms", deserialize_with = "millis")]
    pub empty_timeout: Duration,
    /// How long after a takeover nobody is shown as away.
    #[serde(rename = "takeover_quiet_ms", deserialize_with = "millis")]
    pub takeover_quiet: Duration,
}

/// What the embedded mirror survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SqliteSynchronous {
    /// The death of the process.
    Normal,
    /// Also the loss of power.
    Full,
}

/// `[mirror]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MirrorConfig {
    /// Without an answer for this long a room is degraded.
    #[serde(rename = "stall_ms", deserialize_with = "millis")]
    pub stall: Duration,
    /// How often owners verify idle rooms.
    #[serde(rename = "verify_ms", deserialize_with = "millis")]
    pub verify: Duration,
    /// How long a room stays that nobody refreshes.
    #[serde(rename = "ttl_secs", deserialize_with = "secs")]
    pub ttl: Duration,
    /// Embedded mirror only.
    pub sqlite_synchronous: SqliteSynchronous,
    /// Redis only: replicas that must have a commit.
    pub wait_replicas: u32,
    /// What to do when a partition cannot be told from an outage.
    pub partition: PartitionPolicy,
}

/// `[cluster]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterConfig {
    /// Between two heartbeats.
    #[serde(rename = "heartbeat_ms", deserialize_with = "millis")]
    pub heartbeat: Duration,
    /// How long a node trusts its own lease.
    #[serde(rename = "own_deadline_ms", deserialize_with = "millis")]
    pub own_deadline: Duration,
    /// When the others call it expired.
    #[serde(rename = "expiry_ms", deserialize_with = "millis")]
    pub expiry: Duration,
    /// How long handing over the rooms may take at a stop.
    #[serde(rename = "drain_timeout_ms", deserialize_with = "millis")]
    pub drain_timeout: Duration,
}

/// `[store]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig {
    /// Connections.
    pub pool_size: usize,
    /// Per wait for a connection and per statement.
    #[serde(rename = "timeout_ms", deserialize_with = "millis")]
    pub timeout: Duration,
}

/// `[recorder]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecorderConfig {
    /// First wait after a failure.
    #[serde(rename = "backoff_min_ms", deserialize_with = "millis")]
    pub backoff_min: Duration,
    /// Longest wait.
    #[serde(rename = "backoff_max_ms", deserialize_with = "millis")]
    pub backoff_max: Duration,
}

/// `[token]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenConfig {
    /// Life of the join tokens that the server signs.
    #[serde(rename = "lifetime_secs", deserialize_with = "secs")]
    pub lifetime: Duration,
}

/// A media server, one `[[sfu]]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SfuConfig {
    /// Rooms of this region are told of it.
    pub region: String,
    /// Its address.
    pub ip: IpAddr,
    /// Its port.
    pub port: u16,
}

/// An ICE server as joiners are told of it, one `[[ice_servers]]`. Serialized it is an `RTCIceServer` of WebRTC.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IceServer {
    /// `stun:` and `turn:` URLs.
    pub urls: Vec<String>,
    /// For TURN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// For TURN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

impl fmt::Debug for IceServer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("IceServer")
            .field("urls", &self.urls)
            .finish_non_exhaustive()
    }
}
