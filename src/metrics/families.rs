//! The families: one field each, with the sentence that Prometheus shows.

use std::sync::OnceLock;

use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    core::Collector,
};

use super::labels::{CommandLabel, EvictionReason, ForwardOutcome, RefusedConnection};

/// Bounds of the buckets of HTTP latencies, in seconds.
const HTTP_BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// The families that the server itself counts.
#[derive(Clone, Debug)]
pub struct Families {
    /// Live rooms of this node.
    pub rooms: IntGauge,
    /// Seats taken in them, those of people who are away included.
    pub participants: IntGauge,
    /// Open WebSockets, those that other nodes opened for their clients included.
    pub connections: IntGauge,
    /// Clients of this node whose room is on another.
    pub forwarded_connections: IntGauge,
    /// Rooms that continue without durability.
    pub rooms_degraded: IntGauge,
    /// 1 while SQL answers.
    pub store_up: IntGauge,
    /// 1 while the node's lease of the shared mirror holds.
    pub lease_held: IntGauge,
    /// Rooms of other nodes that were continued here.
    pub rooms_taken_over_total: IntCounter,
    /// Rooms that successors took when this node was drained.
    pub rooms_handed_over_total: IntCounter,
    /// Rooms given up because another node owns them, or may.
    pub rooms_given_up_total: IntCounter,
    /// Restarts of rooms after a panic.
    pub room_restarts_total: IntCounter,
    /// Sessions written to SQL.
    pub sessions_recorded_total: IntCounter,
    /// Failed attempts to write sessions.
    pub recorder_retries_total: IntCounter,
    /// Relays dropped because their target was behind.
    pub relays_dropped_total: IntCounter,
    /// By type and outcome; see [`Metrics::command`](super::Metrics::command).
    pub(super) commands_total: IntCounterVec,
    /// The applied ones by type. They are nearly all, and are counted without a search for labels.
    pub(super) applied: [OnceLock<IntCounter>; CommandLabel::COUNT],
    /// By reason; see [`Metrics::eviction`](super::Metrics::eviction).
    pub(super) evictions_total: IntCounterVec,
    /// By reason; see [`Metrics::refused_connection`](super::Metrics::refused_connection).
    pub(super) refused_connections_total: IntCounterVec,
    /// By outcome; see [`Metrics::forwarded_ask`](super::Metrics::forwarded_ask).
    pub(super) forwarded_asks_total: IntCounterVec,
    /// By outcome; see [`Metrics::forwarded_connection`](super::Metrics::forwarded_connection).
    pub(super) forwarded_connections_total: IntCounterVec,
    /// By route, method and class; see [`Metrics::observe_http`](super::Metrics::observe_http).
    pub(super) http_requests_total: IntCounterVec,
    /// By route and method.
    pub(super) http_request_duration_seconds: HistogramVec,
    /// Always 1; the release is its label.
    build_info: IntGaugeVec,
}

/// Why creating a family cannot fail.
const VALID: &str = "names and labels of families are fixed and valid";

fn options(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("callboard")
}

fn gauge(name: &str, help: &str) -> IntGauge {
    IntGauge::with_opts(options(name, help)).expect(VALID)
}

fn counter(name: &str, help: &str) -> IntCounter {
    IntCounter::with_opts(options(name, help)).expect(VALID)
}

fn counters(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    IntCounterVec::new(options(name, help), labels).expect(VALID)
}

impl Families {
    pub(super) fn new() -> Self {
        let families = Self {
            rooms: gauge("rooms", "Live rooms of this node."),
            participants: gauge(
                "participants",
                "Seats taken in the live rooms of this node, away people included.",
            ),
            connections: gauge(
                "connections",
                "Open WebSockets of this node, those that other nodes opened for their clients included.",
            ),
            forwarded_connections: gauge(
                "forwarded_connections",
                "Open WebSockets of clients of this node whose room is on another.",
            ),
            rooms_degraded: gauge(
                "rooms_degraded",
                "Live rooms of this node that go on without durability.",
            ),
            store_up: gauge("store_up", "1 while the SQL database answers, else 0."),
            lease_held: gauge(
                "lease_held",
                "1 while this node's lease of its rooms holds, else 0; always 1 with an embedded mirror.",
            ),
            rooms_taken_over_total: counter(
                "rooms_taken_over_total",
                "Rooms of other processes continued here.",
            ),
            rooms_handed_over_total: counter(
                "rooms_handed_over_total",
                "Rooms that successors took when this node was drained.",
            ),
            rooms_given_up_total: counter(
                "rooms_given_up_total",
                "Rooms given up because another node owns them, or may.",
            ),
            room_restarts_total: counter("room_restarts_total", "Rooms restarted after a panic."),
            sessions_recorded_total: counter(
                "sessions_recorded_total",
                "Finished sessions written to SQL.",
            ),
            relays_dropped_total: counter(
                "relays_dropped_total",
                "Offers, answers, candidates and direct messages dropped because their target was behind.",
            ),
            recorder_retries_total: counter(
                "recorder_retries_total",
                "Failed attempts to write finished sessions to SQL.",
            ),
            commands_total: counters(
                "commands_total",
                "Commands by type and outcome: applied or the code of the refusal.",
                &["type", "outcome"],
            ),
            applied: [const { OnceLock::new() }; CommandLabel::COUNT],
            evictions_total: counters(
                "evictions_total",
                "Connections closed for what their peer did or failed to do.",
                &["reason"],
            ),
            refused_connections_total: counters(
                "refused_connections_total",
                "Connections that were not let in.",
                &["reason"],
            ),
            forwarded_asks_total: counters(
                "forwarded_asks_total",
                "Commands of admins asked of other nodes, by outcome.",
                &["outcome"],
            ),
            forwarded_connections_total: counters(
                "forwarded_connections_total",
                "Attempts to open a connection to another node for a client of this one, by outcome.",
                &["outcome"],
            ),
            http_requests_total: counters(
                "http_requests_total",
                "Answered HTTP requests by route template, method and status class.",
                &["route", "method", "class"],
            ),
            http_request_duration_seconds: HistogramVec::new(
                HistogramOpts::new(
                    "http_request_duration_seconds",
                    "Time from the head of an HTTP request to its answer, in seconds.",
                )
                .namespace("callboard")
                .buckets(HTTP_BUCKETS.to_vec()),
                &["route", "method"],
            )
            .expect(VALID),
            build_info: IntGaugeVec::new(
                options("build_info", "Always 1; the label is the release."),
                &["version"],
            )
            .expect(VALID),
        };
        families.show_zeros();
        families
    }

    /// Creates the members of small families at the start: an alert on a rate needs the zero before
    /// the first event.
    fn show_zeros(&self) {
        for reason in EvictionReason::ALL {
            self.evictions_total.with_label_values(&[reason.as_str()]);
        }
        for reason in RefusedConnection::ALL {
            self.refused_connections_total
                .with_label_values(&[reason.as_str()]);
        }
        for outcome in ForwardOutcome::ALL {
            self.forwarded_asks_total
                .with_label_values(&[outcome.as_str()]);
            self.forwarded_connections_total
                .with_label_values(&[outcome.as_str()]);
        }
        self.build_info
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
    }

    pub(super) fn collectors(&self) -> Vec<Box<dyn Collector>> {
        vec![
            Box::new(self.rooms.clone()),
            Box::new(self.participants.clone()),
            Box::new(self.connections.clone()),
            Box::new(self.forwarded_connections.clone()),
            Box::new(self.rooms_degraded.clone()),
            Box::new(self.store_up.clone()),
            Box::new(self.lease_held.clone()),
            Box::new(self.rooms_taken_over_total.clone()),
            Box::new(self.rooms_handed_over_total.clone()),
            Box::new(self.rooms_given_up_total.clone()),
            Box::new(self.room_restarts_total.clone()),
            Box::new(self.sessions_recorded_total.clone()),
            Box::new(self.recorder_retries_total.clone()),
            Box::new(self.relays_dropped_total.clone()),
            Box::new(self.commands_total.clone()),
            Box::new(self.evictions_total.clone()),
            Box::new(self.refused_connections_total.clone()),
            Box::new(self.forwarded_asks_total.clone()),
            Box::new(self.forwarded_connections_total.clone()),
            Box::new(self.http_requests_total.clone()),
            Box::new(self.http_request_duration_seconds.clone()),
            Box::new(self.build_info.clone()),
        ]
    }
}
