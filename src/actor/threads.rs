//! The threads on which rooms live: those of the HTTP workers. A room and its connections then share a thread as often as
//! can be, and what they tell each other wakes nobody up.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix::{Arbiter, ArbiterHandle};
use tokio::sync::Notify;

use super::spacing::ThreadLoad;
use crate::mirror::writer::MirrorWriter;

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
    all: Vec<RoomThread>,
    next: usize,
}

/// A thread on which rooms live.
#[derive(Clone)]
pub struct RoomThread {
    /// Takes new rooms.
    pub(super) arbiter: ArbiterHandle,
    /// Writes their commits.
    pub(super) writer: MirrorWriter,
    /// How busy it is.
    pub(super) load: Arc<ThreadLoad>,
}

impl RoomThreads {
    /// Rooms may live on this thread from now on, which must be an arbiter's; their commits go to `writer`, or beside it.
    pub fn join(&self, writer: &MirrorWriter) {
        let thread = RoomThread {
            arbiter: Arbiter::current(),
            writer: writer.for_this_thread(),
            load: Arc::new(ThreadLoad::of_this_thread()),
        };
        self.threads().all.push(thread);
        self.0.joined.notify_one();
    }

    /// Waits until there is a thread.
    pub async fn until_joined(&self) {
        while self.threads().all.is_empty() {
            self.0.joined.notified().await;
        }
    }

    /// The thread of the next room, one after the other; those that have ended are forgotten. None: there is none.
    pub(super) fn next(&self) -> Option<RoomThread> {
        let mut threads = self.threads();
        while !threads.all.is_empty() {
            let at = (threads.next + 1) % threads.all.len();
            threads.next = at;
            // A thread that has ended takes nothing.
            if threads.all[at].arbiter.spawn_fn(|| {}) {
                return Some(threads.all[at].clone());
            }
            threads.all.remove(at);
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
