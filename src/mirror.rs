//! The mirror port: a copy of each live room outside the process, written under an epoch and a version chain.
//!
//! Adapters ([`redis`], [`sqlite`], [`memory`]) know their outside world and nothing of rooms' rules. All of them obey one
//! contract, tested by one suite:
//!
//! - a commit is applied only when the stored epoch equals its epoch and the stored version equals its `from`;
//! - a repeat of an applied commit (stored version equals `to`) is `Ok`;
//! - a claim raises the epoch, so that every later commit of the former owner is `Fenced`.

mod fields;
pub mod memory;
pub mod redis;
mod rules;
pub mod sqlite;
pub mod writer;

use std::sync::Arc;

use async_trait::async_trait;
use thiserror::Error;

use crate::{
    ids::{Epoch, NodeId, RoomId, SessionId, Timestamp, Version},
    room::record::{ChangeSet, ClosedSession, Snapshot},
};

/// The mirror is away or answers nonsense: retried by the caller, counted, logged once.
#[derive(Debug, Error)]
#[error("mirror: {0}")]
pub struct MirrorFault(pub String);

/// The changes of one room, to be applied under an epoch.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Which room.
    pub room_id: RoomId,
    /// Who writes.
    pub owner: NodeId,
    /// The writer's epoch.
    pub epoch: Epoch,
    /// What to write.
    pub changes: ChangeSet,
}

/// What became of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// Applied, now or before.
    Ok,
    /// A higher epoch is stored: somebody else owns the room.
    Fenced {
        /// The stored epoch.
        epoch: Epoch,
        /// Its owner; none: released.
        owner: Option<NodeId>,
    },
    /// The mirror holds something older than expected: it lost writes.
    Behind,
    /// The mirror does not know the room.
    Missing,
}

/// Who owns a room, as the mirror says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ownership {
    /// None: released by a drain.
    pub owner: Option<NodeId>,
    /// Its epoch.
    pub epoch: Epoch,
}

/// What the mirror says of a room that is to be claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookUp {
    /// Who owns it; none: the mirror does not know it.
    pub ownership: Option<Ownership>,
    /// See [`RoomMirror::generation`].
    pub generation: Option<String>,
}

/// A claim: compare-and-set on the ownership.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// Which room.
    pub room_id: RoomId,
    /// What the mirror must say now; none: it does not know the room.
    pub expected: Option<Ownership>,
    /// The new owner.
    pub claimant: NodeId,
    /// Highest epoch that the claimant has itself seen for this room.
    pub last_seen: Epoch,
}

/// What became of a claim.
#[derive(Clone, Debug)]
pub enum ClaimOutcome {
    /// Owned now. For a room the mirror did not know, `room` is none and nothing is stored but the ownership
    /// (version 0); the first commit is expected to be full, from version 0.
    Claimed {
        /// The new epoch.
        epoch: Epoch,
        /// The stored version.
        version: Version,
        /// The whole room.
        room: Option<Box<Snapshot>>,
    },
    /// Somebody else was faster, or `expected` was wrong.
    Lost(Option<Ownership>),
    /// Written by a newer release (higher `format`): not ours to claim.
    TooNew,
}

/// What is known of another process of this mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRecord {
    /// The process.
    pub node_id: NodeId,
    /// Where it can be reached.
    pub url: String,
    /// Region of the node.
    pub region: String,
    /// Release.
    pub version: String,
    /// Which SQL database it uses.
    pub database_id: String,
    /// Live rooms.
    pub rooms: u64,
    /// Open WebSockets.
    pub connections: u64,
    /// `starting`, `ready` or `draining`.
    pub state: String,
    /// Grows with each heartbeat.
    pub heartbeat: u64,
    /// When that was, by the node's own clock: the last moment at which it is known to have lived. Says when the
    /// connections of a dead node were lost; never whether it is dead.
    pub seen_at: Timestamp,
}

/// The outside copy of live rooms. Every call has a timeout inside the adapter and ends in an answer or a fault.
#[async_trait]
pub trait RoomMirror: Send + Sync + 'static {
    /// Applies commits of different rooms in one round trip; the answers are in the order of the commits, one each.
    async fn commit(&self, commits: &[Commit]) -> Vec<Result<CommitOutcome, MirrorFault>>;

    /// Becomes the owner of a room and reads it, in one step.
    async fn claim(&self, claim: Claim) -> Result<ClaimOutcome, MirrorFault>;

    /// Writes a full snapshot (`commit.changes.is_full`) under a **new** epoch if the stored ownership is still `expected`
    /// (none: the room is missing). Used after `Behind` and `Missing`. Version becomes `commit.changes.to`.
    async fn restore(
        &self,
        commit: &Commit,
        expected: Option<Ownership>,
    ) -> Result<ClaimOutcome, MirrorFault>;

    /// Leaves a room without an owner: a drain that found no successor. The room and its epoch stay, so that the next
    /// claim expects no owner under that epoch and gets a higher one, and later commits of the former owner are `Fenced`.
    /// `Ok` also when it was released under that epoch before.
    async fn release(
        &self,
        room_id: RoomId,
        owner: NodeId,
        epoch: Epoch,
    ) -> Result<CommitOutcome, MirrorFault>;

    /// Who owns a room.
    async fn ownership(&self, room_id: RoomId) -> Result<Option<Ownership>, MirrorFault>;

    /// Rooms that a node owns, and those without owner that it released, at least (a hint: claims check the truth).
    async fn rooms_of(&self, node_id: NodeId) -> Result<Vec<RoomId>, MirrorFault>;

    /// All nodes known to the mirror.
    async fn nodes(&self) -> Result<Vec<NodeRecord>, MirrorFault>;

    /// Writes this node's heartbeat; the answer is the mirror's generation: a new one means that it lost everything.
    async fn heartbeat(&self, node: &NodeRecord) -> Result<String, MirrorFault>;

    /// The mirror's generation, as a heartbeat answers it, without beginning one; none: it lost everything, or is new, and
    /// nobody has written a heartbeat since.
    async fn generation(&self) -> Result<Option<String>, MirrorFault>;

    /// Who owns a room, and the generation, which is read behind it: that of a mirror which has lost the room by then is another.
    async fn look_up(&self, room_id: RoomId) -> Result<LookUp, MirrorFault> {
        Ok(LookUp {
            ownership: self.ownership(room_id).await?,
            generation: self.generation().await?,
        })
    }

    /// Another way to the same mirror, driven by the current runtime; none: there is only one.
    fn beside(&self) -> Option<Arc<dyn RoomMirror>> {
        None
    }

    /// How often the mirror was connected to: after each time it may be another one, or hold older data. Always the same for one
    /// without a connection.
    fn connections(&self) -> u64 {
        0
    }

    /// Takes a node off the registry.
    async fn forget_node(&self, node_id: NodeId) -> Result<(), MirrorFault>;

    /// Finished sessions waiting to be recorded, at most `limit`.
    async fn outbox(&self, limit: usize) -> Result<Vec<ClosedSession>, MirrorFault>;

    /// Whether this session is among those waiting to be recorded.
    async fn is_finished(
        &self,
        room_id: RoomId,
        session_id: SessionId,
    ) -> Result<bool, MirrorFault>;

    /// Sessions are in SQL: their outbox entries go.
    async fn recorded(&self, sessions: &[(RoomId, SessionId)]) -> Result<(), MirrorFault>;
}
