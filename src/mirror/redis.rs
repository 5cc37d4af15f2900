//! The mirror in Redis 7 or later: all knowledge of keys, scripts and connections.
//!
//! The data model, shared with operators and other tools, in short (times RFC 3339, booleans `"true"`/`"false"`):
//!
//! | key | type | content |
//! |---|---|---|
//! | `room:{<roomId>}` | hash | ownership, order and the room's own fields |
//! | `room:{<roomId>}:participants`, `:lobby`, `:left`, `:bans` | hash | id → JSON record |
//! | `room:{<roomId>}:tail` | list | frames of the last events |
//! | `room:{<roomId>}:closed:<sessionId>` | string | a finished session: the outbox, without TTL |
//! | `outbox` | set | `<roomId>/<sessionId>`: a hint where outbox entries are |
//! | `node:{<nodeId>}` (TTL), `node:{<nodeId>}:rooms`, `nodes` | hash, set, sorted set | the registry of nodes |
//! | `mirror:generation` | string | random; a new one means that Redis lost everything |
//!
//! *Durable* means: acknowledged by the primary, and by [`RedisOptions::wait_replicas`] of its replicas.

mod address;
mod commits;
mod connection;
mod dedicated;
mod keys;
mod link;
mod nodes;
mod outbox;
mod scripts;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use redis::{Cmd, RedisError, Value, cmd};
use thiserror::Error;

use self::{connection::Callers, link::Link, scripts::decode};
use super::{
    Claim, ClaimOutcome, Commit, CommitOutcome, LookUp, MirrorFault, NodeRecord, Ownership,
    RoomMirror, rules,
};
use crate::{
    ids::{Epoch, NodeId, RoomId, SessionId, Version},
    room::record::ClosedSession,
};

/// How to reach Redis and how it keeps rooms.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    /// Which deployment. User, password (percent-encoded), port and database number may be left out; `rediss` instead
    /// of `redis` means TLS, checked against the public certificate authorities:
    ///
    /// - `redis://user:password@host:port/0`: one server;
    /// - `redis+sentinel://user:password@host:port,host:port/primary-name/0`: the sentinels that know the primary
    ///   (credentials are those of the primary);
    /// - `redis+cluster://user:password@host:port,host:port` or `redis://…?cluster=true`: some nodes of a Redis Cluster.
    pub url: String,
    /// How long a live room stays when nobody commits to it; a commit begins it anew once a tenth of it is over.
    pub ttl: Duration,
    /// How long the figures of a silent node stay; it is listed for its rooms beyond that.
    pub node_ttl: Duration,
    /// Longest wait of a call, connecting included; also that of a heartbeat, so keep it below the lease.
    pub timeout: Duration,
    /// Longest wait of one attempt to connect.
    pub connect_timeout: Duration,
    /// How many replicas must have a commit before it counts; 0: the primary's word is enough.
    pub wait_replicas: usize,
    /// Longest wait for those replicas; well below `timeout`. Other calls wait meanwhile.
    pub wait_replicas_timeout: Duration,
}

impl RedisOptions {
    /// The defaults for a URL.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            ttl: Duration::from_secs(24 * 3600),
            node_ttl: Duration::from_secs(3600),
            timeout: Duration::from_secs(2),
            connect_timeout: Duration::from_secs(1),
            wait_replicas: 0,
            wait_replicas_timeout: Duration::from_millis(500),
        }
    }
}

/// Why Redis cannot be the mirror.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The URL cannot be used; the text does not repeat it.
    #[error("the Redis URL cannot be used: {0}")]
    Url(String),
    /// Redis may throw rooms away when its memory is full.
    #[error("Redis has maxmemory-policy {0}, which drops live rooms: set it to noeviction")]
    Eviction(String),
    /// It does not answer now; trying again may help.
    #[error(transparent)]
    Fault(#[from] MirrorFault),
}

/// The mirror in Redis.
pub struct RedisMirror {
    link: Link,
    options: RedisOptions,
}

impl RedisMirror {
    /// Connects and checks that Redis keeps what it is given. The runtime of the caller drives the sockets from then on:
    /// call it on the one for I/O. A connection that breaks later is made anew by the next call.
    ///
    /// # Errors
    /// When the URL is wrong, the server evicts keys, or nobody answers.
    pub async fn connect(options: &RedisOptions) -> Result<Self, ConnectError> {
        let mirror = Self::lazy(options, Callers::Many)?;
        mirror.call::<String>(cmd("PING")).await?;
        mirror.check_eviction().await?;
        Ok(mirror)
    }

    /// Connects with the first call; the current runtime drives the socket.
    fn lazy(options: &RedisOptions, callers: Callers) -> Result<Self, ConnectError> {
        Ok(Self {
            link: Link::new(options, callers)?,
            options: options.clone(),
        })
    }

    async fn check_eviction(&self) -> Result<(), ConnectError> {
        let mut query = cmd("CONFIG");
        query.arg("GET").arg("maxmemory-policy");
        match self.call::<Vec<String>>(query).await.as_deref() {
            Ok([_, policy]) if policy == "noeviction" => Ok(()),
            Ok([_, policy]) => Err(ConnectError::Eviction(policy.clone())),
            Ok(_) | Err(_) => {
                tracing::warn!(
                    "maxmemory-policy of Redis cannot be read; anything but noeviction loses live rooms"
                );
                Ok(())
            }
        }
    }

    /// Sends one command and reads its answer.
    async fn call<T: redis::FromRedisValue>(&self, call: Cmd) -> Result<T, MirrorFault> {
        decode(self.link.call(call).await?)
    }

    /// Sends commands that are carried out one after the other: in one write where that is so.
    async fn in_order<const COUNT: usize>(
        &self,
        calls: Vec<Cmd>,
    ) -> Result<[Value; COUNT], MirrorFault> {
        let mut values = Vec::with_capacity(COUNT);
        if self.link.is_cluster() {
            for call in calls {
                values.push(self.link.call(call).await?);
            }
        } else {
            for answer in self.link.run(calls).await? {
                values.push(answer.map_err(fault)?);
            }
        }
        let answers = <[Value; COUNT]>::try_from(values);
        Ok(answers.expect("one answer for each command"))
    }

    /// Where the rooms of a node are listed. Kept as long as the rooms themselves.
    fn list_room(&self, node_id: NodeId, room_id: RoomId) -> [Cmd; 2] {
        let key = keys::node_rooms(node_id);
        let mut add = cmd("SADD");
        add.arg(&key).arg(room_id.to_string());
        let mut expire = cmd("PEXPIRE");
        expire.arg(&key).arg(scripts::millis(self.options.ttl));
        [add, expire]
    }

    /// Takes rooms off a node's list. A room left there is found by claims to be another's: faults do not matter.
    async fn unlist_rooms(&self, rooms: impl Iterator<Item = (NodeId, RoomId)>) {
        let calls: Vec<Cmd> = rooms
            .map(|(node_id, room_id)| {
                let mut remove = cmd("SREM");
                remove
                    .arg(keys::node_rooms(node_id))
                    .arg(room_id.to_string());
                remove
            })
            .collect();
        if !calls.is_empty()
            && let Err(fault) = self.link.run(calls).await
        {
            tracing::debug!(%fault, "rooms stay listed");
        }
    }

    /// Claims by a script, with the lists of rooms around it: on the new owner's before, off the old one's after.
    async fn claim_by(
        &self,
        claim: &Claim,
        script: Cmd,
        restored: Version,
    ) -> Result<ClaimOutcome, MirrorFault> {
        let mut calls = Vec::from(self.list_room(claim.claimant, claim.room_id));
        if self.link.is_cluster() {
            self.link.run(std::mem::take(&mut calls)).await?;
        }
        calls.push(script);
        let answer = self.link.run(calls).await?.pop();
        let answer = answer
            .expect("one answer for each command")
            .map_err(fault)?;
        let outcome = scripts::claim_outcome(claim.room_id, restored, answer)?;
        let former = claim.expected.and_then(|expected| expected.owner);
        if let (ClaimOutcome::Claimed { .. }, Some(former)) = (&outcome, former)
            && former != claim.claimant
        {
            self.unlist_rooms(std::iter::once((former, claim.room_id)))
                .await;
        }
        Ok(outcome)
    }
}

#[async_trait]
impl RoomMirror for RedisMirror {
    fn beside(&self) -> Option<Arc<dyn RoomMirror>> {
        match Self::lazy(&self.options, Callers::One) {
            Ok(another) => Some(Arc::new(another)),
            Err(error) => {
                tracing::warn!(%error, "no connection of its own for a thread");
                None
            }
        }
    }

    async fn commit(&self, commits: &[Commit]) -> Vec<Result<CommitOutcome, MirrorFault>> {
        if let Err(fault) = self.announce_closings(commits).await {
            return same_fault(commits.len(), &fault);
        }
        let results = self.send_commits(commits).await;
        let closed: Vec<&Commit> = commits
            .iter()
            .zip(&results)
            .filter(|(commit, result)| {
                commit.changes.closing.is_some() && matches!(result, Ok(CommitOutcome::Ok))
            })
            .map(|(commit, _)| commit)
            .collect();
        if !closed.is_empty() {
            self.after_closings(&closed).await;
        }
        results
    }

    async fn claim(&self, claim: Claim) -> Result<ClaimOutcome, MirrorFault> {
        let script = scripts::claim(&claim, self.options.ttl);
        self.claim_by(&claim, script, Version::default()).await
    }

    async fn restore(
        &self,
        commit: &Commit,
        expected: Option<Ownership>,
    ) -> Result<ClaimOutcome, MirrorFault> {
        self.announce_closings(std::slice::from_ref(commit)).await?;
        let claim = rules::claim_of_restore(commit, expected);
        let script = scripts::restore(commit, expected, self.options.ttl);
        let outcome = self.claim_by(&claim, script, commit.changes.to).await?;
        if commit.changes.closing.is_some() && matches!(outcome, ClaimOutcome::Claimed { .. }) {
            self.after_closings(&[commit]).await;
        }
        Ok(outcome)
    }

    async fn release(
        &self,
        room_id: RoomId,
        owner: NodeId,
        epoch: Epoch,
    ) -> Result<CommitOutcome, MirrorFault> {
        let script = scripts::release(room_id, owner, epoch, self.options.ttl);
        // It stays listed under its last owner: whoever looks for the rooms of a node that left finds it there.
        scripts::commit_outcome(self.link.call(script).await?)
    }

    async fn ownership(&self, room_id: RoomId) -> Result<Option<Ownership>, MirrorFault> {
        scripts::stored_ownership(self.link.call(scripts::ask_ownership(room_id)).await?)
    }

    async fn look_up(&self, room_id: RoomId) -> Result<LookUp, MirrorFault> {
        let calls = vec![scripts::ask_ownership(room_id), ask_generation()];
        let [ownership, generation] = self.in_order(calls).await?;
        Ok(LookUp {
            ownership: scripts::stored_ownership(ownership)?,
            generation: decode(generation)?,
        })
    }

    async fn rooms_of(&self, node_id: NodeId) -> Result<Vec<RoomId>, MirrorFault> {
        self.read_rooms(node_id).await
    }

    async fn nodes(&self) -> Result<Vec<NodeRecord>, MirrorFault> {
        self.read_nodes().await
    }

    async fn heartbeat(&self, node: &NodeRecord) -> Result<String, MirrorFault> {
        self.write_heartbeat(node).await
    }

    async fn generation(&self) -> Result<Option<String>, MirrorFault> {
        self.call(ask_generation()).await
    }

    fn connections(&self) -> u64 {
        self.link.connections()
    }

    async fn forget_node(&self, node_id: NodeId) -> Result<(), MirrorFault> {
        self.remove_node(node_id).await
    }

    async fn outbox(&self, limit: usize) -> Result<Vec<ClosedSession>, MirrorFault> {
        self.read_outbox(limit).await
    }

    async fn is_finished(
        &self,
        room_id: RoomId,
        session_id: SessionId,
    ) -> Result<bool, MirrorFault> {
        let mut query = cmd("EXISTS");
        query.arg(keys::closed(room_id, session_id));
        self.call(query).await
    }

    async fn recorded(&self, sessions: &[(RoomId, SessionId)]) -> Result<(), MirrorFault> {
        self.remove_recorded(sessions).await
    }
}

fn ask_generation() -> Cmd {
    let mut query = cmd("GET");
    query.arg(keys::GENERATION);
    query
}

/// An error of Redis as the port tells it.
fn fault(error: RedisError) -> MirrorFault {
    MirrorFault(error.to_string())
}

fn same_fault<T>(count: usize, fault: &MirrorFault) -> Vec<Result<T, MirrorFault>> {
    (0..count)
        .map(|_| Err(MirrorFault(fault.0.clone())))
        .collect()
}
