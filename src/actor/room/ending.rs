//! The end of a room's actor, by decision or by a crash, and how it takes over the connections of a
//! crashed predecessor.

use std::sync::Arc;

use actix::{AsyncContext, Context};

use super::{
    RoomActor, RoomCrashState,
    link::CLOSE_TIMEOUT,
    messages::{HandedOff, RoomGone},
};
use crate::host::End;

impl RoomActor {
    /// Looks for a successor of a departing room, once the mirror has all of it.
    pub(super) fn offer_hand_off(&mut self, context: &mut Context<Self>) {
        let Some(departing) = &self.departing else {
            return;
        };
        let Some(ownership) = self.host.next_hand_off() else {
            return;
        };
        let handing_off = (departing.hand_off)(self.host.room().room_id(), ownership);
        let address = context.address();
        self.node.io.spawn(async move {
            let successor = handing_off.await;
            address.do_send(HandedOff { successor });
        });
    }

    /// Ends a room that closed, moved or was given up.
    pub(super) fn end_if_done(&mut self) {
        let Some(end) = self.host.end() else {
            return;
        };
        if self.entry.is_none() {
            return;
        }
        if end == End::GivenUp {
            self.node.metrics.rooms_given_up_total.inc();
        }
        self.announce_end(true);
        if let Some(departing) = self.departing.take() {
            // The node may have given up waiting.
            let _ = departing.done.send(());
        }
    }

    fn announce_end(&mut self, is_clean: bool) {
        // Before anybody else may claim the room here.
        self.alive = Arc::new(());
        self.live_session = None;
        let room = self.host.room();
        let (room_id, epoch) = (room.room_id(), room.epoch());
        if let Some(entry) = self.entry.take() {
            self.directory.remove(room_id, &entry, !is_clean);
        }
        if is_clean {
            // All connections have their goodbye; one that has none is closed without.
            for link in self.host.remove_all() {
                link.socket.finish(CLOSE_TIMEOUT);
            }
        }
        self.supervisor.do_send(RoomGone {
            room_id,
            epoch,
            is_clean,
            crash_state: self.host.take_crash_state(),
        });
    }

    /// Takes over the connections of a crashed predecessor.
    pub(super) fn inherit(&mut self, context: &mut Context<Self>, crash_state: RoomCrashState) {
        let moment = self.moment();
        for link in self.host.continue_after_crash(moment, crash_state) {
            link.socket.cut();
        }
        for (_, outbox) in self.host.outboxes() {
            if !outbox.is_closing() {
                outbox.connection.move_to(context.address());
            }
        }
        self.settle(context);
    }
}

impl Drop for RoomActor {
    /// An actor that ends without having said so has crashed.
    fn drop(&mut self) {
        if self.entry.is_some() {
            self.announce_end(false);
        }
    }
}
