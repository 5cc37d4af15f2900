//! The writer batches the commits of many rooms into few calls of the mirror. It retries commits
//! that met a fault until there is an outcome. There is one task per connection to the mirror.
//!
//! One call is in flight at a time. Commits that arrive meanwhile travel in the next batch. A room
//! submits its next commit only after the outcome of the last one. A commit that is being retried
//! delays no other room.

mod health;
mod metrics;
mod task;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use thiserror::Error;
use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};

use self::{
    health::HealthCell,
    task::{PendingCommit, Task},
};
pub use self::{health::MirrorHealth, metrics::MirrorMetrics};
use super::{Commit, CommitOutcome, MirrorFault, RoomMirror};

/// Bounds of the writer.
#[derive(Clone, Copy, Debug)]
pub struct WriterLimits {
    /// Most commits without outcome. Beyond it `submit` fails with [`WriterBusy`]. A room has one.
    pub queue_max: usize,
    /// Most commits in one call of the mirror.
    pub batch_max: usize,
    /// Wait before the first retry of a commit. Each further retry doubles it.
    pub retry_min: Duration,
    /// Longest wait before a retry.
    pub retry_max: Duration,
}

impl Default for WriterLimits {
    fn default() -> Self {
        Self {
            queue_max: 65_536,
            batch_max: 256,
            retry_min: Duration::from_millis(50),
            retry_max: Duration::from_secs(1),
        }
    }
}

/// Called once with the outcome, on the runtime of the writer. It must be cheap: all rooms wait for
/// it.
pub type Done = Box<dyn FnOnce(CommitOutcome) + Send>;

/// The writer holds too many commits, or its runtime has ended. Contains the refused commit.
#[derive(Debug, Error)]
#[error("the mirror writer takes no more commits now")]
pub struct WriterBusy(pub Box<Commit>);

/// Cancels the commit when it is dropped before the outcome is known. The writer then stops
/// retrying and does not call `done`. A call in flight may still be applied.
#[must_use = "dropping it cancels the commit"]
pub struct CommitToken(Arc<AtomicBool>);

impl Drop for CommitToken {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

impl fmt::Debug for CommitToken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("CommitToken")
    }
}

/// Handle of a writer. The task ends when the last handle is dropped and nothing is left to write.
#[derive(Clone)]
pub struct MirrorWriter {
    mirror: Arc<dyn RoomMirror>,
    limits: WriterLimits,
    commits: mpsc::Sender<PendingCommit>,
    shared: Arc<Shared>,
}

/// What the handles and the task share.
struct Shared {
    health: HealthCell,
    metrics: MirrorMetrics,
    backlog: Backlog,
}

/// Counts commits without outcome.
#[derive(Default)]
struct Backlog {
    count: AtomicUsize,
    emptied: Notify,
}

/// Counts one commit in the backlog until it has an outcome or is cancelled.
struct QueuePermit(Arc<Shared>);

impl QueuePermit {
    /// `None` if the backlog is full.
    fn acquire(shared: &Arc<Shared>, max: usize) -> Option<Self> {
        let backlog = &shared.backlog.count;
        backlog
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| {
                (count < max).then_some(count + 1)
            })
            .ok()?;
        shared.metrics.queue_length.inc();
        Some(Self(Arc::clone(shared)))
    }
}

impl Drop for QueuePermit {
    fn drop(&mut self) {
        self.0.metrics.queue_length.dec();
        if self.0.backlog.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.backlog.emptied.notify_waiters();
        }
    }
}

impl MirrorWriter {
    /// Starts the task on `runtime`, which must have timers and I/O.
    pub fn start(
        mirror: Arc<dyn RoomMirror>,
        limits: WriterLimits,
        runtime: &tokio::runtime::Handle,
        metrics: MirrorMetrics,
    ) -> Self {
        let shared = Arc::new(Shared {
            health: HealthCell::new(),
            metrics,
            backlog: Backlog::default(),
        });
        Self::start_task(mirror, limits, runtime, shared)
    }

    fn start_task(
        mirror: Arc<dyn RoomMirror>,
        limits: WriterLimits,
        runtime: &tokio::runtime::Handle,
        shared: Arc<Shared>,
    ) -> Self {
        // Every commit has a permit first, so the channel is never full.
        let (commits, incoming) = mpsc::channel(limits.queue_max.max(1));
        let task = Task::new(Arc::clone(&mirror), limits, incoming, Arc::clone(&shared));
        runtime.spawn(task.run());
        Self {
            mirror,
            limits,
            commits,
            shared,
        }
    }

    /// Returns a writer for the rooms of the current thread. If the mirror allows several
    /// connections, that writer has its own connection and task on the runtime of the thread. Then
    /// no commit wakes another thread. Limits, metrics and health are shared.
    #[must_use]
    pub fn for_this_thread(&self) -> Self {
        match self.mirror.for_this_thread() {
            None => self.clone(),
            Some(mirror) => Self::start_task(
                mirror,
                self.limits,
                &tokio::runtime::Handle::current(),
                Arc::clone(&self.shared),
            ),
        }
    }

    /// Queues a commit and returns at once. The writer retries it after faults until there is an
    /// outcome or the token is dropped. A room submits its next commit only after `done`.
    ///
    /// # Errors
    /// [`WriterBusy`] with the commit when the queue is full.
    pub fn submit(&self, commit: Commit, done: Done) -> Result<CommitToken, WriterBusy> {
        let Some(permit) = QueuePermit::acquire(&self.shared, self.limits.queue_max.max(1)) else {
            return Err(WriterBusy(Box::new(commit)));
        };
        let is_cancelled = Arc::new(AtomicBool::new(false));
        let pending = PendingCommit {
            commit,
            done,
            is_cancelled: Arc::clone(&is_cancelled),
            submitted: Instant::now(),
            faults: 0,
            permit,
        };
        match self.commits.try_send(pending) {
            Ok(()) => Ok(CommitToken(is_cancelled)),
            Err(error) => Err(WriterBusy(Box::new(error.into_inner().commit))),
        }
    }

    /// Waits until every commit has an outcome, at most for `patience`. Returns whether that
    /// happened.
    pub async fn flush(&self, patience: Duration) -> bool {
        let backlog = &self.shared.backlog;
        let wait = async {
            loop {
                let emptied = backlog.emptied.notified();
                tokio::pin!(emptied);
                // Registers before it reads the count, so it does not miss the last outcome.
                emptied.as_mut().enable();
                if backlog.count.load(Ordering::Acquire) == 0 {
                    return;
                }
                emptied.await;
            }
        };
        tokio::time::timeout(patience, wait).await.is_ok()
    }

    /// Whether the mirror answers, and since when.
    #[must_use]
    pub fn health(&self) -> MirrorHealth {
        self.shared.health.read()
    }

    /// Counts the commits without outcome.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.shared.backlog.count.load(Ordering::Acquire)
    }

    /// Counts the result of another call of the mirror, such as a heartbeat, towards its health.
    pub fn observe<T>(&self, result: &Result<T, MirrorFault>) {
        self.shared.observe(result.as_ref().err());
    }
}

impl Shared {
    fn observe(&self, fault: Option<&MirrorFault>) {
        self.metrics.is_up.set(i64::from(fault.is_none()));
        match fault {
            Some(fault) => self.health.fault(fault),
            None => self.health.answered(),
        }
    }
}
