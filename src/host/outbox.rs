//! What waits for each connection of a room, and which connections are to be written to.

use std::mem;

use bytestring::ByteString;
use smallvec::SmallVec;

use super::ending::Closing;
use crate::{
    ids::{ConnectionId, ConnectionMap, Seq},
    room::record::TailEvent,
};

/// What waits for one connection.
#[derive(Debug)]
pub struct Outbox<C> {
    /// The shell's handle.
    pub connection: C,
    /// Frames since the last write. Mostly one for everybody but its author.
    frames: SmallVec<[ByteString; 1]>,
    frame_bytes: usize,
    is_listed: bool,
    closing: Option<Box<Closing>>,
    /// The last event that was put in here; none until the connection has joined.
    pub(super) sent: Option<Seq>,
}

impl<C> Outbox<C> {
    pub(crate) fn new(connection: C) -> Self {
        Self {
            connection,
            frames: SmallVec::new(),
            frame_bytes: 0,
            is_listed: false,
            closing: None,
            sent: None,
        }
    }

    /// The frames of the next write.
    #[must_use]
    pub fn frames(&self) -> &[ByteString] {
        &self.frames
    }

    /// Bytes of the frames of the next write.
    #[must_use]
    pub fn frame_bytes(&self) -> usize {
        self.frame_bytes
    }

    /// The handle and the frames of the next write. The outbox may be listed again.
    pub fn start_write(&mut self) -> (&mut C, &[ByteString]) {
        self.is_listed = false;
        (&mut self.connection, &self.frames)
    }

    /// Forgets the frames: they were written, or are not to be.
    pub fn clear(&mut self) {
        self.frames = SmallVec::new();
        self.frame_bytes = 0;
    }

    /// How the connection closes, if the next write is its last.
    #[must_use]
    pub fn closing(&self) -> Option<Closing> {
        self.closing.as_deref().copied()
    }

    /// Whether the next write is the last.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    /// Makes the next write the last. The first reason counts.
    pub(crate) fn close(&mut self, closing: Closing) {
        self.closing.get_or_insert_with(|| Box::new(closing));
    }

    pub(crate) fn push(&mut self, frame: ByteString) {
        self.frame_bytes += frame.len();
        self.frames.push(frame);
    }
}

/// The outboxes of a room's connections.
#[derive(Debug)]
pub(super) struct Outboxes<C> {
    all: ConnectionMap<Outbox<C>>,
    /// Connections to be written to, each once.
    listed: Vec<ConnectionId>,
}

impl<C> Default for Outboxes<C> {
    fn default() -> Self {
        Self {
            all: ConnectionMap::default(),
            listed: Vec::new(),
        }
    }
}

impl<C> Outboxes<C> {
    pub(super) fn insert(&mut self, connection_id: ConnectionId, outbox: Outbox<C>) {
        self.all.insert(connection_id, outbox);
    }

    /// Adds an outbox that may have been listed at a crashed predecessor.
    pub(super) fn insert_listed(&mut self, connection_id: ConnectionId, mut outbox: Outbox<C>) {
        outbox.is_listed = true;
        self.listed.push(connection_id);
        self.insert(connection_id, outbox);
    }

    pub(super) fn remove(&mut self, connection_id: ConnectionId) -> Option<Outbox<C>> {
        self.all.remove(&connection_id)
    }

    pub(super) fn get(&self, connection_id: ConnectionId) -> Option<&Outbox<C>> {
        self.all.get(&connection_id)
    }

    pub(super) fn get_mut(&mut self, connection_id: ConnectionId) -> Option<&mut Outbox<C>> {
        self.all.get_mut(&connection_id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ConnectionId, &Outbox<C>)> {
        self.all.iter().map(|(id, outbox)| (*id, outbox))
    }

    pub(super) fn into_connections(self) -> impl Iterator<Item = C> {
        self.all.into_values().map(|outbox| outbox.connection)
    }

    pub(super) fn into_outboxes(self) -> ConnectionMap<Outbox<C>> {
        self.all
    }

    pub(super) fn push(&mut self, to: ConnectionId, frame: ByteString) {
        if let Some(outbox) = self.all.get_mut(&to) {
            outbox.push(frame);
            list(&mut self.listed, to, outbox);
        }
    }

    pub(super) fn push_event(&mut self, to: ConnectionId, event: &TailEvent) {
        if let Some(outbox) = self.all.get_mut(&to) {
            outbox.push(event.frame.clone());
            outbox.sent = Some(event.seq);
            list(&mut self.listed, to, outbox);
        }
    }

    pub(super) fn close(&mut self, connection_id: ConnectionId, closing: Closing) {
        if let Some(outbox) = self.all.get_mut(&connection_id) {
            outbox.close(closing);
            list(&mut self.listed, connection_id, outbox);
        }
    }

    pub(super) fn close_all(&mut self, closing: Closing) {
        for (connection_id, outbox) in &mut self.all {
            outbox.close(closing);
            list(&mut self.listed, *connection_id, outbox);
        }
    }

    /// Forgets the frames of all connections.
    pub(super) fn clear_all(&mut self) {
        self.all.values_mut().for_each(Outbox::clear);
    }

    pub(super) fn list(&mut self, connection_id: ConnectionId) {
        if let Some(outbox) = self.all.get_mut(&connection_id) {
            list(&mut self.listed, connection_id, outbox);
        }
    }

    pub(super) fn list_where(&mut self, mut wants_write: impl FnMut(&mut C) -> bool) {
        for (connection_id, outbox) in &mut self.all {
            if wants_write(&mut outbox.connection) {
                list(&mut self.listed, *connection_id, outbox);
            }
        }
    }

    pub(super) fn take_listed(&mut self, max: usize) -> Vec<ConnectionId> {
        let count = self.listed.len().min(max);
        self.listed.drain(..count).collect()
    }

    pub(super) fn has_listed(&self) -> bool {
        !self.listed.is_empty()
    }
}

fn list<C>(listed: &mut Vec<ConnectionId>, connection_id: ConnectionId, outbox: &mut Outbox<C>) {
    if !mem::replace(&mut outbox.is_listed, true) {
        listed.push(connection_id);
    }
}
