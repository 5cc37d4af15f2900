//! One process's way to the one mirror: it takes time, is cut, loses answers. What is written is
//! told to the truth.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use async_trait::async_trait;
use callboard::{
    ids::{Epoch, NodeId, RoomId, SessionId, Timestamp},
    mirror::{
        Claim, ClaimOutcome, Commit, CommitOutcome, MirrorFault, NodeRecord, Ownership, RoomMirror,
        memory::Past,
    },
    room::record::ClosedSession,
};
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use crate::{checks::Known, world::World};

/// Longest wait for an answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two states that the mirror can go back to.
const PAST_EVERY_MS: u64 = 150;
const PASTS_MAX: usize = 12;

/// What the mirror held a moment ago, oldest first.
#[derive(Default)]
pub struct Pasts(VecDeque<(Timestamp, Past, Known)>);

/// See the module.
pub struct SimMirror {
    world: Arc<World>,
    process: usize,
    machine: usize,
}

impl World {
    fn remember_mirror(&self) {
        let now = self.now();
        let mut pasts = self.pasts.lock().unwrap();
        let is_due = pasts
            .0
            .back()
            .is_none_or(|(at, ..)| now.ms_since(*at) >= PAST_EVERY_MS);
        if !is_due {
            return;
        }
        let mut known = Known::default();
        self.truth(|truth| {
            known = truth.known();
            Ok(())
        });
        pasts.0.push_back((now, self.memory.past(), known));
        if pasts.0.len() > PASTS_MAX {
            pasts.0.pop_front();
        }
    }

    /// The mirror is what it was `ms` ago, or the nearest known state before.
    pub fn mirror_goes_back(&self, ms: u64) {
        let mut pasts = self.pasts.lock().unwrap();
        let now = self.now();
        while pasts.0.len() > 1
            && pasts
                .0
                .back()
                .is_some_and(|(at, ..)| now.ms_since(*at) < ms)
        {
            pasts.0.pop_back();
        }
        if let Some((at, past, known)) = pasts.0.pop_back() {
            self.log(format_args!(
                "mirror is what it was {} ms ago",
                now.ms_since(at)
            ));
            self.memory.go_back(past);
            self.truth(|truth| {
                truth.outbox_is_lost(|session_id| self.is_recorded(session_id));
                truth.mirror_is(known);
                Ok(())
            });
        }
    }

    fn is_recorded(&self, session_id: SessionId) -> bool {
        self.sql(|sql| {
            sql.sessions
                .get(&session_id)
                .is_some_and(|row| row.end.is_some())
        })
    }

    pub async fn has_in_mirror(&self, room_id: RoomId) -> bool {
        let stored = self.memory.ownership(room_id).await;
        stored.is_ok_and(|stored| stored.is_some())
    }

    pub fn mirror_loses_all(&self) {
        self.memory.lose_everything();
        self.pasts.lock().unwrap().0.clear();
        self.truth(|truth| {
            truth.outbox_is_lost(|session_id| self.is_recorded(session_id));
            truth.mirror_is(Known::default());
            Ok(())
        });
    }

    pub fn mirror_loses(&self, room_id: RoomId) {
        self.memory.lose_room(room_id);
        self.pasts.lock().unwrap().0.clear();
        self.truth(|truth| {
            let mut known = truth.known();
            known.remove(&room_id);
            truth.mirror_is(known);
            Ok(())
        });
    }
}

impl SimMirror {
    pub fn new(world: Arc<World>, process: usize) -> Self {
        Self {
            machine: world.machine_of(process),
            world,
            process,
        }
    }

    fn is_cut(world: &World, machine: usize) -> bool {
        world.conditions(|conditions| conditions.all_cut || conditions.cut[machine])
    }

    fn delays(&self) -> (u64, u64, bool) {
        let (delay_ms, lost) = self
            .world
            .conditions(|conditions| (conditions.delay_ms, conditions.lost_permille));
        self.world.random(|random| {
            let is_lost = random.permille(lost);
            if delay_ms == 0 {
                (random.between(1, 3), random.between(0, 3), is_lost)
            } else {
                (
                    random.between(1, delay_ms),
                    random.between(0, delay_ms / 2),
                    is_lost,
                )
            }
        })
    }

    /// The call continues in a task of its own: a process that freezes or dies does not undo it.
    async fn call<T: Send + 'static>(
        &self,
        name: &'static str,
        operation: impl FnOnce(Arc<World>) -> BoxFuture<'static, T> + Send + 'static,
    ) -> Result<T, MirrorFault> {
        let (there, back, is_lost) = self.delays();
        let (answer, answered) = oneshot::channel();
        let (world, machine, process) = (Arc::clone(&self.world), self.machine, self.process);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(there)).await;
            if Self::is_cut(&world, machine) {
                return drop_later(answer).await;
            }
            world.remember_mirror();
            let result = operation(Arc::clone(&world)).await;
            tokio::time::sleep(Duration::from_millis(back)).await;
            if is_lost || Self::is_cut(&world, machine) {
                world.log(format_args!("n{process} loses the answer of {name}"));
                return drop_later(answer).await;
            }
            // The waiter may be gone.
            let _ = answer.send(result);
        });
        match tokio::time::timeout(CALL_TIMEOUT, answered).await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(_)) | Err(_) => Err(MirrorFault(format!("no answer to {name}"))),
        }
    }
}

/// The waiter waits in vain.
async fn drop_later<T>(answer: oneshot::Sender<T>) {
    tokio::time::sleep(CALL_TIMEOUT).await;
    drop(answer);
}

#[async_trait]
impl RoomMirror for SimMirror {
    async fn commit(&self, commits: &[Commit]) -> Vec<Result<CommitOutcome, MirrorFault>> {
        let sent: Vec<Commit> = commits.to_vec();
        let process = self.process;
        let outcomes = self
            .call("commit", move |world| {
                Box::pin(async move {
                    let results = world.memory.commit(&sent).await;
                    let mut outcomes = Vec::new();
                    for (commit, result) in sent.iter().zip(results) {
                        let outcome = result.expect("the memory does not fail");
                        world.log(format_args!(
                            "n{process} commit {} epoch {} {}→{}{}: {outcome:?}",
                            short(commit.room_id),
                            commit.epoch.0 % 100_000_000,
                            commit.changes.from,
                            commit.changes.to,
                            if commit.changes.closing.is_some() {
                                " closing"
                            } else {
                                ""
                            },
                        ));
                        if outcome == CommitOutcome::Ok {
                            let is_stored = world.has_in_mirror(commit.room_id).await;
                            world.truth(|truth| truth.committed(commit, is_stored));
                        }
                        outcomes.push(outcome);
                    }
                    outcomes
                })
            })
            .await;
        match outcomes {
            Ok(outcomes) => outcomes.into_iter().map(Ok).collect(),
            Err(fault) => commits
                .iter()
                .map(|_| Err(MirrorFault(fault.0.clone())))
                .collect(),
        }
    }

    async fn claim(&self, claim: Claim) -> Result<ClaimOutcome, MirrorFault> {
        let process = self.process;
        self.call("claim", move |world| {
            Box::pin(async move {
                let outcome = world
                    .memory
                    .claim(claim)
                    .await
                    .expect("the memory does not fail");
                if let ClaimOutcome::Claimed {
                    epoch,
                    version,
                    room,
                } = &outcome
                {
                    world.log(format_args!(
                        "n{process} claims {} epoch {} at {version}, seq {:?}",
                        short(claim.room_id),
                        epoch.0 % 100_000_000,
                        room.as_ref().map(|room| room.seq.0),
                    ));
                    world.truth(|truth| {
                        truth.claimed(
                            claim.room_id,
                            claim.claimant,
                            *epoch,
                            *version,
                            room.as_deref(),
                        )
                    });
                }
                outcome
            })
        })
        .await
    }

    async fn restore(
        &self,
        commit: &Commit,
        expected: Option<Ownership>,
    ) -> Result<ClaimOutcome, MirrorFault> {
        let (process, commit) = (self.process, commit.clone());
        self.call("restore", move |world| {
            Box::pin(async move {
                let outcome = world
                    .memory
                    .restore(&commit, expected)
                    .await
                    .expect("the memory does not fail");
                if let ClaimOutcome::Claimed { epoch, .. } = &outcome {
                    world.log(format_args!(
                        "n{process} restores {} epoch {} → {}, seq {}",
                        short(commit.room_id),
                        commit.epoch.0 % 100_000_000,
                        epoch.0 % 100_000_000,
                        commit.changes.seq,
                    ));
                    let is_stored = world.has_in_mirror(commit.room_id).await;
                    world.truth(|truth| truth.restored(&commit, *epoch, is_stored));
                } else {
                    world.log(format_args!(
                        "n{process} restores {} in vain",
                        short(commit.room_id)
                    ));
                }
                outcome
            })
        })
        .await
    }

    async fn release(
        &self,
        room_id: RoomId,
        owner: NodeId,
        epoch: Epoch,
    ) -> Result<CommitOutcome, MirrorFault> {
        let process = self.process;
        self.call("release", move |world| {
            Box::pin(async move {
                let outcome = world
                    .memory
                    .release(room_id, owner, epoch)
                    .await
                    .expect("the memory does not fail");
                world.log(format_args!(
                    "n{process} releases {}: {outcome:?}",
                    short(room_id)
                ));
                outcome
            })
        })
        .await
    }

    async fn ownership(&self, room_id: RoomId) -> Result<Option<Ownership>, MirrorFault> {
        self.call("ownership", move |world| {
            Box::pin(async move { world.memory.ownership(room_id).await })
        })
        .await?
    }

    async fn rooms_of(&self, node_id: NodeId) -> Result<Vec<RoomId>, MirrorFault> {
        let mut rooms = self
            .call("rooms_of", move |world| {
                Box::pin(async move { world.memory.rooms_of(node_id).await })
            })
            .await??;
        // Their order in the memory is nobody's.
        rooms.sort();
        Ok(rooms)
    }

    async fn nodes(&self) -> Result<Vec<NodeRecord>, MirrorFault> {
        self.call("nodes", move |world| {
            Box::pin(async move { world.memory.nodes().await })
        })
        .await?
    }

    async fn heartbeat(&self, node: &NodeRecord) -> Result<String, MirrorFault> {
        let node = node.clone();
        self.call("heartbeat", move |world| {
            Box::pin(async move { world.memory.heartbeat(&node).await })
        })
        .await?
    }

    async fn generation(&self) -> Result<Option<String>, MirrorFault> {
        self.call("generation", move |world| {
            Box::pin(async move { world.memory.generation().await })
        })
        .await?
    }

    async fn forget_node(&self, node_id: NodeId) -> Result<(), MirrorFault> {
        self.call("forget_node", move |world| {
            Box::pin(async move { world.memory.forget_node(node_id).await })
        })
        .await?
    }

    async fn outbox(&self, limit: usize) -> Result<Vec<ClosedSession>, MirrorFault> {
        self.call("outbox", move |world| {
            Box::pin(async move { world.memory.outbox(limit).await })
        })
        .await?
    }

    async fn is_finished(
        &self,
        room_id: RoomId,
        session_id: SessionId,
    ) -> Result<bool, MirrorFault> {
        self.call("is_finished", move |world| {
            Box::pin(async move { world.memory.is_finished(room_id, session_id).await })
        })
        .await?
    }

    async fn recorded(&self, sessions: &[(RoomId, SessionId)]) -> Result<(), MirrorFault> {
        let sessions = sessions.to_vec();
        self.call("recorded", move |world| {
            Box::pin(async move { world.memory.recorded(&sessions).await })
        })
        .await?
    }
}

/// A room in the log.
pub fn short(room_id: RoomId) -> String {
    format!("room{}", room_id.0.as_u128() & 0xF)
}
