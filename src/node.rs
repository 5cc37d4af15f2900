//! Wiring and lifetime: runtimes, threads, listeners, and the order in which everything starts and
//! stops.

mod checks;
mod drain;
mod fd_limits;
mod health;
mod heartbeat;
mod lease_expiry;
mod listeners;
mod orphans;
mod parts;

use std::{
    net::TcpListener,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_web::web;
use anyhow::{Context, bail};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::Notify,
    task::JoinHandle,
};
use tracing::{info, warn};

use self::{
    health::{Health, Phase},
    heartbeat::Heartbeat,
    listeners::{listen, serve, serve_admin},
    parts::{Parts, connection_limits},
};
use crate::{
    actor::{JoinService, RoomThreads, Rooms},
    config::Config,
    fd_budget::FdBudget,
    http::{self, AppState, HttpOptions},
    mirror::NodeRecord,
    recorder::RecorderParts,
    secrets::Secrets,
    store::{Store, StoreOptions},
};

/// Most threads of the I/O runtime. It has no more than there are cores: two on one core only wake
/// each other.
const IO_THREADS_MAX: usize = 2;
/// How long the recorder may take when the node stops. What is left stays in the outbox.
const RECORDER_PATIENCE: Duration = Duration::from_secs(5);
/// How long clients may take to close after the goodbye when the node stops, and how often that is
/// checked.
const GOODBYES_PATIENCE: Duration = Duration::from_secs(4);
const GOODBYES_LOOK: Duration = Duration::from_millis(20);
/// Reads of the registry per heartbeat. The more there are, the sooner an expiry is noticed.
const LOOKS_PER_HEARTBEAT: u32 = 4;
/// How often the node looks for orphaned rooms.
const ORPHANS_EVERY: Duration = Duration::from_secs(3);

/// Options of the command line.
#[derive(Clone, Copy, Debug)]
pub struct ServeOptions {
    /// Migrates the database's schema. Otherwise an older one is refused.
    pub migrate: bool,
}

/// Serves until SIGTERM or SIGINT, then stops in order. Must run inside an actix system.
///
/// # Errors
/// Fails when the node cannot start: a listener, the database or Redis is not available, or the
/// schema is older and may not be migrated.
pub async fn run(
    mut config: Config,
    secrets: Secrets,
    options: ServeOptions,
) -> anyhow::Result<()> {
    let listener = listen(config.listen)?;
    config.listening_on(listener.local_addr()?);
    let admin_listener = config.admin_listen.map(listen).transpose()?;
    let budget = fd_limits::connection_budget(&config, workers(&config) + io_threads())?;
    let io = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(io_threads())
        .thread_name("io")
        .enable_all()
        .build()?;
    let served = serve_until_stopped(
        config,
        secrets,
        options,
        listener,
        admin_listener,
        budget,
        io.handle(),
    );
    let served = served.await;
    // After a failed start, too: dropping a runtime blocks, and must not happen inside another.
    io.shutdown_background();
    served
}

fn io_threads() -> usize {
    IO_THREADS_MAX.min(cores())
}

/// Threads of rooms and connections.
fn workers(config: &Config) -> usize {
    match config.http.workers {
        0 => cores(),
        workers => workers,
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The part of a node's life that needs the I/O runtime.
async fn serve_until_stopped(
    config: Config,
    secrets: Secrets,
    options: ServeOptions,
    listener: TcpListener,
    admin_listener: Option<TcpListener>,
    budget: FdBudget,
    io: &tokio::runtime::Handle,
) -> anyhow::Result<()> {
    let store = io
        .spawn(open_store(store_options(&config), options))
        .await??;
    let parts = Parts::open(&config, io, store).await?;
    let node = parts.node(&config, &secrets.signing)?;
    let threads = RoomThreads::default();
    let rooms = Rooms::start(Arc::clone(&node), threads.clone());
    let health = Arc::new(Health::new(Arc::clone(&node)));
    let joins = Arc::new(JoinService::new(
        &rooms,
        secrets.signing.clone(),
        secrets.bootstrap.clone(),
        connection_limits(&config),
        budget.clone(),
    ));
    let told = Arc::new(Notify::new());
    let state = web::Data::new(AppState::new(http::AppServices {
        store: node.store.clone(),
        rooms: rooms.clone(),
        signing: secrets.signing,
        bootstrap: secrets.bootstrap,
        metrics: node.metrics.clone(),
        options: HttpOptions::from(&config),
        clock: Arc::new({
            let clock = node.clock;
            move || clock.now()
        }),
        readiness: Arc::new({
            let health = Arc::clone(&health);
            move || health.readiness()
        }),
        has_mirror_for: Arc::new({
            let node = Arc::clone(&node);
            move || has_mirror_for(&node)
        }),
        introduced: Arc::new({
            let node = Arc::clone(&node);
            move |neighbour| {
                if let Some(registry) = &node.registry {
                    registry.introduced(neighbour);
                }
            }
        }),
        drain: Arc::new({
            let told = Arc::clone(&told);
            move || told.notify_one()
        }),
    }));
    let server = serve(
        &config,
        listener,
        budget,
        state.clone(),
        joins,
        &node.writer,
        threads.clone(),
    )?;
    threads.until_joined().await;
    let admin = admin_listener
        .map(|listener| serve_admin(listener, state.clone()))
        .transpose()?;
    io.spawn(checks::check(
        Arc::clone(&node),
        config.advertise.clone(),
        parts.database_id.clone(),
    ))
    .await??;
    let heartbeat = start_tasks(&config, &parts, &node, &rooms, &health);
    state.open();
    info!(
        node = %node.node_id,
        version = env!("CARGO_PKG_VERSION"),
        "listening on http://{}, advertised as {}", config.listen, config.advertise
    );
    wait_for_stop(&told).await?;
    state.close();
    stop(&config, &node, &rooms, &health).await;
    heartbeat.abort();
    leave_registry(&node).await;
    wait_for_closes(&node).await;
    server.stop(true).await;
    if let Some(admin) = admin {
        admin.stop(true).await;
    }
    info!("stopped");
    Ok(())
}

fn store_options(config: &Config) -> StoreOptions {
    StoreOptions {
        url: config.database.expose().to_owned(),
        pool_size: config.store.pool_size,
        timeout: config.store.timeout,
    }
}

/// Opens the store, with a schema that this release knows.
async fn open_store(store_options: StoreOptions, options: ServeOptions) -> anyhow::Result<Store> {
    if options.migrate {
        for name in Store::migrate(&store_options)
            .await
            .context("cannot migrate the database")?
        {
            info!(name, "migration done");
        }
    } else {
        let pending = Store::pending_migrations(&store_options)
            .await
            .context("cannot read the database's schema")?;
        if !pending.is_empty() {
            bail!(
                "the database lacks {} migrations: run `callboard migrate`",
                pending.len()
            );
        }
    }
    Ok(Store::open(&store_options).await?)
}

/// Starts the node's tasks on the I/O runtime. Returns the heartbeat's, which ends before the node
/// leaves.
fn start_tasks(
    config: &Config,
    parts: &Parts,
    node: &Arc<crate::actor::NodeContext>,
    rooms: &Rooms,
    health: &Arc<Health>,
) -> JoinHandle<()> {
    let (io, deadlines) = (&node.io, parts::deadlines(config));
    io.spawn(rooms.clone().tick());
    io.spawn(node.recorder.clone().run(RecorderParts {
        mirror: Arc::clone(&node.mirror),
        store: node.store.clone(),
        metrics: node.metrics.clone(),
        clock: node.clock,
        backoff_min: config.recorder.backoff_min,
        backoff_max: config.recorder.backoff_max,
        touch_every: Duration::from_millis(deadlines.session_touch_ms()),
        lost_after: Duration::from_millis(deadlines.session_lost_ms()),
    }));
    let heartbeat = Heartbeat {
        mirror: Arc::clone(&node.mirror),
        writer: node.writer.clone(),
        rooms: rooms.clone(),
        node: NodeRecord {
            node_id: node.node_id,
            url: config.advertise.to_string(),
            region: config.region.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            database_id: parts.database_id.clone(),
            rooms: 0,
            connections: 0,
            state: String::new(),
            heartbeat: 0,
            seen_at: node.clock.now(),
        },
        clock: node.clock,
        lease: node.claimant.lease.clone(),
        interval: config.cluster.heartbeat,
    };
    let heartbeat = io.spawn(heartbeat.run({
        let health = Arc::clone(health);
        Arc::new(move || health.load())
    }));
    if let Some(registry) = &node.registry {
        let lease = &node.claimant.lease;
        io.spawn(heartbeat::pulse(lease.clone(), node.clock));
        let look = config.cluster.heartbeat / LOOKS_PER_HEARTBEAT;
        io.spawn(Arc::clone(registry).keep_fresh(look));
        io.spawn(Arc::clone(registry).keep_introducing(config.cluster.heartbeat));
        io.spawn(lease_expiry::watch_lease_expiry(
            lease.clone(),
            node.clock,
            Arc::clone(registry),
            rooms.clone(),
            config.cluster.heartbeat,
        ));
    }
    io.spawn(Arc::clone(health).watch());
    io.spawn(take_over_orphans(
        Arc::clone(node),
        rooms.clone(),
        Arc::clone(health),
    ));
    heartbeat
}

/// Takes over the rooms of earlier processes. The node is ready after the first attempt.
async fn take_over_orphans(
    node: Arc<crate::actor::NodeContext>,
    rooms: Rooms,
    health: Arc<Health>,
) {
    loop {
        match orphans::take_over_orphans(
            &node.mirror,
            &node.claimant.liveness,
            &rooms,
            node.node_id,
        )
        .await
        {
            Ok(true) if node.registry.is_none() => {
                return health.enter(Phase::Ready);
            }
            Ok(_) => health.enter(Phase::Ready),
            Err(fault) => warn!(%fault, "cannot look for rooms of earlier processes"),
        }
        tokio::time::sleep(ORPHANS_EVERY).await;
    }
}

/// How long this node has had the mirror without interruption, for other nodes that ask.
fn has_mirror_for(node: &crate::actor::NodeContext) -> Option<u64> {
    let lease = node.claimant.lease.lock()?;
    lease.has_mirror_for(node.clock.now())
}

async fn wait_for_stop(drain: &Notify) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let name = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
        () = drain.notified() => "an operator",
    };
    info!(name, "stopping");
    Ok(())
}

/// The node is no longer ready, its rooms commit, are handed off and say goodbye, and SQL gets the
/// finished sessions. Listeners stay open meanwhile.
async fn stop(config: &Config, node: &crate::actor::NodeContext, rooms: &Rooms, health: &Health) {
    health.enter(Phase::Draining);
    let mirror = Arc::clone(&node.mirror);
    let hand_off = match &node.registry {
        Some(registry) => drain::to_successors(Arc::clone(registry), node.client.clone(), mirror),
        None => drain::to_nobody(mirror),
    };
    match rooms.stop(hand_off, config.cluster.drain_timeout).await {
        Some(ended) => info!(ended, "rooms were handed off"),
        None => warn!("not all rooms have committed: what they did not commit is lost"),
    }
    if !node.recorder.flush(RECORDER_PATIENCE).await {
        warn!("not all sessions are in SQL: the next process records them");
    }
}

/// Waits for clients to close after the goodbye.
async fn wait_for_closes(node: &crate::actor::NodeContext) {
    let told = Instant::now();
    while node.metrics.connections.get() > 0 && told.elapsed() < GOODBYES_PATIENCE {
        tokio::time::sleep(GOODBYES_LOOK).await;
    }
}

/// Removes this node from the registry, unless it left rooms behind: then it stays, so that they
/// are found.
async fn leave_registry(node: &crate::actor::NodeContext) {
    let left = match node.mirror.rooms_of(node.node_id).await {
        Ok(rooms) if rooms.is_empty() => node.mirror.forget_node(node.node_id).await,
        Ok(_) => Ok(()),
        Err(fault) => Err(fault),
    };
    if let Err(fault) = left {
        warn!(%fault, "the registry still lists this node");
    }
}
