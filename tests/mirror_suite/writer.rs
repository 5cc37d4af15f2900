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
struct Desk {
    mirror: Arc<MemoryMirror>,
    writer: MirrorWriter,
    metrics: MirrorMetrics,
    told: UnboundedSender<(usize, CommitOutcome)>,
    outcomes: UnboundedReceiver<(usize, CommitOutcome)>,
}

impl Desk {
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
    let mut desk = Desk::new(WriterLimits::default());
    let rooms = desk.rooms(300).await;
    let before = desk.mirror.calls();
    desk.mirror.pause();
    let tokens: Vec<CommitToken> = rooms
        .iter()
        .enumerate()
        .map(|(number, owned)| desk.submit(number, owned.commit(empty_changes(1, 2, 5))))
        .collect();
    assert_eq!(desk.writer.backlog(), 300);
    desk.mirror.resume();
    for _ in 0..tokens.len() {
        assert_eq!(desk.next().await.1, CommitOutcome::Ok);
    }
    let calls = desk.mirror.calls();
    assert_eq!(calls.commits - before.commits, 300);
    assert!(calls.batches - before.batches <= 4, "{calls:?}");
    assert!(desk.writer.flush(PATIENCE).await);
    assert_eq!(desk.metrics.commits.with_label_values(&["ok"]).get(), 300);
    assert_eq!(desk.metrics.queue_length.get(), 0);
}

#[tokio::test]
async fn commit_that_met_faults_is_repeated_until_it_is_applied() {
    let mut desk = Desk::new(WriterLimits::default());
    let owned = desk.rooms(1).await[0];
    desk.mirror.fail_all(true);
    let _token = desk.submit(0, owned.commit(empty_changes(1, 2, 5)));
    desk.faults(3).await;
    let health = desk.writer.health();
    assert!(!health.is_up && health.last_error.unwrap().contains("told to fail"));
    assert_eq!(desk.metrics.is_up.get(), 0);
    assert!(!desk.writer.flush(Duration::from_millis(10)).await);
    desk.mirror.fail_all(false);
    assert_eq!(desk.next().await, (0, CommitOutcome::Ok));
    assert!(desk.writer.flush(PATIENCE).await);
    assert!(desk.writer.health().is_up);
}

#[tokio::test]
async fn lost_answer_is_asked_again_and_found_applied() {
    let mut desk = Desk::new(WriterLimits::default());
    let owned = desk.rooms(1).await[0];
    desk.mirror.lose_answer();
    let mut changes = empty_changes(1, 2, 6);
    changes.tail = vec![event(6)];
    let _token = desk.submit(0, owned.commit(changes));
    assert_eq!(desk.next().await, (0, CommitOutcome::Ok));
    assert_eq!(desk.metrics.faults.get(), 1);
    let (_, _, room) = Owned::claim(
        &*desk.mirror,
        owned.room_id,
        Some(owned.ownership()),
        node_id(),
    )
    .await;
    assert_eq!(room.unwrap().tail.len(), 4);
}

#[tokio::test]
async fn room_whose_commits_fail_holds_up_no_other() {
    let mut desk = Desk::new(WriterLimits::default());
    let rooms = desk.rooms(2).await;
    desk.mirror.fail_room(rooms[0].room_id, true);
    let _stuck = desk.submit(0, rooms[0].commit(empty_changes(1, 2, 5)));
    for version in 1..100 {
        let _token = desk.submit(1, rooms[1].commit(empty_changes(version, version + 1, 5)));
        assert_eq!(desk.next().await, (1, CommitOutcome::Ok));
    }
    desk.faults(2).await;
    desk.mirror.fail_room(rooms[0].room_id, false);
    assert_eq!(desk.next().await, (0, CommitOutcome::Ok));
}

#[tokio::test]
async fn dropped_token_ends_the_repeating() {
    let mut desk = Desk::new(WriterLimits::default());
    let owned = desk.rooms(1).await[0];
    desk.mirror.fail_all(true);
    let token = desk.submit(0, owned.commit(empty_changes(1, 2, 5)));
    desk.faults(1).await;
    drop(token);
    assert!(desk.writer.flush(PATIENCE).await);
    desk.mirror.fail_all(false);
    assert!(desk.outcomes.try_recv().is_err());
    let cancelled = desk.metrics.commits.with_label_values(&["cancelled"]);
    assert_eq!(cancelled.get(), 1);
    // The room goes on.
    let _token = desk.submit(1, owned.commit(empty_changes(1, 2, 5)));
    assert_eq!(desk.next().await, (1, CommitOutcome::Ok));
}

#[tokio::test]
async fn full_queue_hands_the_commit_back() {
    let mut desk = Desk::new(WriterLimits {
        queue_max: 2,
        ..WriterLimits::default()
    });
    let rooms = desk.rooms(3).await;
    desk.mirror.pause();
    let tokens: Vec<CommitToken> = (0..2)
        .map(|number| desk.submit(number, rooms[number].commit(empty_changes(1, 2, 5))))
        .collect();
    let refused = rooms[2].commit(empty_changes(1, 2, 5));
    let busy = desk.writer.submit(refused, Box::new(|_| ())).unwrap_err();
    assert_eq!(busy.0.room_id, rooms[2].room_id);
    desk.mirror.resume();
    for _ in tokens {
        desk.next().await;
    }
    assert!(desk.writer.flush(PATIENCE).await);
    let _token = desk.submit(2, *busy.0);
    assert_eq!(desk.next().await, (2, CommitOutcome::Ok));
}

#[tokio::test]
async fn panic_of_a_told_room_stops_no_other() {
    let mut desk = Desk::new(WriterLimits::default());
    let rooms = desk.rooms(2).await;
    let commit = rooms[0].commit(empty_changes(1, 2, 5));
    let panicking = desk
        .writer
        .submit(commit, Box::new(|_| panic!("the room is broken")));
    let _token = desk.submit(1, rooms[1].commit(empty_changes(1, 2, 5)));
    assert_eq!(desk.next().await, (1, CommitOutcome::Ok));
    assert!(desk.writer.flush(PATIENCE).await);
    drop(panicking);
}

#[tokio::test]
async fn writer_finishes_what_it_has_when_its_handles_are_gone() {
    let desk = Desk::new(WriterLimits::default());
    let owned = desk.rooms(1).await[0];
    desk.mirror.fail_all(true);
    let _token = desk.submit(0, owned.commit(empty_changes(1, 2, 5)));
    desk.faults(1).await;
    let Desk {
        mirror,
        writer,
        mut outcomes,
        told,
        ..
    } = desk;
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
