//! The other nodes as this one knows them: a copy of the registry, their heartbeats watched, their ends noticed.

mod acquaintance;
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
    claims::{Former, Peers, Tenure},
    clock::Clock,
    ids::{NodeId, Timestamp},
    lease::Watch,
    mirror::{MirrorFault, NodeRecord, RoomMirror},
};

/// Nodes known to be gone; they never come back, so the oldest may be forgotten.
const GONE_MAX: usize = 10_000;
/// How long an answer of a node's address counts.
const PROBE_TTL: Duration = Duration::from_millis(200);
/// Between two looks at a node that is silent.
const SUSPECT_LOOK: Duration = Duration::from_millis(50);
/// How long a silent node is waited for: until it goes on, or until it has expired.
const SUSPECT_PATIENCE: Duration = Duration::from_secs(8);
/// How long each of the others may take to say whether it has the mirror.
const ANSWER_PATIENCE: Duration = Duration::from_millis(500);

/// What this node stands for in the registry.
pub struct Identity {
    /// This process.
    pub node_id: NodeId,
    /// Where it listens: nobody else does.
    pub url: Url,
    /// Nodes of another database are no neighbours.
    pub database_id: String,
}

/// See the module.
pub struct Registry {
    mirror: Arc<dyn RoomMirror>,
    own: Identity,
    clock: Clock,
    tenure: Tenure,
    calls: Arc<dyn Calls>,
    state: Mutex<State>,
    /// One probe of a node at a time, with the last answer.
    probes: Mutex<HashMap<NodeId, Arc<LastProbe>>>,
}

/// Held while the node is asked.
type LastProbe = tokio::sync::Mutex<Option<(Instant, Probe)>>;

struct State {
    watch: Watch,
    /// The others of the last copy.
    nodes: Vec<NodeRecord>,
    /// Nodes that have come up since, as they said themselves.
    introduced: BTreeMap<NodeId, Url>,
    /// Of the mirror that they were read from.
    generation: Option<String>,
    /// Nodes whose end was noticed, with their last heartbeat: one that goes on was not gone.
    gone: HashMap<NodeId, u64>,
    gone_order: VecDeque<NodeId>,
}

impl Registry {
    /// Knows nobody yet.
    #[must_use]
    pub fn new(
        mirror: Arc<dyn RoomMirror>,
        own: Identity,
        clock: Clock,
        tenure: Tenure,
        calls: Arc<dyn Calls>,
        expiry_ms: u64,
    ) -> Self {
        Self {
            mirror,
            own,
            clock,
            tenure,
            calls,
            state: Mutex::new(State {
                watch: Watch::new(expiry_ms),
                nodes: Vec::new(),
                introduced: BTreeMap::new(),
                generation: None,
                gone: HashMap::new(),
                gone_order: VecDeque::new(),
            }),
            probes: Mutex::default(),
        }
    }

    /// Copies the registry and looks at every heartbeat in it.
    ///
    /// # Errors
    /// When the mirror does not answer.
    pub async fn refresh(&self) -> Result<(), MirrorFault> {
        let nodes = self.mirror.nodes().await?;
        // Read behind the list: a mirror that had lost it is another one.
        let generation = self.mirror.generation().await?;
        let now = self.clock.now();
        let mut state = self.state();
        state.generation = generation;
        let listed: HashSet<NodeId> = nodes.iter().map(|node| node.node_id).collect();
        for former in std::mem::take(&mut state.nodes) {
            if !listed.contains(&former.node_id) {
                state.watch.forget(former.node_id);
            }
        }
        for node in &nodes {
            state.watch.see(node.node_id, node.heartbeat, now);
            let last = state.gone.get(&node.node_id);
            if last.is_some_and(|last| *last < node.heartbeat) {
                warn!(node = %node.node_id, "a node that refused connections goes on");
                state.gone.remove(&node.node_id);
                state.gone_order.retain(|gone| *gone != node.node_id);
            }
        }
        state.nodes = nodes
            .into_iter()
            .filter(|node| node.node_id != self.own.node_id)
            .collect();
        // Who introduces itself has registered before: whoever still lives is listed.
        state.introduced.clear();
        Ok(())
    }

    /// Refreshes again and again.
    pub async fn keep_fresh(self: Arc<Self>, interval: Duration) {
        let mut interval = tokio::time::interval(interval);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            // The heartbeat tells of a mirror that is away.
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

    /// Nodes that may take rooms; fewest rooms first.
    #[must_use]
    pub fn successors(&self) -> Vec<Neighbour> {
        self.living(|node| node.state == "ready")
    }

    /// Nodes that clients may be sent to; fewest rooms first.
    #[must_use]
    pub fn entries(&self) -> Vec<Neighbour> {
        self.living(|node| node.state != "draining")
    }

    /// Nodes whose heartbeat has just moved.
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

    /// Its end is known, or its heartbeat has stood still long enough; none: neither.
    fn end_of(&self, state: &State, node_id: NodeId) -> Option<Former> {
        let listed = state.nodes.iter().find(|node| node.node_id == node_id);
        let (may_take_expired, is_same_mirror) = match self.tenure.lease() {
            Some(lease) => (
                lease.may_take_expired(self.clock.now()),
                lease.generation() == state.generation.as_deref(),
            ),
            None => (true, true),
        };
        // One that a mirror which lost everything does not list is about to write itself down again.
        let is_unlisted = listed.is_none() && is_same_mirror;
        let former = Former {
            is_gone: state.gone.contains_key(&node_id),
            has_expired: may_take_expired && (is_unlisted || state.watch.is_expired(node_id)),
            seen_at: listed.map(|node| node.seen_at),
        };
        (former.is_gone || former.has_expired).then_some(former)
    }

    /// Whether its heartbeat has been standing still for suspiciously long.
    fn is_suspect(&self, state: &State, node_id: NodeId) -> bool {
        let suspicious_ms = self
            .tenure
            .lease()
            .map_or(u64::MAX, |lease| lease.deadlines().fresh_ms());
        state.watch.still_ms(node_id) > suspicious_ms
    }

    /// Completes when the node has ended, or when its heartbeat is seen to move.
    async fn until_settled(&self, node_id: NodeId) -> Option<Former> {
        loop {
            tokio::time::sleep(SUSPECT_LOOK).await;
            let state = self.state();
            if let Some(former) = self.end_of(&state, node_id) {
                return Some(former);
            }
            if !self.is_suspect(&state, node_id) {
                return None;
            }
        }
    }

    /// Asks its address, one at a time for all who want to know.
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

    /// The end of a node. One that was watched to expire must be seen to stand still *now*, after its room's ownership was
    /// read: the last look may be older than its return.
    async fn confirmed_end_of(&self, node_id: NodeId) -> Result<Option<Former>, MirrorFault> {
        let known = self.end_of(&self.state(), node_id);
        match known {
            Some(former) if !former.is_gone => {
                self.refresh().await?;
                Ok(self.end_of(&self.state(), node_id))
            }
            known => Ok(known),
        }
    }

    fn mark_gone(&self, node_id: NodeId) -> Former {
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
        Former {
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
impl Peers for Registry {
    async fn former(&self, node_id: NodeId) -> Result<Former, MirrorFault> {
        if self.listed(node_id).is_none() {
            self.refresh().await?;
        }
        let is_foreign = |node: NodeRecord| {
            !node.database_id.is_empty() && node.database_id != self.own.database_id
        };
        if self.listed(node_id).is_some_and(is_foreign) {
            // Its sessions belong into another database, however it is.
            return Ok(Former::default());
        }
        if let Some(former) = self.confirmed_end_of(node_id).await? {
            return Ok(former);
        }
        let Some(node) = self.listed(node_id) else {
            // Not registered, and the mirror not known well enough to call that an end.
            return Ok(Former::default());
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
            // It neither answers nor refuses: who waits for its rooms waits here for it to go on or to expire.
            let settled = tokio::time::timeout(SUSPECT_PATIENCE, self.until_settled(node_id)).await;
            match settled {
                Ok(Some(_)) => {
                    return Ok(self.confirmed_end_of(node_id).await?.unwrap_or_default());
                }
                Ok(None) => {}
                Err(_) => warn!(node = %node_id, "a node is silent and has not expired"),
            }
        }
        Ok(Former {
            seen_at: Some(node.seen_at).filter(|at| *at > Timestamp(0)),
            ..Former::default()
        })
    }
}
