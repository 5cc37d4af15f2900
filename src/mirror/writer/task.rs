//! The writer's task: what is ready goes out in batches, what met a fault waits and becomes ready again.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{
    StreamExt,
    future::{BoxFuture, OptionFuture},
};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::time::DelayQueue;

use super::{Done, Place, Shared, WriterLimits};
use crate::mirror::{Commit, CommitOutcome, MirrorFault, RoomMirror};

/// A commit on its way to an outcome.
pub(super) struct Entry {
    /// What to write.
    pub(super) commit: Commit,
    /// Whom to tell.
    pub(super) done: Done,
    /// Nobody waits any more.
    pub(super) is_cancelled: Arc<AtomicBool>,
    /// Since when.
    pub(super) submitted: Instant,
    /// How often it met a fault.
    pub(super) faults: u32,
    /// Held for its drop.
    pub(super) place: Place,
}

/// An entry without its commit, which travels beside it.
struct Waiter {
    done: Done,
    is_cancelled: Arc<AtomicBool>,
    submitted: Instant,
    faults: u32,
    place: Place,
}

/// A finished call of the mirror.
struct Batch {
    commits: Vec<Commit>,
    waiters: Vec<Waiter>,
    results: Vec<Result<CommitOutcome, MirrorFault>>,
}

/// The task's state.
pub(super) struct Task {
    mirror: Arc<dyn RoomMirror>,
    limits: WriterLimits,
    incoming: mpsc::Receiver<Entry>,
    shared: Arc<Shared>,
    ready: VecDeque<Entry>,
    retries: DelayQueue<Entry>,
    /// The call that is under way; what becomes ready meanwhile goes together with the next.
    in_flight: Option<BoxFuture<'static, Batch>>,
}

impl Task {
    pub(super) fn new(
        mirror: Arc<dyn RoomMirror>,
        limits: WriterLimits,
        incoming: mpsc::Receiver<Entry>,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            mirror,
            limits,
            incoming,
            shared,
            ready: VecDeque::new(),
            retries: DelayQueue::new(),
            in_flight: None,
        }
    }

    /// Runs until no handle is left and nothing is to be written.
    pub(super) async fn run(mut self) {
        let batch_max = self.limits.batch_max.max(1);
        let mut received = Vec::with_capacity(batch_max);
        let mut is_open = true;
        while is_open
            || !self.ready.is_empty()
            || !self.retries.is_empty()
            || self.in_flight.is_some()
        {
            if self.in_flight.is_none() && !self.ready.is_empty() {
                // Whoever is about to submit goes along.
                tokio::task::yield_now().await;
                self.take_submitted();
                self.dispatch();
            }
            let has_room = self.ready.len() < batch_max;
            tokio::select! {
                count = self.incoming.recv_many(&mut received, batch_max), if is_open && has_room => {
                    is_open = count > 0;
                    self.ready.extend(received.drain(..));
                }
                Some(batch) = OptionFuture::from(self.in_flight.as_mut()) => self.finish(batch),
                Some(expired) = self.retries.next() => self.ready.push_back(expired.into_inner()),
                // Only cancelled commits were left, and no handle.
                else => {}
            }
        }
    }

    /// What has been submitted meanwhile, up to a batch.
    fn take_submitted(&mut self) {
        while self.ready.len() < self.limits.batch_max
            && let Ok(entry) = self.incoming.try_recv()
        {
            self.ready.push_back(entry);
        }
    }

    /// Sends what is ready.
    fn dispatch(&mut self) {
        let (commits, waiters) = self.gather();
        if commits.is_empty() {
            return;
        }
        self.shared
            .metrics
            .batch_commits
            .observe(commits.len() as f64);
        let mirror = Arc::clone(&self.mirror);
        self.in_flight = Some(Box::pin(async move {
            let results = mirror.commit(&commits).await;
            Batch {
                commits,
                waiters,
                results,
            }
        }));
    }

    /// The next batch: the first ready ones, of different rooms, without the cancelled.
    fn gather(&mut self) -> (Vec<Commit>, Vec<Waiter>) {
        let mut commits: Vec<Commit> = Vec::new();
        let mut waiters = Vec::new();
        let mut held_back = VecDeque::new();
        while commits.len() < self.limits.batch_max.max(1) {
            let Some(entry) = self.ready.pop_front() else {
                break;
            };
            if entry.is_cancelled.load(Ordering::Acquire) {
                self.shared.metrics.count_cancelled();
                continue;
            }
            // Only beside a cancelled one, as when a room that died goes on under a new epoch: it waits its turn.
            let room_id = entry.commit.room_id;
            if commits.iter().any(|commit| commit.room_id == room_id) {
                held_back.push_back(entry);
                continue;
            }
            commits.push(entry.commit);
            waiters.push(Waiter {
                done: entry.done,
                is_cancelled: entry.is_cancelled,
                submitted: entry.submitted,
                faults: entry.faults,
                place: entry.place,
            });
        }
        held_back.append(&mut self.ready);
        self.ready = held_back;
        (commits, waiters)
    }

    /// Tells outcomes; what met a fault waits for its repeat.
    fn finish(&mut self, batch: Batch) {
        self.in_flight = None;
        let Batch {
            commits,
            waiters,
            results,
        } = batch;
        let missing = || MirrorFault("no answer for this commit".to_owned());
        let results = results
            .into_iter()
            .map(Some)
            .chain(std::iter::repeat_with(|| None));
        let mut last_fault = None;
        let mut is_answered = false;
        for ((commit, waiter), result) in commits.into_iter().zip(waiters).zip(results) {
            match result.unwrap_or_else(|| Err(missing())) {
                Ok(outcome) => {
                    is_answered = true;
                    self.tell(waiter, outcome);
                }
                Err(fault) => {
                    self.shared.metrics.faults.inc();
                    last_fault = Some(fault);
                    self.repeat_later(commit, waiter);
                }
            }
        }
        // One answered commit shows that the mirror is there; the faults of others beside it are their own.
        match last_fault {
            Some(fault) if !is_answered => self.shared.observe(Some(&fault)),
            Some(fault) => {
                tracing::debug!(%fault, "a commit is repeated");
                self.shared.observe(None);
            }
            None => self.shared.observe(None),
        }
    }

    fn tell(&self, waiter: Waiter, outcome: CommitOutcome) {
        let metrics = &self.shared.metrics;
        if waiter.is_cancelled.load(Ordering::Acquire) {
            metrics.count_cancelled();
            return;
        }
        metrics.count(outcome);
        metrics
            .commit_seconds
            .observe(waiter.submitted.elapsed().as_secs_f64());
        let done = waiter.done;
        // A panic there is that room's; the writer serves all of them.
        if catch_unwind(AssertUnwindSafe(move || done(outcome))).is_err() {
            tracing::error!("a room panicked when it was told the outcome of its commit");
        }
        // Only now is the commit done with, so that a flush includes the telling.
        drop(waiter.place);
    }

    fn repeat_later(&mut self, commit: Commit, waiter: Waiter) {
        if waiter.is_cancelled.load(Ordering::Acquire) {
            self.shared.metrics.count_cancelled();
            return;
        }
        let delay = self.delay(waiter.faults);
        let entry = Entry {
            commit,
            done: waiter.done,
            is_cancelled: waiter.is_cancelled,
            submitted: waiter.submitted,
            faults: waiter.faults.saturating_add(1),
            place: waiter.place,
        };
        self.retries.insert(entry, delay);
    }

    /// Doubles with each fault, up to the limit.
    fn delay(&self, faults: u32) -> Duration {
        let factor = 2_u32.checked_pow(faults).unwrap_or(u32::MAX);
        self.limits
            .retry_min
            .saturating_mul(factor)
            .min(self.limits.retry_max)
    }
}
