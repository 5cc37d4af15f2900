//! The mirror in memory: for tests, with controls for everything that can go wrong with a real one.

mod rooms;

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::watch;
use uuid::Uuid;

use self::rooms::Rooms;
use super::{
    Claim, ClaimOutcome, Commit, CommitOutcome, MirrorFault, NodeRecord, Ownership, RoomMirror,
    rules,
};
use crate::{
    clock::Clock,
    ids::{Epoch, NodeId, RoomId, SessionId},
    room::record::{ClosedSession, Snapshot},
};

/// How often each call was made, failed ones included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Calls of `commit`.
    pub batches: u64,
    /// Commits in them.
    pub commits: u64,
    /// Calls of `claim`.
    pub claims: u64,
    /// Calls of `restore`.
    pub restores: u64,
    /// Calls of `heartbeat`.
    pub heartbeats: u64,
    /// Calls of `outbox`.
    pub outbox_reads: u64,
}

/// A mirror that ends with the process.
pub struct MemoryMirror {
    inner: Mutex<Inner>,
    /// Dates new epochs. `None` if the clock of the machine does.
    clock: Option<Clock>,
    /// Calls wait while this is true.
    is_paused: watch::Sender<bool>,
}

struct Inner {
    rooms: Rooms,
    nodes: Vec<NodeRecord>,
    /// Begun by the first heartbeat.
    generation: Option<String>,
    calls: Calls,
    is_failing: bool,
    failing_rooms: Vec<RoomId>,
    /// Answers to lose: the next commits are applied and answered with a fault.
    lost_answers: usize,
    delay: Duration,
}

/// What a mirror held at some time; its generation is not part of it.
pub struct Past {
    rooms: Rooms,
    nodes: Vec<NodeRecord>,
}

impl Past {
    /// What it held of a room.
    #[must_use]
    pub fn room(&self, room_id: RoomId) -> Option<&Snapshot> {
        self.rooms.snapshot(room_id)
    }
}

impl Default for MemoryMirror {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryMirror {
    /// An empty mirror that works.
    #[must_use]
    pub fn new() -> Self {
        Self {
            inner: Mutex::new(Inner {
                rooms: Rooms::default(),
                nodes: Vec::new(),
                generation: None,
                calls: Calls::default(),
                is_failing: false,
                failing_rooms: Vec::new(),
                lost_answers: 0,
                delay: Duration::ZERO,
            }),
            clock: None,
            is_paused: watch::Sender::new(false),
        }
    }

    /// An empty mirror whose epochs follow this clock, for tests with virtual time.
    #[must_use]
    pub fn with_clock(clock: Clock) -> Self {
        Self {
            clock: Some(clock),
            ..Self::new()
        }
    }

    /// From now on every call ends in a fault and does nothing, or no longer.
    pub fn fail_all(&self, is_failing: bool) {
        self.inner().is_failing = is_failing;
    }

    /// From now on commits of this room end in a fault, or no longer.
    pub fn fail_room(&self, room_id: RoomId, is_failing: bool) {
        let mut inner = self.inner();
        inner.failing_rooms.retain(|&failing| failing != room_id);
        if is_failing {
            inner.failing_rooms.push(room_id);
        }
    }

    /// How long every call takes from now on, by tokio's clock (which a test may pause). What it
    /// writes is written at the end, all commits of a call in one step.
    pub fn set_delay(&self, delay: Duration) {
        self.inner().delay = delay;
    }

    /// Calls wait, those that begin from now on, until [`Self::resume`].
    pub fn pause(&self) {
        self.is_paused.send_replace(true);
    }

    /// Ends a pause.
    pub fn resume(&self) {
        self.is_paused.send_replace(false);
    }

    /// The next commit is applied but its answer is lost. Adds up.
    pub fn lose_answer(&self) {
        self.inner().lost_answers += 1;
    }

    /// The mirror forgets one room; its outbox entries stay.
    pub fn lose_room(&self, room_id: RoomId) {
        self.inner().rooms.lose(room_id);
    }

    /// The mirror forgets everything; the next heartbeat begins a new generation.
    pub fn lose_everything(&self) {
        let mut inner = self.inner();
        inner.rooms.lose_all();
        inner.nodes.clear();
        inner.generation = None;
    }

    /// What the mirror holds now, to go back to.
    #[must_use]
    pub fn past(&self) -> Past {
        let inner = self.inner();
        Past {
            rooms: inner.rooms.clone(),
            nodes: inner.nodes.clone(),
        }
    }

    /// Drops what was written since, as when a replica that was behind becomes the primary. The
    /// generation stays.
    pub fn go_back(&self, past: Past) {
        let mut inner = self.inner();
        inner.rooms = past.rooms;
        inner.nodes = past.nodes;
    }

    /// As if a newer release had written the room.
    pub fn raise_format(&self, room_id: RoomId) {
        self.inner().rooms.raise_format(room_id);
    }

    /// From now on the mirror does not fence: every commit is applied and every claim, restore and
    /// release succeeds, with any stored epoch, owner and version. Still a repeat of an applied
    /// commit is not written twice, and a room of a newer format is not claimed. No real mirror is
    /// like that; it is for a simulation of nodes, to show that it fails when two of them write one
    /// room.
    pub fn break_fence(&self) {
        self.inner().rooms.break_fence();
    }

    /// How often each call was made.
    #[must_use]
    pub fn calls(&self) -> Calls {
        self.inner().calls
    }

    fn now_us(&self) -> u64 {
        self.clock.map_or_else(rules::now_us, |clock| {
            u64::try_from(clock.now().0)
                .unwrap_or_default()
                .saturating_mul(1_000)
        })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing inside is left half done by a panic of a test.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits as the controls say, counts, and fails if they say so.
    async fn enter(&self, count: impl FnOnce(&mut Calls)) -> Result<(), MirrorFault> {
        let delay = {
            let mut inner = self.inner();
            count(&mut inner.calls);
            inner.delay
        };
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let mut paused = self.is_paused.subscribe();
        // The sender lives as long as this mirror, so the wait ends by a resume only.
        let _ = paused.wait_for(|is_paused| !is_paused).await;
        if self.inner().is_failing {
            return Err(MirrorFault("told to fail".to_owned()));
        }
        Ok(())
    }
}

#[async_trait]
impl RoomMirror for MemoryMirror {
    async fn commit(&self, commits: &[Commit]) -> Vec<Result<CommitOutcome, MirrorFault>> {
        let entered = self
            .enter(|calls| {
                calls.batches += 1;
                calls.commits += commits.len() as u64;
            })
            .await;
        let mut inner = self.inner();
        commits
            .iter()
            .map(|commit| {
                if let Err(fault) = &entered {
                    return Err(MirrorFault(fault.0.clone()));
                }
                if inner.failing_rooms.contains(&commit.room_id) {
                    return Err(MirrorFault("told to fail for this room".to_owned()));
                }
                let outcome = inner.rooms.commit(commit);
                if inner.lost_answers > 0 {
                    inner.lost_answers -= 1;
                    return Err(MirrorFault("told to lose this answer".to_owned()));
                }
                Ok(outcome)
            })
            .collect()
    }

    async fn claim(&self, claim: Claim) -> Result<ClaimOutcome, MirrorFault> {
        self.enter(|calls| calls.claims += 1).await?;
        Ok(self.inner().rooms.claim(&claim, self.now_us()))
    }

    async fn restore(
        &self,
        commit: &Commit,
        expected: Option<Ownership>,
    ) -> Result<ClaimOutcome, MirrorFault> {
        self.enter(|calls| calls.restores += 1).await?;
        let now_us = self.now_us();
        Ok(self.inner().rooms.restore(commit, expected, now_us))
    }

    async fn release(
        &self,
        room_id: RoomId,
        owner: NodeId,
        epoch: Epoch,
    ) -> Result<CommitOutcome, MirrorFault> {
        self.enter(|_| ()).await?;
        Ok(self.inner().rooms.release(room_id, owner, epoch))
    }

    async fn ownership(&self, room_id: RoomId) -> Result<Option<Ownership>, MirrorFault> {
        self.enter(|_| ()).await?;
        Ok(self.inner().rooms.ownership(room_id))
    }

    async fn rooms_of(&self, node_id: NodeId) -> Result<Vec<RoomId>, MirrorFault> {
        self.enter(|_| ()).await?;
        Ok(self.inner().rooms.rooms_of(node_id))
    }

    async fn nodes(&self) -> Result<Vec<NodeRecord>, MirrorFault> {
        self.enter(|_| ()).await?;
        Ok(self.inner().nodes.clone())
    }

    async fn heartbeat(&self, node: &NodeRecord) -> Result<String, MirrorFault> {
        self.enter(|calls| calls.heartbeats += 1).await?;
        let mut inner = self.inner();
        inner.nodes.retain(|known| known.node_id != node.node_id);
        inner.nodes.push(node.clone());
        let generation = &mut inner.generation;
        Ok(generation
            .get_or_insert_with(|| Uuid::new_v4().to_string())
            .clone())
    }

    async fn generation(&self) -> Result<Option<String>, MirrorFault> {
        self.enter(|_| ()).await?;
        Ok(self.inner().generation.clone())
    }

    async fn forget_node(&self, node_id: NodeId) -> Result<(), MirrorFault> {
        self.enter(|_| ()).await?;
        self.inner().nodes.retain(|node| node.node_id != node_id);
        Ok(())
    }

    async fn outbox(&self, limit: usize) -> Result<Vec<ClosedSession>, MirrorFault> {
        self.enter(|calls| calls.outbox_reads += 1).await?;
        Ok(self.inner().rooms.outbox(limit))
    }

    async fn is_finished(
        &self,
        room_id: RoomId,
        session_id: SessionId,
    ) -> Result<bool, MirrorFault> {
        self.enter(|_| ()).await?;
        Ok(self.inner().rooms.is_finished(room_id, session_id))
    }

    async fn recorded(&self, sessions: &[(RoomId, SessionId)]) -> Result<(), MirrorFault> {
        self.enter(|_| ()).await?;
        self.inner().rooms.recorded(sessions);
        Ok(())
    }
}
