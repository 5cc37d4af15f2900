//! The recorder writes what rooms decided into SQL, and retries until SQL has it. All its writes
//! may be repeated.
//!
//! Finished sessions wait in the mirror's outbox, so they survive this process. Opened sessions and
//! bans wait in memory, and are written again with the finished session.

mod live;
mod sql;

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout},
};
use tracing::{info, warn};

pub use self::{live::LiveSession, sql::RecorderParts};
use self::{
    live::LiveSessions,
    sql::{Failure, Waits},
};
use crate::{
    ids::{RoomId, SessionId, Timestamp, UserId},
    store::{Opening, RECORD_BATCH},
};

/// Opened sessions and bans that wait in memory. Beyond it the oldest is dropped: its session's end
/// writes it.
const PENDING_MAX: usize = 10_000;
/// Finished sessions read from the outbox at once.
const OUTBOX_BATCH: usize = 256;
/// Wait between two rounds. What comes meanwhile shares the transaction of the next.
const ROUND_PAUSE: Duration = Duration::from_millis(100);
/// How often the outbox is read without news: other processes leave sessions there.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often the recorder looks for lost sessions.
const SWEEP_EVERY: Duration = Duration::from_secs(3_600);
/// Bound of the list of sessions that SQL refused for good, which not every round tries again.
const REFUSED_MAX: usize = 10_000;

/// Something to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Note {
    Open(Opening),
    Ban(RoomId, UserId, Timestamp),
}

#[derive(Debug, Default)]
struct Pending {
    notes: VecDeque<Note>,
    /// A session was closed: the outbox is to be read.
    is_outbox_due: bool,
    /// A round is being written.
    is_busy: bool,
}

/// Takes what rooms record. Clones share one queue.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    pending: Arc<Mutex<Pending>>,
    wake: Arc<Notify>,
    live: LiveSessions,
}

/// When the next round is.
#[derive(Clone, Copy, Debug)]
enum Round {
    /// When there is news, but not before this time.
    News { after: Instant },
    /// After a failure.
    Again { at: Instant },
}

impl Recorder {
    /// A session began.
    pub fn open_session(&self, room_id: RoomId, session_id: SessionId, start_time: Timestamp) {
        self.note(Note::Open(Opening {
            session_id,
            room_id,
            start_time,
        }));
    }

    /// Counts a session as live on this node, until the returned value is dropped.
    #[must_use]
    pub fn keep_alive(&self, session_id: SessionId) -> LiveSession {
        self.live.insert(session_id)
    }

    /// Somebody was banned.
    pub fn store_ban(&self, room_id: RoomId, user_id: UserId, at: Timestamp) {
        self.note(Note::Ban(room_id, user_id, at));
    }

    /// A ban was lifted: it is not written, if it is not in SQL yet.
    pub fn forget_ban(&self, room_id: RoomId, user_id: UserId) {
        self.lock().notes.retain(|note| !matches!(note, Note::Ban(room, user, _) if (*room, *user) == (room_id, user_id)));
    }

    /// A finished session is in the outbox.
    pub fn session_closed(&self) {
        self.lock().is_outbox_due = true;
        self.wake.notify_one();
    }

    /// Waits until nothing is left to write, at most for `patience`. Returns whether nothing is
    /// left.
    pub async fn flush(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if self.is_idle() {
                return true;
            }
            sleep(Duration::from_millis(20)).await;
        }
        self.is_idle()
    }

    /// Runs until it is dropped, on the I/O runtime. A failure of one task delays no other.
    pub async fn run(self, parts: RecorderParts) {
        let mut touch = interval(parts.touch_every);
        touch.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut refused = HashSet::new();
        let mut waits: Option<Waits> = None;
        let mut round_at = Round::News {
            after: Instant::now(),
        };
        let mut sweep_at = Instant::now();
        loop {
            tokio::select! {
                () = self.due(round_at) => {
                    round_at = match self.round(&parts, &mut refused).await {
                        Ok(()) => {
                            if waits.take().is_some() {
                                info!("sessions are recorded again");
                            }
                            Round::News { after: Instant::now() + ROUND_PAUSE }
                        }
                        Err(failure) => {
                            parts.metrics.recorder_retries_total.inc();
                            if waits.is_none() {
                                warn!(%failure, "sessions cannot be recorded now: trying again");
                            }
                            let waits = waits.get_or_insert_with(|| parts.waits());
                            Round::Again { at: Instant::now() + waits.next().unwrap_or(parts.backoff_max) }
                        }
                    };
                }
                _ = touch.tick() => parts.touch(&self.live).await,
                () = sleep_until(sweep_at) => {
                    // Sessions that SQL refused are tried again first: a session in the outbox is
                    // not lost.
                    refused.clear();
                    let is_recorded = self.round(&parts, &mut refused).await.is_ok();
                    let is_swept = is_recorded && parts.sweep(&self.live).await;
                    sweep_at = Instant::now() + if is_swept { SWEEP_EVERY } else { parts.lost_after };
                }
            }
        }
    }

    /// Completes when the next round is due. No news is lost when it is dropped.
    async fn due(&self, round: Round) {
        match round {
            Round::Again { at } => sleep_until(at).await,
            Round::News { after } => {
                sleep_until(after).await;
                // After news, or without it: the round is due.
                drop(timeout(LOOK_EVERY, self.wake.notified()).await);
            }
        }
    }

    /// Writes everything once. What fails stays where it was.
    async fn round(
        &self,
        parts: &RecorderParts,
        refused: &mut HashSet<SessionId>,
    ) -> Result<(), Failure> {
        self.lock().is_busy = true;
        let result = self.write(parts, refused).await;
        let mut pending = self.lock();
        pending.is_busy = false;
        pending.is_outbox_due |= result.is_err();
        result
    }

    async fn write(
        &self,
        parts: &RecorderParts,
        refused: &mut HashSet<SessionId>,
    ) -> Result<(), Failure> {
        loop {
            let notes = self.next_notes();
            if notes.is_empty() {
                break;
            }
            if let Err(fault) = parts.write(&notes).await {
                let mut pending = self.lock();
                for note in notes.into_iter().rev() {
                    pending.notes.push_front(note);
                }
                return Err(fault.into());
            }
        }
        self.lock().is_outbox_due = false;
        loop {
            // Sessions that SQL refuses for good stay in the outbox: reads those behind them, too.
            let limit = OUTBOX_BATCH + refused.len();
            let mut sessions = parts.mirror.outbox(limit).await?;
            let is_all = sessions.len() < limit;
            sessions.retain(|session| !refused.contains(&session.session_id));
            parts.record(&sessions, refused).await?;
            if is_all || sessions.is_empty() || refused.len() >= REFUSED_MAX {
                return Ok(());
            }
        }
    }

    fn note(&self, note: Note) {
        let mut pending = self.lock();
        if pending.notes.len() >= PENDING_MAX {
            pending.notes.pop_front();
        }
        pending.notes.push_back(note);
        drop(pending);
        self.wake.notify_one();
    }

    /// Openings that share a transaction, or one ban. A ban can be forgotten until it is taken
    /// here.
    fn next_notes(&self) -> Vec<Note> {
        let mut pending = self.lock();
        let openings = pending
            .notes
            .iter()
            .take(RECORD_BATCH)
            .take_while(|note| matches!(note, Note::Open(_)))
            .count();
        let count = openings.max(1).min(pending.notes.len());
        pending.notes.drain(..count).collect()
    }

    fn is_idle(&self) -> bool {
        let pending = self.lock();
        pending.notes.is_empty() && !pending.is_outbox_due && !pending.is_busy
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
