//! From effects to connections: at most one write per connection and commit; eviction of peers that do not read or are silent.

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use bytestring::ByteString;
use tracing::info;

use super::{QUIET_BEAT_MS, RoomActor};
use crate::{
    actor::link::{CLOSE_TIMEOUT, Farewell, Flushed, Link, Lost},
    ids::{ConnectionId, Timestamp},
    protocol::Notice,
    room::input::Input,
};

/// Connections written to in one go: what else happens on the thread, and the room's next commit, wait for that long.
const WRITES_MAX: usize = 64;

impl RoomActor {
    pub(super) fn tell(&mut self, to: ConnectionId, notice: &Notice, durable: bool) {
        let seq = match notice {
            Notice::RoomJoined(joined) => Some(joined.seq),
            Notice::RoomResumed(resumed) => Some(resumed.seq),
            Notice::LobbyWaiting { .. }
            | Notice::LobbyDenied { .. }
            | Notice::Ack { .. }
            | Notice::RelayAck { .. }
            | Notice::Error { .. }
            | Notice::LobbyChanged { .. }
            | Notice::SfuEndpoint { .. }
            | Notice::DurabilityChanged { .. }
            | Notice::KeepAlive { .. } => None,
        };
        if self.links.contains_key(&to) {
            self.push_to(to, notice.encode(durable));
        }
        let Some(seq) = seq else {
            return;
        };
        if let Some(link) = self.links.get_mut(&to) {
            link.sent = Some(seq);
        }
        for (target, frame) in self.owner.joined(to) {
            self.push_to(target, frame);
        }
    }

    pub(super) fn push_to(&mut self, to: ConnectionId, frame: ByteString) {
        if let Some(link) = self.links.get_mut(&to)
            && link.push(frame)
        {
            self.touched.push(to);
        }
    }

    /// A relay to somebody who is behind is dropped.
    pub(super) fn push_relay(&mut self, to: ConnectionId, frame: ByteString) {
        let limits = self.node.limits.link;
        match self.links.get(&to) {
            Some(link) if !link.has_room_for_relay(frame.len(), limits) => {
                self.node.metrics.relays_dropped_total.inc();
            }
            Some(_) | None => self.push_to(to, frame),
        }
    }

    /// Writes once to each connection that is listed, to many of them in several goes; answers the connections that are lost.
    pub(super) fn flush_links(&mut self, context: &mut Context<Self>) -> Vec<ConnectionId> {
        let count = self.touched.len().min(WRITES_MAX);
        let due = self.touched.drain(..count).collect();
        if !self.touched.is_empty() && !self.is_writing {
            self.write_rest_later(context);
        }
        self.write(due)
    }

    /// Goes on writing when others of this thread have had a turn. What was released counts as said, also if the lease ends.
    fn write_rest_later(&mut self, context: &mut Context<Self>) {
        self.is_writing = true;
        let turn = tokio::task::yield_now().into_actor(self);
        context.spawn(turn.map(|(), room, context| {
            room.is_writing = false;
            if !room.is_over() && room.look(context, room.node.clock.now()) {
                room.settle(context);
            }
        }));
    }

    /// Writes to all, in one go: the room's last words. Whether somebody is lost does not matter any more.
    pub(super) fn flush_all(&mut self) {
        let due = std::mem::take(&mut self.touched);
        self.write(due);
    }

    fn write(&mut self, due: Vec<ConnectionId>) -> Vec<ConnectionId> {
        let mut lost = Vec::new();
        for connection_id in due {
            let Some(link) = self.links.get_mut(&connection_id) else {
                continue;
            };
            match link.flush(self.node.limits.link) {
                Ok(Flushed::Over) => {
                    self.links.remove(&connection_id);
                    self.behind.remove(&connection_id);
                }
                Ok(Flushed::Behind) => {
                    self.behind.insert(connection_id, ());
                }
                Ok(Flushed::Taken) => {
                    self.behind.remove(&connection_id);
                }
                Err(reason) => {
                    self.drop_link(connection_id, reason);
                    lost.push(connection_id);
                }
            }
        }
        lost
    }

    /// The room is over: its connections have their goodbye; one that has none is closed without.
    pub(super) fn part_with_all(&mut self) {
        for (_, link) in std::mem::take(&mut self.links) {
            link.socket.finish(CLOSE_TIMEOUT);
        }
    }

    fn drop_link(&mut self, connection_id: ConnectionId, reason: Lost) {
        self.behind.remove(&connection_id);
        if let Some(link) = self.links.remove(&connection_id) {
            link.socket.cut();
        }
        if let Some(reason) = reason.eviction() {
            info!(room = %self.owner.room().room_id(), connection = %connection_id, ?reason, "connection evicted");
            self.node.metrics.eviction(reason);
        }
    }

    /// Asks those for a sign of life of whom nothing was heard lately.
    pub(super) fn ping_quiet(&mut self, now: Timestamp) {
        let limits = &self.node.limits;
        let (interval_ms, timeout_ms) = (limits.ping_interval_ms, limits.ping_timeout_ms);
        // Who is not asked now has time to answer when asked the next time.
        let quiet_ms = interval_ms.min(timeout_ms.saturating_sub(interval_ms)) / 2;
        for (connection_id, link) in &mut self.links {
            if now.ms_since(link.socket.last_seen()) >= quiet_ms && link.ask() {
                self.touched.push(*connection_id);
            }
        }
    }

    /// Evicts connections that were not heard of, and looks again when the next one may have been silent for too long.
    pub(super) fn evict_silent(&mut self, context: &mut Context<Self>, now: Timestamp) {
        // A ping may have waited for its beat.
        let too_long_ms = self.node.limits.ping_timeout_ms + QUIET_BEAT_MS;
        let mut silent = Vec::new();
        let mut oldest = now;
        for (connection_id, link) in &self.links {
            let last_seen = link.socket.last_seen();
            if now.ms_since(last_seen) >= too_long_ms {
                silent.push(*connection_id);
            } else {
                oldest = oldest.min(last_seen);
            }
        }
        self.liveness_at = oldest.plus_ms(too_long_ms);
        for connection_id in silent {
            self.drop_link(connection_id, Lost::Silent);
            self.run(context, Input::ConnectionLost { connection_id });
        }
    }

    /// Lists those whose clients have not taken everything: they are judged with the next write.
    pub(super) fn list_behind(&mut self) {
        for connection_id in self.behind.keys() {
            if self.links.get_mut(connection_id).is_some_and(Link::list) {
                self.touched.push(*connection_id);
            }
        }
    }

    /// Tells every connection goodbye without asking the rules: the room itself goes on elsewhere.
    pub(super) fn say_goodbye_to_all(&mut self, farewell: &Farewell) {
        for (connection_id, link) in &mut self.links {
            if link.close(farewell.clone()) {
                self.touched.push(*connection_id);
            }
        }
        self.flush_all();
    }
}
