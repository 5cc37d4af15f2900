//! When rooms want to be woken: each says so in its [`Wish`], one task waits for the first of them. Looking at every room each time
//! would cost more than waking the few that are due.

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

/// How exactly rooms are woken; wishes that are closer to each other are granted together.
const TICK_MS: i64 = 25;

/// "Not asked to be woken", "not listed".
const NEVER: i64 = i64::MAX;

/// When somebody wants to be woken, and where that is listed: there or earlier it is looked at.
///
/// A new time is told before the list is read, a wish is taken off the list before its time is read, all in one order (`SeqCst`):
/// so a new time is seen by the look that is under way, or is listed.
#[derive(Debug)]
pub(super) struct Wish<T> {
    /// Who it is.
    pub(super) who: T,
    /// In milliseconds since 1970.
    at: AtomicI64,
    /// Written under the list's lock only.
    listed_at: AtomicI64,
    /// Tells those of one time apart on the list.
    number: u64,
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
}

/// Wishes by beat and number; whoever is gone does not stay for them.
type List<T> = BTreeMap<(i64, u64), Weak<Wish<T>>>;

/// See the module.
#[derive(Debug)]
pub(super) struct Alarm<T> {
    listed: Mutex<List<T>>,
    /// Somebody is listed before all others.
    changed: Notify,
    numbers: AtomicU64,
}

impl<T> Default for Alarm<T> {
    fn default() -> Self {
        Self {
            listed: Mutex::default(),
            changed: Notify::new(),
            numbers: AtomicU64::new(0),
        }
    }
}

impl<T> Alarm<T> {
    /// Of somebody who does not want to be woken yet.
    pub(super) fn wish_of(&self, who: T) -> Arc<Wish<T>> {
        Arc::new(Wish {
            who,
            at: AtomicI64::new(NEVER),
            listed_at: AtomicI64::new(NEVER),
            number: self.numbers.fetch_add(1, Ordering::Relaxed),
        })
    }

    /// Changes a wish: to be woken at `at`, and at no other time.
    pub(super) fn set(&self, wish: &Arc<Wish<T>>, at: Timestamp) {
        wish.at.store(at.0, Ordering::SeqCst);
        // Mostly it is looked at early enough.
        if beat_of(at) < wish.listed_at.load(Ordering::SeqCst) {
            self.list(wish, at);
        }
    }

    fn list(&self, wish: &Arc<Wish<T>>, at: Timestamp) {
        let key = (beat_of(at), wish.number);
        let mut listed = self.listed();
        let before = wish.listed_at.load(Ordering::SeqCst);
        if before <= key.0 {
            return;
        }
        listed.remove(&(before, wish.number));
        listed.insert(key, Arc::downgrade(wish));
        wish.listed_at.store(key.0, Ordering::SeqCst);
        let is_first = listed
            .first_key_value()
            .is_some_and(|(first, _)| *first == key);
        drop(listed);
        if is_first {
            self.changed.notify_one();
        }
    }

    /// Waits until wishes are due, and takes them. Not before `earliest`, however long they have been due.
    pub(super) async fn due(&self, clock: Clock, earliest: Timestamp) -> Vec<Arc<Wish<T>>> {
        loop {
            let wait_ms = match self.listed().first_key_value() {
                Some(((beat, _), _)) => Timestamp(*beat).max(earliest).ms_since(clock.now()),
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
        for wish in self.unlist(now) {
            match wish.take(now) {
                Ok(()) => due.push(wish),
                // It was listed for an earlier time than it is for now.
                Err(Some(later)) => self.list(&wish, later),
                Err(None) => {}
            }
        }
        due
    }

    /// Takes those off the list that are to be looked at; who is gone wants nothing any more.
    fn unlist(&self, now: i64) -> Vec<Arc<Wish<T>>> {
        let mut listed = self.listed();
        let later = listed.split_off(&(now.saturating_add(1), 0));
        let due = std::mem::replace(&mut *listed, later);
        let due = due.into_values().filter_map(|wish| wish.upgrade());
        due.inspect(|wish| wish.listed_at.store(NEVER, Ordering::SeqCst))
            .collect()
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
        let [late, early, never] = ["late", "early", "never"].map(|who| alarm.wish_of(who));
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
        let [sooner, later] = ["sooner", "later"].map(|who| alarm.wish_of(who));
        alarm.set(&sooner, at(900));
        alarm.set(&sooner, at(100));
        alarm.set(&later, at(100));
        alarm.set(&later, at(700));
        assert_eq!(alarm.listed().len(), 2);
        assert_eq!(woken(&alarm, clock, 650).await, ["sooner"]);
        assert_eq!(woken(&alarm, clock, 650).await, ["later"]);
        assert_eq!(woken(&alarm, clock, 5_000).await, [""; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn wish_told_while_everybody_sleeps_is_granted() {
        let (alarm, clock) = (Arc::new(Alarm::default()), Clock::showing(at(0)));
        let wishes = ["far", "near"].map(|who| alarm.wish_of(who));
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
        let [gone, eager] = ["gone", "eager"].map(|who| alarm.wish_of(who));
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
}
