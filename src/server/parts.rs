//! The pieces of a node, made from its configuration.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::Context;
use backon::{ConstantBuilder, Retryable};
use tokio::runtime::Handle;
use tracing::warn;
use uuid::Uuid;

use crate::{
    actor::{ActorLimits, ConnectionLimits, Directory, LinkLimits, Node, SpacingLimits, pace},
    claims::{Alone, Claimant, Peers, Tenure},
    clock::Clock,
    cluster::{Identity, NodeClient, Registry},
    config::{Config, SqliteSynchronous},
    ids::NodeId,
    lease::{Deadlines, Lease},
    metrics::Metrics,
    mirror::{
        RoomMirror,
        redis::{ConnectError, RedisMirror, RedisOptions},
        sqlite::{SqliteMirror, SqliteSync},
        writer::{MirrorMetrics, MirrorWriter, WriterLimits},
    },
    owner::{OwnerLimits, QueueLimits},
    recorder::Recorder,
    room::rules::{MediaServer, Rules},
    secrets::SigningKey,
    store::Store,
};

/// The embedded mirror in the data directory.
const MIRROR_FILE: &str = "mirror.db";
/// Attempts to reach Redis at a start, one a second.
const CONNECT_TRIES: usize = 30;
/// Longest wait of a call of Redis; below the own deadline of a node.
const REDIS_TIMEOUT: Duration = Duration::from_secs(2);

/// What a node works with.
pub struct Parts {
    /// The copy of live rooms.
    pub mirror: Arc<dyn RoomMirror>,
    /// Gathers commits.
    pub writer: MirrorWriter,
    /// SQL.
    pub store: Store,
    /// Tells databases apart.
    pub database_id: String,
    /// Figures.
    pub metrics: Metrics,
    /// Brings sessions into SQL.
    pub recorder: Recorder,
    io: Handle,
}

impl Parts {
    /// Opens the mirror; the store is open already.
    pub async fn open(config: &Config, io: &Handle, store: Store) -> anyhow::Result<Self> {
        let metrics = Metrics::new();
        let mirror_metrics = MirrorMetrics::new();
        for collector in mirror_metrics.collectors() {
            metrics.register(collector);
        }
        let mirror = io.spawn(open_mirror(config.clone())).await??;
        let writer = MirrorWriter::start(
            Arc::clone(&mirror),
            WriterLimits::default(),
            io,
            mirror_metrics,
        );
        let database_id = {
            let store = store.clone();
            io.spawn(async move { store.database_id().await }).await??
        };
        Ok(Self {
            mirror,
            writer,
            store,
            database_id,
            metrics,
            recorder: Recorder::default(),
            io: io.clone(),
        })
    }

    /// The node: a new process of its own.
    ///
    /// # Errors
    /// When calls to other nodes cannot be prepared.
    pub fn node(&self, config: &Config, signing: &SigningKey) -> anyhow::Result<Arc<Node>> {
        let (node_id, clock) = (NodeId(Uuid::new_v4()), Clock::start());
        let client = NodeClient::new(node_id, signing.clone())
            .context("cannot set up calls to other nodes")?;
        let deadlines = deadlines(config);
        let tenure = match config.redis {
            Some(_) => Tenure::leased(Lease::new(deadlines, config.mirror.partition, clock.now())),
            None => Tenure::sole(),
        };
        let registry = config.redis.as_ref().map(|_| {
            Arc::new(Registry::new(
                Arc::clone(&self.mirror),
                Identity {
                    node_id,
                    url: config.advertise.clone(),
                    database_id: self.database_id.clone(),
                },
                clock,
                tenure.clone(),
                Arc::new(client.clone()),
                deadlines.expiry_ms,
            ))
        });
        let peers: Arc<dyn Peers> = match &registry {
            Some(registry) => Arc::clone(registry) as Arc<dyn Peers>,
            None => Arc::new(Alone(Arc::clone(&self.mirror))),
        };
        let claimant = Claimant::new(
            node_id,
            clock,
            Arc::clone(&self.mirror),
            Arc::new(self.store.clone()),
            peers,
            tenure,
            Arc::new(rules(config)),
        );
        Ok(Arc::new(Node {
            node_id,
            clock,
            io: self.io.clone(),
            mirror: Arc::clone(&self.mirror),
            writer: self.writer.clone(),
            store: self.store.clone(),
            recorder: self.recorder.clone(),
            metrics: self.metrics.clone(),
            limits: actor_limits(config),
            claimant,
            registry,
            client,
            directory: Arc::new(Directory::default()),
        }))
    }
}

async fn open_mirror(config: Config) -> anyhow::Result<Arc<dyn RoomMirror>> {
    let Some(url) = &config.redis else {
        let sync = match config.mirror.sqlite_synchronous {
            SqliteSynchronous::Normal => SqliteSync::Normal,
            SqliteSynchronous::Full => SqliteSync::Full,
        };
        let mirror = SqliteMirror::open(config.data.join(MIRROR_FILE), sync)
            .context("cannot open the mirror")?;
        return Ok(Arc::new(mirror));
    };
    let options = RedisOptions {
        ttl: config.mirror.ttl,
        timeout: REDIS_TIMEOUT,
        wait_replicas: config.mirror.wait_replicas as usize,
        ..RedisOptions::new(url.expose())
    };
    let mirror = (|| RedisMirror::connect(&options))
        .retry(
            ConstantBuilder::default()
                .with_delay(Duration::from_secs(1))
                .with_max_times(CONNECT_TRIES),
        )
        .when(|error| matches!(error, ConnectError::Fault(_)))
        .notify(|error, _| warn!(%error, "Redis does not answer: trying again"))
        .await
        .context("cannot use Redis as the mirror")?;
    Ok(Arc::new(mirror))
}

/// What the configuration says about all rooms.
pub fn rules(config: &Config) -> Rules {
    let mut media_servers: BTreeMap<String, Vec<MediaServer>> = BTreeMap::new();
    for server in &config.sfu {
        media_servers
            .entry(server.region.clone())
            .or_default()
            .push(MediaServer {
                ip: server.ip.to_string(),
                port: server.port,
            });
    }
    Rules {
        reconnect_grace_ms: ms(config.room.reconnect_grace),
        departure_timeout_ms: ms(config.room.departure_timeout),
        empty_timeout_ms: ms(config.room.empty_timeout),
        takeover_quiet_ms: ms(config.room.takeover_quiet),
        tail_events_max: config.limits.tail_events_max,
        tail_bytes_max: config.limits.tail_bytes_max,
        lobby_max: config.limits.lobby_max,
        held_relays_max: config.limits.held_relays_max,
        region: config.region.clone(),
        media_servers,
        ..Rules::default()
    }
}

/// What it says about all actors.
pub fn actor_limits(config: &Config) -> ActorLimits {
    ActorLimits {
        owner: OwnerLimits {
            queue: QueueLimits {
                items_max: config.limits.fifo_items_max,
                bytes_max: config.limits.fifo_bytes_max,
            },
            stall_ms: ms(config.mirror.stall),
            verify_ms: ms(config.mirror.verify),
            expiry_ms: ms(config.cluster.expiry),
        },
        link: LinkLimits {
            slow_ms: ms(config.limits.slow),
            outgoing_bytes_max: config.limits.outgoing_bytes_max,
        },
        spacing: SpacingLimits::default(),
        ping_interval_ms: ms(config.connection.ping_interval),
        ping_timeout_ms: ms(config.connection.ping_timeout),
    }
}

/// All times of ownership.
fn deadlines(config: &Config) -> Deadlines {
    Deadlines {
        heartbeat_ms: ms(config.cluster.heartbeat),
        stall_ms: ms(config.mirror.stall),
        own_deadline_ms: ms(config.cluster.own_deadline),
        expiry_ms: ms(config.cluster.expiry),
    }
}

/// What it says about all connections.
pub fn connection_limits(config: &Config) -> ConnectionLimits {
    let limits = &config.limits;
    ConnectionLimits {
        frame_bytes_max: limits.frame_bytes_max,
        text_bytes_max: limits.text_bytes_max,
        pace: pace(
            limits.commands_per_second,
            limits.commands_burst,
            limits.refusals_max,
            limits.refusals_window,
        ),
        join_timeout: config.connection.join_timeout,
        connections_max: limits.connections_max,
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
