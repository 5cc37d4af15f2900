//! The live rooms of this node: finds them, wakes them, and shows their figures.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, ThreadId},
    time::Duration,
};

use actix::{Arbiter, ArbiterHandle, Message, Recipient};
use tokio::time::Instant;

use super::alarm::{Alarm, Wish};
use crate::{
    clock::Clock,
    ids::{RoomId, Timestamp},
    metrics::Metrics,
};

/// Least time between the beginnings of two rounds of ticks, in milliseconds, and the longest time that one is spread over.
const ROUND_MS: u64 = 25;
/// Steps in which the rooms of a thread get the ticks of a round: pings and questions to the mirror take time, and commits wait.
const STEPS_MAX: usize = 10;
/// Rooms of a step, if there are as many: their questions go to the mirror together, which costs a fraction of asking one by one.
const STEP_ROOMS_MIN: usize = 12;
/// Between two steps; all of them fit into a round.
const STEP_PAUSE: Duration = Duration::from_millis(2);

/// Time has passed.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Tick;

/// A room that waits for its tick.
#[derive(Debug)]
struct Sleeper {
    room: Recipient<Tick>,
    /// Where it lives.
    thread: ThreadId,
    /// The same.
    arbiter: ArbiterHandle,
}

/// What a room shows without being asked.
#[derive(Debug)]
pub struct Entry<A> {
    /// The actor.
    address: A,
    /// When it wants a tick.
    wish: Arc<Wish<Sleeper>>,
    /// The directory's.
    alarm: Arc<Alarm<Sleeper>>,
    /// Seats taken.
    participants: AtomicUsize,
    /// The mirror does not take its changes.
    is_degraded: AtomicBool,
    /// Gauges to be kept true.
    metrics: Metrics,
}

impl<A> Entry<A> {
    /// A room that just started, on the current arbiter.
    fn new(
        address: A,
        room: Recipient<Tick>,
        metrics: Metrics,
        alarm: Arc<Alarm<Sleeper>>,
    ) -> Self {
        metrics.rooms.inc();
        Self {
            address,
            metrics,
            wish: Alarm::wish_of(Sleeper {
                room,
                thread: thread::current().id(),
                arbiter: Arbiter::current(),
            }),
            alarm,
            participants: AtomicUsize::new(0),
            is_degraded: AtomicBool::new(false),
        }
    }

    /// Asks for a tick at `at`, and at no other time.
    pub fn wake_at(&self, at: Timestamp) {
        self.alarm.set(&self.wish, at);
    }

    /// Shows the room's figures.
    pub fn show(&self, participants: usize, is_degraded: bool) {
        // Mostly nothing has changed, and the gauges are shared by all threads.
        if self.participants.load(Ordering::Relaxed) != participants {
            let before = self.participants.swap(participants, Ordering::Relaxed);
            self.metrics
                .participants
                .add(gauge(participants) - gauge(before));
        }
        if self.is_degraded.load(Ordering::Relaxed) != is_degraded {
            let was_degraded = self.is_degraded.swap(is_degraded, Ordering::Relaxed);
            self.metrics
                .rooms_degraded
                .add(i64::from(is_degraded) - i64::from(was_degraded));
        }
    }
}

impl<A> Drop for Entry<A> {
    fn drop(&mut self) {
        self.show(0, false);
        self.metrics.rooms.dec();
    }
}

/// Gives rooms of one thread their ticks.
fn wake(rooms: Vec<Arc<Wish<Sleeper>>>) {
    let arbiter = rooms[0].who.arbiter.clone();
    // Counted from here: a busy thread may begin late.
    let until = Instant::now() + Duration::from_millis(ROUND_MS);
    // A thread that has ended has no rooms any more.
    arbiter.spawn(in_turns(rooms, until, |room| room.who.room.do_send(Tick)));
}

/// Does something for each, in a few steps: what else happens on the thread has a turn after each, and some time between steps. A
/// busy thread takes long for a turn: what is left at `until` is done at once.
async fn in_turns<T>(all: Vec<T>, until: Instant, mut each: impl FnMut(T)) {
    let step = all.len().div_ceil(STEPS_MAX).max(STEP_ROOMS_MIN);
    for (index, one) in all.into_iter().enumerate() {
        if index > 0 && Instant::now() < until {
            match index % step {
                0 => tokio::time::sleep(STEP_PAUSE).await,
                _ => tokio::task::yield_now().await,
            }
        }
        each(one);
    }
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// All live rooms of this node.
#[derive(Debug)]
pub struct Directory<A> {
    entries: RwLock<HashMap<RoomId, Arc<Entry<A>>>>,
    alarm: Arc<Alarm<Sleeper>>,
    /// Rooms that failed and are being restarted.
    restarting: RwLock<HashSet<RoomId>>,
}

impl<A> Default for Directory<A> {
    fn default() -> Self {
        Self {
            entries: RwLock::default(),
            alarm: Arc::default(),
            restarting: RwLock::default(),
        }
    }
}

impl<A: Clone> Directory<A> {
    /// A room started, on the current arbiter.
    pub fn insert(
        &self,
        room_id: RoomId,
        address: A,
        room: Recipient<Tick>,
        metrics: Metrics,
    ) -> Arc<Entry<A>> {
        let entry = Arc::new(Entry::new(address, room, metrics, Arc::clone(&self.alarm)));
        self.entries
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(room_id, Arc::clone(&entry));
        self.end_restart(room_id);
        entry
    }

    /// A room's actor is gone; a successor's entry stays. `will_return`: it failed, and is live all the same.
    pub fn remove(&self, room_id: RoomId, entry: &Arc<Entry<A>>, will_return: bool) {
        if will_return {
            self.restarting
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(room_id);
        }
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        if entries
            .get(&room_id)
            .is_some_and(|current| Arc::ptr_eq(current, entry))
        {
            entries.remove(&room_id);
        }
    }

    /// A room that failed has a successor, or will have none.
    pub fn end_restart(&self, room_id: RoomId) {
        self.restarting
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&room_id);
    }

    /// Whether a room failed and is being restarted.
    pub fn is_restarting(&self, room_id: RoomId) -> bool {
        self.restarting
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&room_id)
    }

    /// The actor of a live room.
    pub fn find(&self, room_id: RoomId) -> Option<A> {
        self.read().get(&room_id).map(|entry| entry.address.clone())
    }

    /// Whether the room has an actor.
    pub fn has(&self, room_id: RoomId) -> bool {
        self.read().contains_key(&room_id)
    }

    /// All actors.
    pub fn addresses(&self) -> Vec<A> {
        self.read()
            .values()
            .map(|entry| entry.address.clone())
            .collect()
    }

    /// Wakes the rooms that are due, through their mailboxes, so that a flood of commands cannot starve time. A room has at
    /// most one tick of each round in its mailbox: the wish is taken when it is granted. Each thread is woken once for many of its
    /// rooms, and spreads their ticks over the time to the next round at most.
    pub async fn tick(self: Arc<Self>, clock: Clock) {
        let mut earliest = clock.now();
        loop {
            let mut due: HashMap<ThreadId, Vec<Arc<Wish<Sleeper>>>> = HashMap::new();
            for wish in self.alarm.due(clock, earliest).await {
                due.entry(wish.who.thread).or_default().push(wish);
            }
            earliest = clock.now().plus_ms(ROUND_MS);
            due.into_values().for_each(wake);
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, HashMap<RoomId, Arc<Entry<A>>>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const ROUND: Duration = Duration::from_millis(ROUND_MS);

    #[tokio::test]
    async fn others_have_a_turn_after_each() {
        let others = Cell::new(0);
        let mut seen = Vec::new();
        let until = Instant::now() + Duration::from_secs(60);
        let work = in_turns(vec![(); 5 * STEP_ROOMS_MIN], until, |()| {
            seen.push(others.get())
        });
        let other = async {
            loop {
                others.set(others.get() + 1);
                tokio::task::yield_now().await;
            }
        };
        tokio::select! { biased;
            () = work => {}
            () = other => {}
        }
        assert_eq!(seen.len(), 5 * STEP_ROOMS_MIN);
        assert!(seen.is_sorted_by(|one, next| one < next), "{seen:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_round_has_few_steps_of_few_rooms_and_no_more_than_fit_into_it() {
        let most = STEPS_MAX - 1;
        for (count, pauses) in [
            (0, 0),
            (STEP_ROOMS_MIN, 0),
            (STEP_ROOMS_MIN + 1, 1),
            (STEP_ROOMS_MIN * STEPS_MAX, most),
            (10_000, most),
        ] {
            let began = Instant::now();
            let mut done = 0;
            in_turns(vec![(); count], began + ROUND, |()| done += 1).await;
            assert_eq!(done, count);
            assert_eq!(began.elapsed(), STEP_PAUSE * pauses as u32);
            assert!(began.elapsed() < ROUND);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn on_a_busy_thread_a_round_is_over_before_the_next() {
        const TURN: Duration = Duration::from_millis(5);
        let began = Instant::now();
        let turns = Cell::new(0);
        let mut seen = Vec::new();
        let work = in_turns(vec![(); 1_000], began + ROUND, |()| seen.push(turns.get()));
        let busy = async {
            loop {
                turns.set(turns.get() + 1);
                tokio::time::advance(TURN).await;
            }
        };
        tokio::select! { biased;
            () = work => {}
            () = busy => {}
        }
        assert_eq!(seen.len(), 1_000);
        assert!(
            seen[2] > seen[1],
            "others have turns as long as there is time: {seen:?}"
        );
        assert!(began.elapsed() <= ROUND + TURN, "{:?}", began.elapsed());
    }
}
