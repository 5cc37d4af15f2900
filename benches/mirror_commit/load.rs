//! The load: rooms that hand their commits to the writer, at their own pace or at a fixed rate.
//!
//! At a fixed rate the schedule does not depend on earlier commits, and latency counts from the
//! schedule: a mirror that stalls does not hide it by being asked less.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use callboard::{
    ids::NodeId,
    mirror::{
        CommitOutcome, RoomMirror,
        writer::{CommitToken, MirrorMetrics, MirrorWriter, WriterLimits},
    },
};
use hdrhistogram::Histogram;
use tokio::runtime::Runtime;
use uuid::Uuid;

use crate::{
    cpu::Cpu,
    redis_server::RedisServer,
    rooms::OwnedRoom,
    table::{Figures, latencies},
};

/// How often commits become due; those of one such time are due together.
const TICK: Duration = Duration::from_millis(1);
/// Due commits that wait for the answer to their room's last one; beyond it they are left out.
const WAITING_MAX: usize = 1_024;
/// Longest wait for the last answers of a load.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(30);

/// How commits come.
#[derive(Clone, Copy)]
pub enum Offer {
    /// One room, its next commit when the last was answered: each travels alone.
    Alone,
    /// All rooms in turn, so many commits a second together.
    Rate(u64),
}

impl fmt::Display for Offer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alone => out.pad("one room, one at a time"),
            Self::Rate(rate) => write!(out, "{rate} commits/s offered"),
        }
    }
}

/// Rooms of one mirror.
pub struct Load<'a> {
    runtime: &'a Runtime,
    rooms: Vec<Arc<Room>>,
    shared: Arc<Shared>,
    metrics: MirrorMetrics,
}

/// What rooms have in common.
struct Shared {
    writer: MirrorWriter,
    latencies: Mutex<Histogram<u64>>,
    answered: AtomicU64,
    /// Answers other than `Ok`: there must be none.
    refused: AtomicU64,
    /// Rooms continue by themselves.
    is_endless: AtomicBool,
    /// Nothing more is handed over.
    is_over: AtomicBool,
}

struct Room {
    state: Mutex<RoomState>,
    shared: Arc<Shared>,
}

struct RoomState {
    room: OwnedRoom,
    /// The commit on its way.
    token: Option<CommitToken>,
    /// When the next ones were due.
    waiting: VecDeque<Instant>,
}

impl<'a> Load<'a> {
    /// Claims the rooms and writes them.
    pub fn new(mirror: Arc<dyn RoomMirror>, count: usize, runtime: &'a Runtime) -> Self {
        let metrics = MirrorMetrics::new();
        let limits = WriterLimits::default();
        let writer = MirrorWriter::start(
            Arc::clone(&mirror),
            limits,
            runtime.handle(),
            metrics.clone(),
        );
        let shared = Arc::new(Shared {
            writer,
            latencies: Mutex::new(latencies()),
            answered: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            is_endless: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        });
        let owner = NodeId(Uuid::new_v4());
        let rooms = runtime.block_on(async {
            let mut rooms = Vec::with_capacity(count);
            for _ in 0..count {
                let state = RoomState {
                    room: OwnedRoom::new(&*mirror, owner).await,
                    token: None,
                    waiting: VecDeque::new(),
                };
                rooms.push(Arc::new(Room {
                    state: Mutex::new(state),
                    shared: Arc::clone(&shared),
                }));
            }
            rooms
        });
        Self {
            runtime,
            rooms,
            shared,
            metrics,
        }
    }

    /// Offers commits for a while.
    pub fn measure(
        &self,
        offer: Offer,
        duration: Duration,
        server: Option<&RedisServer>,
    ) -> Figures {
        self.reset();
        let batches = &self.metrics.batch_commits;
        let batches_before = (batches.get_sample_sum(), batches.get_sample_count());
        let before = Cpu::read(server);
        match offer {
            Offer::Alone => self.run_alone(duration),
            Offer::Rate(rate) => self.run_rate(rate, duration),
        }
        let in_time = self.shared.answered.load(Ordering::Acquire);
        self.finish();
        let count = self.shared.answered.load(Ordering::Acquire);
        let (own_us, redis_us) = before.each_us(Cpu::read(server), count);
        let travelled = batches.get_sample_sum() - batches_before.0;
        let calls = batches.get_sample_count() - batches_before.1;
        Figures {
            count,
            per_second: in_time as f64 / duration.as_secs_f64(),
            latencies: self.shared.latencies().clone(),
            batch: travelled / calls.max(1) as f64,
            own_us,
            redis_us,
        }
    }

    fn reset(&self) {
        self.shared.latencies().reset();
        self.shared.answered.store(0, Ordering::Release);
        self.shared.is_over.store(false, Ordering::Release);
    }

    fn run_alone(&self, duration: Duration) {
        self.shared.is_endless.store(true, Ordering::Release);
        self.rooms[0].offer(Instant::now());
        std::thread::sleep(duration);
        self.shared.is_endless.store(false, Ordering::Release);
    }

    fn run_rate(&self, rate: u64, duration: Duration) {
        let begun = Instant::now();
        let mut rooms = self.rooms.iter().cycle();
        let mut offered = 0;
        let mut due = Duration::ZERO;
        while due < duration {
            // A tick that was overslept is made up for, with its own time.
            std::thread::sleep(due.saturating_sub(begun.elapsed()));
            let wanted = (due + TICK).as_micros() as u64 * rate / 1_000_000;
            for room in rooms.by_ref().take((wanted - offered) as usize) {
                room.offer(begun + due);
            }
            offered = wanted;
            due += TICK;
        }
        std::thread::sleep(duration.saturating_sub(begun.elapsed()));
    }

    /// Waits for the answers to what is on its way.
    fn finish(&self) {
        self.shared.is_over.store(true, Ordering::Release);
        let flushed = self.shared.writer.flush(FLUSH_TIMEOUT);
        assert!(self.runtime.block_on(flushed), "commits without answer");
        let refused = self.shared.refused.load(Ordering::Acquire);
        assert_eq!(refused, 0, "answers other than ok");
        // The last callback may still run when the writer has let go of its commit.
        for room in &self.rooms {
            while room.state().token.is_some() {
                std::thread::yield_now();
            }
        }
    }
}

impl Shared {
    fn latencies(&self) -> MutexGuard<'_, Histogram<u64>> {
        self.latencies.lock().expect("no panic while it is held")
    }
}

impl Room {
    fn state(&self) -> MutexGuard<'_, RoomState> {
        self.state.lock().expect("no panic while it is held")
    }

    /// A commit is due: now if the room has none on its way.
    fn offer(self: &Arc<Self>, due: Instant) {
        let mut state = self.state();
        if state.token.is_none() {
            self.submit(&mut state, due);
        } else if state.waiting.len() < WAITING_MAX {
            state.waiting.push_back(due);
        }
    }

    fn submit(self: &Arc<Self>, state: &mut RoomState, due: Instant) {
        let room = Arc::clone(self);
        let done = Box::new(move |outcome| room.answered(due, outcome));
        let submitted = self.shared.writer.submit(state.room.commit(), done);
        state.token = Some(submitted.expect("the writer holds one commit of each room"));
    }

    fn answered(self: &Arc<Self>, due: Instant, outcome: CommitOutcome) {
        let shared = &self.shared;
        let elapsed_us = due.elapsed().as_micros() as u64;
        shared.latencies().saturating_record(elapsed_us);
        shared.answered.fetch_add(1, Ordering::AcqRel);
        if outcome != CommitOutcome::Ok {
            shared.refused.fetch_add(1, Ordering::AcqRel);
        }
        let mut state = self.state();
        let next = state.waiting.pop_front().or_else(|| {
            let is_endless = shared.is_endless.load(Ordering::Acquire);
            is_endless.then(Instant::now)
        });
        match next {
            Some(due) if !shared.is_over.load(Ordering::Acquire) => self.submit(&mut state, due),
            Some(_) | None => {
                state.waiting.clear();
                state.token = None;
            }
        }
    }
}
