//! From outboxes to sockets: at most one write per connection and commit. Evicts clients that do
//! not read, and silent ones.

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use tracing::info;
use url::Url;

use super::{
    QUIET_SLOT_MS, RoomActor,
    link::{self, CloseNotice, Flushed, RoomNews},
};
use crate::{
    host::NextOwner,
    ids::{ConnectionId, Timestamp},
    owner::Relay,
    room::input::Input,
    ws::DisconnectCause,
};

/// Connections written to at once. Other actors of the thread, and the room's next commit, wait for
/// that long.
const WRITES_MAX: usize = 64;

impl RoomActor {
    /// Passes relays on, except to those who are behind.
    pub(super) fn push_relays(&mut self, relays: Vec<Relay>) {
        let limits = self.node.limits.link;
        for (to, frame) in relays {
            match self.host.outbox(to) {
                Some(outbox) if !link::has_room_for_relay(outbox, frame.len(), limits) => {
                    self.node.metrics.relays_dropped_total.inc();
                }
                Some(_) | None => self.host.push(to, frame),
            }
        }
    }

    /// Writes once to each listed connection, to many of them in several turns. Returns the
    /// connections that are lost.
    ///
    /// A room that has ended writes to all at once, and nobody is lost any more.
    pub(super) fn write_listed(&mut self, context: &mut Context<Self>) -> Vec<ConnectionId> {
        if self.host.end().is_some() {
            let listed = self.host.take_listed(usize::MAX);
            self.write(listed);
            return Vec::new();
        }
        let listed = self.host.take_listed(WRITES_MAX);
        if self.host.has_listed() && !self.is_writing {
            self.write_rest_later(context);
        }
        self.write(listed)
    }

    /// Writes the rest when other actors of this thread have had a turn. Frames in an
    /// outbox are sent even if the lease ends meanwhile.
    fn write_rest_later(&mut self, context: &mut Context<Self>) {
        self.is_writing = true;
        let turn = tokio::task::yield_now().into_actor(self);
        context.spawn(turn.map(|(), room, context| {
            room.is_writing = false;
            room.settle_unless_over(context);
        }));
    }

    fn write(&mut self, listed: Vec<ConnectionId>) -> Vec<ConnectionId> {
        let mut lost = Vec::new();
        // The same for all connections of a room that has ended, so it is looked up once.
        let mut address = None;
        for connection_id in listed {
            let Some(outbox) = self.host.outbox_mut(connection_id) else {
                continue;
            };
            match link::flush(outbox, self.node.limits.link) {
                Ok(Flushed::Closing(closing)) => {
                    let url = match &address {
                        Some((next_owner, url)) if *next_owner == closing.next_owner => url,
                        Some(_) | None => {
                            let url = self.signal_url_at(closing.next_owner);
                            &address.insert((closing.next_owner, url)).1
                        }
                    };
                    if let Some(link) = self.host.remove(connection_id) {
                        let notice = CloseNotice {
                            reason: closing.reason,
                            url: url.clone(),
                        };
                        link.actor.do_send(RoomNews::Goodbye(notice));
                    }
                    self.behind.remove(&connection_id);
                }
                Ok(Flushed::Behind) => {
                    self.behind.insert(connection_id, ());
                }
                Ok(Flushed::Taken) => {
                    self.behind.remove(&connection_id);
                }
                Err(cause) => {
                    self.evict(connection_id, cause);
                    lost.push(connection_id);
                }
            }
        }
        lost
    }

    fn signal_url_at(&self, next_owner: NextOwner) -> Option<Url> {
        let room_id = self.host.room().room_id();
        match next_owner {
            NextOwner::Unknown => None,
            NextOwner::Node(node_id) => self.node.signal_url_at(Some(node_id), room_id),
            NextOwner::AnyNode => self.node.signal_url_at(None, room_id),
        }
    }

    fn evict(&mut self, connection_id: ConnectionId, cause: DisconnectCause) {
        self.behind.remove(&connection_id);
        if let Some(link) = self.host.remove(connection_id) {
            link.socket.cut();
        }
        if let Some(reason) = cause.eviction() {
            info!(room = %self.host.room().room_id(), connection = %connection_id, ?reason, "connection evicted");
            self.node.metrics.eviction(reason);
        }
    }

    /// Pings the clients that have said nothing for a while.
    pub(super) fn ping_quiet(&mut self, now: Timestamp) {
        if now < self.ping_at {
            return;
        }
        let limits = &self.node.limits;
        let (interval_ms, timeout_ms) = (limits.ping_interval_ms, limits.ping_timeout_ms);
        self.ping_at = now.plus_ms(interval_ms);
        // A client that is not pinged now has time to answer the next ping.
        let quiet_ms = interval_ms.min(timeout_ms.saturating_sub(interval_ms)) / 2;
        self.host.list_where(|link| {
            let is_quiet = now.ms_since(link.socket.last_seen()) >= quiet_ms;
            link.wants_ping |= is_quiet;
            is_quiet
        });
    }

    /// Evicts silent clients, and sets when the next one may have been silent for too long.
    pub(super) fn evict_silent(&mut self, now: Timestamp) {
        if now < self.liveness_at {
            return;
        }
        // A ping may have waited for its slot.
        let too_long_ms = self.node.limits.ping_timeout_ms + QUIET_SLOT_MS;
        let mut silent = Vec::new();
        let mut oldest = now;
        for (connection_id, outbox) in self.host.outboxes() {
            let last_seen = outbox.connection.socket.last_seen();
            if now.ms_since(last_seen) >= too_long_ms {
                silent.push(connection_id);
            } else {
                oldest = oldest.min(last_seen);
            }
        }
        self.liveness_at = oldest.plus_ms(too_long_ms);
        for connection_id in silent {
            self.evict(connection_id, DisconnectCause::Silent);
            self.apply(Input::ConnectionLost { connection_id });
        }
    }

    /// Lists the connections whose clients have not taken everything: the next write checks them.
    pub(super) fn list_behind(&mut self) {
        for connection_id in self.behind.keys() {
            self.host.list(*connection_id);
        }
    }
}
