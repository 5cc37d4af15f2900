//! Calls of one process to another over simulated wires, below the server's own registry.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use callboard::{
    cluster::{Calls, Neighbour, Probe, Registry},
    ids::{NodeId, RoomId},
    lease::MirrorAnswer,
    mirror::Ownership,
};
use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};
use url::Url;

use crate::{node::NodeMessage, world::World};

/// How long a silent address is listened to.
const PROBE_PATIENCE: Duration = Duration::from_millis(500);
/// Between two attempts to connect.
const PROBED_TWICE: Duration = Duration::from_millis(50);
/// How long a successor may take to claim a room.
const TAKE_PATIENCE: Duration = Duration::from_secs(3);

/// See the module.
#[derive(Clone)]
pub struct SimCalls {
    pub world: Arc<World>,
    pub process: usize,
}

impl SimCalls {
    /// Asks the others to take a room. Returns the one that did.
    pub async fn hand_off(
        &self,
        registry: &Registry,
        room_id: RoomId,
        former: Ownership,
    ) -> Option<NodeId> {
        for successor in registry.successors().into_iter().take(3) {
            let process = self.world.process_named(successor.node_id)?;
            let (reply, answer) = oneshot::channel();
            let take = NodeMessage::Take {
                room_id,
                former,
                reply,
            };
            let asked = self.ask(process, take, answer);
            if let Ok(Some(true)) = timeout(TAKE_PATIENCE, asked).await {
                return Some(successor.node_id);
            }
        }
        None
    }

    /// A question to another process, there and back. None if the
    /// question or the answer is lost.
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
            .after(latency, crate::world::Event::ToNode { process, message });
        let answer = answer.await.ok()?;
        if self.is_parted(process) {
            sleep(TAKE_PATIENCE).await;
            return None;
        }
        Some(answer)
    }

    fn is_parted(&self, process: usize) -> bool {
        let (own, other) = (
            self.world.machine_of(self.process),
            self.world.machine_of(process),
        );
        self.world
            .conditions(|conditions| conditions.parted[own][other])
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
}

#[async_trait]
impl Calls for SimCalls {
    async fn probe(&self, neighbour: &Neighbour) -> Probe {
        let Some(process) = self.world.process_named(neighbour.node_id) else {
            return Probe::Silent;
        };
        let first = self.probe_now(process);
        sleep(PROBED_TWICE).await;
        let second = self.probe_now(process);
        if first == second && first != Probe::Silent {
            return first;
        }
        sleep(PROBE_PATIENCE).await;
        Probe::Silent
    }

    async fn mirror_of(&self, neighbour: &Neighbour, patience: Duration) -> MirrorAnswer {
        let Some(process) = self.world.process_named(neighbour.node_id) else {
            return MirrorAnswer::Refused;
        };
        if self.probe_now(process) == Probe::Gone {
            return MirrorAnswer::Refused;
        }
        let (reply, answer) = oneshot::channel();
        let asked = self.ask(process, NodeMessage::AskMirror { reply }, answer);
        match timeout(patience, asked).await {
            Ok(Some(Some(for_ms))) => MirrorAnswer::Has { for_ms },
            Ok(Some(None)) => MirrorAnswer::HasNot,
            Ok(None) | Err(_) => MirrorAnswer::Silent,
        }
    }

    async fn introduce(&self, neighbour: &Neighbour, own: &Url, patience: Duration) {
        let Some(process) = self.world.process_named(neighbour.node_id) else {
            return;
        };
        let (reply, answer) = oneshot::channel();
        let introduction = NodeMessage::Introduce {
            neighbour: Neighbour {
                node_id: self
                    .world
                    .processes(|processes| processes[self.process].node_id),
                url: own.clone(),
            },
            reply,
        };
        // It may not hear it.
        let _ = timeout(patience, self.ask(process, introduction, answer)).await;
    }
}
