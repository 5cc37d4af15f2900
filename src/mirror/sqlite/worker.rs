//! The thread that owns the connection. Also the small tables: nodes and the generation.

use diesel::{prelude::*, sqlite::SqliteConnection};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::{checkpoint::Checkpointer, fault, schema};
use crate::{
    ids::{NodeId, Timestamp},
    mirror::{MirrorFault, NodeRecord, fields::parse},
};

/// Most calls that may wait for the thread.
const QUEUE_MAX: usize = 1_024;

const GENERATION: &str = "generation";

/// A call for the thread.
struct Job {
    run: Box<dyn FnOnce(&mut SqliteConnection) + Send>,
    /// How many commits it makes, at most.
    commits: usize,
}

/// Handle of the thread. The thread ends when this is dropped and the queue is empty.
pub(super) struct Worker {
    jobs: mpsc::Sender<Job>,
}

impl Worker {
    /// Starts the thread. A mirror in memory has no log and no `checkpointer`.
    pub(super) fn start(
        mut connection: SqliteConnection,
        mut checkpointer: Option<Checkpointer>,
    ) -> Result<Self, MirrorFault> {
        let (jobs, mut queue) = mpsc::channel::<Job>(QUEUE_MAX);
        std::thread::Builder::new()
            .name("mirror-sqlite".to_owned())
            .spawn(move || {
                while let Some(job) = queue.blocking_recv() {
                    (job.run)(&mut connection);
                    if let Some(checkpointer) = &mut checkpointer {
                        checkpointer.committed(job.commits);
                    }
                }
                // In this order: the checkpoint thread must close the file last.
                drop(connection);
                drop(checkpointer);
            })
            .map_err(fault)?;
        Ok(Self { jobs })
    }

    /// Runs a job on the thread, even if the caller stops waiting.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        commits: usize,
        job: impl FnOnce(&mut SqliteConnection) -> Result<T, MirrorFault> + Send + 'static,
    ) -> Result<T, MirrorFault> {
        let (answer, answered) = oneshot::channel();
        let run = Box::new(move |connection: &mut SqliteConnection| {
            // Fails if the caller stopped waiting.
            let _ = answer.send(job(connection));
        });
        let job = Job { run, commits };
        let ended = || fault("the thread of the mirror file has ended");
        self.jobs.send(job).await.map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }
}

type NodeRow = (
    String,
    String,
    String,
    String,
    String,
    i64,
    i64,
    String,
    i64,
    i64,
);

/// All nodes, least recent heartbeat first.
pub(super) fn nodes(connection: &mut SqliteConnection) -> Result<Vec<NodeRecord>, MirrorFault> {
    use schema::node::dsl;
    let rows: Vec<NodeRow> = dsl::node.order(dsl::seen_us).load(connection)?;
    rows.into_iter()
        .map(|row| {
            Ok(NodeRecord {
                node_id: parse("node id", &row.0)?,
                url: row.1,
                region: row.2,
                version: row.3,
                database_id: row.4,
                rooms: row.5.cast_unsigned(),
                connections: row.6.cast_unsigned(),
                state: row.7,
                heartbeat: row.8.cast_unsigned(),
                seen_at: Timestamp(row.9 / 1_000),
            })
        })
        .collect()
}

/// Writes the node and, if there is none, a generation. Returns the generation.
pub(super) fn heartbeat(
    connection: &mut SqliteConnection,
    node: &NodeRecord,
) -> Result<String, MirrorFault> {
    use schema::{meta, node::dsl};
    let row: NodeRow = (
        node.node_id.to_string(),
        node.url.clone(),
        node.region.clone(),
        node.version.clone(),
        node.database_id.clone(),
        node.rooms.cast_signed(),
        node.connections.cast_signed(),
        node.state.clone(),
        node.heartbeat.cast_signed(),
        node.seen_at.0.saturating_mul(1_000),
    );
    connection.immediate_transaction(|connection| {
        diesel::replace_into(dsl::node)
            .values((
                dsl::node_id.eq(row.0),
                dsl::url.eq(row.1),
                dsl::region.eq(row.2),
                dsl::version.eq(row.3),
                dsl::database_id.eq(row.4),
                dsl::rooms.eq(row.5),
                dsl::connections.eq(row.6),
                dsl::state.eq(row.7),
                dsl::heartbeat.eq(row.8),
                dsl::seen_us.eq(row.9),
            ))
            .execute(connection)?;
        diesel::insert_or_ignore_into(meta::table)
            .values((
                meta::name.eq(GENERATION),
                meta::value.eq(Uuid::new_v4().to_string()),
            ))
            .execute(connection)?;
        Ok(meta::table
            .find(GENERATION)
            .select(meta::value)
            .first(connection)?)
    })
}

pub(super) fn generation(connection: &mut SqliteConnection) -> Result<Option<String>, MirrorFault> {
    use schema::meta;
    Ok(meta::table
        .find(GENERATION)
        .select(meta::value)
        .first(connection)
        .optional()?)
}

pub(super) fn forget_node(
    connection: &mut SqliteConnection,
    node_id: NodeId,
) -> Result<(), MirrorFault> {
    use schema::node::dsl;
    diesel::delete(dsl::node.find(node_id.to_string())).execute(connection)?;
    Ok(())
}
