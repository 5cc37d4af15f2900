//! The recorder's writes to SQL. All of them may be repeated.

use std::{collections::HashSet, sync::Arc, time::Duration};

use backon::{BackoffBuilder, ExponentialBuilder};
use tracing::{error, info, warn};

use super::{Note, live::LiveSessions};
use crate::{
    clock::Clock,
    ids::SessionId,
    metrics::Metrics,
    mirror::{MirrorFault, RoomMirror},
    room::record::ClosedSession,
    store::{PAGE_MAX, Store, StoreFault},
};

/// What the recorder works with.
pub struct RecorderParts {
    /// Keeps finished sessions in its outbox.
    pub mirror: Arc<dyn RoomMirror>,
    /// Receives them.
    pub store: Store,
    /// The node's metrics.
    pub metrics: Metrics,
    /// The node's time.
    pub clock: Clock,
    /// First wait after a failure.
    pub backoff_min: Duration,
    /// Longest wait after a failure.
    pub backoff_max: Duration,
    /// How often SQL is told which sessions are live.
    pub touch_every: Duration,
    /// A session seen alive more recently is not lost: its room may be on its way into the mirror.
    pub lost_after: Duration,
}

/// Waits after failures, each longer than the one before.
pub(super) type Waits = <ExponentialBuilder as BackoffBuilder>::Backoff;

/// The result of a search for lost sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Swept {
    /// Lost, and closed now.
    pub(super) closed: usize,
    /// Perhaps lost, but seen alive recently.
    pub(super) young: usize,
}

/// Why a round failed.
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

    /// Fails only when the database is away. What it refuses for good is dropped, so that nothing
    /// behind it waits: the session's end writes it again.
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

    /// Writes finished sessions into SQL, and removes them from the outbox. One that SQL refuses
    /// for good does not keep the others from being recorded.
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

    /// Tells SQL which sessions are live, so that a lost one ends when it was last seen.
    pub(super) async fn touch(&self, live: &LiveSessions) {
        let sessions: Vec<SessionId> = live.all().into_iter().collect();
        if let Err(fault) = self.store.touch_sessions(&sessions, self.clock.now()).await {
            warn!(%fault, "cannot tell SQL which sessions are alive");
        }
    }

    /// Closes sessions that are open in SQL while the mirror does not know their room. Returns
    /// false if some were seen alive recently, and are to be checked again soon.
    pub(super) async fn sweep(&self, live: &LiveSessions) -> bool {
        match self.close_lost(live).await {
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

    pub(super) async fn close_lost(&self, live: &LiveSessions) -> Result<Swept, Failure> {
        let mut swept = Swept::default();
        let mut after = None;
        loop {
            let page = self.store.open_sessions(after, PAGE_MAX).await?;
            // A room that is live here restores itself when the mirror has lost it.
            let live_now = live.all();
            for session in &page {
                if live_now.contains(&session.session_id)
                    || self.mirror.ownership(session.room_id).await?.is_some()
                {
                    continue;
                }
                let silent_ms = self
                    .clock
                    .now()
                    .ms_since(session.last_seen_at.max(session.start_time));
                if u128::from(silent_ms) < self.lost_after.as_millis() {
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

/// Fails only when the database is away.
fn unless_refused(written: Result<(), StoreFault>) -> Result<(), StoreFault> {
    match written {
        Err(fault) if !fault.is_unavailable() => {
            warn!(%fault, "a note for SQL was refused");
            Ok(())
        }
        written => written,
    }
}
