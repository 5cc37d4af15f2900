//! The lobby: who waits, and what hosts do about it. The waiting get no events, take no seat and begin no session.

use super::{
    Place, Room,
    effect::{Notice, WaitingView},
    goodbye::GoodbyeReason,
    input::Join,
    record::{LobbyRecord, Role},
    seat::Waiting,
    view::{Code, Rejection},
};
use crate::ids::{ConnectionId, Timestamp, UserId};

impl Room {
    /// Puts a joiner into the lobby; one who waits already keeps the place in the queue.
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
        self.places.insert(connection_id, Place::Lobby(user_id));
        self.journal.lobby(user_id);
        self.send(connection_id, Notice::LobbyWaiting { id });
        self.lobby_changed();
    }

    /// Takes somebody off the lobby without a word; an older connection of theirs is superseded.
    pub(super) fn leave_lobby(&mut self, user_id: UserId, by: ConnectionId) {
        let Some(waiting) = self.waiting.remove(&user_id) else {
            return;
        };
        self.journal.lobby(user_id);
        if let Some(join) = waiting.join {
            if join.connection_id == by {
                self.places.remove(&by);
            } else {
                self.disconnect(join.connection_id, GoodbyeReason::Superseded);
            }
        }
    }

    pub(super) fn admit_waiting(
        &mut self,
        now: Timestamp,
        user_id: UserId,
    ) -> Result<(), Rejection> {
        if !self.waiting.contains_key(&user_id) {
            return Err(not_waiting());
        }
        if !self.has_free_seat() {
            return Err(Rejection::new(Code::RoomFull, "all seats are taken"));
        }
        let Some(waiting) = self.waiting.get_mut(&user_id) else {
            return Err(not_waiting());
        };
        match waiting.join.as_deref().cloned() {
            Some(join) => self.admit(now, join),
            None => waiting.record.is_admitted = true,
        }
        self.journal.lobby(user_id);
        self.lobby_changed();
        Ok(())
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

    /// The lobby was switched off: everybody who waits comes in while there are seats, longest waiting first.
    pub(super) fn admit_all_waiting(&mut self, now: Timestamp) {
        for view in self.lobby_views() {
            if self.admit_waiting(now, view.user_id).is_err() {
                break;
            }
        }
    }

    /// Tells the hosts who waits now.
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

    /// Who waits, longest first.
    fn lobby_views(&self) -> Vec<WaitingView> {
        let mut views: Vec<WaitingView> = self
            .waiting
            .iter()
            .map(|(user_id, waiting)| WaitingView::new(*user_id, &waiting.record))
            .collect();
        views.sort_by_key(|view| (view.since, view.user_id));
        views
    }
}

fn not_waiting() -> Rejection {
    Rejection::new(Code::TargetNotFound, "this user does not wait in the lobby")
}
