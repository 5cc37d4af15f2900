//! Whether the mirror answers, and since when.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::mirror::MirrorFault;

/// Whether the mirror answers, for `/readyz` and the metrics.
#[derive(Clone, Debug)]
pub struct MirrorHealth {
    /// Whether the last call was answered. True before the first call.
    pub is_up: bool,
    /// Time since that last changed.
    pub for_how_long: Duration,
    /// The last fault, even if calls succeed again. It may name hosts, so it is for operators only.
    pub last_error: Option<String>,
}

struct State {
    is_up: bool,
    since: Instant,
    last_error: Option<String>,
}

/// The state, with one log line per transition and none per attempt.
pub(super) struct HealthCell(Mutex<State>);

impl HealthCell {
    pub(super) fn new() -> Self {
        Self(Mutex::new(State {
            is_up: true,
            since: Instant::now(),
            last_error: None,
        }))
    }

    pub(super) fn read(&self) -> MirrorHealth {
        let state = self.state();
        MirrorHealth {
            is_up: state.is_up,
            for_how_long: state.since.elapsed(),
            last_error: state.last_error.clone(),
        }
    }

    pub(super) fn answered(&self) {
        let mut state = self.state();
        if !state.is_up {
            let down_ms = state.since.elapsed().as_millis();
            tracing::info!(down_ms, "the mirror answers again");
            state.is_up = true;
            state.since = Instant::now();
        }
    }

    pub(super) fn fault(&self, fault: &MirrorFault) {
        let mut state = self.state();
        if state.is_up {
            tracing::warn!(%fault, "the mirror does not answer; the writer retries its commits");
            state.is_up = false;
            state.since = Instant::now();
        }
        state.last_error = Some(fault.to_string());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change above is complete in itself.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
