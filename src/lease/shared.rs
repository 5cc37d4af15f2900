//! The lease as rooms read it before they publish anything: a few atomics.

use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering};

use super::ExpiryCause;
use crate::ids::Timestamp;

/// Whether a node's lease holds, and why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseState {
    /// The lease holds.
    Held,
    /// It has expired, and it is not known why: rooms publish nothing.
    Unsure,
    /// It has expired because no node has the mirror: rooms continue without durability.
    Outage,
    /// It has expired and other nodes have the mirror: they may take the rooms.
    CutOff,
}

/// What a room reads of its node's lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseView {
    /// Whether the lease holds.
    pub state: LeaseState,
    /// Grows when the lease expired for another reason than an outage. Then each room needs a new
    /// proof of ownership.
    pub term: u64,
}

const UNKNOWN: u8 = 0;
const OUTAGE: u8 = 1;
const CUT_OFF: u8 = 2;

/// Written by the heartbeat, read by every room.
#[derive(Debug)]
pub struct SharedLease {
    held_until: AtomicI64,
    term: AtomicU64,
    cause: AtomicU8,
    judged_until: AtomicI64,
    /// The last cause determined since the lease expired was an outage.
    was_outage: AtomicU8,
}

impl Default for SharedLease {
    fn default() -> Self {
        Self {
            held_until: AtomicI64::new(i64::MIN),
            term: AtomicU64::new(0),
            cause: AtomicU8::new(UNKNOWN),
            judged_until: AtomicI64::new(i64::MIN),
            was_outage: AtomicU8::new(0),
        }
    }
}

impl SharedLease {
    /// The lease at `now`. A node that stood still reads here that its lease has expired.
    #[must_use]
    pub fn view(&self, now: Timestamp) -> LeaseView {
        // A term that grows after this is read next time, before the lease is read as held.
        let held_until = self.held_until.load(Ordering::Acquire);
        let term = self.term.load(Ordering::Acquire);
        let is_judged = now.0 < self.judged_until.load(Ordering::Acquire);
        let state = match self.cause.load(Ordering::Acquire) {
            _ if now.0 < held_until => LeaseState::Held,
            OUTAGE if is_judged => LeaseState::Outage,
            CUT_OFF if is_judged => LeaseState::CutOff,
            _ => LeaseState::Unsure,
        };
        LeaseView { state, term }
    }

    /// The lease of a node whose mirror belongs to it alone: it never expires.
    #[must_use]
    pub fn alone() -> Self {
        let lease = Self::default();
        lease.held_until.store(i64::MAX, Ordering::Release);
        lease
    }

    pub(super) fn held_until(&self, at: Timestamp) {
        self.was_outage.store(0, Ordering::Release);
        self.cause.store(UNKNOWN, Ordering::Release);
        self.held_until.store(at.0, Ordering::Release);
    }

    pub(super) fn next_term(&self) {
        self.term.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn set_cause(&self, cause: ExpiryCause, until: Timestamp) {
        let (code, is_outage) = match cause {
            ExpiryCause::Unknown => (UNKNOWN, 0),
            ExpiryCause::Outage => (OUTAGE, 1),
            ExpiryCause::CutOff | ExpiryCause::CannotTell => (CUT_OFF, 0),
        };
        self.judged_until.store(until.0, Ordering::Release);
        self.was_outage.store(is_outage, Ordering::Release);
        self.cause.store(code, Ordering::Release);
    }

    pub(super) fn was_outage(&self) -> bool {
        self.was_outage.load(Ordering::Acquire) == 1
    }
}
