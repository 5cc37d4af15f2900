//! The kinds of connections to Redis, and how each sends commands.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use redis::{
    AsyncConnectionConfig, Client, Cmd, Pipeline, RedisError, RedisResult, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster_async::ClusterConnection,
    cmd,
};
use tokio::time::timeout;

use super::{
    address::Deployment,
    dedicated::{self, Dedicated},
    scripts,
};

/// Longest wait for one server of a cluster, because the commits on all other servers wait for it.
const SHARD_PATIENCE: Duration = Duration::from_millis(500);

/// A connection. Clones share the socket.
#[derive(Clone)]
pub(super) enum Connection {
    /// To one server.
    Shared(MultiplexedConnection),
    /// To one server, for one caller.
    Dedicated(Arc<Dedicated>),
    /// To all servers of a Redis Cluster.
    Cluster(ClusterConnection),
}

/// How many callers use a connection at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Callers {
    /// Many, at the same time.
    Many,
    /// One, with one call at a time: the writer of a thread.
    One,
}

/// The answer to one command.
pub(super) struct Answer {
    pub(super) value: RedisResult<Value>,
    /// How many replicas have the write. 0 if the call did not wait for replicas.
    pub(super) copies: usize,
}

impl Answer {
    fn without_copies(value: RedisResult<Value>) -> Self {
        Self { value, copies: 0 }
    }
}

impl Connection {
    /// Sends all commands in one write, or in parallel to the servers of a cluster. Returns one
    /// answer each. `wait` follows on the same connection as the writes for which it waits.
    pub(super) async fn send(
        &mut self,
        calls: &Pipeline,
        wait: Option<&Cmd>,
    ) -> RedisResult<Vec<Answer>> {
        match self {
            Self::Shared(connection) => send_pipeline(connection, calls, wait).await,
            Self::Dedicated(connection) => {
                let values = connection.call(calls.cmd_iter().chain(wait)).await?;
                Ok(answers_of(values, wait))
            }
            Self::Cluster(connection) => {
                let sends = calls.cmd_iter().map(|call| {
                    let mut connection = connection.clone();
                    async move {
                        // The cluster client sends a pipeline to the server of its only slot.
                        let alone = pipeline_of([call.clone()]);
                        let sending = send_pipeline(&mut connection, &alone, wait);
                        match timeout(SHARD_PATIENCE, sending).await {
                            Ok(Ok(mut answers)) => {
                                answers.pop().expect("one answer for one command")
                            }
                            Ok(Err(error)) => Answer::without_copies(Err(error)),
                            Err(_) => Answer::without_copies(Err(late())),
                        }
                    }
                });
                Ok(join_all(sends).await)
            }
        }
    }

    /// Loads the scripts into the server, or into all servers of a cluster.
    pub(super) async fn load_scripts(&mut self) -> RedisResult<()> {
        for text in scripts::ALL {
            let mut load = cmd("SCRIPT");
            load.arg("LOAD").arg(text);
            match self {
                Self::Shared(connection) => load.exec_async(connection).await?,
                Self::Dedicated(connection) => {
                    for answer in connection.call(std::iter::once(&load)).await? {
                        answer?;
                    }
                }
                Self::Cluster(connection) => load.exec_async(connection).await?,
            }
        }
        Ok(())
    }
}

/// Connects and loads the scripts.
pub(super) async fn connect(
    deployment: &mut Deployment,
    callers: Callers,
    patience: Duration,
) -> RedisResult<Connection> {
    let mut connection = match deployment {
        Deployment::Single(client) => open(client, callers, patience).await?,
        Deployment::Sentinel(sentinel) => {
            let client = sentinel.async_get_client().await?;
            open(&client, callers, patience).await?
        }
        Deployment::Cluster(client) => Connection::Cluster(client.get_async_connection().await?),
    };
    connection.load_scripts().await?;
    Ok(connection)
}

async fn open(client: &Client, callers: Callers, patience: Duration) -> RedisResult<Connection> {
    if callers == Callers::One && dedicated::can_reach(client) {
        let connection = Dedicated::connect(client).await?;
        return Ok(Connection::Dedicated(Arc::new(connection)));
    }
    // Every call has its own timeout, so the connection has none for answers.
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(patience))
        .set_response_timeout(None);
    client
        .get_multiplexed_async_connection_with_config(&config)
        .await
        .map(Connection::Shared)
}

/// A pipeline that returns an answer or an error for each command.
pub(super) fn pipeline_of(calls: impl IntoIterator<Item = Cmd>) -> Pipeline {
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
    let values = match wait {
        None => calls.query_async(connection).await?,
        Some(wait) => {
            let mut calls = calls.clone();
            calls.add_command(wait.clone());
            calls.query_async(connection).await?
        }
    };
    Ok(answers_of(values, wait))
}

/// The last value is the answer to `wait`.
fn answers_of(mut values: Vec<RedisResult<Value>>, wait: Option<&Cmd>) -> Vec<Answer> {
    let copies = wait
        .and_then(|_| values.pop())
        .as_ref()
        .map_or(0, copies_of);
    values
        .into_iter()
        .map(|value| Answer { value, copies })
        .collect()
}

/// Reads the answer of `WAIT`. An error counts as no replica.
fn copies_of(answer: &RedisResult<Value>) -> usize {
    match answer {
        Ok(Value::Int(copies)) => usize::try_from(*copies).unwrap_or(0),
        Ok(_) | Err(_) => 0,
    }
}

fn late() -> RedisError {
    std::io::Error::new(
        std::io::ErrorKind::TimedOut,
        format!(
            "no answer of the shard within {} ms",
            SHARD_PATIENCE.as_millis()
        ),
    )
    .into()
}
