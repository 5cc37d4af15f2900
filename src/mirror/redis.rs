//! The mirror in Redis 7 or later: its keys, scripts and connections.
//!
//! The data model in short. Times are RFC 3339, booleans are `"true"` or `"false"`.
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
//! A commit is *durable* when the primary and [`RedisOptions::wait_replicas`] replicas have it.

mod address;
mod client;
mod commits;
mod connection;
mod dedicated;
mod keys;
mod nodes;
mod outbox;
mod scripts;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use redis::{Cmd, RedisError, Value, cmd};
use thiserror::Error;

use self::{client::RedisClient, connection::Callers, scripts::decode};
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
    /// The deployment. User, password (percent-encoded), port and database number are optional.
    /// `rediss` instead of `redis` means TLS, checked against the public certificate authorities.
    ///
    /// - `redis://user:password@host:port/0`: one server;
    /// - `redis+sentinel://user:password@host:port,host:port/primary-name/0`: the sentinels of a
    ///   primary (the credentials are those of the primary);
    /// - `redis+cluster://user:password@host:port,host:port` or `redis://…?cluster=true`: some
    ///   nodes of a Redis Cluster.
    pub url: String,
    /// How long a live room stays without commits. A commit renews it once a tenth of it is over.
    pub ttl: Duration,
    /// How long the record of a silent node stays. Its list of rooms stays longer.
    pub node_ttl: Duration,
    /// Longest wait of a call, connecting included. Derive it from `lease::Deadlines`: a call that
    /// outlasts the own deadline of the node is useless.
    pub timeout: Duration,
    /// Longest wait of one attempt to connect.
    pub connect_timeout: Duration,
    /// How many replicas must have a commit. 0 means that the primary is enough.
    pub wait_replicas: usize,
    /// Longest wait for those replicas, well below `timeout`. Other calls wait meanwhile.
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
    /// The URL cannot be used. The text does not repeat it.
    #[error("the Redis URL cannot be used: {0}")]
    Url(String),
    /// Redis may evict rooms when its memory is full.
    #[error("Redis has maxmemory-policy {0}, which drops live rooms: set it to noeviction")]
    Eviction(String),
    /// It does not answer. The caller may retry.
    #[error(transparent)]
    Fault(#[from] MirrorFault),
}

/// The mirror in Redis.
pub struct RedisMirror {
    client: RedisClient,
    options: RedisOptions,
}

impl RedisMirror {
    /// Connects and checks that Redis does not evict keys. The runtime of the caller drives the
    /// sockets, so call it on the one for I/O. After a break, the next call reconnects.
    ///
    /// # Errors
    /// Fails when the URL is wrong, the server evicts keys, or no server answers.
    pub async fn connect(options: &RedisOptions) -> Result<Self, ConnectError> {
        let mirror = Self::lazy(options, Callers::Many)?;
        mirror.call::<String>(cmd("PING")).await?;
        mirror.check_eviction().await?;
        Ok(mirror)
    }

    /// Connects with the first call. The current runtime drives the socket.
    fn lazy(options: &RedisOptions, callers: Callers) -> Result<Self, ConnectError> {
        Ok(Self {
            client: RedisClient::new(options, callers)?,
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
        decode(self.client.call(call).await?)
    }

    /// Sends commands that must run in this order: in one write, or one by one to a cluster.
    async fn in_order<const COUNT: usize>(
        &self,
        calls: Vec<Cmd>,
    ) -> Result<[Value; COUNT], MirrorFault> {
        let mut values = Vec::with_capacity(COUNT);
        if self.client.is_cluster() {
            for call in calls {
                values.push(self.client.call(call).await?);
            }
        } else {
            for answer in self.client.run(calls).await? {
                values.push(answer.map_err(fault)?);
            }
        }
        let answers = <[Value; COUNT]>::try_from(values);
        Ok(answers.expect("one answer for each command"))
    }

    /// Commands that add a room to the list of its node. The list has the TTL of rooms.
    fn list_room(&self, node_id: NodeId, room_id: RoomId) -> [Cmd; 2] {
        let key = keys::node_rooms(node_id);
        let mut add = cmd("SADD");
        add.arg(&key).arg(room_id.to_string());
        let mut expire = cmd("PEXPIRE");
        expire.arg(&key).arg(scripts::millis(self.options.ttl));
        [add, expire]
    }

    /// Removes rooms from the lists of nodes. Faults do not matter, because claims check the owner.
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
            && let Err(fault) = self.client.run(calls).await
        {
            tracing::debug!(%fault, "rooms stay on the list of their previous node");
        }
    }

    /// Runs a claim script. Adds the room to the list of the new owner before, and removes it from
    /// the list of the previous owner after.
    async fn claim_by(
        &self,
        claim: &Claim,
        script: Cmd,
        restored: Version,
    ) -> Result<ClaimOutcome, MirrorFault> {
        let mut calls = Vec::from(self.list_room(claim.claimant, claim.room_id));
        if self.client.is_cluster() {
            self.client.run(std::mem::take(&mut calls)).await?;
        }
        calls.push(script);
        let answer = self.client.run(calls).await?.pop();
        let answer = answer
            .expect("one answer for each command")
            .map_err(fault)?;
        let outcome = scripts::claim_outcome(claim.room_id, restored, answer)?;
        let previous = claim.expected.and_then(|expected| expected.owner);
        if let (ClaimOutcome::Claimed { .. }, Some(previous)) = (&outcome, previous)
            && previous != claim.claimant
        {
            self.unlist_rooms(std::iter::once((previous, claim.room_id)))
                .await;
        }
        Ok(outcome)
    }
}

#[async_trait]
impl RoomMirror for RedisMirror {
    fn for_this_thread(&self) -> Option<Arc<dyn RoomMirror>> {
        match Self::lazy(&self.options, Callers::One) {
            Ok(another) => Some(Arc::new(another)),
            Err(error) => {
                tracing::warn!(%error, "cannot open a connection for this thread");
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
        // The room stays on the list of its last owner, where other nodes find it.
        scripts::commit_outcome(self.client.call(script).await?)
    }

    async fn ownership(&self, room_id: RoomId) -> Result<Option<Ownership>, MirrorFault> {
        scripts::stored_ownership(self.client.call(scripts::ask_ownership(room_id)).await?)
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
        self.client.connections()
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

fn fault(error: RedisError) -> MirrorFault {
    MirrorFault(error.to_string())
}

fn same_fault<T>(count: usize, fault: &MirrorFault) -> Vec<Result<T, MirrorFault>> {
    (0..count)
        .map(|_| Err(MirrorFault(fault.0.clone())))
        .collect()
}
