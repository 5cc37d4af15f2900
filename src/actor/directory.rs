//! The live rooms of this node: finds them, wakes them, and shows their figures.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use actix::{Message, Recipient};

use super::timer::{SLOT_MS, Timer, TimerQueue};
use crate::{
    clock::Clock,
    ids::{RoomId, Timestamp},
    metrics::Metrics,
};

/// Tells a room that a time for which it asked has come.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Tick;

/// What a room shows without being asked.
#[derive(Debug)]
pub struct Entry<A> {
    address: A,
    timer: Arc<Timer<Recipient<Tick>>>,
    timers: Arc<TimerQueue<Recipient<Tick>>>,
    participants: AtomicUsize,
    is_degraded: AtomicBool,
    metrics: Metrics,
}

impl<A> Entry<A> {
    fn new(
        address: A,
        room: Recipient<Tick>,
        metrics: Metrics,
        timers: Arc<TimerQueue<Recipient<Tick>>>,
    ) -> Self {
        metrics.rooms.inc();
        Self {
            address,
            metrics,
            timer: timers.timer(room),
            timers,
            participants: AtomicUsize::new(0),
            is_degraded: AtomicBool::new(false),
        }
    }

    /// Asks for a tick at `at`, and at no other time.
    pub fn wake_at(&self, at: Timestamp) {
        self.timers.set(&self.timer, at);
    }

    /// Updates the room's share of the gauges.
    pub fn show(&self, participants: usize, is_degraded: bool) {
        // Mostly nothing has changed, and all threads share the gauges.
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

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// All live rooms of this node.
#[derive(Debug)]
pub struct Directory<A> {
    entries: RwLock<HashMap<RoomId, Arc<Entry<A>>>>,
    timers: Arc<TimerQueue<Recipient<Tick>>>,
    /// Rooms that failed and are being restarted.
    restarting: RwLock<HashSet<RoomId>>,
}

impl<A> Default for Directory<A> {
    fn default() -> Self {
        Self {
            entries: RwLock::default(),
            timers: Arc::default(),
            restarting: RwLock::default(),
        }
    }
}

impl<A: Clone> Directory<A> {
    /// Adds a room that started.
    pub fn insert(
        &self,
        room_id: RoomId,
        address: A,
        room: Recipient<Tick>,
        metrics: Metrics,
    ) -> Arc<Entry<A>> {
        let timers = Arc::clone(&self.timers);
        let entry = Arc::new(Entry::new(address, room, metrics, timers));
        write(&self.entries).insert(room_id, Arc::clone(&entry));
        self.end_restart(room_id);
        entry
    }

    /// Removes a room whose actor is gone, but not the entry of a successor. With `will_return` the
    /// room failed and counts as restarting.
    pub fn remove(&self, room_id: RoomId, entry: &Arc<Entry<A>>, will_return: bool) {
        if will_return {
            write(&self.restarting).insert(room_id);
        }
        let mut entries = write(&self.entries);
        if entries
            .get(&room_id)
            .is_some_and(|current| Arc::ptr_eq(current, entry))
        {
            entries.remove(&room_id);
        }
    }

    /// Ends the restart of a failed room: it has a successor, or will have none.
    pub fn end_restart(&self, room_id: RoomId) {
        write(&self.restarting).remove(&room_id);
    }

    /// Whether the room failed and is being restarted.
    pub fn is_restarting(&self, room_id: RoomId) -> bool {
        read(&self.restarting).contains(&room_id)
    }

    /// The actor of a live room.
    pub fn find(&self, room_id: RoomId) -> Option<A> {
        read(&self.entries)
            .get(&room_id)
            .map(|entry| entry.address.clone())
    }

    /// Whether the room has an actor.
    pub fn has(&self, room_id: RoomId) -> bool {
        read(&self.entries).contains_key(&room_id)
    }

    /// The actors of all live rooms.
    pub fn addresses(&self) -> Vec<A> {
        read(&self.entries)
            .values()
            .map(|entry| entry.address.clone())
            .collect()
    }

    /// Sends rooms their ticks. They travel through the mailbox, from another thread: a flood of
    /// commands delays the timers of the room's own thread, but not these. A timer fires once each
    /// time it is set, so that a room has at most one tick per slot in its mailbox.
    pub async fn tick(self: Arc<Self>, clock: Clock) {
        let mut earliest = clock.now();
        loop {
            for timer in self.timers.fired(clock, earliest).await {
                timer.target.do_send(Tick);
            }
            earliest = clock.now().plus_ms(SLOT_MS);
        }
    }
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    // Each change is complete in itself.
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
