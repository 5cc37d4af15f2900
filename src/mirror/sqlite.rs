//! The mirror in an embedded SQLite file: for one node alone.
//!
//! One thread owns the connection and runs calls from a bounded queue. A batch of commits is one
//! transaction. A second thread runs the checkpoints. Rooms have no TTL here: the only node claims
//! its own rooms when it starts again.

mod checkpoint;
mod rooms;
mod schema;
mod worker;

use std::{path::Path, time::Duration};

use async_trait::async_trait;
use diesel::sqlite::SqliteConnection;

use self::{checkpoint::Checkpointer, worker::Worker};
use super::{
    Claim, ClaimOutcome, Commit, CommitOutcome, LookUp, MirrorFault, NodeRecord, Ownership,
    RoomMirror,
};
use crate::{
    ids::{Epoch, NodeId, RoomId, SessionId},
    room::record::ClosedSession,
};

/// What a commit survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SqliteSync {
    /// The end of the process, by any signal. A loss of power may lose the last commits.
    #[default]
    Normal,
    /// Also a loss of power: each batch waits for the disk.
    Full,
}

/// The mirror in a file.
pub struct SqliteMirror {
    worker: Worker,
}

/// Longest wait for an answer of the thread.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

impl SqliteMirror {
    /// Opens the file. Creates it if it does not exist, readable by its owner only. `:memory:`
    /// opens a mirror that ends with the process.
    ///
    /// # Errors
    /// Fails when the file cannot be opened or was written by a newer release.
    pub fn open(path: impl AsRef<Path>, sync: SqliteSync) -> Result<Self, MirrorFault> {
        let path = path.as_ref();
        let connection = schema::open(path, sync)?;
        let checkpointer = match schema::is_in_memory(path) {
            true => None,
            false => Some(Checkpointer::start(path, schema::connect(path, sync)?)?),
        };
        Ok(Self {
            worker: Worker::start(connection, checkpointer)?,
        })
    }

    async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut SqliteConnection) -> Result<T, MirrorFault> + Send + 'static,
    ) -> Result<T, MirrorFault> {
        self.run_commits(1, job).await
    }

    /// Runs a job that makes up to so many commits.
    async fn run_commits<T: Send + 'static>(
        &self,
        commits: usize,
        job: impl FnOnce(&mut SqliteConnection) -> Result<T, MirrorFault> + Send + 'static,
    ) -> Result<T, MirrorFault> {
        tokio::time::timeout(CALL_TIMEOUT, self.worker.run(commits, job))
            .await
            .map_err(|_| MirrorFault("the mirror file is busy".to_owned()))?
    }
}

#[async_trait]
impl RoomMirror for SqliteMirror {
    async fn commit(&self, commits: &[Commit]) -> Vec<Result<CommitOutcome, MirrorFault>> {
        let batch = commits.to_vec();
        let result = self
            .run_commits(commits.len(), move |connection| {
                Ok(rooms::commit_all(connection, &batch))
            })
            .await;
        result.unwrap_or_else(|fault| {
            commits
                .iter()
                .map(|_| Err(MirrorFault(fault.0.clone())))
                .collect()
        })
    }

    async fn claim(&self, claim: Claim) -> Result<ClaimOutcome, MirrorFault> {
        self.run(move |connection| rooms::claim(connection, &claim))
            .await
    }

    async fn restore(
        &self,
        commit: &Commit,
        expected: Option<Ownership>,
    ) -> Result<ClaimOutcome, MirrorFault> {
        let commit = commit.clone();
        self.run(move |connection| rooms::restore(connection, &commit, expected))
            .await
    }

    async fn release(
        &self,
        room_id: RoomId,
        owner: NodeId,
        epoch: Epoch,
    ) -> Result<CommitOutcome, MirrorFault> {
        self.run(move |connection| rooms::release(connection, room_id, owner, epoch))
            .await
    }

    async fn ownership(&self, room_id: RoomId) -> Result<Option<Ownership>, MirrorFault> {
        self.run(move |connection| rooms::ownership(connection, room_id))
            .await
    }

    async fn look_up(&self, room_id: RoomId) -> Result<LookUp, MirrorFault> {
        self.run(move |connection| {
            Ok(LookUp {
                ownership: rooms::ownership(connection, room_id)?,
                generation: worker::generation(connection)?,
            })
        })
        .await
    }

    async fn rooms_of(&self, node_id: NodeId) -> Result<Vec<RoomId>, MirrorFault> {
        self.run(move |connection| rooms::rooms_of(connection, node_id))
            .await
    }

    async fn nodes(&self) -> Result<Vec<NodeRecord>, MirrorFault> {
        self.run(worker::nodes).await
    }

    async fn heartbeat(&self, node: &NodeRecord) -> Result<String, MirrorFault> {
        let node = node.clone();
        self.run(move |connection| worker::heartbeat(connection, &node))
            .await
    }

    async fn generation(&self) -> Result<Option<String>, MirrorFault> {
        self.run(worker::generation).await
    }

    async fn forget_node(&self, node_id: NodeId) -> Result<(), MirrorFault> {
        self.run(move |connection| worker::forget_node(connection, node_id))
            .await
    }

    async fn outbox(&self, limit: usize) -> Result<Vec<ClosedSession>, MirrorFault> {
        self.run(move |connection| rooms::outbox(connection, limit))
            .await
    }

    async fn is_finished(
        &self,
        room_id: RoomId,
        session_id: SessionId,
    ) -> Result<bool, MirrorFault> {
        self.run(move |connection| rooms::is_finished(connection, room_id, session_id))
            .await
    }

    async fn recorded(&self, sessions: &[(RoomId, SessionId)]) -> Result<(), MirrorFault> {
        let sessions = sessions.to_vec();
        self.run(move |connection| rooms::recorded(connection, &sessions))
            .await
    }
}

fn fault(error: impl std::fmt::Display) -> MirrorFault {
    MirrorFault(error.to_string())
}

impl From<diesel::result::Error> for MirrorFault {
    fn from(error: diesel::result::Error) -> Self {
        Self(error.to_string())
    }
}
