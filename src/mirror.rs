//! The mirror port: a copy of each live room outside the process. An epoch and a chain of versions
//! protect it from owners that are no longer owners.
//!
//! The adapters ([`redis`], [`sqlite`], [`memory`]) know their storage and no rules of rooms. One
//! test suite checks that all of them keep this contract:
//!
//! - a commit is applied only if the stored epoch equals its epoch and the stored version equals
//!   its `from`;
//! - a repeat of an applied commit (the stored version equals `to`) is `Ok`;
//! - a claim raises the epoch, so every later commit of the previous owner is `Fenced`.

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

/// The mirror does not answer, or its answer cannot be read. The caller retries, counts and logs
/// once.
#[derive(Debug, Error)]
#[error("mirror: {0}")]
pub struct MirrorFault(pub String);

/// The changes of one room, to be applied under an epoch.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The room to write.
    pub room_id: RoomId,
    /// The node that writes.
    pub owner: NodeId,
    /// The epoch under which it owns the room.
    pub epoch: Epoch,
    /// The changes, from one version to another.
    pub changes: ChangeSet,
}

/// The outcome of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// Applied, now or before.
    Ok,
    /// A higher epoch is stored: another node owns the room.
    Fenced {
        /// The stored epoch.
        epoch: Epoch,
        /// Its owner. `None` if the room was released.
        owner: Option<NodeId>,
    },
    /// The mirror holds an older version than expected: it lost writes.
    Behind,
    /// The mirror does not know the room.
    Missing,
}

/// The owner of a room, as stored in the mirror.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ownership {
    /// `None` if a drain released the room.
    pub owner: Option<NodeId>,
    /// The epoch of that owner.
    pub epoch: Epoch,
}

/// What the mirror stores about a room, read before a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookUp {
    /// `None` if the mirror does not know the room.
    pub ownership: Option<Ownership>,
    /// See [`RoomMirror::generation`].
    pub generation: Option<String>,
}

/// A claim: compare-and-set on the ownership.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// The room to own.
    pub room_id: RoomId,
    /// The ownership that must be stored now. `None` if the mirror must not know the room.
    pub expected: Option<Ownership>,
    /// The new owner.
    pub claimant: NodeId,
    /// The highest epoch that the claimant has seen for this room.
    pub last_seen: Epoch,
}

/// The outcome of a claim.
#[derive(Clone, Debug)]
pub enum ClaimOutcome {
    /// The claimant owns the room. If the mirror did not know it, `room` is `None` and only the
    /// ownership is stored, with version 0. Then the first commit must be full, from version 0.
    Claimed {
        /// The new epoch.
        epoch: Epoch,
        /// The stored version.
        version: Version,
        /// The whole room.
        room: Option<Box<Snapshot>>,
    },
    /// The stored ownership is not the expected one. Returns the stored one.
    Lost(Option<Ownership>),
    /// A newer release wrote the room (higher `format`), so this release cannot read it.
    TooNew,
}

/// A node in the registry of the mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRecord {
    /// The process, new at each start.
    pub node_id: NodeId,
    /// The URL under which other nodes reach it.
    pub url: String,
    /// Region of the node.
    pub region: String,
    /// Its release.
    pub version: String,
    /// Identifies the SQL database that it uses.
    pub database_id: String,
    /// Live rooms.
    pub rooms: u64,
    /// Open WebSockets.
    pub connections: u64,
    /// `starting`, `ready` or `draining`.
    pub state: String,
    /// Grows with each heartbeat.
    pub heartbeat: u64,
    /// The time of that heartbeat by the node's own clock. It says when the connections of a dead
    /// node were lost. It never says whether the node is dead.
    pub seen_at: Timestamp,
}

/// The copy of live rooms outside the process. Each adapter bounds its calls: every call ends with
/// an answer or a fault.
#[async_trait]
pub trait RoomMirror: Send + Sync + 'static {
    /// Applies commits of different rooms in one round trip. Returns one outcome for each commit,
    /// in their order.
    async fn commit(&self, commits: &[Commit]) -> Vec<Result<CommitOutcome, MirrorFault>>;

    /// Takes the ownership of a room and reads the room, in one step.
    async fn claim(&self, claim: Claim) -> Result<ClaimOutcome, MirrorFault>;

    /// Writes a full snapshot (`commit.changes.is_full`) under a **new** epoch if the stored
    /// ownership is still `expected` (`None`: the room is missing). Owners call it after `Behind`
    /// and `Missing`. The version becomes `commit.changes.to`.
    async fn restore(
        &self,
        commit: &Commit,
        expected: Option<Ownership>,
    ) -> Result<ClaimOutcome, MirrorFault>;

    /// Removes the owner of a room, when a drain finds no successor. The room and its epoch stay.
    /// The next claim expects no owner under that epoch and gets a higher one. Later commits of the
    /// previous owner are `Fenced`. A repeat of a release is `Ok`.
    async fn release(
        &self,
        room_id: RoomId,
        owner: NodeId,
        epoch: Epoch,
    ) -> Result<CommitOutcome, MirrorFault>;

    /// Reads the owner of a room.
    async fn ownership(&self, room_id: RoomId) -> Result<Option<Ownership>, MirrorFault>;

    /// Returns the rooms that a node owns and those that it released. There may be more in the
    /// list: claims check the ownership.
    async fn rooms_of(&self, node_id: NodeId) -> Result<Vec<RoomId>, MirrorFault>;

    /// Returns all nodes that the mirror knows.
    async fn nodes(&self) -> Result<Vec<NodeRecord>, MirrorFault>;

    /// Writes the heartbeat of this node. Returns the generation of the mirror: a new one means
    /// that the mirror lost everything.
    async fn heartbeat(&self, node: &NodeRecord) -> Result<String, MirrorFault>;

    /// Reads the generation without starting one. `None` if the mirror is new or lost everything,
    /// and no node has written a heartbeat since.
    async fn generation(&self) -> Result<Option<String>, MirrorFault>;

    /// Reads the owner of a room and then the generation. The order matters: if the mirror lost the
    /// room, the generation read after it is a new one.
    async fn look_up(&self, room_id: RoomId) -> Result<LookUp, MirrorFault> {
        Ok(LookUp {
            ownership: self.ownership(room_id).await?,
            generation: self.generation().await?,
        })
    }

    /// Opens another connection to the same mirror, on the current runtime. `None` if the mirror
    /// has only one.
    fn for_this_thread(&self) -> Option<Arc<dyn RoomMirror>> {
        None
    }

    /// Counts the connections that were made. After a new one, the server may be another one or
    /// hold older data.
    fn connections(&self) -> u64 {
        0
    }

    /// Removes a node from the registry.
    async fn forget_node(&self, node_id: NodeId) -> Result<(), MirrorFault>;

    /// Returns finished sessions that wait to be recorded, at most `limit`.
    async fn outbox(&self, limit: usize) -> Result<Vec<ClosedSession>, MirrorFault>;

    /// Returns whether this session waits to be recorded.
    async fn is_finished(
        &self,
        room_id: RoomId,
        session_id: SessionId,
    ) -> Result<bool, MirrorFault>;

    /// Deletes the outbox entries of sessions that are in SQL now.
    async fn recorded(&self, sessions: &[(RoomId, SessionId)]) -> Result<(), MirrorFault>;
}
