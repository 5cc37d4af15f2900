//! The threads on which rooms live: those of the HTTP workers. A room and its connections then share a thread as often as
//! can be, and what they tell each other wakes nobody up.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix::{Arbiter, ArbiterHandle};
use tokio::sync::Notify;

/// Clones share the threads.
#[derive(Clone, Default)]
pub struct RoomThreads(Arc<Shared>);

#[derive(Default)]
struct Shared {
    threads: Mutex<Threads>,
    joined: Notify,
}

#[derive(Default)]
struct Threads {
    handles: Vec<ArbiterHandle>,
    next: usize,
}

impl RoomThreads {
    /// Rooms may live on this thread from now on, which must be an arbiter's.
    pub fn join(&self) {
        let mut threads = self.threads();
        threads.handles.push(Arbiter::current());
        drop(threads);
        self.0.joined.notify_one();
    }

    /// Waits until there is a thread.
    pub async fn until_joined(&self) {
        while self.threads().handles.is_empty() {
            self.0.joined.notified().await;
        }
    }

    /// The thread of the next room, one after the other; those that have ended are forgotten. None: there is none.
    pub(super) fn next(&self) -> Option<ArbiterHandle> {
        let mut threads = self.threads();
        while !threads.handles.is_empty() {
            let at = (threads.next + 1) % threads.handles.len();
            threads.next = at;
            // A thread that has ended takes nothing.
            if threads.handles[at].spawn_fn(|| {}) {
                return Some(threads.handles[at].clone());
            }
            threads.handles.remove(at);
        }
        None
    }

    fn threads(&self) -> MutexGuard<'_, Threads> {
        // Each change is complete in itself.
        self.0
            .threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
