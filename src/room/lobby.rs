//! The lobby: people who wait until a host decides. They get no events, take no seat and begin no
//! session.

use super::{
    Attachment, Room, admission::role_not_allowed, input::Join, record::LobbyRecord, seat::Waiting,
};
use crate::{
    ids::{ConnectionId, Timestamp, UserId},
    protocol::{Code, GoodbyeReason, Notice, Rejection, Role, WaitingView},
};

impl Room {
    /// Puts a joiner into the lobby; somebody who waits already keeps their position.
    pub(super) fn wait(&mut self, now: Timestamp, join: Join) {
        let (user_id, connection_id, id) = (join.user_id, join.connection_id, join.id);
        let since = self
            .waiting
            .get(&user_id)
            .map_or(now, |waiting| waiting.record.since);
        self.leave_lobby(user_id, connection_id);
        let record = LobbyRecord {
            display_name: join.display_name.clone(),
            since,
            lost_at: None,
            is_admitted: false,
        };
        let waiting = Waiting {
            record,
            join: Some(Box::new(join)),
            grace_until: None,
        };
        self.waiting.insert(user_id, waiting);
        self.attachments
            .insert(connection_id, Attachment::Lobby(user_id));
        self.journal.lobby(user_id);
        self.send(connection_id, Notice::LobbyWaiting { id });
        self.lobby_changed();
    }

    /// Removes somebody from the lobby without a notice; an older connection of theirs is
    /// superseded. Returns whether the hosts saw them waiting.
    pub(super) fn leave_lobby(&mut self, user_id: UserId, by: ConnectionId) -> bool {
        let Some(waiting) = self.waiting.remove(&user_id) else {
            return false;
        };
        self.journal.lobby(user_id);
        if let Some(join) = waiting.join {
            if join.connection_id == by {
                self.attachments.remove(&by);
            } else {
                self.disconnect(join.connection_id, GoodbyeReason::Superseded);
            }
        }
        !waiting.record.is_admitted
    }

    pub(super) fn admit_waiting(
        &mut self,
        now: Timestamp,
        user_id: UserId,
    ) -> Result<(), Rejection> {
        if self.let_in(now, user_id)? {
            self.lobby_changed();
        }
        Ok(())
    }

    /// Gives somebody who waits a seat; an unconnected person is admitted at the next join. Returns
    /// whether hosts see a change.
    fn let_in(&mut self, now: Timestamp, user_id: UserId) -> Result<bool, Rejection> {
        if !self.waiting.contains_key(&user_id) {
            return Err(not_waiting());
        }
        if !self.has_free_seat() {
            return Err(Rejection::new(Code::RoomFull, "all seats are taken"));
        }
        let Some(waiting) = self.waiting.get_mut(&user_id) else {
            return Err(not_waiting());
        };
        if let Some(join) = waiting.join.as_deref().cloned() {
            return Ok(self.admit(now, join));
        }
        let is_news = !std::mem::replace(&mut waiting.record.is_admitted, true);
        if is_news {
            self.journal.lobby(user_id);
        }
        Ok(is_news)
    }

    pub(super) fn deny_waiting(
        &mut self,
        user_id: UserId,
        reason: GoodbyeReason,
    ) -> Result<(), Rejection> {
        let Some(waiting) = self.waiting.remove(&user_id) else {
            return Err(not_waiting());
        };
        self.journal.lobby(user_id);
        if let Some(join) = waiting.join {
            if reason == GoodbyeReason::Denied {
                self.send(join.connection_id, Notice::LobbyDenied { id: join.id });
            }
            self.disconnect(join.connection_id, reason);
        }
        self.lobby_changed();
        Ok(())
    }

    /// Admits everybody after the lobby was switched off, in the order in which they came. People
    /// for whom there is no seat, or who are kept out by a lock, continue to wait; hosts can admit
    /// them.
    pub(super) fn admit_all_waiting(&mut self, now: Timestamp) {
        if self.head.is_locked {
            return;
        }
        let mut is_changed = false;
        for view in self.lobby_views() {
            if let Some((connection_id, id)) = self.not_allowed_join(view.user_id) {
                self.leave_lobby(view.user_id, connection_id);
                self.refuse_join(connection_id, id, role_not_allowed());
                is_changed = true;
                continue;
            }
            match self.let_in(now, view.user_id) {
                Ok(is_seen) => is_changed |= is_seen,
                Err(_) => break,
            }
        }
        // One notice is enough: the list is complete every time.
        if is_changed {
            self.lobby_changed();
        }
    }

    /// Returns the waiting join of somebody whose kind is no longer allowed. Unconnected people are
    /// checked when they join again.
    fn not_allowed_join(&self, user_id: UserId) -> Option<(ConnectionId, u64)> {
        let join = self.waiting.get(&user_id)?.join.as_deref()?;
        (!self.allows(self.role_of_joiner(join))).then_some((join.connection_id, join.id))
    }

    /// Returns whether somebody waits for a decision of the hosts.
    pub(super) fn has_waiting(&self) -> bool {
        self.waiting
            .values()
            .any(|waiting| !waiting.record.is_admitted)
    }

    /// Sends the list to all hosts.
    pub(super) fn lobby_changed(&mut self) {
        let hosts: Vec<ConnectionId> = self
            .seats
            .values()
            .filter(|seat| seat.record.role == Role::Host)
            .filter_map(|seat| seat.connection())
            .collect();
        for connection_id in hosts {
            self.send_lobby(connection_id);
        }
    }

    pub(super) fn send_lobby(&mut self, connection_id: ConnectionId) {
        let waiting = self.lobby_views();
        self.send(connection_id, Notice::LobbyChanged { waiting });
    }

    /// Returns who waits for a host's decision, longest first. Somebody who was admitted while
    /// unconnected does not.
    pub(super) fn lobby_views(&self) -> Vec<WaitingView> {
        let mut views: Vec<WaitingView> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| !waiting.record.is_admitted)
            .map(|(user_id, waiting)| waiting.record.view(*user_id))
            .collect();
        views.sort_by_key(|view| (view.since, view.user_id));
        views
    }
}

fn not_waiting() -> Rejection {
    Rejection::new(Code::TargetNotFound, "this user does not wait in the lobby")
}
