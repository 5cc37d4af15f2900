//! When rooms want to be woken: each says so in its [`Wish`], one task waits for the first of them. Looking at every room each time
//! would cost more than waking the few that are due.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;

use crate::{clock::Clock, ids::Timestamp};

/// How exactly rooms are woken; wishes that are closer to each other are granted together.
const TICK_MS: i64 = 25;

/// "Not asked to be woken", "not listed".
const NEVER: i64 = i64::MAX;

/// When somebody wants to be woken, and where that is listed: then or earlier it is looked at.
///
/// A new time is told before it is read where the wish is listed, and that is cleared before the time is read, all in one order
/// (`SeqCst`): so a new time is seen by the look that is under way, or is listed.
#[derive(Debug)]
pub(super) struct Wish<T> {
    /// Who it is.
    pub(super) who: T,
    /// In milliseconds since 1970.
    at: AtomicI64,
    /// A beat on which it is listed.
    far: AtomicI64,
    /// The same, of an earlier one. Most wishes are for a time far away, are for one nearby for a moment, and then for one far away
    /// again, which is still listed.
    near: AtomicI64,
}

impl<T> Wish<T> {
    /// Takes the wish if it is due; none: it is for that later time, or there is none any more.
    fn take(&self, now: i64) -> Result<(), Option<Timestamp>> {
        let wanted = self.at.load(Ordering::SeqCst);
        if wanted > now {
            return Err((wanted != NEVER).then_some(Timestamp(wanted)));
        }
        // Else another time has just been told, and listed.
        self.at
            .compare_exchange(wanted, NEVER, Ordering::SeqCst, Ordering::SeqCst)
            .map(|_| ())
            .map_err(|_| None)
    }

    /// The first beat on which it is listed.
    fn listed_at(&self) -> i64 {
        let far = self.far.load(Ordering::SeqCst);
        far.min(self.near.load(Ordering::SeqCst))
    }

    /// It is not listed on this beat any more; on another it may be.
    fn clear(&self, beat: i64) {
        for listed in [&self.near, &self.far] {
            // Else it is listed elsewhere.
            let _ = listed.compare_exchange(beat, NEVER, Ordering::SeqCst, Ordering::SeqCst);
        }
    }
}

/// Wishes by beat; whoever is gone does not stay for them. One that was listed again for an earlier beat is looked at on both.
type List<T> = BTreeMap<i64, Vec<Weak<Wish<T>>>>;

/// See the module.
#[derive(Debug)]
pub(super) struct Alarm<T> {
    listed: Mutex<List<T>>,
    /// Somebody is listed before all others.
    changed: Notify,
}

impl<T> Default for Alarm<T> {
    fn default() -> Self {
        Self {
            listed: Mutex::default(),
            changed: Notify::new(),
        }
    }
}

impl<T> Alarm<T> {
    /// Of somebody who does not want to be woken yet.
    pub(super) fn wish_of(who: T) -> Arc<Wish<T>> {
        Arc::new(Wish {
            who,
            at: AtomicI64::new(NEVER),
            far: AtomicI64::new(NEVER),
            near: AtomicI64::new(NEVER),
        })
    }

    /// Changes a wish: to be woken at `at`, and at no other time.
    pub(super) fn set(&self, wish: &Arc<Wish<T>>, at: Timestamp) {
        wish.at.store(at.0, Ordering::SeqCst);
        self.list(wish, at);
    }

    /// Sees to it that the wish is looked at early enough; mostly it is.
    fn list(&self, wish: &Arc<Wish<T>>, at: Timestamp) {
        let beat = beat_of(at);
        if wish.listed_at() <= beat {
            return;
        }
        let mut listed = self.listed();
        // Written under the lock only, but for clearing.
        let far = wish.far.load(Ordering::SeqCst);
        let slot = if far == NEVER { &wish.far } else { &wish.near };
        slot.store(beat, Ordering::SeqCst);
        let is_first = listed
            .first_key_value()
            .is_none_or(|(first, _)| beat < *first);
        listed.entry(beat).or_default().push(Arc::downgrade(wish));
        drop(listed);
        if is_first {
            self.changed.notify_one();
        }
    }

    /// Waits until wishes are due, and takes them. Not before `earliest`, however long they have been due.
    pub(super) async fn due(&self, clock: Clock, earliest: Timestamp) -> Vec<Arc<Wish<T>>> {
        loop {
            let wait_ms = match self.listed().first_key_value() {
                Some((beat, _)) => Timestamp(*beat).max(earliest).ms_since(clock.now()),
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
            let due = self.take(clock.now().0);
            if !due.is_empty() {
                return due;
            }
        }
    }

    fn take(&self, now: i64) -> Vec<Arc<Wish<T>>> {
        let mut due = Vec::new();
        for (beat, wishes) in self.unlist(now) {
            // Who is gone wants nothing any more.
            for wish in wishes.iter().filter_map(Weak::upgrade) {
                wish.clear(beat);
                match wish.take(now) {
                    Ok(()) => due.push(wish),
                    // It was listed for an earlier time than it is for now.
                    Err(Some(later)) => self.list(&wish, later),
                    Err(None) => {}
                }
            }
        }
        due
    }

    /// Takes those off the list that are to be looked at.
    fn unlist(&self, now: i64) -> List<T> {
        let mut listed = self.listed();
        let later = listed.split_off(&now.saturating_add(1));
        std::mem::replace(&mut *listed, later)
    }

    fn listed(&self) -> MutexGuard<'_, List<T>> {
        // Each change is complete in itself.
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When a wish for this time is looked at.
fn beat_of(at: Timestamp) -> i64 {
    at.0.saturating_add(TICK_MS - 1) / TICK_MS * TICK_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 1_000_000;

    fn at(ms: i64) -> Timestamp {
        Timestamp(START + ms)
    }

    /// Who is woken within `ms`, one look after the other.
    async fn woken(alarm: &Alarm<&'static str>, clock: Clock, ms: u64) -> Vec<&'static str> {
        let mut woken = Vec::new();
        let looking = async {
            loop {
                let due = alarm.due(clock, Timestamp(0)).await;
                woken.extend(due.iter().map(|wish| wish.who));
            }
        };
        let looking = tokio::time::timeout(Duration::from_millis(ms), looking);
        assert!(looking.await.is_err());
        woken
    }

    #[tokio::test(start_paused = true)]
    async fn wishes_are_granted_in_time_and_in_order() {
        let (alarm, clock) = (Alarm::default(), Clock::showing(at(0)));
        let [late, early, never] = ["late", "early", "never"].map(Alarm::wish_of);
        alarm.set(&late, at(500));
        alarm.set(&early, at(90));
        assert_eq!(woken(&alarm, clock, 89).await, [""; 0]);
        assert_eq!(woken(&alarm, clock, 200).await, ["early"]);
        assert_eq!(woken(&alarm, clock, 1_000).await, ["late"]);
        assert_eq!(woken(&alarm, clock, 1_000).await, [""; 0]);
        assert!(alarm.listed().is_empty());
        drop(never);
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_last_wish_counts() {
        let (alarm, clock) = (Alarm::default(), Clock::showing(at(0)));
        let [sooner, later] = ["sooner", "later"].map(Alarm::wish_of);
        alarm.set(&sooner, at(900));
        alarm.set(&sooner, at(100));
        alarm.set(&later, at(100));
        alarm.set(&later, at(700));
        assert_eq!(woken(&alarm, clock, 650).await, ["sooner"]);
        assert_eq!(woken(&alarm, clock, 650).await, ["later"]);
        assert_eq!(woken(&alarm, clock, 5_000).await, [""; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn wish_for_a_time_nearby_leaves_the_one_far_away_listed() {
        let (alarm, clock) = (Alarm::default(), Clock::showing(at(0)));
        let busy = Alarm::wish_of("busy");
        for turn in 0..3 {
            alarm.set(&busy, clock.now().plus_ms(100));
            alarm.set(&busy, at(10_000));
            assert_eq!(woken(&alarm, clock, 200).await, [""; 0], "{turn}");
            assert_eq!(alarm.listed().values().flatten().count(), 1);
        }
        assert_eq!(woken(&alarm, clock, 9_500).await, ["busy"]);
        assert!(alarm.listed().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn wish_told_while_everybody_sleeps_is_granted() {
        let (alarm, clock) = (Arc::new(Alarm::default()), Clock::showing(at(0)));
        let wishes = ["far", "near"].map(Alarm::wish_of);
        alarm.set(&wishes[0], at(60_000));
        let sleeper = tokio::spawn({
            let alarm = Arc::clone(&alarm);
            async move { woken(&alarm, clock, 1_000).await }
        });
        tokio::time::sleep(Duration::from_millis(100)).await;
        alarm.set(&wishes[1], at(200));
        assert_eq!(sleeper.await.unwrap(), ["near"]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_gone_is_not_woken_and_a_wish_that_is_always_due_rings_once_in_a_while() {
        let (alarm, clock) = (Alarm::default(), Clock::showing(at(0)));
        let [gone, eager] = ["gone", "eager"].map(Alarm::wish_of);
        alarm.set(&gone, at(0));
        drop(gone);
        let mut earliest = at(0);
        for _ in 0..4 {
            alarm.set(&eager, Timestamp(0));
            let due = alarm.due(clock, earliest).await;
            assert_eq!(
                due.iter().map(|wish| wish.who).collect::<Vec<_>>(),
                ["eager"]
            );
            earliest = clock.now().plus_ms(25);
        }
        assert!(clock.now() >= at(75));
        assert!(alarm.listed().is_empty());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_last_wish_is_missed_while_the_list_is_read() {
        const ROUNDS: usize = 20_000;
        let (alarm, clock) = (Arc::new(Alarm::default()), Clock::start());
        let wishes: Vec<_> = (0..20).map(Alarm::wish_of).collect();
        let setter = tokio::task::spawn_blocking({
            let (alarm, wishes) = (Arc::clone(&alarm), wishes.clone());
            move || {
                for round in 0..ROUNDS {
                    for (index, wish) in wishes.iter().enumerate() {
                        let after_ms = [400, 30, 0, 200][(round + index) % 4];
                        alarm.set(wish, clock.now().plus_ms(after_ms));
                    }
                }
                let last = clock.now();
                wishes.iter().for_each(|wish| alarm.set(wish, last));
            }
        });
        let is_granted = |wish: &Arc<Wish<_>>| wish.at.load(Ordering::SeqCst) == NEVER;
        let granting = async {
            while !setter.is_finished() || !wishes.iter().all(is_granted) {
                let due = alarm.due(clock, Timestamp(0));
                let _ = tokio::time::timeout(Duration::from_millis(10), due).await;
            }
        };
        let granting = tokio::time::timeout(Duration::from_secs(10), granting);
        assert!(granting.await.is_ok(), "somebody is not woken");
    }
}
