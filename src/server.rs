//! Wiring and lifetime: runtimes, threads, listeners, and the order in which everything starts and stops.

mod checks;
mod fd_limits;
mod health;
mod listeners;
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
    listeners::{listen, serve, serve_admin},
    parts::{Parts, connection_limits},
};
use crate::{
    actor::{Gate, RoomThreads, Rooms},
    cluster::{self, Heartbeat},
    config::Config,
    fd_budget::FdBudget,
    http::{self, AppState, HttpOptions},
    mirror::NodeRecord,
    recorder::RecorderParts,
    secrets::Secrets,
    store::{Store, StoreOptions},
};

/// Most threads that wait for Redis, SQL and timers. No more than cores: two that share one only wake each other.
const IO_THREADS_MAX: usize = 2;
/// How long the recorder may take when the node stops; what is left waits in the outbox.
const RECORDER_PATIENCE: Duration = Duration::from_secs(5);
/// How long people may take to close after the goodbye when the node stops, and how often that is looked at.
const GOODBYES_PATIENCE: Duration = Duration::from_secs(4);
const GOODBYES_LOOK: Duration = Duration::from_millis(20);
/// How often the registry is read while a heartbeat passes: the finer, the sooner an expiry is seen.
const LOOKS_PER_HEARTBEAT: u32 = 4;
/// How often orphaned rooms are looked for.
const ORPHANS_EVERY: Duration = Duration::from_secs(3);

/// What the command line decides about a start.
#[derive(Clone, Copy, Debug)]
pub struct ServeOptions {
    /// Bring the database's schema up to date; else refuse one that is older.
    pub migrate: bool,
}

/// Serves until SIGTERM or SIGINT, then stops in order. Must run inside an actix system.
///
/// # Errors
/// When the node cannot start: a listener, a database or Redis is not to be had, or the schema is older and may not be
/// migrated.
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
    let served = serve_until_told(
        config,
        secrets,
        options,
        listener,
        admin_listener,
        budget,
        io.handle(),
    );
    let served = served.await;
    // Also of a start that failed: dropping a runtime waits for it, and must not happen inside another. What still runs on it
    // has had its time.
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

/// All of a node's life that needs the I/O runtime.
async fn serve_until_told(
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
    let gate = Arc::new(Gate::new(
        &rooms,
        secrets.signing.clone(),
        secrets.bootstrap.clone(),
        connection_limits(&config),
        budget.clone(),
    ));
    let told = Arc::new(Notify::new());
    let state = web::Data::new(AppState::new(http::Parts {
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
        gate,
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
    wait_until_told(&told).await?;
    state.close();
    stop(&config, &node, &rooms, &health).await;
    heartbeat.abort();
    leave_registry(&node).await;
    see_off(&node).await;
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

/// The store with a schema that this release knows.
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

/// Everything that runs beside the actors, on the I/O runtime. Answers the heartbeat, which ends before the node leaves.
fn start_tasks(
    config: &Config,
    parts: &Parts,
    node: &Arc<crate::actor::Node>,
    rooms: &Rooms,
    health: &Arc<Health>,
) -> JoinHandle<()> {
    let io = &node.io;
    io.spawn(Arc::clone(&node.directory).tick(node.clock));
    io.spawn(node.recorder.clone().run(RecorderParts {
        mirror: Arc::clone(&node.mirror),
        store: node.store.clone(),
        metrics: node.metrics.clone(),
        directory: Arc::clone(&node.directory),
        clock: node.clock,
        backoff_min: config.recorder.backoff_min,
        backoff_max: config.recorder.backoff_max,
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
        tenure: node.claimant.tenure.clone(),
        interval: config.cluster.heartbeat,
    };
    let heartbeat = io.spawn(heartbeat.run({
        let health = Arc::clone(health);
        Arc::new(move || health.load())
    }));
    if let Some(registry) = &node.registry {
        let tenure = &node.claimant.tenure;
        io.spawn(cluster::pulse(tenure.clone(), node.clock));
        let look = config.cluster.heartbeat / LOOKS_PER_HEARTBEAT;
        io.spawn(Arc::clone(registry).keep_fresh(look));
        io.spawn(Arc::clone(registry).keep_introducing(config.cluster.heartbeat));
        io.spawn(cluster::keep_judging(
            tenure.clone(),
            node.clock,
            Arc::clone(registry),
            rooms.clone(),
            config.cluster.heartbeat,
        ));
    }
    io.spawn(Arc::clone(health).watch());
    io.spawn(adopt(Arc::clone(node), rooms.clone(), Arc::clone(health)));
    heartbeat
}

/// Takes over what former processes left; the node is ready when that was tried once.
async fn adopt(node: Arc<crate::actor::Node>, rooms: Rooms, health: Arc<Health>) {
    loop {
        match cluster::take_over_orphans(&node.mirror, &node.claimant.peers, &rooms, node.node_id)
            .await
        {
            Ok(true) if node.registry.is_none() => {
                return health.enter(Phase::Ready);
            }
            Ok(_) => health.enter(Phase::Ready),
            Err(fault) => warn!(%fault, "cannot look for rooms of former processes"),
        }
        tokio::time::sleep(ORPHANS_EVERY).await;
    }
}

/// For how long this node has had the mirror without interruption, as the other nodes may ask.
fn has_mirror_for(node: &crate::actor::Node) -> Option<u64> {
    let lease = node.claimant.tenure.lease()?;
    lease.has_mirror_for(node.clock.now())
}

async fn wait_until_told(drain: &Notify) -> anyhow::Result<()> {
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

/// Not ready → rooms commit, are handed over and say goodbye → SQL has what is finished. Listeners stay open meanwhile.
async fn stop(config: &Config, node: &crate::actor::Node, rooms: &Rooms, health: &Health) {
    health.enter(Phase::Draining);
    let mirror = Arc::clone(&node.mirror);
    let hand_over = match &node.registry {
        Some(registry) => cluster::to_successors(Arc::clone(registry), node.client.clone(), mirror),
        None => cluster::to_nobody(mirror),
    };
    match rooms.stop(hand_over, config.cluster.drain_timeout).await {
        Some(ended) => info!(ended, "rooms were handed over"),
        None => warn!("not all rooms have committed: what they did not commit is lost"),
    }
    if !node.recorder.flush(RECORDER_PATIENCE).await {
        warn!("not all sessions are in SQL: the next process records them");
    }
}

/// Everybody has been told goodbye: their connections may say so and close.
async fn see_off(node: &crate::actor::Node) {
    let told = Instant::now();
    while node.metrics.connections.get() > 0 && told.elapsed() < GOODBYES_PATIENCE {
        tokio::time::sleep(GOODBYES_LOOK).await;
    }
}

/// A node without rooms is forgotten; one that left some behind stays listed, so that they are found.
async fn leave_registry(node: &crate::actor::Node) {
    let left = match node.mirror.rooms_of(node.node_id).await {
        Ok(rooms) if rooms.is_empty() => node.mirror.forget_node(node.node_id).await,
        Ok(_) => Ok(()),
        Err(fault) => Err(fault),
    };
    if let Err(fault) = left {
        warn!(%fault, "the registry still lists this node");
    }
}
