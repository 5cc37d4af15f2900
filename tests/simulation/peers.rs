//! The other processes as one process knows them: the rules of `cluster/registry.rs` over simulated wires.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use callboard::{
    claims::{Former, Peers, Tenure},
    ids::{NodeId, RoomId, Timestamp},
    lease::{MirrorAnswer, Watch},
    mirror::{MirrorFault, NodeRecord, Ownership, RoomMirror},
};
use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};

use crate::{
    node::NodeMessage,
    plan::DEADLINES,
    world::{Event, World},
};

const SUSPECT_LOOK: Duration = Duration::from_millis(50);
const SUSPECT_PATIENCE: Duration = Duration::from_secs(8);
const ANSWER_PATIENCE: Duration = Duration::from_millis(500);
/// How long a successor may take to claim a room.
const TAKE_PATIENCE: Duration = Duration::from_secs(3);

/// See the module.
pub struct SimPeers {
    world: Arc<World>,
    process: usize,
    machine: usize,
    own: NodeId,
    mirror: Arc<dyn RoomMirror>,
    tenure: Tenure,
    state: Mutex<State>,
}

struct State {
    watch: Watch,
    nodes: Vec<NodeRecord>,
    /// Of the mirror that they were read from.
    generation: Option<String>,
    gone: BTreeSet<NodeId>,
    /// All that were ever listed. One that expired and was taken off the list may be back, unseen by a node that was cut off.
    known: BTreeSet<NodeId>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Probe {
    Gone,
    Here,
    Silent,
}

impl SimPeers {
    pub fn new(
        world: Arc<World>,
        process: usize,
        own: NodeId,
        mirror: Arc<dyn RoomMirror>,
        tenure: Tenure,
    ) -> Self {
        Self {
            machine: world.machine_of(process),
            world,
            process,
            own,
            mirror,
            tenure,
            state: Mutex::new(State {
                generation: None,
                watch: Watch::new(DEADLINES.expiry_ms),
                nodes: Vec::new(),
                gone: BTreeSet::new(),
                known: BTreeSet::new(),
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub async fn refresh(&self) -> Result<(), MirrorFault> {
        let nodes = self.mirror.nodes().await?;
        // Read behind the list: a mirror that had lost it is another one.
        let generation = self.mirror.generation().await?;
        let now = self.world.now();
        let mut state = self.state();
        state.generation = generation;
        for former in std::mem::take(&mut state.nodes) {
            if !nodes.iter().any(|node| node.node_id == former.node_id) {
                state.watch.forget(former.node_id);
            }
        }
        for node in &nodes {
            state.watch.see(node.node_id, node.heartbeat, now);
        }
        state.nodes = nodes;
        state.nodes.retain(|node| node.node_id != self.own);
        let listed: Vec<NodeId> = state.nodes.iter().map(|node| node.node_id).collect();
        state.known.extend(listed);
        Ok(())
    }

    /// Nodes that may take rooms.
    fn successors(&self) -> Vec<NodeId> {
        let state = self.state();
        let mut ready: Vec<&NodeRecord> = state
            .nodes
            .iter()
            .filter(|node| node.state == "ready" && !state.gone.contains(&node.node_id))
            .filter(|node| !is_suspect(&state, node.node_id))
            .collect();
        ready.sort_by_key(|node| (node.rooms, node.node_id));
        ready.iter().map(|node| node.node_id).collect()
    }

    /// Asks the others to take a room; answers the process that did.
    pub async fn hand_over(&self, room_id: RoomId, former: Ownership) -> Option<usize> {
        for successor in self.successors().into_iter().take(3) {
            let process = self.world.process_named(successor)?;
            let (reply, answer) = oneshot::channel();
            let take = NodeMessage::Take {
                room_id,
                former,
                reply,
            };
            let asked = self.ask(process, take, answer);
            if let Ok(Some(true)) = timeout(TAKE_PATIENCE, asked).await {
                return Some(process);
            }
        }
        None
    }

    /// Asks every other node that was ever listed whether it has the mirror.
    pub async fn ask_for_mirror(&self) -> Vec<MirrorAnswer> {
        let others: Vec<(NodeId, bool)> = {
            let state = self.state();
            state
                .known
                .iter()
                .map(|node_id| (*node_id, state.gone.contains(node_id)))
                .collect()
        };
        let questions = others.into_iter().map(|(node_id, is_gone)| async move {
            if is_gone {
                return MirrorAnswer::Refused;
            }
            let Some(process) = self.world.process_named(node_id) else {
                return MirrorAnswer::Refused;
            };
            if self.probe_now(process) == Probe::Gone {
                return MirrorAnswer::Refused;
            }
            let (reply, answer) = oneshot::channel();
            let asked = self.ask(process, NodeMessage::AskMirror { reply }, answer);
            match timeout(ANSWER_PATIENCE, asked).await {
                Ok(Some(Some(for_ms))) => MirrorAnswer::Has { for_ms },
                Ok(Some(None)) => MirrorAnswer::HasNot,
                Ok(None) | Err(_) => MirrorAnswer::Silent,
            }
        });
        futures_util::future::join_all(questions).await
    }

    /// A question to another process, there and back. None: it hears nothing, or its answer is lost.
    async fn ask<T>(
        &self,
        process: usize,
        message: NodeMessage,
        answer: oneshot::Receiver<T>,
    ) -> Option<T> {
        if self.is_parted(process) {
            sleep(TAKE_PATIENCE).await;
            return None;
        }
        let latency = self.world.random(|random| random.between(1, 20));
        self.world
            .after(latency, Event::ToNode { process, message });
        let answer = answer.await.ok()?;
        if self.is_parted(process) {
            sleep(TAKE_PATIENCE).await;
            return None;
        }
        Some(answer)
    }

    fn is_parted(&self, process: usize) -> bool {
        let other = self.world.machine_of(process);
        self.world
            .conditions(|conditions| conditions.parted[self.machine][other])
    }

    fn probe_now(&self, process: usize) -> Probe {
        if self.is_parted(process) {
            return Probe::Silent;
        }
        self.world.processes(|processes| {
            let process = &processes[process];
            match (process.is_alive, process.is_silent) {
                (true, _) if process.gate.is_frozen() => Probe::Silent,
                (true, _) => Probe::Here,
                (false, true) => {
                    // Until another process answers on that machine.
                    let is_back = processes
                        .iter()
                        .any(|other| other.machine == process.machine && other.is_alive);
                    if is_back { Probe::Gone } else { Probe::Silent }
                }
                (false, false) => Probe::Gone,
            }
        })
    }

    async fn probe(&self, node_id: NodeId) -> Probe {
        let Some(process) = self.world.process_named(node_id) else {
            return Probe::Silent;
        };
        let first = self.probe_now(process);
        sleep(Duration::from_millis(50)).await;
        let second = self.probe_now(process);
        if first == second && first != Probe::Silent {
            return first;
        }
        sleep(ANSWER_PATIENCE).await;
        Probe::Silent
    }

    fn end_of(&self, node_id: NodeId) -> Option<Former> {
        let state = self.state();
        let (may_take_expired, is_same_mirror) = match self.tenure.lease() {
            Some(lease) => (
                lease.may_take_expired(self.world.now()),
                lease.generation() == state.generation.as_deref(),
            ),
            None => (true, true),
        };
        let listed = state.nodes.iter().find(|node| node.node_id == node_id);
        let is_unlisted = listed.is_none() && is_same_mirror;
        let former = Former {
            is_gone: state.gone.contains(&node_id),
            has_expired: may_take_expired && (is_unlisted || state.watch.is_expired(node_id)),
            seen_at: listed.map(|node| node.seen_at),
        };
        (former.is_gone || former.has_expired).then_some(former)
    }

    /// The end of a node; one that was watched to expire must be seen to stand still *now*, after its room's ownership was
    /// read: the last look may be older than its return.
    async fn confirmed(&self, node_id: NodeId) -> Result<Option<Former>, MirrorFault> {
        match self.end_of(node_id) {
            Some(former) if !former.is_gone => {
                self.refresh().await?;
                Ok(self.end_of(node_id))
            }
            known => Ok(known),
        }
    }

    async fn until_settled(&self, node_id: NodeId) -> Option<Former> {
        loop {
            sleep(SUSPECT_LOOK).await;
            if let Some(former) = self.end_of(node_id) {
                return Some(former);
            }
            if !is_suspect(&self.state(), node_id) {
                return None;
            }
        }
    }

    fn listed(&self, node_id: NodeId) -> Option<NodeRecord> {
        let state = self.state();
        let mut nodes = state.nodes.iter();
        nodes.find(|node| node.node_id == node_id).cloned()
    }
}

fn is_suspect(state: &State, node_id: NodeId) -> bool {
    state.watch.still_ms(node_id) > DEADLINES.fresh_ms()
}

#[async_trait]
impl Peers for SimPeers {
    async fn former(&self, node_id: NodeId) -> Result<Former, MirrorFault> {
        if self.listed(node_id).is_none() {
            self.refresh().await?;
        }
        if let Some(former) = self.confirmed(node_id).await? {
            return Ok(former);
        }
        let Some(node) = self.listed(node_id) else {
            return Ok(Former::default());
        };
        let probe = tokio::select! { biased;
            Some(_) = self.until_settled(node_id) => {
                let former = self.confirmed(node_id).await?;
                return Ok(former.unwrap_or_default());
            }
            probe = self.probe(node_id) => probe,
        };
        if probe == Probe::Gone {
            self.world
                .log(format_args!("n{} finds {node_id} gone", self.process));
            self.state().gone.insert(node_id);
            return Ok(Former {
                is_gone: true,
                has_expired: false,
                seen_at: Some(node.seen_at),
            });
        }
        if is_suspect(&self.state(), node_id) {
            let settled = timeout(SUSPECT_PATIENCE, self.until_settled(node_id)).await;
            if let Ok(Some(_)) = settled
                && let Some(former) = self.confirmed(node_id).await?
            {
                return Ok(former);
            }
        }
        Ok(Former {
            seen_at: Some(node.seen_at).filter(|at| *at > Timestamp(0)),
            ..Former::default()
        })
    }
}
