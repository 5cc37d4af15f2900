//! The lease as rooms see it: a few atomics, read before anything is published.

use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering};

use super::Judgement;
use crate::ids::Timestamp;

/// What a node may do with its rooms now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The lease holds.
    Held,
    /// It is over and nobody knows why: nothing is published.
    Unsure,
    /// It is over because no node has the mirror: rooms go on without durability.
    Outage,
    /// Others have the mirror: the rooms are theirs to take.
    CutOff,
}

/// What a room reads of its node's lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseView {
    /// What may be done.
    pub standing: Standing,
    /// Grows when the lease ended without an outage as the reason: from then on a room needs a proof that it is still owned.
    pub term: u64,
}

impl LeaseView {
    /// A lease that cannot end: the mirror is this process's alone.
    pub const ALONE: Self = Self {
        standing: Standing::Held,
        term: 0,
    };
}

const UNKNOWN: u8 = 0;
const OUTAGE: u8 = 1;
const CUT_OFF: u8 = 2;

/// Written by the heartbeat, read by every room.
#[derive(Debug)]
pub struct LeaseCell {
    held_until: AtomicI64,
    term: AtomicU64,
    judgement: AtomicU8,
    judged_until: AtomicI64,
    /// The last judgement since the lease ended was an outage.
    was_outage: AtomicU8,
}

impl Default for LeaseCell {
    fn default() -> Self {
        Self {
            held_until: AtomicI64::new(i64::MIN),
            term: AtomicU64::new(0),
            judgement: AtomicU8::new(UNKNOWN),
            judged_until: AtomicI64::new(i64::MIN),
            was_outage: AtomicU8::new(0),
        }
    }
}

impl LeaseCell {
    /// How things stand at `now`. A node that stood still reads here that its lease is over, whatever it was about to do.
    #[must_use]
    pub fn view(&self, now: Timestamp) -> LeaseView {
        // The term is read first: one that grows afterwards is seen at the next look, before the lease is seen as held.
        let held_until = self.held_until.load(Ordering::Acquire);
        let term = self.term.load(Ordering::Acquire);
        let is_judged = now.0 < self.judged_until.load(Ordering::Acquire);
        let standing = match self.judgement.load(Ordering::Acquire) {
            _ if now.0 < held_until => Standing::Held,
            OUTAGE if is_judged => Standing::Outage,
            CUT_OFF if is_judged => Standing::CutOff,
            _ => Standing::Unsure,
        };
        LeaseView { standing, term }
    }

    /// The lease of a mirror that is this process's alone.
    #[must_use]
    pub fn alone() -> Self {
        let cell = Self::default();
        cell.held_until.store(i64::MAX, Ordering::Release);
        cell
    }

    pub(super) fn held_until(&self, at: Timestamp) {
        self.was_outage.store(0, Ordering::Release);
        self.judgement.store(UNKNOWN, Ordering::Release);
        self.held_until.store(at.0, Ordering::Release);
    }

    pub(super) fn next_term(&self) {
        self.term.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn judged(&self, judgement: Judgement, until: Timestamp) {
        let (code, is_outage) = match judgement {
            Judgement::Unknown => (UNKNOWN, 0),
            Judgement::Outage => (OUTAGE, 1),
            Judgement::CutOff | Judgement::CannotTell => (CUT_OFF, 0),
        };
        self.judged_until.store(until.0, Ordering::Release);
        self.was_outage.store(is_outage, Ordering::Release);
        self.judgement.store(code, Ordering::Release);
    }

    pub(super) fn was_outage(&self) -> bool {
        self.was_outage.load(Ordering::Acquire) == 1
    }
}
