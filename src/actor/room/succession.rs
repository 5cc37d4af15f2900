//! The end of a room's actor, by decision or by failure, and how a successor takes over its connections.

use std::sync::Arc;

use actix::{ActorContext, AsyncContext, Context};
use tokio::sync::oneshot;

use super::{
    RoomActor,
    requests::{Depart, HandOver, HandedOver},
};
use crate::{
    actor::{
        link::{Farewell, Link},
        supervisor::RoomGone,
    },
    ids::{ConnectionId, ConnectionMap, NodeId},
    mirror::Ownership,
    protocol::{Code, EndReason, GoodbyeReason, Rejection, encode_error},
    room::input::Input,
};

/// What a room actor hands to its successor after a failure.
#[derive(Debug, Default)]
pub struct Survivors {
    /// Open connections.
    pub links: ConnectionMap<Link>,
    /// Commands that were applied but not answered.
    pub unanswered: Vec<(ConnectionId, u64)>,
    /// The command that made the room fail.
    pub culprit: Option<(ConnectionId, u64)>,
    /// The restart budget is used up: the session ends.
    pub must_end: bool,
}

/// A room on its way to another node.
pub(super) struct Departure {
    /// None: called already.
    hand_over: Option<HandOver>,
    done: oneshot::Sender<()>,
}

impl Departure {
    pub(super) fn new(depart: Depart) -> Self {
        Self {
            hand_over: Some(depart.hand_over),
            done: depart.done,
        }
    }
}

impl RoomActor {
    /// A room that closed or departed has nothing left to do once its last commit is answered.
    pub(in crate::actor) fn end_if_done(&mut self, context: &mut Context<Self>) {
        self.hand_over_if_settled(context);
        if self.is_finished && context.state() == actix::ActorState::Running && self.entry.is_some()
        {
            self.flush_all();
            self.announce_end(true);
            if let Some(departure) = self.departing.take() {
                // The node may have given up waiting.
                let _ = departure.done.send(());
            }
        }
    }

    /// A departing room goes to its successor as soon as the mirror has all of it.
    fn hand_over_if_settled(&mut self, context: &mut Context<Self>) {
        let is_due = self.owner.is_settled() && !self.is_finished;
        let Some(departure) = self.departing.as_mut().filter(|_| is_due) else {
            return;
        };
        let Some(hand_over) = departure.hand_over.take() else {
            return;
        };
        let room = self.owner.room();
        let ownership = Ownership {
            owner: Some(self.node.node_id),
            epoch: room.epoch(),
        };
        let handing_over = hand_over(room.room_id(), ownership);
        let address = context.address();
        self.node.io.spawn(async move {
            let successor = handing_over.await;
            address.do_send(HandedOver { successor });
        });
    }

    /// Another node owns the room: publish nothing, send everybody there.
    pub(in crate::actor) fn give_up(&mut self, context: &mut Context<Self>, owner: Option<NodeId>) {
        if self.is_finished {
            return;
        }
        self.owner.fall_silent();
        self.node.metrics.rooms_given_up_total.inc();
        self.links.values_mut().for_each(Link::forget_pending);
        let url = self.node.signal_url_at(owner, self.owner.room().room_id());
        self.say_goodbye_to_all(&Farewell::to(GoodbyeReason::Moved, url));
        self.is_finished = true;
        self.end_if_done(context);
    }

    fn announce_end(&mut self, is_clean: bool) {
        // Before anybody else may claim the room here.
        self.alive = Arc::new(());
        if let Some(entry) = self.entry.take() {
            let room_id = self.owner.room().room_id();
            self.node.directory.remove(room_id, &entry, !is_clean);
        }
        if is_clean {
            self.part_with_all();
        }
        self.supervisor.do_send(RoomGone {
            room_id: self.owner.room().room_id(),
            epoch: self.owner.room().epoch(),
            is_clean,
            survivors: Survivors {
                links: std::mem::take(&mut self.links),
                unanswered: self.owner.unanswered(),
                culprit: self.culprit,
                must_end: false,
            },
        });
    }

    /// Takes over the connections of a failed predecessor: each is told what it missed, or must come again.
    pub(super) fn inherit(&mut self, context: &mut Context<Self>, survivors: Survivors) {
        let (seq, address) = (self.owner.room().seq(), context.address());
        let mut kept = Vec::new();
        for (connection_id, mut link) in survivors.links {
            if link.is_closing() {
                // It is not in the room any more.
                self.list_anew(connection_id, link);
                continue;
            }
            let Some(missed) = link
                .sent
                .and_then(|sent| self.owner.room().events_after(sent))
            else {
                link.socket.cut();
                continue;
            };
            link.sent = Some(seq);
            link.move_to(address.clone());
            // Also what its predecessor had begun to tell it, and to notice a client that has gone meanwhile.
            self.list_anew(connection_id, link);
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

    /// A link that may have been on the list of a predecessor.
    fn list_anew(&mut self, connection_id: ConnectionId, mut link: Link) {
        link.list();
        self.touched.push(connection_id);
        self.links.insert(connection_id, link);
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
