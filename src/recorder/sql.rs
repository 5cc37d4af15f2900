//! What the recorder does in SQL. All of it may be repeated.

use std::{collections::HashSet, sync::Arc, time::Duration};

use backon::{BackoffBuilder, ExponentialBuilder};
use tracing::{error, info, warn};

use super::Note;
use crate::{
    actor::Directory,
    clock::Clock,
    ids::SessionId,
    metrics::Metrics,
    mirror::{MirrorFault, RoomMirror},
    room::record::ClosedSession,
    store::{PAGE_MAX, Store, StoreFault},
};

/// A session seen alive more recently is not called lost: its room may be on its way into the mirror. Three times the pace at
/// which live sessions are touched, by whatever process.
pub(super) const LOST_AFTER: Duration = Duration::from_secs(180);

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
pub(super) type Waits = <ExponentialBuilder as BackoffBuilder>::Backoff;

/// What a search for lost sessions came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Swept {
    /// Lost, and closed now.
    pub(super) closed: usize,
    /// Perhaps lost, but seen alive a moment ago.
    pub(super) young: usize,
}

/// Why a round did not succeed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Store(#[from] StoreFault),
    #[error(transparent)]
    Mirror(#[from] MirrorFault),
}

impl RecorderParts {
    pub(super) fn waits(&self) -> Waits {
        ExponentialBuilder::default()
            .with_min_delay(self.backoff_min)
            .with_max_delay(self.backoff_max)
            .without_max_times()
            .with_jitter()
            .build()
    }

    /// Fails only when the database is not there. What it refuses for good is left: nothing behind it may wait for ever, and the
    /// session's end writes it once more.
    pub(super) async fn write(&self, notes: &[Note]) -> Result<(), StoreFault> {
        let mut openings = Vec::new();
        for note in notes {
            match note {
                Note::Open(opening) => openings.push(*opening),
                Note::Ban(room_id, user_id, at) => {
                    unless_refused(self.store.add_ban(*room_id, *user_id, *at).await)?;
                }
            }
        }
        match self.store.record_openings(&openings).await {
            Err(fault) if !fault.is_unavailable() && openings.len() > 1 => {
                for opening in &openings {
                    let one = std::slice::from_ref(opening);
                    unless_refused(self.store.record_openings(one).await)?;
                }
                Ok(())
            }
            recorded => unless_refused(recorded),
        }
    }

    /// Brings finished sessions into SQL and out of the outbox. One that SQL refuses for good keeps only itself from being
    /// recorded.
    pub(super) async fn record(
        &self,
        sessions: &[ClosedSession],
        refused: &mut HashSet<SessionId>,
    ) -> Result<(), Failure> {
        match self.store.record_sessions(sessions).await {
            Ok(()) => return self.recorded(sessions).await,
            Err(fault) if fault.is_unavailable() => return Err(fault.into()),
            Err(fault) => warn!(%fault, "SQL refuses finished sessions: trying them one by one"),
        }
        for session in sessions {
            let one = std::slice::from_ref(session);
            match self.store.record_sessions(one).await {
                Ok(()) => self.recorded(one).await?,
                Err(fault) if fault.is_unavailable() => return Err(fault.into()),
                Err(fault) => {
                    error!(room = %session.room_id, session = %session.session_id, %fault, "a session cannot be recorded: it stays in the outbox");
                    refused.insert(session.session_id);
                }
            }
        }
        Ok(())
    }

    async fn recorded(&self, sessions: &[ClosedSession]) -> Result<(), Failure> {
        if sessions.is_empty() {
            return Ok(());
        }
        let ids: Vec<_> = sessions
            .iter()
            .map(|session| (session.room_id, session.session_id))
            .collect();
        self.mirror.recorded(&ids).await?;
        for (room, session) in ids {
            self.metrics.sessions_recorded_total.inc();
            info!(%room, %session, "session recorded");
        }
        Ok(())
    }

    /// Says which sessions are alive, so that one which is lost ends when it was last seen.
    pub(super) async fn touch(&self) {
        let sessions = self.directory.sessions();
        if let Err(fault) = self.store.touch_sessions(&sessions, self.clock.now()).await {
            warn!(%fault, "cannot tell SQL which sessions are alive");
        }
    }

    /// Closes sessions that are open in SQL while the mirror knows nothing of their room. Answers whether that was all: those
    /// seen alive a moment ago are looked at again soon.
    pub(super) async fn sweep(&self) -> bool {
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

    pub(super) async fn close_lost(&self) -> Result<Swept, Failure> {
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

/// Fails only when the database is not there.
fn unless_refused(written: Result<(), StoreFault>) -> Result<(), StoreFault> {
    match written {
        Err(fault) if !fault.is_unavailable() => {
            warn!(%fault, "a note for SQL was refused");
            Ok(())
        }
        written => written,
    }
}
