//! Connections to Redis, of whichever kind, and how commands travel on them.

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

/// How long one server of a cluster may take: the commits of the rooms of all the others wait for it.
const SHARD_PATIENCE: Duration = Duration::from_millis(500);

/// A connection of some kind; clones share the socket.
#[derive(Clone)]
pub(super) enum Connection {
    /// To one server.
    Shared(MultiplexedConnection),
    /// To one server, for one caller.
    Dedicated(Arc<Dedicated>),
    /// To all servers of a Redis Cluster.
    Cluster(ClusterConnection),
}

/// Who uses a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Callers {
    /// Whoever has something to ask, all at once.
    Many,
    /// One, with one call at a time.
    One,
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

impl Connection {
    /// All commands in one write, or at once to the servers of a cluster; one answer each. `wait` goes behind what is
    /// sent to a server: it belongs to the connection that wrote.
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
                        // A pipeline goes to the server of its one slot.
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

    /// Makes the scripts known to the server, or to all servers of a cluster.
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

/// Connects, and makes the scripts known.
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
    // Every call bounds its own wait as a whole, so the connection sets no limit of its own on answers.
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(patience))
        .set_response_timeout(None);
    client
        .get_multiplexed_async_connection_with_config(&config)
        .await
        .map(Connection::Shared)
}

/// Commands that get an answer each, be it an error.
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

/// The last one is that of `wait`.
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

/// An answer of `WAIT`; none counts as no replica.
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
