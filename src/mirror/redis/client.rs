//! The client of the mirror: one connection that all calls share. It reconnects after a break and
//! bounds every wait.

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

/// After a failed attempt to connect, calls fail at once for this long.
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);

struct State {
    deployment: Deployment,
    callers: Callers,
    connection: Option<Connection>,
    /// Counts connections, so a call drops only the connection that it used.
    generation: Arc<AtomicU64>,
    /// The last failed attempt.
    failure: Option<(Instant, String)>,
}

/// Sends commands to one deployment of Redis.
pub(super) struct RedisClient {
    state: Arc<Mutex<State>>,
    connections: Arc<AtomicU64>,
    is_cluster: bool,
    /// Drives the sockets, also those that a call on another thread opens.
    runtime: Handle,
    timeout: Duration,
    connect_timeout: Duration,
}

impl RedisClient {
    /// Parses the URL. The first call connects. Call this on the runtime that drives the sockets.
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

    /// Counts the connections made so far.
    pub(super) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Acquire)
    }

    /// Sends commands in one write and returns one answer each. If the server does not know a
    /// script, the client loads the scripts and repeats only the failed calls.
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

    /// Like [`Self::run`], then waits until `replicas` have the writes, at most for `patience`.
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

    /// Whether each command may go to a different server.
    pub(super) fn is_cluster(&self) -> bool {
        self.is_cluster
    }

    /// Runs a call on the connection within the timeout. After a failure of the connection or a
    /// timeout, the client drops the connection and the next call opens a new one.
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
                    self.disconnect(generation).await;
                }
                Ok(answers)
            }
            Ok(Err(error)) => {
                // Any error closes a dedicated connection.
                let is_dedicated = matches!(connection, Connection::Dedicated(_));
                if is_dedicated || error.is_unrecoverable_error() {
                    self.disconnect(generation).await;
                }
                Err(fault(error))
            }
            Err(_) => {
                self.disconnect(generation).await;
                Err(MirrorFault(format!(
                    "no answer within {} ms",
                    self.timeout.as_millis()
                )))
            }
        }
    }

    /// Returns the connection. Connects if there is none.
    async fn connection(&self) -> Result<(Connection, u64), MirrorFault> {
        // The common case: no wait and no new connection.
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
        // A separate task, because the socket must live on this runtime and the attempt must
        // outlive its caller.
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

    async fn disconnect(&self, generation: u64) {
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

/// Whether the primary became a replica. Then the client must find the new primary.
fn is_demoted(answers: &[Answer]) -> bool {
    answers.iter().any(|answer| {
        answer
            .value
            .as_ref()
            .is_err_and(|error| error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly))
    })
}
