//! The connection: made anew when it broke, shared by all calls, with a bound on every wait.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use redis::{Cmd, ErrorKind, RedisResult, ServerErrorKind, Value, cmd};
use tokio::{runtime::Handle, sync::Mutex, time::timeout};

use super::{
    ConnectError, RedisOptions,
    address::Deployment,
    connection::{Answer, Callers, Connection, connect, pipeline_of},
    fault, scripts,
};
use crate::mirror::MirrorFault;

/// After a failed attempt to connect, calls fail at once for this long instead of trying again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);

/// What stands between a call and the server.
struct State {
    deployment: Deployment,
    callers: Callers,
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
    pub(super) fn new(options: &RedisOptions, callers: Callers) -> Result<Self, ConnectError> {
        let deployment = Deployment::parse(options)?;
        let is_cluster = matches!(deployment, Deployment::Cluster(_));
        let connections = Arc::new(AtomicU64::new(0));
        let state = State {
            deployment,
            callers,
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
                // A dedicated one is closed by whatever went wrong.
                let is_dedicated = matches!(connection, Connection::Dedicated(_));
                if is_dedicated || error.is_unrecoverable_error() {
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
            let callers = state.callers;
            let connecting = connect(&mut state.deployment, callers, patience);
            let connected = timeout(patience, connecting).await;
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
