//! Metrics in a registry of their own. Names begin with `callboard_` and end with their unit; on
//! Linux there are the usual `process_` metrics too.
//!
//! Every label has a closed set of values: an enum or a route template, never a client's text.

mod families;
mod labels;
#[cfg(target_os = "linux")]
mod process;

use std::{sync::Arc, time::Duration};

use prometheus::{Registry, TextEncoder, core::Collector};

pub use self::{
    families::Families,
    labels::{CommandLabel, CommandOutcome, EvictionReason, ForwardOutcome, RefusedConnection},
};

/// The content type of [`Metrics::render`]: the Prometheus text format.
pub const METRICS_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The metrics of one server; clones share them.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    families: Families,
}

impl Metrics {
    /// Creates metrics that are all zero.
    #[must_use]
    pub fn new() -> Self {
        let registry = Registry::new();
        let families = Families::new();
        let metrics = Self(Arc::new(Inner { registry, families }));
        for collector in metrics.0.families.collectors() {
            metrics.register(collector);
        }
        #[cfg(target_os = "linux")]
        metrics.register(Box::new(process::ProcessMetrics::new()));
        metrics
    }

    /// Adds a family that another part of the server keeps, such as the mirror's commit latency.
    ///
    /// # Panics
    /// When its name is taken: names are fixed in the code.
    pub fn register(&self, collector: Box<dyn Collector>) {
        self.0
            .registry
            .register(collector)
            .expect("names of metrics are valid and used once");
    }

    /// Returns all families with their current values, in the Prometheus text format 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        TextEncoder::new()
            .encode_to_string(&self.0.registry.gather())
            .expect("writing into a string does not fail and families have names")
    }

    /// Counts a command.
    pub fn command(&self, command: CommandLabel, outcome: CommandOutcome) {
        let counter = || {
            let labels = [command.as_str(), outcome.as_str()];
            self.commands_total.with_label_values(&labels)
        };
        match outcome {
            CommandOutcome::Applied => self.applied[command.index()].get_or_init(counter).inc(),
            CommandOutcome::Refused(_) => counter().inc(),
        }
    }

    /// Counts a connection that the server closed because of its peer.
    pub fn eviction(&self, reason: EvictionReason) {
        self.evictions_total
            .with_label_values(&[reason.as_str()])
            .inc();
    }

    /// Counts a connection that was not accepted.
    pub fn refused_connection(&self, reason: RefusedConnection) {
        self.refused_connections_total
            .with_label_values(&[reason.as_str()])
            .inc();
    }

    /// Counts an admin's command that was sent to another node.
    pub fn forwarded_ask(&self, outcome: ForwardOutcome) {
        self.forwarded_asks_total
            .with_label_values(&[outcome.as_str()])
            .inc();
    }

    /// Counts an attempt to open a connection to another node for a client of this one.
    pub fn forwarded_connection(&self, outcome: ForwardOutcome) {
        self.forwarded_connections_total
            .with_label_values(&[outcome.as_str()])
            .inc();
    }

    /// Counts an answered HTTP request. `route` is the template (`/v1/rooms/{id}`), never the
    /// requested path.
    pub fn observe_http(&self, route: &str, method: &str, status: u16, took: Duration) {
        let method = labels::known_method(method);
        self.http_requests_total
            .with_label_values(&[route, method, labels::status_class(status)])
            .inc();
        self.http_request_duration_seconds
            .with_label_values(&[route, method])
            .observe(took.as_secs_f64());
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Makes the families fields of the handle: `metrics.rooms.inc()`.
impl std::ops::Deref for Metrics {
    type Target = Families;

    fn deref(&self) -> &Families {
        &self.0.families
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Metrics")
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Histogram;

    use super::*;
    use crate::protocol::{Code, MessageType};

    #[test]
    fn rendered_text_has_help_and_values() {
        let metrics = Metrics::new();
        metrics.rooms.set(3);
        let join = CommandLabel::Message(MessageType::JoinRoom);
        metrics.command(join, CommandOutcome::Applied);
        metrics.command(join, CommandOutcome::Refused(Code::RoomFull));
        metrics.eviction(EvictionReason::Slow);
        metrics.refused_connection(RefusedConnection::Full);
        metrics.observe_http("/v1/rooms/{id}", "GET", 404, Duration::from_millis(3));
        metrics.observe_http("unmatched", "BREW", 418, Duration::ZERO);
        let text = metrics.render();
        for line in [
            "# HELP callboard_rooms ",
            "# TYPE callboard_rooms gauge",
            "callboard_rooms 3",
            "callboard_commands_total{outcome=\"applied\",type=\"JoinRoom\"} 1",
            "callboard_commands_total{outcome=\"room_full\",type=\"JoinRoom\"} 1",
            "callboard_evictions_total{reason=\"slow\"} 1",
            "callboard_refused_connections_total{reason=\"full\"} 1",
            "callboard_http_requests_total{class=\"4xx\",method=\"GET\",route=\"/v1/rooms/{id}\"} 1",
            "callboard_http_requests_total{class=\"4xx\",method=\"other\",route=\"unmatched\"} 1",
            "callboard_http_request_duration_seconds_count{method=\"GET\",route=\"/v1/rooms/{id}\"} 1",
            "callboard_room_restarts_total 0",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        let version = env!("CARGO_PKG_VERSION");
        assert!(text.contains(&format!("callboard_build_info{{version=\"{version}\"}} 1")));
        #[cfg(target_os = "linux")]
        assert!(text.contains("process_open_fds"), "{text}");
    }

    #[test]
    fn evictions_of_every_reason_are_visible_before_the_first() {
        let text = Metrics::new().render();
        for reason in EvictionReason::ALL {
            let line = format!(
                "callboard_evictions_total{{reason=\"{}\"}} 0",
                reason.as_str()
            );
            assert!(text.contains(&line), "{line}");
        }
    }

    #[test]
    fn clones_share_their_families_and_take_in_those_of_others() {
        let metrics = Metrics::new();
        metrics.clone().connections.inc();
        let latency =
            Histogram::with_opts(prometheus::HistogramOpts::new("callboard_x_seconds", "x"))
                .unwrap();
        metrics.register(Box::new(latency.clone()));
        latency.observe(0.5);
        let text = metrics.render();
        assert!(text.contains("callboard_connections 1"));
        assert!(text.contains("callboard_x_seconds_count 1"));
    }
}
