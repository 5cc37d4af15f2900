//! The state of the node, for `/readyz`, the registry and the metrics.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    time::Duration,
};

use prometheus::IntGauge;
use tracing::{info, warn};

use super::heartbeat::Load;
use crate::{
    actor::NodeContext,
    http::{ComponentState, Readiness, ReadinessStatus},
    lease::LeaseState,
};

/// How often SQL is asked and the gauges are set.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The life cycle of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It takes over the rooms of earlier processes.
    Starting,
    /// It serves.
    Ready,
    /// It stops.
    Draining,
}

impl Phase {
    /// As the registry shows it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }
}

/// See the module.
pub struct Health {
    node: Arc<NodeContext>,
    phase: AtomicU8,
    is_store_up: AtomicBool,
}

impl Health {
    /// A node that starts.
    pub fn new(node: Arc<NodeContext>) -> Self {
        Self {
            node,
            phase: AtomicU8::new(Phase::Starting as u8),
            is_store_up: AtomicBool::new(true),
        }
    }

    /// Enters a phase. The node never goes back to an earlier one.
    pub fn enter(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::Relaxed);
    }

    /// The current phase.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Starting,
            1 => Phase::Ready,
            _ => Phase::Draining,
        }
    }

    /// The node's load, for the registry.
    pub fn load(&self) -> Load {
        Load {
            state: self.phase().name(),
            rooms: count(&self.node.metrics.rooms),
            connections: count(&self.node.metrics.connections),
        }
    }

    /// The answer of `/readyz`.
    pub fn readiness(&self) -> Readiness {
        let is_degraded = self.node.metrics.rooms_degraded.get() > 0;
        let is_mirror_up = self.node.writer.health().is_up;
        let components = BTreeMap::from([
            ("mirror", component(is_mirror_up, "does not answer")),
            (
                "store",
                component(self.is_store_up.load(Ordering::Relaxed), "does not answer"),
            ),
            (
                "rooms",
                component(!is_degraded, "some rooms go on without the mirror"),
            ),
        ]);
        let is_whole = components.values().all(|component| component.is_up);
        let status = match self.phase() {
            Phase::Starting => ReadinessStatus::Starting,
            Phase::Draining => ReadinessStatus::Draining,
            Phase::Ready if is_whole => ReadinessStatus::Ready,
            Phase::Ready => ReadinessStatus::Degraded,
        };
        Readiness { status, components }
    }

    /// Asks SQL and sets the gauges until it is dropped.
    pub async fn watch(self: Arc<Self>) {
        let mut interval = tokio::time::interval(LOOK_EVERY);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            self.look_at_store().await;
            let metrics = &self.node.metrics;
            let lease = self
                .node
                .claimant
                .lease
                .shared()
                .view(self.node.clock.now());
            metrics
                .lease_held
                .set(i64::from(lease.state == LeaseState::Held));
            metrics
                .store_up
                .set(i64::from(self.is_store_up.load(Ordering::Relaxed)));
        }
    }

    async fn look_at_store(&self) {
        let answer = self.node.store.ping().await;
        let was_up = self.is_store_up.swap(answer.is_ok(), Ordering::Relaxed);
        match answer {
            Ok(()) if !was_up => info!("SQL answers again"),
            Err(fault) if was_up => warn!(%fault, "SQL does not answer"),
            Ok(()) | Err(_) => {}
        }
    }
}

fn count(gauge: &IntGauge) -> u64 {
    u64::try_from(gauge.get()).unwrap_or(0)
}

fn component(is_up: bool, problem: &str) -> ComponentState {
    ComponentState {
        is_up,
        note: (!is_up).then(|| problem.to_owned()),
    }
}
