//! The writer: gathers, repeats, keeps rooms apart.

use std::{sync::Arc, time::Duration};

use callboard::mirror::{
    Commit, CommitOutcome,
    memory::MemoryMirror,
    writer::{CommitToken, MirrorMetrics, MirrorWriter, WriterLimits},
};
use tokio::{
    runtime::Handle,
    sync::mpsc::{self, UnboundedReceiver, UnboundedSender},
    time::timeout,
};

use crate::sample::*;

/// Bound of every wait here.
const PATIENCE: Duration = Duration::from_secs(20);

/// A writer over a memory mirror, and the outcomes it told.
struct PendingCommits {
    mirror: Arc<MemoryMirror>,
    writer: MirrorWriter,
    metrics: MirrorMetrics,
    told: UnboundedSender<(usize, CommitOutcome)>,
    outcomes: UnboundedReceiver<(usize, CommitOutcome)>,
}

impl PendingCommits {
    fn new(limits: WriterLimits) -> Self {
        let mirror = Arc::new(MemoryMirror::new());
        let metrics = MirrorMetrics::new();
        let writer =
            MirrorWriter::start(mirror.clone(), limits, &Handle::current(), metrics.clone());
        let (told, outcomes) = mpsc::unbounded_channel();
        Self {
            mirror,
            writer,
            metrics,
            told,
            outcomes,
        }
    }

    fn submit(&self, number: usize, commit: Commit) -> CommitToken {
        let told = self.told.clone();
        let done = Box::new(move |outcome| told.send((number, outcome)).unwrap());
        self.writer.submit(commit, done).unwrap()
    }

    async fn next(&mut self) -> (usize, CommitOutcome) {
        let next = timeout(PATIENCE, self.outcomes.recv()).await;
        next.expect("an outcome in time").unwrap()
    }

    async fn rooms(&self, count: usize) -> Vec<Owned> {
        let mut rooms = Vec::new();
        for _ in 0..count {
            rooms.push(Owned::rich(&*self.mirror).await.0);
        }
        rooms
    }

    /// Waits until the writer has met `count` faults.
    async fn faults(&self, count: u64) {
        let wait = async {
            while self.metrics.faults.get() < count {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(PATIENCE, wait).await.expect("faults in time");
    }
}

#[tokio::test]
async fn commits_that_wait_are_gathered_into_few_calls() {
    let mut pending = PendingCommits::new(WriterLimits::default());
    let rooms = pending.rooms(300).await;
    let before = pending.mirror.calls();
    pending.mirror.pause();
    let tokens: Vec<CommitToken> = rooms
        .iter()
        .enumerate()
        .map(|(number, owned)| pending.submit(number, owned.commit(empty_changes(1, 2, 5))))
        .collect();
    assert_eq!(pending.writer.backlog(), 300);
    pending.mirror.resume();
    for _ in 0..tokens.len() {
        assert_eq!(pending.next().await.1, CommitOutcome::Ok);
    }
    let calls = pending.mirror.calls();
    assert_eq!(calls.commits - before.commits, 300);
    assert!(calls.batches - before.batches <= 4, "{calls:?}");
    assert!(pending.writer.flush(PATIENCE).await);
    assert_eq!(
        pending.metrics.commits.with_label_values(&["ok"]).get(),
        300
    );
    assert_eq!(pending.metrics.queue_length.get(), 0);
}

#[tokio::test]
async fn commit_that_met_faults_is_repeated_until_it_is_applied() {
    let mut pending = PendingCommits::new(WriterLimits::default());
    let owned = pending.rooms(1).await[0];
    pending.mirror.fail_all(true);
    let _token = pending.submit(0, owned.commit(empty_changes(1, 2, 5)));
    pending.faults(3).await;
    let health = pending.writer.health();
    assert!(!health.is_up && health.last_error.unwrap().contains("told to fail"));
    assert_eq!(pending.metrics.is_up.get(), 0);
    assert!(!pending.writer.flush(Duration::from_millis(10)).await);
    pending.mirror.fail_all(false);
    assert_eq!(pending.next().await, (0, CommitOutcome::Ok));
    assert!(pending.writer.flush(PATIENCE).await);
    assert!(pending.writer.health().is_up);
}

#[tokio::test]
async fn lost_answer_is_asked_again_and_found_applied() {
    let mut pending = PendingCommits::new(WriterLimits::default());
    let owned = pending.rooms(1).await[0];
    pending.mirror.lose_answer();
    let mut changes = empty_changes(1, 2, 6);
    changes.tail = vec![event(6)];
    let _token = pending.submit(0, owned.commit(changes));
    assert_eq!(pending.next().await, (0, CommitOutcome::Ok));
    assert_eq!(pending.metrics.faults.get(), 1);
    let (_, _, room) = Owned::claim(
        &*pending.mirror,
        owned.room_id,
        Some(owned.ownership()),
        node_id(),
    )
    .await;
    assert_eq!(room.unwrap().tail.len(), 4);
}

#[tokio::test]
async fn room_whose_commits_fail_holds_up_no_other() {
    let mut pending = PendingCommits::new(WriterLimits::default());
    let rooms = pending.rooms(2).await;
    pending.mirror.fail_room(rooms[0].room_id, true);
    let _stuck = pending.submit(0, rooms[0].commit(empty_changes(1, 2, 5)));
    for version in 1..100 {
        let _token = pending.submit(1, rooms[1].commit(empty_changes(version, version + 1, 5)));
        assert_eq!(pending.next().await, (1, CommitOutcome::Ok));
    }
    pending.faults(2).await;
    pending.mirror.fail_room(rooms[0].room_id, false);
    assert_eq!(pending.next().await, (0, CommitOutcome::Ok));
}

#[tokio::test]
async fn dropped_token_ends_the_repeating() {
    let mut pending = PendingCommits::new(WriterLimits::default());
    let owned = pending.rooms(1).await[0];
    pending.mirror.fail_all(true);
    let token = pending.submit(0, owned.commit(empty_changes(1, 2, 5)));
    pending.faults(1).await;
    drop(token);
    assert!(pending.writer.flush(PATIENCE).await);
    pending.mirror.fail_all(false);
    assert!(pending.outcomes.try_recv().is_err());
    let cancelled = pending.metrics.commits.with_label_values(&["cancelled"]);
    assert_eq!(cancelled.get(), 1);
    // The room continues.
    let _token = pending.submit(1, owned.commit(empty_changes(1, 2, 5)));
    assert_eq!(pending.next().await, (1, CommitOutcome::Ok));
}

#[tokio::test]
async fn full_queue_hands_the_commit_back() {
    let mut pending = PendingCommits::new(WriterLimits {
        queue_max: 2,
        ..WriterLimits::default()
    });
    let rooms = pending.rooms(3).await;
    pending.mirror.pause();
    let tokens: Vec<CommitToken> = (0..2)
        .map(|number| pending.submit(number, rooms[number].commit(empty_changes(1, 2, 5))))
        .collect();
    let refused = rooms[2].commit(empty_changes(1, 2, 5));
    let busy = pending
        .writer
        .submit(refused, Box::new(|_| ()))
        .unwrap_err();
    assert_eq!(busy.0.room_id, rooms[2].room_id);
    pending.mirror.resume();
    for _ in tokens {
        pending.next().await;
    }
    assert!(pending.writer.flush(PATIENCE).await);
    let _token = pending.submit(2, *busy.0);
    assert_eq!(pending.next().await, (2, CommitOutcome::Ok));
}

#[tokio::test]
async fn panic_of_a_told_room_stops_no_other() {
    let mut pending = PendingCommits::new(WriterLimits::default());
    let rooms = pending.rooms(2).await;
    let commit = rooms[0].commit(empty_changes(1, 2, 5));
    let panicking = pending
        .writer
        .submit(commit, Box::new(|_| panic!("the room is broken")));
    let _token = pending.submit(1, rooms[1].commit(empty_changes(1, 2, 5)));
    assert_eq!(pending.next().await, (1, CommitOutcome::Ok));
    assert!(pending.writer.flush(PATIENCE).await);
    drop(panicking);
}

#[tokio::test]
async fn writer_finishes_what_it_has_when_its_handles_are_gone() {
    let pending = PendingCommits::new(WriterLimits::default());
    let owned = pending.rooms(1).await[0];
    pending.mirror.fail_all(true);
    let _token = pending.submit(0, owned.commit(empty_changes(1, 2, 5)));
    pending.faults(1).await;
    let PendingCommits {
        mirror,
        writer,
        mut outcomes,
        told,
        ..
    } = pending;
    drop((writer, told));
    mirror.fail_all(false);
    let outcome = timeout(PATIENCE, outcomes.recv()).await.unwrap();
    assert_eq!(outcome, Some((0, CommitOutcome::Ok)));
    // The task has ended: nobody is left to tell.
    assert_eq!(timeout(PATIENCE, outcomes.recv()).await.unwrap(), None);
}

#[tokio::test]
async fn metrics_can_be_registered_together() {
    let registry = prometheus::Registry::new();
    for collector in MirrorMetrics::new().collectors() {
        registry.register(collector).unwrap();
    }
    assert!(registry.gather().len() >= 5);
}
