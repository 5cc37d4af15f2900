//! The sessions that are live on this node.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::ids::SessionId;

/// Clones share one list.
#[derive(Clone, Debug, Default)]
pub(super) struct LiveSessions(Arc<Mutex<HashSet<SessionId>>>);

/// Keeps a session on the list of live ones until it is dropped.
#[derive(Debug)]
pub struct LiveSession {
    session_id: SessionId,
    list: LiveSessions,
}

impl LiveSessions {
    pub(super) fn insert(&self, session_id: SessionId) -> LiveSession {
        self.lock().insert(session_id);
        LiveSession {
            session_id,
            list: self.clone(),
        }
    }

    /// A copy of the list.
    pub(super) fn all(&self) -> HashSet<SessionId> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<SessionId>> {
        // Each change is complete in itself.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LiveSession {
    /// The session.
    #[must_use]
    pub fn session_id(&self) -> SessionId {
        self.session_id
    }
}

impl Drop for LiveSession {
    fn drop(&mut self) {
        self.list.lock().remove(&self.session_id);
    }
}
