//! The recorder: brings what rooms decided into SQL, again and again until it is there. Everything it does may be repeated.
//!
//! Finished sessions wait in the mirror's outbox, so they survive this process; opened sessions and bans wait in memory
//! and are written once more with the finished session.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::{
    sync::Notify,
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout},
};
use tracing::{error, info, warn};

use crate::{
    actor::Directory,
    clock::Clock,
    ids::{RoomId, SessionId, Timestamp, UserId},
    metrics::Metrics,
    mirror::{MirrorFault, RoomMirror},
    room::record::ClosedSession,
    store::{PAGE_MAX, Store, StoreFault},
};

/// Opened sessions and bans that wait in memory; beyond it the oldest is left to its session's end.
const PENDING_MAX: usize = 10_000;
/// Finished sessions read from the outbox at once.
const OUTBOX_BATCH: usize = 256;
/// The outbox is looked at without being asked this often: other processes leave sessions there.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often SQL is told which sessions are alive.
const TOUCH_EVERY: Duration = Duration::from_secs(60);
/// How often lost sessions are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(3_600);
/// A session seen alive more recently is not called lost: its room may be on its way into the mirror. Three times the pace at
/// which live sessions are touched, by whatever process.
const LOST_AFTER: Duration = Duration::from_secs(180);
/// Sessions refused for good that are remembered, so as not to be tried with every round.
const REFUSED_MAX: usize = 10_000;

/// Something to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Note {
    Open(RoomId, SessionId, Timestamp),
    Ban(RoomId, UserId, Timestamp),
}

#[derive(Debug, Default)]
struct Pending {
    notes: VecDeque<Note>,
    /// A session was closed: look into the outbox.
    is_outbox_due: bool,
    /// The worker has something in its hands.
    is_busy: bool,
}

/// What rooms tell; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    pending: Arc<Mutex<Pending>>,
    wake: Arc<Notify>,
}

/// What the recorder works with.
pub struct RecorderParts {
    /// Where finished sessions wait.
    pub mirror: Arc<dyn RoomMirror>,
    /// Where they go.
    pub store: Store,
    /// Counts.
    pub metrics: Metrics,
    /// Which sessions are alive here.
    pub directory: Arc<Directory>,
    /// Says when.
    pub clock: Clock,
    /// First wait after a failure.
    pub backoff_min: Duration,
    /// Longest wait after a failure.
    pub backoff_max: Duration,
}

/// Waits after failures, each longer than the one before.
type Waits = <ExponentialBuilder as BackoffBuilder>::Backoff;

/// What a search for lost sessions came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Swept {
    /// Lost, and closed now.
    closed: usize,
    /// Perhaps lost, but seen alive a moment ago.
    young: usize,
}

/// Why a round did not succeed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Store(#[from] StoreFault),
    #[error(transparent)]
    Mirror(#[from] MirrorFault),
}

impl Recorder {
    /// A session began.
    pub fn open_session(&self, room_id: RoomId, session_id: SessionId, start: Timestamp) {
        self.note(Note::Open(room_id, session_id, start));
    }

    /// Somebody was banned.
    pub fn store_ban(&self, room_id: RoomId, user_id: UserId, at: Timestamp) {
        self.note(Note::Ban(room_id, user_id, at));
    }

    /// A ban was lifted: if it is not in SQL yet, it is not to be written.
    pub fn forget_ban(&self, room_id: RoomId, user_id: UserId) {
        self.lock().notes.retain(|note| !matches!(note, Note::Ban(room, user, _) if (*room, *user) == (room_id, user_id)));
    }

    /// A finished session is in the outbox.
    pub fn session_closed(&self) {
        self.lock().is_outbox_due = true;
        self.wake.notify_one();
    }

    /// Waits until nothing is left to be written, at most for `patience`; answers whether that came.
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

    /// Works for ever; run it on the I/O runtime. A failure of one duty holds up no other.
    pub async fn run(self, parts: RecorderParts) {
        let mut touch = interval(TOUCH_EVERY);
        touch.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut refused = HashSet::new();
        let mut waits: Option<Waits> = None;
        let mut round_at = None;
        let mut sweep_at = Instant::now();
        loop {
            tokio::select! {
                () = self.due(round_at) => {
                    round_at = match self.round(&parts, &mut refused).await {
                        Ok(()) => {
                            if waits.take().is_some() {
                                info!("sessions are recorded again");
                            }
                            None
                        }
                        Err(failure) => {
                            parts.metrics.recorder_retries_total.inc();
                            if waits.is_none() {
                                warn!(%failure, "sessions cannot be recorded now: trying again");
                            }
                            let waits = waits.get_or_insert_with(|| parts.waits());
                            Some(Instant::now() + waits.next().unwrap_or(parts.backoff_max))
                        }
                    };
                }
                _ = touch.tick() => parts.touch().await,
                () = sleep_until(sweep_at) => {
                    // What was refused for good is tried once more, and a session in the outbox is not lost.
                    refused.clear();
                    let is_recorded = self.round(&parts, &mut refused).await.is_ok();
                    let is_swept = is_recorded && parts.sweep().await;
                    sweep_at = Instant::now() + if is_swept { SWEEP_EVERY } else { LOST_AFTER };
                }
            }
        }
    }

    /// After a failure: the wait is over. Else: there is news, or it is time to look for that of other processes.
    async fn due(&self, round_at: Option<Instant>) {
        match round_at {
            Some(at) => sleep_until(at).await,
            // Either way it is time.
            None => drop(timeout(LOOK_EVERY, self.wake.notified()).await),
        }
    }

    /// One pass over everything; what fails stays where it was.
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
        while let Some(note) = self.next_note() {
            if let Err(fault) = parts.write(note).await {
                if !fault.is_unavailable() {
                    // It will never succeed, and nothing behind it may wait for ever; its session's end writes it once more.
                    warn!(%fault, "a note for SQL was refused");
                    continue;
                }
                self.lock().notes.push_front(note);
                return Err(fault.into());
            }
        }
        self.lock().is_outbox_due = false;
        loop {
            // What SQL refuses for good stays in the outbox; those behind it must be seen all the same.
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

    fn next_note(&self) -> Option<Note> {
        self.lock().notes.pop_front()
    }

    fn is_idle(&self) -> bool {
        let pending = self.lock();
        pending.notes.is_empty() && !pending.is_outbox_due && !pending.is_busy
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RecorderParts {
    fn waits(&self) -> Waits {
        ExponentialBuilder::default()
            .with_min_delay(self.backoff_min)
            .with_max_delay(self.backoff_max)
            .without_max_times()
            .with_jitter()
            .build()
    }

    async fn write(&self, note: Note) -> Result<(), StoreFault> {
        match note {
            Note::Open(room_id, session_id, start) => {
                self.store.open_session(session_id, room_id, start).await
            }
            Note::Ban(room_id, user_id, at) => self.store.add_ban(room_id, user_id, at).await,
        }
    }

    /// Brings finished sessions into SQL and out of the outbox. One that SQL refuses for good keeps only itself from being
    /// recorded.
    async fn record(
        &self,
        sessions: &[ClosedSession],
        refused: &mut HashSet<SessionId>,
    ) -> Result<(), Failure> {
        match self.store.record_sessions(sessions).await {
            Ok(()) => {
                for session in sessions {
                    self.recorded(session).await?;
                }
                return Ok(());
            }
            Err(fault) if fault.is_unavailable() => return Err(fault.into()),
            Err(fault) => warn!(%fault, "SQL refuses finished sessions: trying them one by one"),
        }
        for session in sessions {
            match self
                .store
                .record_sessions(std::slice::from_ref(session))
                .await
            {
                Ok(()) => self.recorded(session).await?,
                Err(fault) if fault.is_unavailable() => return Err(fault.into()),
                Err(fault) => {
                    error!(room = %session.room_id, session = %session.session_id, %fault, "a session cannot be recorded: it stays in the outbox");
                    refused.insert(session.session_id);
                }
            }
        }
        Ok(())
    }

    async fn recorded(&self, session: &ClosedSession) -> Result<(), MirrorFault> {
        self.mirror
            .recorded(session.room_id, session.session_id)
            .await?;
        self.metrics.sessions_recorded_total.inc();
        info!(room = %session.room_id, session = %session.session_id, "session recorded");
        Ok(())
    }

    /// Says which sessions are alive, so that one which is lost ends when it was last seen.
    async fn touch(&self) {
        let sessions = self.directory.sessions();
        if let Err(fault) = self.store.touch_sessions(&sessions, self.clock.now()).await {
            warn!(%fault, "cannot tell SQL which sessions are alive");
        }
    }

    /// Closes sessions that are open in SQL while the mirror knows nothing of their room. Answers whether that was all: those
    /// seen alive a moment ago are looked at again soon.
    async fn sweep(&self) -> bool {
        match self.close_lost().await {
            Ok(Swept { closed, young }) => {
                if closed > 0 {
                    warn!(closed, "sessions whose room is lost were closed");
                }
                young == 0
            }
            Err(failure) => {
                warn!(%failure, "cannot look for lost sessions");
                false
            }
        }
    }

    async fn close_lost(&self) -> Result<Swept, Failure> {
        let mut swept = Swept::default();
        let mut after = None;
        loop {
            let page = self.store.open_sessions(after, PAGE_MAX).await?;
            // A room that is live here writes itself again when the mirror has lost it.
            let live: HashSet<SessionId> = self.directory.sessions().into_iter().collect();
            for session in &page {
                if live.contains(&session.session_id)
                    || self.mirror.ownership(session.room_id).await?.is_some()
                {
                    continue;
                }
                let silent_ms = self
                    .clock
                    .now()
                    .ms_since(session.last_seen_at.max(session.start_time));
                if u128::from(silent_ms) < LOST_AFTER.as_millis() {
                    swept.young += 1;
                } else {
                    swept.closed += usize::from(self.store.close_lost(session.session_id).await?);
                }
            }
            match page.last() {
                Some(last) if page.len() == PAGE_MAX => after = Some(last.session_id),
                Some(_) | None => return Ok(swept),
            }
        }
    }
}

#[cfg(test)]
mod tests;
