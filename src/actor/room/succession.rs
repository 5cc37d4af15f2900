//! The end of a room's actor, by decision or by failure, and how a successor takes over its connections.

use std::collections::HashMap;

use actix::{ActorContext, AsyncContext, Context};

use super::RoomActor;
use crate::{
    actor::{link::Link, queue::Queue, supervisor::RoomGone},
    ids::ConnectionId,
    protocol::encode_error,
    room::{
        goodbye::GoodbyeReason,
        input::Input,
        record::EndReason,
        view::{Code, Rejection},
    },
};

/// What a room actor hands to its successor after a failure.
#[derive(Debug, Default)]
pub struct Survivors {
    /// Open connections.
    pub links: HashMap<ConnectionId, Link>,
    /// Commands that were applied but not answered.
    pub unanswered: Vec<(ConnectionId, u64)>,
    /// The command that made the room fail.
    pub culprit: Option<(ConnectionId, u64)>,
    /// The restart budget is used up: the session ends.
    pub must_end: bool,
}

impl RoomActor {
    /// A room that closed or departed has nothing left to do once its last commit is answered.
    pub(in crate::actor) fn end_if_done(&mut self, context: &mut Context<Self>) {
        let has_departed = self.departing.is_some()
            && self.flight.is_none()
            && self.committed == self.room.version();
        if has_departed && !self.is_finished {
            self.say_goodbye_to_all(GoodbyeReason::Draining);
            self.is_finished = true;
        }
        if self.is_finished && context.state() == actix::ActorState::Running && self.entry.is_some()
        {
            self.announce_end(true);
            if let Some(done) = self.departing.take() {
                // The node may have given up waiting.
                let _ = done.send(());
            }
        }
    }

    /// Another node owns the room: publish nothing, send everybody there.
    pub(in crate::actor) fn give_up(&mut self, context: &mut Context<Self>) {
        self.queue = Queue::new(self.node.limits.queue);
        self.say_goodbye_to_all(GoodbyeReason::Moved);
        self.is_finished = true;
        self.end_if_done(context);
    }

    fn announce_end(&mut self, is_clean: bool) {
        // Before anybody else may claim the room here.
        self.durability.stop_recovery();
        if let Some(entry) = self.entry.take() {
            let room_id = self.room.room_id();
            self.node.directory.remove(room_id, &entry, !is_clean);
        }
        if is_clean {
            self.part_with_all();
        }
        self.supervisor.do_send(RoomGone {
            room_id: self.room.room_id(),
            epoch: self.room.epoch(),
            is_clean,
            survivors: Survivors {
                links: std::mem::take(&mut self.links),
                unanswered: self.queue.unanswered(),
                culprit: self.culprit,
                must_end: false,
            },
        });
    }

    /// Takes over the connections of a failed predecessor: each is told what it missed, or must come again.
    pub(super) fn inherit(&mut self, context: &mut Context<Self>, survivors: Survivors) {
        let (seq, address) = (self.room.seq(), context.address());
        let mut kept = Vec::new();
        for (connection_id, mut link) in survivors.links {
            let Some(missed) = link.sent.and_then(|sent| self.room.events_after(sent)) else {
                link.state.disconnect.shutdown();
                continue;
            };
            link.sent = Some(seq);
            link.move_to(address.clone());
            self.touched.push(connection_id);
            self.links.insert(connection_id, link);
            kept.push(connection_id);
            for frame in missed {
                self.push_to(connection_id, frame);
            }
        }
        for (connection_id, id) in survivors.unanswered {
            let rejection =
                Rejection::new(Code::Timeout, "outcome unknown: repeat with the same id");
            self.push_to(connection_id, encode_error(Some(id), &rejection));
        }
        self.run(context, Input::Reattach { connections: kept });
        if let Some((connection_id, id)) = survivors.culprit {
            self.run(context, Input::Decide { connection_id, id });
        }
        if survivors.must_end {
            self.run(context, Input::End(EndReason::Failed));
        }
    }
}

impl Drop for RoomActor {
    /// The death watch: an actor that ended without having said so failed.
    fn drop(&mut self) {
        if self.entry.is_some() {
            self.announce_end(false);
        }
    }
}
