//! The connection: made anew when it broke, shared by all calls, with a bound on every wait.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, Pipeline, RedisResult, ServerErrorKind, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster_async::ClusterConnection,
    cmd,
};
use tokio::{runtime::Handle, sync::Mutex, time::timeout};

use super::{ConnectError, RedisOptions, address::Deployment, fault, scripts};
use crate::mirror::MirrorFault;

/// After a failed attempt to connect, calls fail at once for this long instead of trying again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);

/// A connection of either kind; clones share the socket.
#[derive(Clone)]
enum Connection {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// What became of one command.
pub(super) struct Answer {
    /// Its answer.
    pub(super) value: RedisResult<Value>,
    /// How many replicas have what was written, if that was asked.
    pub(super) copies: usize,
}

impl Answer {
    fn without_copies(value: RedisResult<Value>) -> Self {
        Self { value, copies: 0 }
    }
}

/// What stands between a call and the server.
struct State {
    deployment: Deployment,
    connection: Option<Connection>,
    /// Grows with each connection, so that only the broken one is dropped.
    generation: Arc<AtomicU64>,
    /// The last failed attempt.
    failure: Option<(Instant, String)>,
}

/// The way to Redis.
pub(super) struct Link {
    state: Arc<Mutex<State>>,
    /// Made so far.
    connections: Arc<AtomicU64>,
    /// Known from the URL.
    is_cluster: bool,
    /// Sockets are driven here, whichever thread's call makes them.
    runtime: Handle,
    timeout: Duration,
    connect_timeout: Duration,
}

impl Link {
    /// Reads the URL; connects with the first call. Must be called on the runtime that drives the sockets.
    pub(super) fn new(options: &RedisOptions) -> Result<Self, ConnectError> {
        let deployment = Deployment::parse(options)?;
        let is_cluster = matches!(deployment, Deployment::Cluster(_));
        let connections = Arc::new(AtomicU64::new(0));
        let state = State {
            deployment,
            connection: None,
            generation: Arc::clone(&connections),
            failure: None,
        };
        Ok(Self {
            state: Arc::new(Mutex::new(state)),
            connections,
            is_cluster,
            runtime: Handle::current(),
            timeout: options.timeout,
            connect_timeout: options.connect_timeout,
        })
    }

    /// How many connections were made so far.
    pub(super) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Acquire)
    }

    /// Sends commands in one write and gives each its own answer. Scripts that the server does not know are loaded and
    /// only their calls repeated.
    pub(super) async fn run(
        &self,
        calls: Vec<Cmd>,
    ) -> Result<Vec<RedisResult<Value>>, MirrorFault> {
        let answers = self.run_and_wait(calls, None).await?;
        Ok(answers.into_iter().map(|answer| answer.value).collect())
    }

    /// Sends one command.
    pub(super) async fn call(&self, call: Cmd) -> Result<Value, MirrorFault> {
        let answer = self.run(vec![call]).await?.pop();
        answer.expect("one answer for one command").map_err(fault)
    }

    /// As [`Self::run`], then waits until `replicas` have what was written, or for `patience`.
    pub(super) async fn run_replicated(
        &self,
        calls: Vec<Cmd>,
        replicas: usize,
        patience: Duration,
    ) -> Result<Vec<Answer>, MirrorFault> {
        let mut wait = cmd("WAIT");
        wait.arg(replicas).arg(scripts::millis(patience));
        self.run_and_wait(calls, Some(wait)).await
    }

    async fn run_and_wait(
        &self,
        calls: Vec<Cmd>,
        wait: Option<Cmd>,
    ) -> Result<Vec<Answer>, MirrorFault> {
        let pipeline = pipeline_of(calls);
        self.bounded(async |connection| {
            let mut answers = connection.send(&pipeline, wait.as_ref()).await?;
            let is_unknown: Vec<bool> = answers.iter().map(is_unknown_script).collect();
            if is_unknown.contains(&true) {
                connection.load_scripts().await?;
                let unknown = pipeline.cmd_iter().zip(&is_unknown).filter(|(_, is)| **is);
                let again = pipeline_of(unknown.map(|(call, _)| call.clone()));
                let mut repeated = connection.send(&again, wait.as_ref()).await?.into_iter();
                for (answer, is_unknown) in answers.iter_mut().zip(is_unknown) {
                    if is_unknown && let Some(repeated) = repeated.next() {
                        *answer = repeated;
                    }
                }
            }
            Ok(answers)
        })
        .await
    }

    /// Whether commands travel to several servers, each on its own.
    pub(super) fn is_cluster(&self) -> bool {
        self.is_cluster
    }

    /// Runs a call on the connection within the time limit. A call that fails by the connection, or gets no answer,
    /// gives it up: the next call makes a new one.
    async fn bounded(
        &self,
        call: impl AsyncFnOnce(&mut Connection) -> RedisResult<Vec<Answer>>,
    ) -> Result<Vec<Answer>, MirrorFault> {
        let deadline = tokio::time::Instant::now() + self.timeout;
        let connecting = self.connection();
        let (mut connection, generation) =
            tokio::time::timeout_at(deadline, connecting)
                .await
                .map_err(|_| MirrorFault("no connection in time".to_owned()))??;
        match tokio::time::timeout_at(deadline, call(&mut connection)).await {
            Ok(Ok(answers)) => {
                if is_demoted(&answers) {
                    self.give_up(generation).await;
                }
                Ok(answers)
            }
            Ok(Err(error)) => {
                if error.is_unrecoverable_error() {
                    self.give_up(generation).await;
                }
                Err(fault(error))
            }
            Err(_) => {
                self.give_up(generation).await;
                Err(MirrorFault(format!(
                    "no answer within {} ms",
                    self.timeout.as_millis()
                )))
            }
        }
    }

    /// The shared connection, made when there is none.
    async fn connection(&self) -> Result<(Connection, u64), MirrorFault> {
        // Nearly always: neither awaited nor made.
        if let Ok(state) = self.state.try_lock()
            && let Some(connection) = &state.connection
        {
            return Ok((connection.clone(), self.connections()));
        }
        let mut state = Arc::clone(&self.state).lock_owned().await;
        if let Some(connection) = &state.connection {
            return Ok((connection.clone(), self.connections()));
        }
        if let Some((at, reason)) = &state.failure
            && at.elapsed() < RECONNECT_PAUSE
        {
            return Err(MirrorFault(reason.clone()));
        }
        let patience = self.connect_timeout;
        // A task of its own: the socket's driver must live on this runtime, and the attempt must outlive its caller.
        let attempt = self.runtime.spawn(async move {
            let connected = timeout(patience, connect(&mut state.deployment, patience)).await;
            let result = match connected {
                Ok(result) => result.map_err(|error| error.to_string()),
                Err(_) => Err(format!("no connection within {} ms", patience.as_millis())),
            };
            match result {
                Ok(connection) => {
                    let generation = state.generation.fetch_add(1, Ordering::AcqRel) + 1;
                    state.failure = None;
                    state.connection = Some(connection.clone());
                    Ok((connection, generation))
                }
                Err(reason) => {
                    state.failure = Some((Instant::now(), reason.clone()));
                    Err(MirrorFault(reason))
                }
            }
        });
        attempt
            .await
            .map_err(|error| MirrorFault(format!("connecting was broken off: {error}")))?
    }

    async fn give_up(&self, generation: u64) {
        let mut state = self.state.lock().await;
        if self.connections() == generation {
            state.connection = None;
        }
    }
}

impl Connection {
    /// All commands in one write, or at once to the servers of a cluster; one answer each. `wait` goes behind what is
    /// sent to a server: it belongs to the connection that wrote.
    async fn send(&mut self, calls: &Pipeline, wait: Option<&Cmd>) -> RedisResult<Vec<Answer>> {
        match self {
            Self::One(connection) => send_pipeline(connection, calls, wait).await,
            Self::Cluster(connection) => {
                let sends = calls.cmd_iter().map(|call| {
                    let mut connection = connection.clone();
                    async move {
                        // A pipeline goes to the server of its one slot.
                        let alone = pipeline_of([call.clone()]);
                        match send_pipeline(&mut connection, &alone, wait).await {
                            Ok(mut answers) => answers.pop().expect("one answer for one command"),
                            Err(error) => Answer::without_copies(Err(error)),
                        }
                    }
                });
                Ok(join_all(sends).await)
            }
        }
    }

    /// Makes the scripts known to the server, or to all servers of a cluster.
    async fn load_scripts(&mut self) -> RedisResult<()> {
        for text in scripts::ALL {
            let mut load = cmd("SCRIPT");
            load.arg("LOAD").arg(text);
            match self {
                Self::One(connection) => load.exec_async(connection).await?,
                Self::Cluster(connection) => load.exec_async(connection).await?,
            }
        }
        Ok(())
    }
}

async fn connect(deployment: &mut Deployment, patience: Duration) -> RedisResult<Connection> {
    let mut connection = match deployment {
        Deployment::Single(client) => Connection::One(open(client, patience).await?),
        Deployment::Sentinel(sentinel) => {
            let client = sentinel.async_get_client().await?;
            Connection::One(open(&client, patience).await?)
        }
        Deployment::Cluster(client) => Connection::Cluster(client.get_async_connection().await?),
    };
    connection.load_scripts().await?;
    Ok(connection)
}

async fn open(client: &Client, patience: Duration) -> RedisResult<MultiplexedConnection> {
    // Every call bounds its own wait as a whole, so the connection sets no limit of its own on answers.
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(patience))
        .set_response_timeout(None);
    client
        .get_multiplexed_async_connection_with_config(&config)
        .await
}

/// Commands that get an answer each, be it an error.
fn pipeline_of(calls: impl IntoIterator<Item = Cmd>) -> Pipeline {
    let mut pipeline = Pipeline::new();
    for call in calls {
        pipeline.add_command(call);
    }
    pipeline.ignore_errors();
    pipeline
}

async fn send_pipeline(
    connection: &mut impl ConnectionLike,
    calls: &Pipeline,
    wait: Option<&Cmd>,
) -> RedisResult<Vec<Answer>> {
    let Some(wait) = wait else {
        let values: Vec<RedisResult<Value>> = calls.query_async(connection).await?;
        return Ok(values.into_iter().map(Answer::without_copies).collect());
    };
    let mut calls = calls.clone();
    calls.add_command(wait.clone());
    let mut values: Vec<RedisResult<Value>> = calls.query_async(connection).await?;
    let copies = values.pop().as_ref().map_or(0, copies_of);
    Ok(values
        .into_iter()
        .map(|value| Answer { value, copies })
        .collect())
}

fn is_unknown_script(answer: &Answer) -> bool {
    answer
        .value
        .as_ref()
        .is_err_and(|error| error.kind() == ErrorKind::Server(ServerErrorKind::NoScript))
}

/// The primary has become a replica: the new one must be looked up.
fn is_demoted(answers: &[Answer]) -> bool {
    answers.iter().any(|answer| {
        answer
            .value
            .as_ref()
            .is_err_and(|error| error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly))
    })
}

/// An answer of `WAIT`; none counts as no replica.
fn copies_of(answer: &RedisResult<Value>) -> usize {
    match answer {
        Ok(Value::Int(copies)) => usize::try_from(*copies).unwrap_or(0),
        Ok(_) | Err(_) => 0,
    }
}
