//! Wakes rooms at the times they asked for. All timers of a node lie in one queue, for which one
//! task waits. That costs less than asking every room in turn.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;

use crate::{clock::Clock, ids::Timestamp};

/// Timers of one slot fire together. Also the least time between two ticks of a room.
pub(super) const SLOT_MS: u64 = 25;

/// The slot of a timer that is not set.
const UNSET: i64 = i64::MAX;

/// Fires once for each time it is set, unless it is set again before.
#[derive(Debug)]
pub(super) struct Timer<T> {
    pub(super) target: T,
    id: u64,
    /// End of its slot in milliseconds since 1970. Written under the queue's lock.
    slot: AtomicI64,
}

/// Timers by slot and id. A timer that was dropped stays until its slot, and does not fire.
type Slots<T> = BTreeMap<(i64, u64), Weak<Timer<T>>>;

/// See the module.
#[derive(Debug)]
pub(super) struct TimerQueue<T> {
    slots: Mutex<Slots<T>>,
    next_id: AtomicU64,
    /// A timer was set for an earlier slot than all others.
    changed: Notify,
}

impl<T> Default for TimerQueue<T> {
    fn default() -> Self {
        Self {
            slots: Mutex::default(),
            next_id: AtomicU64::new(0),
            changed: Notify::new(),
        }
    }
}

impl<T> TimerQueue<T> {
    /// Creates a timer that is not set.
    pub(super) fn timer(&self, target: T) -> Arc<Timer<T>> {
        Arc::new(Timer {
            target,
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
            slot: AtomicI64::new(UNSET),
        })
    }

    /// Sets `timer` to fire in the slot of `at`, and at no other time.
    pub(super) fn set(&self, timer: &Arc<Timer<T>>, at: Timestamp) {
        let slot = at.round_up(SLOT_MS).0;
        // Mostly nothing changes. If it fires meanwhile, it does so for this slot.
        if timer.slot.load(Ordering::Relaxed) == slot {
            return;
        }
        let mut slots = self.slots();
        let before = timer.slot.swap(slot, Ordering::Relaxed);
        slots.remove(&(before, timer.id));
        let is_first = slots
            .first_key_value()
            .is_none_or(|((first, _), _)| slot < *first);
        slots.insert((slot, timer.id), Arc::downgrade(timer));
        drop(slots);
        if is_first {
            self.changed.notify_one();
        }
    }

    /// Waits until timers fire and returns them. Waits until `earliest` even if some are due.
    pub(super) async fn fired(&self, clock: Clock, earliest: Timestamp) -> Vec<Arc<Timer<T>>> {
        loop {
            let wait_ms = match self.slots().first_key_value() {
                Some(((slot, _), _)) => Timestamp(*slot).max(earliest).ms_since(clock.now()),
                None => u64::MAX,
            };
            if wait_ms > 0 {
                let wait = tokio::time::sleep(Duration::from_millis(wait_ms));
                tokio::select! {
                    () = wait => {}
                    () = self.changed.notified() => {}
                }
                continue;
            }
            let fired = self.take_due(clock.now());
            if !fired.is_empty() {
                return fired;
            }
        }
    }

    fn take_due(&self, now: Timestamp) -> Vec<Arc<Timer<T>>> {
        let mut slots = self.slots();
        let later = slots.split_off(&(now.0.saturating_add(1), 0));
        let due = std::mem::replace(&mut *slots, later);
        let fired: Vec<_> = due.values().filter_map(Weak::upgrade).collect();
        for timer in &fired {
            timer.slot.store(UNSET, Ordering::Relaxed);
        }
        fired
    }

    fn slots(&self) -> MutexGuard<'_, Slots<T>> {
        // Each change is complete in itself.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 1_000_000;

    fn at(ms: i64) -> Timestamp {
        Timestamp(START + ms)
    }

    /// The targets of the timers that fire within `ms`.
    async fn woken(queue: &TimerQueue<&'static str>, clock: Clock, ms: u64) -> Vec<&'static str> {
        let mut woken = Vec::new();
        let firing = async {
            loop {
                let fired = queue.fired(clock, Timestamp(0)).await;
                woken.extend(fired.iter().map(|timer| timer.target));
            }
        };
        let firing = tokio::time::timeout(Duration::from_millis(ms), firing);
        assert!(firing.await.is_err());
        woken
    }

    #[tokio::test(start_paused = true)]
    async fn timers_fire_in_time_and_in_order() {
        let (queue, clock) = (TimerQueue::default(), Clock::showing(at(0)));
        let [late, early, never] = ["late", "early", "never"].map(|name| queue.timer(name));
        queue.set(&late, at(500));
        queue.set(&early, at(90));
        assert_eq!(woken(&queue, clock, 89).await, [""; 0]);
        assert_eq!(woken(&queue, clock, 200).await, ["early"]);
        assert_eq!(woken(&queue, clock, 1_000).await, ["late"]);
        assert_eq!(woken(&queue, clock, 1_000).await, [""; 0]);
        assert!(queue.slots().is_empty());
        drop(never);
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_last_time_counts() {
        let (queue, clock) = (TimerQueue::default(), Clock::showing(at(0)));
        let [sooner, later] = ["sooner", "later"].map(|name| queue.timer(name));
        queue.set(&sooner, at(900));
        queue.set(&sooner, at(100));
        queue.set(&later, at(100));
        queue.set(&later, at(700));
        assert_eq!(woken(&queue, clock, 650).await, ["sooner"]);
        assert_eq!(woken(&queue, clock, 650).await, ["later"]);
        assert_eq!(woken(&queue, clock, 5_000).await, [""; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_set_to_and_fro_is_listed_once() {
        let (queue, clock) = (TimerQueue::default(), Clock::showing(at(0)));
        let busy = queue.timer("busy");
        for turn in 0..3 {
            queue.set(&busy, clock.now().plus_ms(100));
            queue.set(&busy, at(10_000));
            assert_eq!(woken(&queue, clock, 200).await, [""; 0], "{turn}");
            assert_eq!(queue.slots().len(), 1);
        }
        assert_eq!(woken(&queue, clock, 9_500).await, ["busy"]);
        assert!(queue.slots().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_set_during_the_wait_fires() {
        let (queue, clock) = (Arc::new(TimerQueue::default()), Clock::showing(at(0)));
        let timers = ["far", "near"].map(|name| queue.timer(name));
        queue.set(&timers[0], at(60_000));
        let waiter = tokio::spawn({
            let queue = Arc::clone(&queue);
            async move { woken(&queue, clock, 1_000).await }
        });
        tokio::time::sleep(Duration::from_millis(100)).await;
        queue.set(&timers[1], at(200));
        assert_eq!(waiter.await.unwrap(), ["near"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_timer_does_not_fire_and_one_that_is_always_due_fires_once_per_slot() {
        let (queue, clock) = (TimerQueue::default(), Clock::showing(at(0)));
        let [gone, eager] = ["gone", "eager"].map(|name| queue.timer(name));
        queue.set(&gone, at(0));
        drop(gone);
        let mut earliest = at(0);
        for _ in 0..4 {
            queue.set(&eager, Timestamp(0));
            let fired = queue.fired(clock, earliest).await;
            assert_eq!(
                fired.iter().map(|timer| timer.target).collect::<Vec<_>>(),
                ["eager"]
            );
            earliest = clock.now().plus_ms(25);
        }
        assert!(clock.now() >= at(75));
        assert!(queue.slots().is_empty());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_last_time_is_missed_while_timers_fire() {
        const ROUNDS: usize = 20_000;
        let (queue, clock) = (Arc::new(TimerQueue::default()), Clock::start());
        let timers: Vec<_> = (0..20).map(|name| queue.timer(name)).collect();
        let setter = tokio::task::spawn_blocking({
            let (queue, timers) = (Arc::clone(&queue), timers.clone());
            move || {
                for round in 0..ROUNDS {
                    for (index, timer) in timers.iter().enumerate() {
                        let after_ms = [400, 30, 0, 200][(round + index) % 4];
                        queue.set(timer, clock.now().plus_ms(after_ms));
                    }
                }
                let last = clock.now();
                timers.iter().for_each(|timer| queue.set(timer, last));
            }
        });
        let has_fired = |timer: &Arc<Timer<_>>| timer.slot.load(Ordering::Relaxed) == UNSET;
        let firing = async {
            while !setter.is_finished() || !timers.iter().all(has_fired) {
                let fired = queue.fired(clock, Timestamp(0));
                let _ = tokio::time::timeout(Duration::from_millis(10), fired).await;
            }
        };
        let firing = tokio::time::timeout(Duration::from_secs(10), firing);
        assert!(firing.await.is_ok(), "a timer has not fired");
    }
}
