//! The other nodes as this one knows them: a copy of the mirror's registry, their heartbeats, and
//! which of them are gone.

mod introduction;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::Instant;
use tracing::{info, warn};
use url::Url;

use super::{Calls, Neighbour, Probe};
use crate::{
    claims::{LeaseHandle, NodeLiveness, OwnerLiveness},
    clock::Clock,
    ids::{NodeId, Timestamp},
    lease::{Deadlines, Watch},
    mirror::{MirrorFault, NodeRecord, RoomMirror},
};

/// Bound of the list of nodes that are gone. They never come back, so the oldest may be dropped.
const GONE_MAX: usize = 10_000;
/// How long the result of a probe counts.
const PROBE_TTL: Duration = Duration::from_millis(200);
/// How often a silent node is checked.
const SUSPECT_LOOK: Duration = Duration::from_millis(50);
/// Longest wait for another node's answer to whether it has the mirror.
const ANSWER_PATIENCE: Duration = Duration::from_millis(500);

/// This node as the registry shows it.
pub struct Identity {
    /// This process.
    pub node_id: NodeId,
    /// Where it listens. No other node does.
    pub url: Url,
    /// Nodes of another database are no neighbours.
    pub database_id: String,
}

/// See the module.
pub struct Registry {
    mirror: Arc<dyn RoomMirror>,
    own: Identity,
    clock: Clock,
    lease: LeaseHandle,
    calls: Arc<dyn Calls>,
    /// How long to wait for a silent node.
    suspect_patience: Duration,
    state: Mutex<State>,
    /// One probe of a node at a time, with the last result.
    probes: Mutex<HashMap<NodeId, Arc<LastProbe>>>,
}

/// Locked while the node is probed.
type LastProbe = tokio::sync::Mutex<Option<(Instant, Probe)>>;

struct State {
    watch: Watch,
    /// The other nodes of the last copy.
    nodes: Vec<NodeRecord>,
    /// Nodes that have introduced themselves since then.
    introduced: BTreeMap<NodeId, Url>,
    /// The generation of the mirror from which they were read.
    generation: Option<String>,
    /// Nodes that are gone, with their last heartbeat: one whose heartbeat goes up is not gone.
    gone: HashMap<NodeId, u64>,
    gone_order: VecDeque<NodeId>,
}

impl Registry {
    /// A registry without nodes.
    #[must_use]
    pub fn new(
        mirror: Arc<dyn RoomMirror>,
        own: Identity,
        clock: Clock,
        lease: LeaseHandle,
        calls: Arc<dyn Calls>,
        deadlines: Deadlines,
    ) -> Self {
        Self {
            mirror,
            own,
            clock,
            lease,
            calls,
            suspect_patience: Duration::from_millis(deadlines.suspect_ms()),
            state: Mutex::new(State {
                watch: Watch::new(deadlines.expiry_ms),
                nodes: Vec::new(),
                introduced: BTreeMap::new(),
                generation: None,
                gone: HashMap::new(),
                gone_order: VecDeque::new(),
            }),
            probes: Mutex::default(),
        }
    }

    /// Copies the mirror's registry and observes every heartbeat in it.
    ///
    /// # Errors
    /// When the mirror does not answer.
    pub async fn refresh(&self) -> Result<(), MirrorFault> {
        let nodes = self.mirror.nodes().await?;
        // Read after the list: if the mirror lost it in between, this is another generation.
        let generation = self.mirror.generation().await?;
        let now = self.clock.now();
        let mut state = self.state();
        state.generation = generation;
        let listed: HashSet<NodeId> = nodes.iter().map(|node| node.node_id).collect();
        for known in std::mem::take(&mut state.nodes) {
            if !listed.contains(&known.node_id) {
                state.watch.forget(known.node_id);
            }
        }
        for node in &nodes {
            state.watch.see(node.node_id, node.heartbeat, now);
            let last = state.gone.get(&node.node_id);
            if last.is_some_and(|last| *last < node.heartbeat) {
                warn!(node = %node.node_id, "a node that refused connections is alive");
                state.gone.remove(&node.node_id);
                state.gone_order.retain(|gone| *gone != node.node_id);
            }
        }
        state.nodes = nodes
            .into_iter()
            .filter(|node| node.node_id != self.own.node_id)
            .collect();
        // A node registers before it introduces itself: if it still lives, it is listed.
        state.introduced.clear();
        Ok(())
    }

    /// Refreshes the copy until it is dropped.
    pub async fn keep_fresh(self: Arc<Self>, interval: Duration) {
        let mut interval = tokio::time::interval(interval);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            // The heartbeat reports a mirror that is away.
            let _ = self.refresh().await;
        }
    }

    /// Another node of the last copy, if it serves the same database.
    #[must_use]
    pub fn neighbour(&self, node_id: NodeId) -> Option<Neighbour> {
        let state = self.state();
        let node = state.nodes.iter().find(|node| node.node_id == node_id)?;
        self.as_neighbour(node)
    }

    fn as_neighbour(&self, node: &NodeRecord) -> Option<Neighbour> {
        if node.database_id != self.own.database_id {
            return None;
        }
        let url = Url::parse(&node.url).ok()?;
        Some(Neighbour {
            node_id: node.node_id,
            url,
        })
    }

    /// Nodes that may take rooms, fewest rooms first.
    #[must_use]
    pub fn successors(&self) -> Vec<Neighbour> {
        self.living(|node| node.state == "ready")
    }

    /// Nodes to which clients may be sent, fewest rooms first.
    #[must_use]
    pub fn entries(&self) -> Vec<Neighbour> {
        self.living(|node| node.state != "draining")
    }

    /// Nodes whose heartbeat moves.
    fn living(&self, fits: impl Fn(&NodeRecord) -> bool) -> Vec<Neighbour> {
        let state = self.state();
        let mut living: Vec<&NodeRecord> = state
            .nodes
            .iter()
            .filter(|node| fits(node) && !state.gone.contains_key(&node.node_id))
            .filter(|node| !self.is_suspect(&state, node.node_id))
            .collect();
        living.sort_by_key(|node| (node.rooms, node.node_id));
        living
            .into_iter()
            .filter_map(|node| self.as_neighbour(node))
            .collect()
    }

    /// Whether a node is gone or has expired. None if neither is known.
    fn end_of(&self, state: &State, node_id: NodeId) -> Option<OwnerLiveness> {
        let listed = state.nodes.iter().find(|node| node.node_id == node_id);
        let (may_take_expired, is_same_mirror) = match self.lease.lock() {
            Some(lease) => (
                lease.may_take_expired(self.clock.now()),
                lease.generation() == state.generation.as_deref(),
            ),
            None => (true, true),
        };
        // After the mirror lost everything, a living node is unlisted until it registers again.
        let is_unlisted = listed.is_none() && is_same_mirror;
        let liveness = OwnerLiveness {
            is_gone: state.gone.contains_key(&node_id),
            has_expired: may_take_expired && (is_unlisted || state.watch.is_expired(node_id)),
            seen_at: listed.map(|node| node.seen_at),
        };
        (liveness.is_gone || liveness.has_expired).then_some(liveness)
    }

    /// Whether a node's heartbeat has stood still for suspiciously long.
    fn is_suspect(&self, state: &State, node_id: NodeId) -> bool {
        let suspicious_ms = self
            .lease
            .lock()
            .map_or(u64::MAX, |lease| lease.deadlines().fresh_ms());
        state.watch.still_ms(node_id) > suspicious_ms
    }

    /// Waits until the node is gone or has expired. None if its heartbeat moves first.
    async fn until_settled(&self, node_id: NodeId) -> Option<OwnerLiveness> {
        loop {
            tokio::time::sleep(SUSPECT_LOOK).await;
            let state = self.state();
            if let Some(liveness) = self.end_of(&state, node_id) {
                return Some(liveness);
            }
            if !self.is_suspect(&state, node_id) {
                return None;
            }
        }
    }

    /// Probes a node's address, once for all that ask at the same time.
    async fn probe(&self, node: &NodeRecord) -> Probe {
        let cell = {
            let mut probes = self.probes.lock().unwrap_or_else(PoisonError::into_inner);
            if probes.len() >= GONE_MAX {
                probes.clear();
            }
            Arc::clone(probes.entry(node.node_id).or_default())
        };
        let mut last = cell.lock().await;
        if let Some((at, probe)) = *last
            && at.elapsed() < PROBE_TTL
        {
            return probe;
        }
        let probe = self.ask_address(node).await;
        *last = Some((Instant::now(), probe));
        probe
    }

    async fn ask_address(&self, node: &NodeRecord) -> Probe {
        match self.as_neighbour(node) {
            None => Probe::Silent,
            // This process listens there.
            Some(neighbour) if neighbour.url.origin() == self.own.url.origin() => Probe::Gone,
            Some(neighbour) => self.calls.probe(&neighbour).await,
        }
    }

    /// Like `end_of`, but an expired node must still stand still *now*, after its room's ownership
    /// was read: the last copy may be older than the node's return.
    async fn confirmed_end_of(
        &self,
        node_id: NodeId,
    ) -> Result<Option<OwnerLiveness>, MirrorFault> {
        let known = self.end_of(&self.state(), node_id);
        match known {
            Some(liveness) if !liveness.is_gone => {
                self.refresh().await?;
                Ok(self.end_of(&self.state(), node_id))
            }
            known => Ok(known),
        }
    }

    fn mark_gone(&self, node_id: NodeId) -> OwnerLiveness {
        let mut state = self.state();
        let mut nodes = state.nodes.iter();
        let listed = nodes.find(|node| node.node_id == node_id);
        let (heartbeat, seen_at) =
            listed.map_or((0, None), |node| (node.heartbeat, Some(node.seen_at)));
        if state.gone.insert(node_id, heartbeat).is_none() {
            info!(node = %node_id, "a node is gone");
            state.gone_order.push_back(node_id);
        }
        if state.gone_order.len() > GONE_MAX
            && let Some(oldest) = state.gone_order.pop_front()
        {
            state.gone.remove(&oldest);
        }
        OwnerLiveness {
            is_gone: true,
            has_expired: false,
            seen_at,
        }
    }

    fn listed(&self, node_id: NodeId) -> Option<NodeRecord> {
        let state = self.state();
        let mut nodes = state.nodes.iter();
        nodes.find(|node| node.node_id == node_id).cloned()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is complete in itself.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl NodeLiveness for Registry {
    async fn liveness_of(&self, node_id: NodeId) -> Result<OwnerLiveness, MirrorFault> {
        if self.listed(node_id).is_none() {
            self.refresh().await?;
        }
        let is_foreign = |node: NodeRecord| {
            !node.database_id.is_empty() && node.database_id != self.own.database_id
        };
        if self.listed(node_id).is_some_and(is_foreign) {
            // Its sessions belong to another database, whether it lives or not.
            return Ok(OwnerLiveness::default());
        }
        if let Some(liveness) = self.confirmed_end_of(node_id).await? {
            return Ok(liveness);
        }
        let Some(node) = self.listed(node_id) else {
            // It is not registered, but this node has not had the mirror for long enough to call it
            // gone.
            return Ok(OwnerLiveness::default());
        };
        let answer = self.probe(&node);
        let probe = tokio::select! { biased;
            Some(_) = self.until_settled(node_id) => {
                return Ok(self.confirmed_end_of(node_id).await?.unwrap_or_default());
            }
            probe = answer => probe,
        };
        if probe == Probe::Gone {
            return Ok(self.mark_gone(node_id));
        }
        if self.is_suspect(&self.state(), node_id) {
            // It neither answers nor refuses: waits here until its heartbeat moves or it has
            // expired.
            let settled =
                tokio::time::timeout(self.suspect_patience, self.until_settled(node_id)).await;
            match settled {
                Ok(Some(_)) => {
                    return Ok(self.confirmed_end_of(node_id).await?.unwrap_or_default());
                }
                Ok(None) => {}
                Err(_) => warn!(node = %node_id, "a node is silent and has not expired"),
            }
        }
        Ok(OwnerLiveness {
            seen_at: Some(node.seen_at).filter(|at| *at > Timestamp(0)),
            ..OwnerLiveness::default()
        })
    }
}
