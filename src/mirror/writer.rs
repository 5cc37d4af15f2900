//! The writer, one task per way to the mirror: gathers the commits of many rooms into few calls of the mirror, and repeats those that
//! met a fault until there is an outcome.
//!
//! One call of the mirror is under way at a time; what is submitted meanwhile goes together with the next. A room waits for its
//! outcome before it submits the next commit; the writer keeps rooms apart: a commit that is being repeated holds up no other room.

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
    task::{Entry, Task},
};
pub use self::{health::MirrorHealth, metrics::MirrorMetrics};
use super::{Commit, CommitOutcome, MirrorFault, RoomMirror};

/// Bounds of the writer.
#[derive(Clone, Copy, Debug)]
pub struct WriterLimits {
    /// Commits submitted and without outcome; beyond it [`WriterBusy`]. A room has one, so this bounds rooms.
    pub queue_max: usize,
    /// Commits in one call of the mirror.
    pub batch_max: usize,
    /// Wait before the first repeat of a commit; each further one doubles it.
    pub retry_min: Duration,
    /// Longest wait before a repeat.
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

/// Called once with the outcome, on the writer's runtime. It must be cheap: all rooms wait for it.
pub type Done = Box<dyn FnOnce(CommitOutcome) + Send>;

/// The writer has more commits than it may hold, or its runtime has ended. The commit comes back.
#[derive(Debug, Error)]
#[error("the mirror writer takes no more commits now")]
pub struct WriterBusy(pub Box<Commit>);

/// The right of a room to its commit: when dropped before the outcome is known, the commit is no longer repeated and `done`
/// is not called (what is in flight may still be applied).
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

/// Handle of a writer. Its task ends when the last handle is gone and nothing is left to write.
#[derive(Clone)]
pub struct MirrorWriter {
    mirror: Arc<dyn RoomMirror>,
    limits: WriterLimits,
    entries: mpsc::Sender<Entry>,
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

/// One place in the backlog, held until the commit has an outcome or is cancelled.
struct Place(Arc<Shared>);

impl Place {
    /// None when the backlog is full.
    fn take(shared: &Arc<Shared>, max: usize) -> Option<Self> {
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

impl Drop for Place {
    fn drop(&mut self) {
        self.0.metrics.queue_length.dec();
        if self.0.backlog.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.backlog.emptied.notify_waiters();
        }
    }
}

impl MirrorWriter {
    /// Starts the writer's task on `runtime`, which must have time and I/O.
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
        // A place in the backlog comes before one in the channel, so the channel is never full.
        let (entries, incoming) = mpsc::channel(limits.queue_max.max(1));
        let task = Task::new(Arc::clone(&mirror), limits, incoming, Arc::clone(&shared));
        runtime.spawn(task.run());
        Self {
            mirror,
            limits,
            entries,
            shared,
        }
    }

    /// A writer for the rooms of the current thread. If the mirror can be reached over several connections, it has one and a
    /// task of its own on the thread's runtime: then no commit wakes another thread, and those of rooms that had something to do
    /// in the same turn go together. Bounds, figures and health are shared.
    #[must_use]
    pub fn for_this_thread(&self) -> Self {
        match self.mirror.beside() {
            None => self.clone(),
            Some(mirror) => Self::start_task(
                mirror,
                self.limits,
                &tokio::runtime::Handle::current(),
                Arc::clone(&self.shared),
            ),
        }
    }

    /// Queues a commit. The writer repeats it after faults until there is an outcome or the token is dropped. Never
    /// blocks. A room submits its next commit only after `done`.
    ///
    /// # Errors
    /// [`WriterBusy`] with the commit when the queue is full.
    pub fn submit(&self, commit: Commit, done: Done) -> Result<CommitToken, WriterBusy> {
        let Some(place) = Place::take(&self.shared, self.limits.queue_max.max(1)) else {
            return Err(WriterBusy(Box::new(commit)));
        };
        let is_cancelled = Arc::new(AtomicBool::new(false));
        let entry = Entry {
            commit,
            done,
            is_cancelled: Arc::clone(&is_cancelled),
            submitted: Instant::now(),
            faults: 0,
            place,
        };
        match self.entries.try_send(entry) {
            Ok(()) => Ok(CommitToken(is_cancelled)),
            Err(error) => Err(WriterBusy(Box::new(error.into_inner().commit))),
        }
    }

    /// Waits until every commit has an outcome, at most for `patience`; answers whether that came.
    pub async fn flush(&self, patience: Duration) -> bool {
        let backlog = &self.shared.backlog;
        let wait = async {
            loop {
                let emptied = backlog.emptied.notified();
                tokio::pin!(emptied);
                // Registered before the count is read, so that the last outcome is not missed.
                emptied.as_mut().enable();
                if backlog.count.load(Ordering::Acquire) == 0 {
                    return;
                }
                emptied.await;
            }
        };
        tokio::time::timeout(patience, wait).await.is_ok()
    }

    /// How the mirror does.
    #[must_use]
    pub fn health(&self) -> MirrorHealth {
        self.shared.health.read()
    }

    /// Commits without outcome.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.shared.backlog.count.load(Ordering::Acquire)
    }

    /// Tells the writer how another call of the mirror went, such as a heartbeat: health is that of all of them.
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
