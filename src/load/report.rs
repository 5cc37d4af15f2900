//! What a run found, as it is written down: exact names, times in microseconds.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::{Serialize, Serializer};
use url::Url;

use super::{
    commits::Commits,
    context::RunContext,
    machine::ServerUse,
    meter::{Kind, Latency, Second},
    options::Profile,
    plan::Window,
};

/// Share of its cores from which on the load tool slows itself down.
const BUSY_SHARE: f64 = 0.85;
/// Lateness of its own orders from which on the load tool is not to be trusted.
const LATE_P99_US_MAX: u64 = 5_000;
/// People of a call.
const CALL_SIZE: usize = 2;
/// Nanoseconds of a second.
const SECOND_NS: f64 = 1e9;

/// A run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// What the people did.
    #[serde(serialize_with = "by_name")]
    pub profile: Profile,
    /// The nodes.
    pub urls: Vec<Url>,
    /// Rooms.
    pub rooms: usize,
    /// People of each room.
    pub size: usize,
    /// As asked.
    pub rate: f64,
    /// Of all random choices.
    pub seed: u64,
    /// Length of the measured window.
    pub window_secs: f64,
    /// Seconds in which people joined before it.
    pub ramp: f64,
    /// Joins of the whole run.
    pub joins: Joins,
    /// Commands.
    pub commands: Commands,
    /// Messages to members.
    pub deliveries: Deliveries,
    /// Signalling requests sent.
    pub requests: u64,
    /// Stays that went on over a new connection.
    pub resumes: Resumes,
    /// Connections.
    pub connections: Connections,
    /// Sessions of calls.
    pub sessions: Sessions,
    /// Broken promises, the first of them.
    pub violations: Vec<String>,
    /// How many more there were.
    pub violations_beyond: u64,
    /// The load tool itself.
    pub generator: Generator,
    /// The server's process, if its id was given.
    pub server: Option<ServerUse>,
    /// The nodes' commits to the mirror, if the key is an operator's.
    pub commits: Option<Commits>,
    /// Second by second.
    pub series: Vec<Second>,
}

/// Joins.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Joins {
    /// Were due.
    pub offered: u64,
    /// Ended in the room.
    pub done: u64,
    /// Refused for load.
    pub refused: u64,
    /// Failed otherwise.
    pub failed: u64,
    /// Until in the room.
    pub latency_us: Latency,
}

/// Commands.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Commands {
    /// Were due.
    pub offered: u64,
    /// Took effect.
    pub acked: u64,
    /// Refused for load, `withheld` included.
    pub refused: u64,
    /// Not sent: too many waited for an answer, or the sender was not in the room.
    pub withheld: u64,
    /// Until the `Ack`.
    pub latency_us: Latency,
}

/// Messages to members.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Deliveries {
    /// One for each member of the room when a message was acked.
    pub expected: u64,
    /// Arrived.
    pub seen: u64,
    /// Arrived within the window, per second.
    pub per_second: f64,
    /// Until a member has it.
    pub latency_us: Latency,
}

/// Stays that went on.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Resumes {
    /// How many.
    pub done: u64,
    /// From the loss until the stay went on.
    pub latency_us: Latency,
}

/// Connections.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Connections {
    /// Ended by the server or the network.
    pub lost: u64,
}

/// Sessions.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sessions {
    /// Calls with a join.
    pub expected: usize,
    /// Those of them that SQL has as one closed session.
    pub recorded: usize,
}

/// The load tool itself.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Generator {
    /// CPU time in the window.
    pub cpu_secs: f64,
    /// Cores that it may use.
    pub cores: usize,
    /// How late its own orders were.
    pub late_us: Latency,
    /// Whether it, and not the server, set the pace.
    pub is_bottleneck: bool,
}

/// What the window itself brought.
pub(super) struct Measured {
    /// As long as it really was.
    pub window: Window,
    /// Messages that arrived in it.
    pub deliveries: u64,
    /// CPU time of this process.
    pub own_cpu_secs: f64,
    /// The server's process.
    pub server: Option<ServerUse>,
    /// The nodes' commits.
    pub commits: Option<Commits>,
}

impl Measured {
    /// Adds the most memory that was seen between begin and end.
    pub fn with_most(mut self, rss_kib: u64) -> Self {
        if let Some(server) = &mut self.server {
            server.rss_max_kib = server.rss_max_kib.max(rss_kib);
        }
        self
    }

    #[expect(clippy::cast_precision_loss, reason = "nanoseconds of a day are exact")]
    fn secs(&self) -> f64 {
        (self.window.until_ns.saturating_sub(self.window.from_ns)) as f64 / SECOND_NS
    }
}

impl Report {
    /// Of a run that is over.
    pub(super) fn new(
        context: &RunContext,
        measured: Measured,
        sessions: Option<Sessions>,
    ) -> Self {
        let options = &context.options;
        let meter = &context.meter;
        let counts = &meter.counts;
        let of = |counter: &AtomicU64| counter.load(Relaxed);
        let (violations, violations_beyond) = context.violations.listed();
        let withheld = of(&counts.commands_withheld);
        let window_secs = measured.secs();
        let sessions = sessions.unwrap_or_default();
        let (rooms, size) = match options.profile {
            Profile::Churn => (sessions.expected, CALL_SIZE),
            Profile::Meeting
            | Profile::JoinStorm
            | Profile::Broadcast
            | Profile::Idle
            | Profile::Reconnect => (options.rooms, options.size),
        };
        Self {
            profile: options.profile,
            urls: options.urls.clone(),
            rooms,
            size,
            rate: options.rate,
            seed: options.seed,
            window_secs,
            ramp: options.ramp.as_secs_f64(),
            joins: Joins {
                offered: of(&counts.joins_offered),
                done: of(&counts.joins_done),
                refused: of(&counts.joins_refused),
                failed: of(&counts.joins_failed),
                latency_us: meter.latency(Kind::Join),
            },
            commands: Commands {
                offered: of(&counts.commands_offered),
                acked: of(&counts.commands_acked),
                refused: of(&counts.commands_refused) + withheld,
                withheld,
                latency_us: meter.latency(Kind::Command),
            },
            deliveries: Deliveries {
                expected: of(&counts.deliveries_expected),
                seen: of(&counts.deliveries_seen),
                per_second: per_second(measured.deliveries, window_secs),
                latency_us: meter.latency(Kind::Delivery),
            },
            requests: of(&counts.requests),
            resumes: Resumes {
                done: of(&counts.resumes_done),
                latency_us: meter.latency(Kind::Resume),
            },
            connections: Connections {
                lost: of(&counts.connections_lost),
            },
            sessions,
            violations,
            violations_beyond,
            generator: generator(context, measured.own_cpu_secs, window_secs),
            server: measured.server,
            commits: measured.commits,
            series: meter.seconds(),
        }
    }

    /// Whether every promise was kept.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }
}

#[expect(clippy::cast_precision_loss, reason = "cores are few")]
fn generator(context: &RunContext, cpu_secs: f64, window_secs: f64) -> Generator {
    let machine = std::thread::available_parallelism().map_or(1, usize::from);
    let cores = context.options.threads.min(machine);
    let late_us = context.meter.latency(Kind::Late);
    let is_busy = cpu_secs > BUSY_SHARE * cores as f64 * window_secs;
    Generator {
        cpu_secs,
        cores,
        is_bottleneck: is_busy || late_us.p99 > LATE_P99_US_MAX,
        late_us,
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a run are exact")]
fn per_second(count: u64, secs: f64) -> f64 {
    if secs > 0.0 { count as f64 / secs } else { 0.0 }
}

fn by_name<S: Serializer>(profile: &Profile, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(profile.name())
}
