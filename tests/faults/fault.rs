//! What can go wrong: drawn by chance, done to the real processes, undone.

use std::time::Duration;

use rand::{Rng, RngExt, rngs::SmallRng, seq::SliceRandom};

use callboard::load::client::Violation;

use crate::common::{cluster::Cluster, crowd::Crowd, proxy::Cut, redis::Data};

/// Of all connections, those that a loss of clients costs.
const DROPPED_SHARE: f64 = 0.3;

/// One fault with all that chance decided about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9`, and a start after a while.
    Kill { node: usize, down: Duration },
    /// SIGSTOP, SIGCONT.
    Freeze { node: usize, length: Duration },
    /// SIGTERM; the process must end with 0; then a start.
    Terminate { node: usize },
    /// Redis freezes.
    RedisFreeze { length: Duration },
    /// Redis dies and comes back empty.
    RedisEmpty { down: Duration },
    /// `FLUSHALL`.
    RedisFlush,
    /// One node has no Redis; the others have.
    RedisCutOne {
        node: usize,
        cut: Cut,
        length: Duration,
    },
    /// No node has Redis.
    RedisCutAll { cut: Cut, length: Duration },
    /// Redis executes, its answers are lost.
    RedisAnswersLost { node: usize, length: Duration },
    /// Redis is slow.
    RedisDelay { delay: Duration, length: Duration },
    /// PostgreSQL is stopped and started.
    PostgresStop { down: Duration },
    /// No node has PostgreSQL.
    PostgresCut { cut: Cut, length: Duration },
    /// PostgreSQL is slow.
    PostgresDelay { delay: Duration, length: Duration },
    /// Many people lose their connection at once.
    DropPeople { seed: u64 },
}

/// All kinds, each drawn once before any is drawn again.
const KINDS: usize = 14;

/// Draws faults.
pub struct Deck {
    nodes: usize,
    only: Vec<String>,
    kinds: Vec<usize>,
}

impl Deck {
    /// For a cluster of this many nodes; `only`: kinds that contain one of these texts; empty: all.
    pub fn new(nodes: usize, only: Vec<String>) -> Self {
        Self {
            nodes,
            only,
            kinds: Vec::new(),
        }
    }

    /// The next fault.
    ///
    /// # Panics
    ///
    /// When no kind is meant by `only`.
    pub fn draw(&mut self, rng: &mut SmallRng) -> Fault {
        for _ in 0..=2 * KINDS {
            if self.kinds.is_empty() {
                self.kinds = (0..KINDS).collect();
                self.kinds.shuffle(rng);
            }
            let kind = self.kinds.pop().expect("just filled");
            let fault = self.make(kind, rng);
            let is_meant = |only: &String| fault.kind().contains(only.as_str());
            if self.only.is_empty() || self.only.iter().any(is_meant) {
                return fault;
            }
        }
        panic!("no fault is called {:?}", self.only);
    }

    fn make(&self, kind: usize, rng: &mut SmallRng) -> Fault {
        let node = rng.random_range(0..self.nodes);
        let length = ms(rng, 1_000, 9_000);
        let cut = match rng.random_bool(0.5) {
            true => Cut::Refuse,
            false => Cut::Silent,
        };
        match kind {
            0 => Fault::Kill {
                node,
                down: ms(rng, 0, 3_000),
            },
            1 => Fault::Freeze { node, length },
            2 => Fault::Terminate { node },
            3 => Fault::RedisFreeze {
                length: ms(rng, 300, 5_000),
            },
            4 => Fault::RedisEmpty {
                down: ms(rng, 0, 2_000),
            },
            5 => Fault::RedisFlush,
            6 => Fault::RedisCutOne {
                node,
                cut,
                length: ms(rng, 1_000, 12_000),
            },
            7 => Fault::RedisCutAll {
                cut,
                length: ms(rng, 1_000, 12_000),
            },
            8 => Fault::RedisAnswersLost {
                node,
                length: ms(rng, 300, 3_000),
            },
            9 => Fault::RedisDelay {
                delay: ms(rng, 5, 300),
                length: ms(rng, 1_000, 5_000),
            },
            10 => Fault::PostgresStop {
                down: ms(rng, 0, 4_000),
            },
            11 => Fault::PostgresCut {
                cut,
                length: ms(rng, 1_000, 6_000),
            },
            12 => Fault::PostgresDelay {
                delay: ms(rng, 5, 300),
                length: ms(rng, 1_000, 5_000),
            },
            _ => Fault::DropPeople {
                seed: rng.next_u64(),
            },
        }
    }
}

impl Fault {
    /// As the report names it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Kill { .. } => "kill -9 of a node",
            Self::Freeze { .. } => "SIGSTOP of a node",
            Self::Terminate { .. } => "SIGTERM of a node",
            Self::RedisFreeze { .. } => "Redis frozen",
            Self::RedisEmpty { .. } => "Redis killed, back empty",
            Self::RedisFlush => "Redis FLUSHALL",
            Self::RedisCutOne { .. } => "Redis cut off from one node",
            Self::RedisCutAll { .. } => "Redis cut off from all nodes",
            Self::RedisAnswersLost { .. } => "Redis answers to one node lost",
            Self::RedisDelay { .. } => "Redis slow",
            Self::PostgresStop { .. } => "PostgreSQL stopped",
            Self::PostgresCut { .. } => "PostgreSQL cut off",
            Self::PostgresDelay { .. } => "PostgreSQL slow",
            Self::DropPeople { .. } => "30 % of the connections lost",
        }
    }

    /// The node whose process or whose way to Redis fails.
    pub fn node(&self) -> Option<usize> {
        match self {
            Self::Kill { node, .. }
            | Self::Freeze { node, .. }
            | Self::Terminate { node }
            | Self::RedisCutOne { node, .. }
            | Self::RedisAnswersLost { node, .. } => Some(*node),
            Self::RedisFreeze { .. }
            | Self::RedisEmpty { .. }
            | Self::RedisFlush
            | Self::RedisCutAll { .. }
            | Self::RedisDelay { .. }
            | Self::PostgresStop { .. }
            | Self::PostgresCut { .. }
            | Self::PostgresDelay { .. }
            | Self::DropPeople { .. } => None,
        }
    }

    /// Redis forgets everything.
    pub fn loses_mirror(&self) -> bool {
        matches!(self, Self::RedisEmpty { .. } | Self::RedisFlush)
    }

    /// Both can be done at the same time: they do not touch the same process or proxy.
    pub fn fits(&self, other: &Self) -> bool {
        let is_same_node = self.node().is_some() && self.node() == other.node();
        !is_same_node && (self.resource() == "" || self.resource() != other.resource())
    }

    fn resource(&self) -> &'static str {
        let kind = self.kind();
        ["Redis", "PostgreSQL", "connections"]
            .into_iter()
            .find(|word| kind.contains(word))
            .unwrap_or_default()
    }

    /// Does it, and undoes it.
    pub async fn run(&self, cluster: &Cluster, crowd: &Crowd) -> Vec<Violation> {
        let mut violations = Vec::new();
        match *self {
            Self::Kill { node, down } => {
                cluster.nodes[node].kill9().await;
                tokio::time::sleep(down).await;
                violations.extend(start_again(cluster, node).await);
            }
            Self::Freeze { node, length } => {
                cluster.nodes[node].freeze().await;
                tokio::time::sleep(length).await;
                cluster.nodes[node].thaw().await;
            }
            Self::Terminate { node } => {
                violations.extend(terminate(cluster, node).await);
                violations.extend(start_again(cluster, node).await);
            }
            Self::RedisFreeze { length } => {
                let redis = cluster.redis.lock().await;
                redis.freeze();
                tokio::time::sleep(length).await;
                redis.thaw();
            }
            Self::RedisEmpty { down } => {
                let mut redis = cluster.redis.lock().await;
                redis.kill();
                tokio::time::sleep(down).await;
                tokio::task::block_in_place(|| redis.start_again(Data::Lost));
            }
            Self::RedisFlush => {
                let flushed: Result<String, String> = cluster.redis(&["FLUSHALL"]).await;
                flushed.expect("Redis runs");
            }
            Self::RedisCutOne { node, cut, length } => {
                cluster.nodes[node].redis.cut(cut);
                tokio::time::sleep(length).await;
                cluster.nodes[node].redis.heal();
            }
            Self::RedisAnswersLost { node, length } => {
                cluster.nodes[node].redis.lose_answers();
                tokio::time::sleep(length).await;
                cluster.nodes[node].redis.heal();
            }
            Self::RedisCutAll { cut, length } => {
                cluster.nodes.iter().for_each(|node| node.redis.cut(cut));
                tokio::time::sleep(length).await;
                cluster.nodes.iter().for_each(|node| node.redis.heal());
            }
            Self::RedisDelay { delay, length } => {
                cluster
                    .nodes
                    .iter()
                    .for_each(|node| node.redis.delay(delay));
                tokio::time::sleep(length).await;
                cluster.nodes.iter().for_each(|node| node.redis.heal());
            }
            Self::PostgresStop { down } => {
                tokio::task::block_in_place(|| cluster.postgres.stop());
                tokio::time::sleep(down).await;
                tokio::task::block_in_place(|| cluster.postgres.start_again());
            }
            Self::PostgresCut { cut, length } => {
                cluster.nodes.iter().for_each(|node| node.postgres.cut(cut));
                tokio::time::sleep(length).await;
                cluster.nodes.iter().for_each(|node| node.postgres.heal());
            }
            Self::PostgresDelay { delay, length } => {
                let slow = |node: &crate::common::cluster::Node| node.postgres.delay(delay);
                cluster.nodes.iter().for_each(slow);
                tokio::time::sleep(length).await;
                cluster.nodes.iter().for_each(|node| node.postgres.heal());
            }
            Self::DropPeople { seed } => {
                crowd.drop_some(DROPPED_SHARE, seed);
            }
        }
        violations
    }
}

/// SIGTERM: the process must end by itself, with 0.
pub async fn terminate(cluster: &Cluster, node: usize) -> Option<Violation> {
    let what = match cluster.nodes[node].terminate().await {
        Some(status) if status.success() => return None,
        Some(status) => format!("node {node} ended on SIGTERM with {status}"),
        None => format!("node {node} did not end on SIGTERM"),
    };
    Some(Violation::new("moves", &what))
}

/// Starts a process again, as a supervisor of services does.
pub async fn start_again(cluster: &Cluster, node: usize) -> Option<Violation> {
    let what = cluster.nodes[node].start_again().await.err()?;
    Some(Violation::new("starts", &format!("node {node}: {what}")))
}

fn ms(rng: &mut SmallRng, from: u64, to: u64) -> Duration {
    Duration::from_millis(rng.random_range(from..=to))
}
