//! The sections of the configuration. Each key is described once, by one line: its field, its type,
//! its name and its bounds. `config/default.toml` holds the default and the sentence for users.

use std::time::Duration;

use super::keys::Keys;
use crate::lease::PartitionPolicy;

/// Defines the type of a section and how its keys are read: `field: Type = reader("key", bounds)`,
/// where `reader` is a method of [`Keys`].
macro_rules! section {
    (
        $(#[$about:meta])*
        $section:literal => $name:ident {
            $(
                $(#[$doc:meta])*
                $field:ident: $type:ty = $reader:ident($key:literal $(, $rule:expr)?);
            )+
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {
            $($(#[$doc])* pub $field: $type,)+
        }

        impl $name {
            pub(super) fn read(keys: &mut Keys) -> Self {
                Self {
                    $($field: keys.$reader(concat!($section, ".", $key) $(, $rule)?),)+
                }
            }
        }
    };
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

section! {
    /// Logging.
    "log" => LogConfig {
        /// The format of log lines.
        format: LogFormat = choice("format", &[("text", LogFormat::Text), ("json", LogFormat::Json)]);
        /// Filter directives of the `tracing-subscriber` crate, as `Targets` reads them.
        level: String = log_filter("level");
    }
}

section! {
    /// The HTTP server.
    "http" => HttpConfig {
        /// Number of threads that serve HTTP and run rooms. 0 means one per core.
        workers: usize = whole("workers", 0..=256);
        /// Largest request body.
        body_bytes_max: usize = whole("body_bytes_max", 1024..=16_777_216);
        /// Origins that browsers may call from. `*` allows any.
        allowed_origins: Vec<String> = origins("allowed_origins");
        /// Joins without API key, per second and client address.
        keyless_joins_per_second: u32 = whole("keyless_joins_per_second", 1..=100_000);
        /// Joins without API key that one client address may send at once.
        keyless_joins_burst: u32 = whole("keyless_joins_burst", 1..=1_000_000);
    }
}

section! {
    /// Times of connections.
    "connection" => ConnectionConfig {
        /// Time from the upgrade to the accepted `JoinRoom`.
        join_timeout: Duration = millis("join_timeout_ms", 100..=600_000);
        /// Time between two pings of the server.
        ping_interval: Duration = millis("ping_interval_ms", 100..=600_000);
        /// Silence after which a connection counts as lost.
        ping_timeout: Duration = millis("ping_timeout_ms", 200..=3_600_000);
    }
}

section! {
    /// Times of rooms.
    "room" => RoomConfig {
        /// How long the seat of a lost connection is held.
        reconnect_grace: Duration = millis("reconnect_grace_ms", 100..=3_600_000);
        /// How long a session continues after its last participant has left.
        departure_timeout: Duration = millis("departure_timeout_ms", 0..=86_400_000);
        /// How long a room waits for its first admitted joiner.
        empty_timeout: Duration = millis("empty_timeout_ms", 100..=86_400_000);
        /// How long after a takeover nobody is shown as away.
        takeover_quiet: Duration = millis("takeover_quiet_ms", 0..=60_000);
    }
}

/// What the embedded mirror survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SqliteSynchronous {
    /// The death of the process.
    Normal,
    /// The loss of power too.
    Full,
}

section! {
    /// The mirror.
    "mirror" => MirrorConfig {
        /// A room is degraded when a commit is unanswered for this long.
        stall: Duration = millis("stall_ms", 100..=60_000);
        /// Time between two checks that the mirror still holds an idle room.
        verify: Duration = millis("verify_ms", 100..=600_000);
        /// Life of a room in the mirror that nobody refreshes.
        ttl: Duration = secs("ttl_secs", 60..=2_592_000);
        /// Embedded mirror only.
        sqlite_synchronous: SqliteSynchronous = choice(
            "sqlite_synchronous",
            &[("normal", SqliteSynchronous::Normal), ("full", SqliteSynchronous::Full)]
        );
        /// Redis only: number of replicas that must have a commit.
        wait_replicas: u32 = whole("wait_replicas", 0..=8);
        /// What a node does when it cannot tell a partition from an outage.
        partition: PartitionPolicy = choice(
            "partition",
            &[("stop", PartitionPolicy::Stop), ("serve", PartitionPolicy::Serve)]
        );
    }
}

section! {
    /// Leases of nodes.
    "cluster" => ClusterConfig {
        /// Time between two heartbeats.
        heartbeat: Duration = millis("heartbeat_ms", 50..=60_000);
        /// How long a node trusts its own lease after its last answered heartbeat.
        own_deadline: Duration = millis("own_deadline_ms", 100..=120_000);
        /// How long a heartbeat may be missing before other nodes take over.
        expiry: Duration = millis("expiry_ms", 200..=240_000);
        /// How long a stopping node may take to hand off its rooms.
        drain_timeout: Duration = millis("drain_timeout_ms", 0..=600_000);
    }
}

section! {
    /// The SQL store.
    "store" => StoreConfig {
        /// Number of connections.
        pool_size: usize = whole("pool_size", 1..=512);
        /// Longest wait for a connection, and longest statement.
        timeout: Duration = millis("timeout_ms", 100..=60_000);
    }
}

section! {
    /// The recorder of sessions.
    "recorder" => RecorderConfig {
        /// First wait after a failure.
        backoff_min: Duration = millis("backoff_min_ms", 10..=60_000);
        /// Longest wait after a failure.
        backoff_max: Duration = millis("backoff_max_ms", 10..=600_000);
    }
}

section! {
    /// Join tokens.
    "token" => TokenConfig {
        /// Life of the join tokens that the server signs.
        lifetime: Duration = secs("lifetime_secs", 1..=86_400);
    }
}

section! {
    /// The bounds of everything that could grow.
    "limits" => Limits {
        /// Open WebSockets of this node.
        connections_max: usize = whole("connections_max", 1..=10_000_000);
        /// Largest message of a client.
        frame_bytes_max: usize = whole("frame_bytes_max", 1024..=1_048_576);
        /// Largest chat text.
        text_bytes_max: usize = whole("text_bytes_max", 1..=1_048_575);
        /// Longest display name, in Unicode characters.
        display_name_chars_max: usize = whole("display_name_chars_max", 1..=128);
        /// Events kept per room for replay.
        tail_events_max: usize = whole("tail_events_max", 0..=100_000);
        /// Bytes of events kept per room for replay. The smaller of the two bounds applies.
        tail_bytes_max: usize = whole("tail_bytes_max", 0..=67_108_864);
        /// Commands per second and connection.
        commands_per_second: u32 = whole("commands_per_second", 1..=1_000_000);
        /// Commands that a connection may send at once.
        commands_burst: u32 = whole("commands_burst", 1..=1_000_000);
        /// Refused commands within the window after which a connection is closed.
        refusals_max: u32 = whole("refusals_max", 1..=1_000_000);
        /// Window of `refusals_max`.
        refusals_window: Duration = millis("refusals_window_ms", 100..=3_600_000);
        /// Relays that wait for one participant who is away.
        held_relays_max: usize = whole("held_relays_max", 0..=10_000);
        /// People in one lobby.
        lobby_max: usize = whole("lobby_max", 0..=10_000);
        /// Effects of one room that wait for their commit.
        fifo_items_max: usize = whole("fifo_items_max", 64..=1_000_000);
        /// Bytes of effects of one room that wait for their commit.
        fifo_bytes_max: usize = whole("fifo_bytes_max", 65_536..=1_073_741_824);
        /// Bytes that wait for one connection.
        outgoing_bytes_max: usize = whole("outgoing_bytes_max", 65_536..=1_073_741_824);
        /// How long a connection may take nothing before it is evicted.
        slow: Duration = millis("slow_ms", 100..=60_000);
    }
}
