//! The threads on which rooms live: those of the HTTP workers. So a room and its connections often
//! share a thread, and their messages wake no other thread.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix::{Arbiter, ArbiterHandle};
use tokio::sync::Notify;

use super::commit_pacer::ThreadLoad;
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

/// A thread for rooms.
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
    /// Adds the current thread, which must be an arbiter's. The commits of its rooms go to
    /// `writer`, or to one of its own.
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

    /// The thread for the next room, in turn. Threads that have ended are dropped. None if no
    /// thread is left.
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
