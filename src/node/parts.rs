//! Builds the parts of a node from its configuration.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::Context;
use backon::{ConstantBuilder, Retryable};
use tokio::runtime::Handle;
use tracing::warn;
use uuid::Uuid;

use crate::{
    actor::{ActorLimits, ConnectionLimits, Leaving, LinkLimits, NodeContext, PacingLimits, pace},
    claims::{Alone, Claimant, LeaseHandle, NodeLiveness},
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
/// Attempts to reach Redis at the start, one per second.
const CONNECT_TRIES: usize = 30;

/// The parts of a node.
pub struct Parts {
    /// The copy of live rooms.
    pub mirror: Arc<dyn RoomMirror>,
    /// Writes commits in batches.
    pub writer: MirrorWriter,
    /// SQL.
    pub store: Store,
    /// Identifies the database.
    pub database_id: String,
    /// Figures.
    pub metrics: Metrics,
    /// Brings sessions into SQL.
    pub recorder: Recorder,
    io: Handle,
}

impl Parts {
    /// Opens the mirror. The store is open already.
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

    /// What the actors share, with a new node id.
    ///
    /// # Errors
    /// Fails when TLS for calls to other nodes cannot be set up.
    pub fn node(&self, config: &Config, signing: &SigningKey) -> anyhow::Result<Arc<NodeContext>> {
        let (node_id, clock) = (NodeId(Uuid::new_v4()), Clock::start());
        let client = NodeClient::new(node_id, signing.clone())
            .context("cannot set up calls to other nodes")?;
        let deadlines = deadlines(config);
        let lease = match config.redis {
            Some(_) => {
                LeaseHandle::leased(Lease::new(deadlines, config.mirror.partition, clock.now()))
            }
            None => LeaseHandle::sole(),
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
                lease.clone(),
                Arc::new(client.clone()),
                deadlines,
            ))
        });
        let liveness: Arc<dyn NodeLiveness> = match &registry {
            Some(registry) => Arc::clone(registry) as Arc<dyn NodeLiveness>,
            None => Arc::new(Alone(Arc::clone(&self.mirror))),
        };
        let claimant = Claimant::new(
            node_id,
            clock,
            Arc::clone(&self.mirror),
            Arc::new(self.store.clone()),
            liveness,
            lease,
            Arc::new(rules(config)),
        );
        Ok(Arc::new(NodeContext {
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
            leaving: Leaving::default(),
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
    let timeout = Duration::from_millis(deadlines(&config).mirror_timeout_ms());
    let options = RedisOptions {
        ttl: config.mirror.ttl,
        timeout,
        wait_replicas_timeout: timeout / 4,
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

/// The configured rules of all rooms.
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

/// The configured limits of all actors.
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
        pacing: PacingLimits::default(),
        ping_interval_ms: ms(config.connection.ping_interval),
        ping_timeout_ms: ms(config.connection.ping_timeout),
    }
}

/// The configured deadlines of ownership.
pub fn deadlines(config: &Config) -> Deadlines {
    Deadlines {
        heartbeat_ms: ms(config.cluster.heartbeat),
        stall_ms: ms(config.mirror.stall),
        own_deadline_ms: ms(config.cluster.own_deadline),
        expiry_ms: ms(config.cluster.expiry),
    }
    .checked()
}

/// The configured limits of all connections.
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
