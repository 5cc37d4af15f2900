//! What a room's actor does with each message: handlers are synchronous, and all of them end in the rules or in a refusal.

use actix::{ActorContext, Handler};

use super::{
    RoomActor,
    requests::{
        Abandon, Administer, Applied, ConnectionClosed, Depart, Enter, Forgotten, HandedOver,
        Instruct, StillThere, Tick,
    },
    succession::Departure,
};
use crate::{
    actor::link::{Farewell, Link},
    protocol::{GoodbyeReason, Refusal},
    room::{effect::Ticket, input::Input},
};

impl Handler<Enter> for RoomActor {
    type Result = Result<Applied, Refusal>;

    fn handle(&mut self, message: Enter, context: &mut Self::Context) -> Self::Result {
        if self.is_closing() {
            return Ok(Applied::Closing);
        }
        if message.tenant_id != self.owner.room().tenant_id() {
            return Err(Refusal::new(
                GoodbyeReason::Unauthorized,
                "the token is not for this room",
            ));
        }
        if self.owner.is_full() {
            return Ok(Applied::Busy);
        }
        let link = Link::new(message.actor, message.socket);
        self.links.insert(message.join.connection_id, link);
        self.run(context, Input::Join(message.join));
        Ok(self.applied())
    }
}

impl Handler<Instruct> for RoomActor {
    type Result = Applied;

    fn handle(&mut self, message: Instruct, context: &mut Self::Context) -> Applied {
        if self.is_closing() {
            return Applied::Closing;
        }
        if self.owner.is_full() {
            return Applied::Busy;
        }
        self.run(
            context,
            Input::Command {
                connection_id: message.connection_id,
                id: message.id,
                command: message.command,
            },
        );
        self.applied()
    }
}

impl Handler<StillThere> for RoomActor {
    type Result = Applied;

    fn handle(&mut self, message: StillThere, context: &mut Self::Context) -> Applied {
        if self.is_closing() {
            return Applied::Closing;
        }
        if self.owner.is_full() {
            return Applied::Busy;
        }
        let connection_id = message.connection_id;
        self.run(context, Input::KeepAlive { connection_id });
        self.applied()
    }
}

impl RoomActor {
    fn applied(&self) -> Applied {
        if self.is_poisoned {
            Applied::Failed
        } else {
            Applied::Done
        }
    }
}

impl Handler<ConnectionClosed> for RoomActor {
    type Result = ();

    fn handle(&mut self, message: ConnectionClosed, context: &mut Self::Context) {
        let connection_id = message.connection_id;
        self.links.remove(&connection_id);
        self.behind.remove(&connection_id);
        if !self.is_closing() {
            self.run(context, Input::ConnectionLost { connection_id });
        }
    }
}

impl Handler<Administer> for RoomActor {
    type Result = ();

    fn handle(&mut self, message: Administer, context: &mut Self::Context) {
        if self.is_closing() || self.owner.is_full() {
            return;
        }
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        self.replies.insert(ticket, message.reply);
        let command = message.command;
        self.run(context, Input::Admin { ticket, command });
    }
}

impl Handler<Tick> for RoomActor {
    type Result = ();

    fn handle(&mut self, _: Tick, context: &mut Self::Context) {
        let now = self.node.clock.now();
        self.look_at = None;
        if self.is_over() || !self.look(context, now) {
            return;
        }
        let was_degraded = self.owner.is_degraded();
        self.owner.tick(now);
        self.say_if_durability_changed(was_degraded);
        self.mirror(context, now);
        self.list_behind();
        if self.departing.is_some() || self.owner.room().is_closed() {
            return self.settle(context);
        }
        if self.liveness_at <= now {
            self.evict_silent(context, now);
        }
        if self.ping_at <= now {
            self.ping_at = now.plus_ms(self.node.limits.ping_interval_ms);
            self.ping_quiet(now);
        }
        self.run(context, Input::Tick);
    }
}

impl Handler<Depart> for RoomActor {
    type Result = ();

    fn handle(&mut self, message: Depart, context: &mut Self::Context) {
        if self.is_over() || self.departing.is_some() {
            return;
        }
        if !self.owner.room().is_closed() {
            self.run(context, Input::Suspend);
        }
        self.departing = Some(Departure::new(message));
        self.settle(context);
    }
}

impl Handler<HandedOver> for RoomActor {
    type Result = ();

    fn handle(&mut self, message: HandedOver, context: &mut Self::Context) {
        if self.is_over() || self.is_finished {
            return;
        }
        if message.successor.is_some() {
            self.node.metrics.rooms_handed_over_total.inc();
        }
        let farewell = Farewell::to(GoodbyeReason::Draining, message.successor);
        self.say_goodbye_to_all(&farewell);
        self.is_finished = true;
        self.end_if_done(context);
    }
}

impl Handler<Abandon> for RoomActor {
    type Result = ();

    fn handle(&mut self, _: Abandon, context: &mut Self::Context) {
        if self.is_over() {
            return;
        }
        self.say_goodbye_to_all(&Farewell::from(GoodbyeReason::Draining));
        self.is_finished = true;
        self.end_if_done(context);
    }
}

impl Handler<Forgotten> for RoomActor {
    type Result = ();

    fn handle(&mut self, _: Forgotten, context: &mut Self::Context) {
        context.stop();
    }
}
