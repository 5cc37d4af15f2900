//! Which keys there are, what shape and bounds each has, and which must be smaller than which.

/// What a value must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A whole number within bounds, both included.
    Whole {
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
    },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// IP address and port.
    Address,
    /// A path, not empty.
    Path,
    /// A short name.
    Label,
    /// Log filter directives.
    Filter,
    /// An `http` or `https` URL without path.
    BaseUrl,
    /// `postgres://…` or `sqlite:…`.
    Database,
    /// A Redis URL.
    Redis,
    /// A list of origins, or `*`.
    Origins,
    /// `[[sfu]]`.
    SfuList,
    /// `[[ice_servers]]`.
    IceList,
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    /// Its full name, with dots.
    pub(super) name: &'static str,
    /// What it must look like.
    pub(super) shape: Shape,
}

/// How two numbers relate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    /// Strictly smaller.
    Below,
    /// Smaller or equal.
    AtMost,
}

const fn key(name: &'static str, shape: Shape) -> Key {
    Key { name, shape }
}

const fn whole(name: &'static str, min: i64, max: i64) -> Key {
    key(name, Shape::Whole { min, max })
}

/// Every key, in the order of `config/default.toml`.
pub(super) const KEYS: &[Key] = &[
    key("listen", Shape::Address),
    key("admin_listen", Shape::Address),
    key("data", Shape::Path),
    key("database", Shape::Database),
    key("redis", Shape::Redis),
    key("advertise", Shape::BaseUrl),
    key("region", Shape::Label),
    key("log.format", Shape::Choice(&["text", "json"])),
    key("log.level", Shape::Filter),
    whole("http.workers", 0, 256),
    whole("http.body_bytes_max", 1024, 16_777_216),
    key("http.allowed_origins", Shape::Origins),
    whole("http.keyless_joins_per_second", 1, 100_000),
    whole("http.keyless_joins_burst", 1, 1_000_000),
    whole("connection.join_timeout_ms", 100, 600_000),
    whole("connection.ping_interval_ms", 100, 600_000),
    whole("connection.ping_timeout_ms", 200, 3_600_000),
    whole("room.reconnect_grace_ms", 100, 3_600_000),
    whole("room.departure_timeout_ms", 0, 86_400_000),
    whole("room.empty_timeout_ms", 100, 86_400_000),
    whole("room.takeover_quiet_ms", 0, 60_000),
    whole("mirror.stall_ms", 100, 60_000),
    whole("mirror.verify_ms", 100, 600_000),
    whole("mirror.ttl_secs", 60, 2_592_000),
    key(
        "mirror.sqlite_synchronous",
        Shape::Choice(&["normal", "full"]),
    ),
    whole("mirror.wait_replicas", 0, 8),
    key("mirror.partition", Shape::Choice(&["stop", "serve"])),
    whole("cluster.heartbeat_ms", 50, 60_000),
    whole("cluster.own_deadline_ms", 100, 120_000),
    whole("cluster.expiry_ms", 200, 240_000),
    whole("cluster.drain_timeout_ms", 0, 600_000),
    whole("store.pool_size", 1, 512),
    whole("store.timeout_ms", 100, 60_000),
    whole("recorder.backoff_min_ms", 10, 60_000),
    whole("recorder.backoff_max_ms", 10, 600_000),
    whole("token.lifetime_secs", 1, 86_400),
    whole("limits.connections_max", 1, 10_000_000),
    whole("limits.frame_bytes_max", 1024, 1_048_576),
    whole("limits.text_bytes_max", 1, 1_048_575),
    whole("limits.display_name_chars_max", 1, 128),
    whole("limits.tail_events_max", 0, 100_000),
    whole("limits.tail_bytes_max", 0, 67_108_864),
    whole("limits.commands_per_second", 1, 1_000_000),
    whole("limits.commands_burst", 1, 1_000_000),
    whole("limits.refusals_max", 1, 1_000_000),
    whole("limits.refusals_window_ms", 100, 3_600_000),
    whole("limits.held_relays_max", 0, 10_000),
    whole("limits.lobby_max", 0, 10_000),
    whole("limits.fifo_items_max", 64, 1_000_000),
    whole("limits.fifo_bytes_max", 65_536, 1_073_741_824),
    whole("limits.outgoing_bytes_max", 65_536, 1_073_741_824),
    whole("limits.slow_ms", 100, 60_000),
    key("sfu", Shape::SfuList),
    key("ice_servers", Shape::IceList),
];

/// Which number must be smaller than which. The first three are what makes a lease safe: an owner notices that its mirror is
/// silent, then stops trusting itself, then is replaced, in this order.
pub(super) const ORDER: &[(&str, Relation, &str)] = &[
    (
        "mirror.stall_ms",
        Relation::Below,
        "cluster.own_deadline_ms",
    ),
    (
        "cluster.own_deadline_ms",
        Relation::Below,
        "cluster.expiry_ms",
    ),
    (
        "cluster.heartbeat_ms",
        Relation::Below,
        "cluster.own_deadline_ms",
    ),
    (
        "connection.ping_interval_ms",
        Relation::Below,
        "connection.ping_timeout_ms",
    ),
    (
        "recorder.backoff_min_ms",
        Relation::AtMost,
        "recorder.backoff_max_ms",
    ),
    (
        "limits.text_bytes_max",
        Relation::Below,
        "limits.frame_bytes_max",
    ),
    (
        "limits.frame_bytes_max",
        Relation::AtMost,
        "limits.outgoing_bytes_max",
    ),
    (
        "limits.frame_bytes_max",
        Relation::AtMost,
        "limits.fifo_bytes_max",
    ),
    // A resume sends the whole tail at once: it must not evict the one who resumes.
    (
        "limits.tail_bytes_max",
        Relation::Below,
        "limits.outgoing_bytes_max",
    ),
];

/// The key of this name.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}
