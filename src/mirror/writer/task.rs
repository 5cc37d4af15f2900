//! The task of the writer. It sends ready commits in batches. A commit that met a fault waits for
//! its retry time and becomes ready again.

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

use super::{Done, QueuePermit, Shared, WriterLimits};
use crate::mirror::{Commit, CommitOutcome, MirrorFault, RoomMirror};

/// A commit without outcome.
pub(super) struct PendingCommit {
    pub(super) commit: Commit,
    pub(super) done: Done,
    pub(super) is_cancelled: Arc<AtomicBool>,
    pub(super) submitted: Instant,
    /// How often it met a fault.
    pub(super) faults: u32,
    /// Held for its drop.
    pub(super) permit: QueuePermit,
}

/// A [`PendingCommit`] in flight: its commit is in the batch.
struct Waiter {
    done: Done,
    is_cancelled: Arc<AtomicBool>,
    submitted: Instant,
    faults: u32,
    permit: QueuePermit,
}

/// A finished call of the mirror.
struct Batch {
    commits: Vec<Commit>,
    waiters: Vec<Waiter>,
    results: Vec<Result<CommitOutcome, MirrorFault>>,
}

pub(super) struct Task {
    mirror: Arc<dyn RoomMirror>,
    limits: WriterLimits,
    incoming: mpsc::Receiver<PendingCommit>,
    shared: Arc<Shared>,
    ready: VecDeque<PendingCommit>,
    retries: DelayQueue<PendingCommit>,
    /// The call in flight. Commits that become ready meanwhile travel in the next batch.
    in_flight: Option<BoxFuture<'static, Batch>>,
}

impl Task {
    pub(super) fn new(
        mirror: Arc<dyn RoomMirror>,
        limits: WriterLimits,
        incoming: mpsc::Receiver<PendingCommit>,
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

    /// Runs until no handle is left and nothing is left to write.
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
                // Rooms that are about to submit join this batch.
                tokio::task::yield_now().await;
                self.receive_submitted();
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

    /// Receives what was submitted meanwhile, up to a batch.
    fn receive_submitted(&mut self) {
        while self.ready.len() < self.limits.batch_max
            && let Ok(pending) = self.incoming.try_recv()
        {
            self.ready.push_back(pending);
        }
    }

    /// Sends the ready commits.
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

    /// Removes the next batch from `ready`: commits of different rooms that are not cancelled.
    fn gather(&mut self) -> (Vec<Commit>, Vec<Waiter>) {
        let mut commits: Vec<Commit> = Vec::new();
        let mut waiters = Vec::new();
        let mut held_back = VecDeque::new();
        while commits.len() < self.limits.batch_max.max(1) {
            let Some(pending) = self.ready.pop_front() else {
                break;
            };
            if pending.is_cancelled.load(Ordering::Acquire) {
                self.shared.metrics.count_cancelled();
                continue;
            }
            // A room has two only if the first was cancelled, as after a crash of the room.
            let room_id = pending.commit.room_id;
            if commits.iter().any(|commit| commit.room_id == room_id) {
                held_back.push_back(pending);
                continue;
            }
            commits.push(pending.commit);
            waiters.push(Waiter {
                done: pending.done,
                is_cancelled: pending.is_cancelled,
                submitted: pending.submitted,
                faults: pending.faults,
                permit: pending.permit,
            });
        }
        held_back.append(&mut self.ready);
        self.ready = held_back;
        (commits, waiters)
    }

    /// Reports the outcomes. Commits that met a fault wait for their retry.
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
                    self.report(waiter, outcome);
                }
                Err(fault) => {
                    self.shared.metrics.faults.inc();
                    last_fault = Some(fault);
                    self.retry_later(commit, waiter);
                }
            }
        }
        // One answered commit shows that the mirror answers. Then the other faults concern single
        // rooms.
        match last_fault {
            Some(fault) if !is_answered => self.shared.observe(Some(&fault)),
            Some(fault) => {
                tracing::debug!(%fault, "the writer retries a commit");
                self.shared.observe(None);
            }
            None => self.shared.observe(None),
        }
    }

    fn report(&self, waiter: Waiter, outcome: CommitOutcome) {
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
        // A panic in one room must not stop the writer, which serves all rooms.
        if catch_unwind(AssertUnwindSafe(move || done(outcome))).is_err() {
            tracing::error!("a room panicked in the callback of its commit");
        }
        // Dropped after the callback, so a flush waits for the callback too.
        drop(waiter.permit);
    }

    fn retry_later(&mut self, commit: Commit, waiter: Waiter) {
        if waiter.is_cancelled.load(Ordering::Acquire) {
            self.shared.metrics.count_cancelled();
            return;
        }
        let delay = self.delay(waiter.faults);
        let pending = PendingCommit {
            commit,
            done: waiter.done,
            is_cancelled: waiter.is_cancelled,
            submitted: waiter.submitted,
            faults: waiter.faults.saturating_add(1),
            permit: waiter.permit,
        };
        self.retries.insert(pending, delay);
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
