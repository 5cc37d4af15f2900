//! Several nodes over one Redis and one PostgreSQL. Each node has its own proxies, so that one node
//! can be cut off alone.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    process::ExitStatus,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::Mutex;

use super::{
    http::Api,
    postgres::Postgres,
    proxy::Proxy,
    redis::RedisServer,
    server::{Backend, LOOK_INTERVAL, SIGNING_KEY, Server},
};

/// The first API key: the same on all nodes.
pub const API_KEY: &str =
    "cb_00000000000040008000000000000001_0123456789abcdefghijABCDEFGHIJ0123456789";
/// Longest wait until a node is up again, started as often as it takes.
const UP_DEADLINE: Duration = Duration::from_secs(60);
/// SQL connections of a node: three of them and the tests fit under PostgreSQL's limit.
const SQL_CONNECTIONS: &str = "8";
/// Lines of each log that are printed.
const LOG_LINES_SHOWN: usize = 60;

/// One node.
pub struct Node {
    /// The process; locked while something is done to it.
    pub server: Mutex<Server>,
    /// Between it and Redis.
    pub redis: Proxy,
    /// Between it and PostgreSQL.
    pub postgres: Proxy,
    /// Its HTTP API with the first key.
    pub api: Api,
}

/// All nodes and what they stand on.
pub struct Cluster {
    /// The nodes.
    pub nodes: Vec<Node>,
    /// Theirs alone; locked while something is done to it.
    pub redis: Mutex<RedisServer>,
    /// With a database that is theirs alone.
    pub postgres: Arc<Postgres>,
    /// Name of the database.
    pub database: String,
    redis_port: u16,
}

impl Cluster {
    /// Starts all nodes and waits until they are ready. `set` holds further configuration by
    /// environment names without prefix.
    pub async fn start(count: usize, set: &[(&str, &str)]) -> Self {
        Self::start_on(Arc::new(Postgres::start()), count, set).await
    }

    /// The same with a database of its own on a PostgreSQL that others use, too.
    pub async fn start_on(postgres: Arc<Postgres>, count: usize, set: &[(&str, &str)]) -> Self {
        let redis = RedisServer::start();
        let database = postgres.create_database();
        let url = postgres.url(&database);
        let postgres_port = url
            .rsplit_once(':')
            .and_then(|(_, end)| end.split('/').next()?.parse().ok())
            .expect("a URL with a port");
        let mut nodes = Vec::new();
        for number in 0..count {
            let redis_proxy = Proxy::start(local(redis.port())).await;
            let postgres_proxy = Proxy::start(local(postgres_port)).await;
            let database = url.replace(
                &postgres_port.to_string(),
                &postgres_proxy.port().to_string(),
            );
            let mut plan = Server::on(Backend::Given)
                .set("DATABASE", database)
                .set("REDIS", format!("redis://127.0.0.1:{}", redis_proxy.port()))
                .set("SIGNING_KEY", SIGNING_KEY)
                .set("BOOTSTRAP_API_KEY", API_KEY)
                .set("REGION", format!("region-{number}"))
                .set("STORE__POOL_SIZE", SQL_CONNECTIONS);
            for (key, value) in set {
                plan = plan.set(key, value);
            }
            let server = plan.start().await;
            nodes.push(Node {
                api: server.api.clone(),
                server: Mutex::new(server),
                redis: redis_proxy,
                postgres: postgres_proxy,
            });
        }
        Self {
            nodes,
            redis_port: redis.port(),
            redis: Mutex::new(redis),
            postgres,
            database,
        }
    }

    /// The HTTP APIs of all nodes.
    pub fn apis(&self) -> Vec<Api> {
        self.nodes.iter().map(|node| node.api.clone()).collect()
    }

    /// Runs a statement in the cluster's database, past the proxies.
    pub async fn sql(&self, statement: &str) -> String {
        let (postgres, database) = (Arc::clone(&self.postgres), self.database.clone());
        let statement = statement.to_owned();
        let run = move || postgres.sql(&database, &statement);
        tokio::task::spawn_blocking(run)
            .await
            .expect("psql answers")
    }

    /// Runs a command in Redis, past the proxies; the error: Redis does not answer in time.
    pub async fn redis<T: redis::FromRedisValue + Send + 'static>(
        &self,
        words: &[&str],
    ) -> Result<T, String> {
        let url = format!("redis://127.0.0.1:{}", self.redis_port);
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        let run = move || {
            let client = redis::Client::open(url)?;
            let mut connection = client.get_connection_with_timeout(Duration::from_secs(2))?;
            connection.set_read_timeout(Some(Duration::from_secs(2)))?;
            let mut command = redis::cmd(&words[0]);
            command.arg(&words[1..]);
            command.query(&mut connection)
        };
        let answer: redis::RedisResult<T> = tokio::task::spawn_blocking(run)
            .await
            .map_err(|fault| fault.to_string())?;
        answer.map_err(|fault| fault.to_string())
    }

    /// Returns the owners of rooms by address. `None` where Redis does not know the node or the
    /// room.
    pub async fn owner_urls(&self, rooms: &[String]) -> BTreeMap<String, Option<String>> {
        let mut owners = BTreeMap::new();
        for room in rooms {
            let owner: Option<String> = self
                .redis(&["HGET", &format!("room:{{{room}}}"), "owner"])
                .await
                .unwrap_or_default();
            let url = match owner {
                Some(owner) => self
                    .redis(&["HGET", &format!("node:{{{owner}}}"), "url"])
                    .await
                    .unwrap_or_default(),
                None => None,
            };
            owners.insert(room.clone(), url);
        }
        owners
    }

    /// The ends of all logs.
    pub async fn print_logs(&self) {
        for (number, node) in self.nodes.iter().enumerate() {
            let log = node.server.lock().await.log();
            let lines: Vec<&str> = log.lines().collect();
            let from = lines.len().saturating_sub(LOG_LINES_SHOWN);
            eprintln!("--- log of node {number} ---\n{}", lines[from..].join("\n"));
        }
    }
}

impl Node {
    /// Kills the process as a power switch would.
    pub async fn kill9(&self) {
        self.server.lock().await.kill9();
    }

    /// SIGSTOP.
    pub async fn freeze(&self) {
        self.server.lock().await.freeze();
    }

    /// SIGCONT.
    pub async fn thaw(&self) {
        self.server.lock().await.thaw();
    }

    /// Sends SIGTERM and waits for the end. `None` if the node did not end and was killed.
    pub async fn terminate(&self) -> Option<ExitStatus> {
        self.server.lock().await.end_by("TERM").await
    }

    /// Starts the process again and again until it is ready, as a supervisor of services does.
    pub async fn start_again(&self) -> Result<(), String> {
        let started = Instant::now();
        let mut server = self.server.lock().await;
        loop {
            match server.try_restart().await {
                Ok(()) => return Ok(()),
                Err(said) if started.elapsed() > UP_DEADLINE => {
                    return Err(format!("the node does not start; it said:\n{said}"));
                }
                Err(_) => tokio::time::sleep(LOOK_INTERVAL * 10).await,
            }
        }
    }

    /// Everything the node has logged, over all its processes.
    pub async fn log(&self) -> String {
        self.server.lock().await.log()
    }

    /// Returns the sum of a metric over the label sets that contain all of `parts`. `None` if the
    /// node does not answer.
    pub async fn metric(&self, name: &str, parts: &[&str]) -> Option<f64> {
        let request = self.api.request(reqwest::Method::GET, "/metrics");
        let answer = request.timeout(Duration::from_secs(2)).send().await.ok()?;
        let text = answer.text().await.ok()?;
        let is_meant = |line: &&str| {
            line.split(['{', ' ']).next() == Some(name)
                && parts.iter().all(|part| line.contains(part))
        };
        let values = text.lines().filter(is_meant);
        Some(
            values
                .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
                .sum(),
        )
    }
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
