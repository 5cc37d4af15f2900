//! What a room's actor does with each message.

use actix::{ActorContext, Context, Handler};

use super::{
    RoomActor,
    link::Link,
    messages::{
        Applied, ConnectionClosed, HandOff, HandedOff, JoinRoom, KeepAlive, RunAdmin, RunCommand,
        Shutdown, StopNow,
    },
};
use crate::{
    actor::directory::Tick,
    host::Intake,
    protocol::{GoodbyeReason, Refusal},
    room::{effect::Ticket, input::Input},
};

impl RoomActor {
    /// Runs a client's request, if the room takes requests now.
    fn request(&mut self, context: &mut Context<Self>, input: Input) -> Applied {
        match self.host.intake() {
            Intake::Closing => return Applied::Closing,
            Intake::Full => return Applied::Busy,
            Intake::Open => {}
        }
        self.run(context, input);
        if self.host.has_panicked() {
            Applied::Failed
        } else {
            Applied::Done
        }
    }
}

impl Handler<JoinRoom> for RoomActor {
    type Result = Result<Applied, Refusal>;

    fn handle(&mut self, message: JoinRoom, context: &mut Self::Context) -> Self::Result {
        if self.host.is_closing() {
            return Ok(Applied::Closing);
        }
        if message.tenant_id != self.host.room().tenant_id() {
            return Err(Refusal::new(
                GoodbyeReason::Unauthorized,
                "the token is not for this room",
            ));
        }
        if self.host.intake() == Intake::Open {
            let link = Link::new(message.actor, message.socket);
            self.host.connect(message.join.connection_id, link);
        }
        Ok(self.request(context, Input::Join(message.join)))
    }
}

impl Handler<RunCommand> for RoomActor {
    type Result = Applied;

    fn handle(&mut self, message: RunCommand, context: &mut Self::Context) -> Applied {
        let input = Input::Command {
            connection_id: message.connection_id,
            id: message.id,
            command: message.command,
        };
        self.request(context, input)
    }
}

impl Handler<KeepAlive> for RoomActor {
    type Result = Applied;

    fn handle(&mut self, message: KeepAlive, context: &mut Self::Context) -> Applied {
        let connection_id = message.connection_id;
        self.request(context, Input::KeepAlive { connection_id })
    }
}

impl Handler<ConnectionClosed> for RoomActor {
    type Result = ();

    fn handle(&mut self, message: ConnectionClosed, context: &mut Self::Context) {
        let connection_id = message.connection_id;
        self.behind.remove(&connection_id);
        let applied = self.host.connection_closed(self.moment(), connection_id);
        if !self.is_over() {
            self.push_relays(applied.map_or_else(Vec::new, |applied| applied.relays));
            self.settle(context);
        }
    }
}

impl Handler<RunAdmin> for RoomActor {
    type Result = ();

    fn handle(&mut self, message: RunAdmin, context: &mut Self::Context) {
        if self.host.intake() != Intake::Open {
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
        self.check_at = None;
        if self.is_over() {
            return;
        }
        let moment = self.moment();
        let applied = self.host.tick(moment);
        self.push_relays(applied.map_or_else(Vec::new, |applied| applied.relays));
        self.list_behind();
        if !self.host.is_closing() {
            self.evict_silent(moment.now);
            self.ping_quiet(moment.now);
        }
        self.settle(context);
    }
}

impl Handler<HandOff> for RoomActor {
    type Result = ();

    fn handle(&mut self, message: HandOff, context: &mut Self::Context) {
        if self.is_over() || self.departing.is_some() {
            return;
        }
        self.departing = Some(message);
        self.host.hand_off(self.moment());
        self.settle(context);
    }
}

impl Handler<HandedOff> for RoomActor {
    type Result = ();

    fn handle(&mut self, message: HandedOff, context: &mut Self::Context) {
        if self.is_over() {
            return;
        }
        if message.successor.is_some() {
            self.node.metrics.rooms_handed_over_total.inc();
        }
        self.host.handed_off(message.successor);
        self.settle(context);
    }
}

impl Handler<StopNow> for RoomActor {
    type Result = ();

    fn handle(&mut self, _: StopNow, context: &mut Self::Context) {
        if !self.is_over() {
            self.host.stop();
            self.settle(context);
        }
    }
}

impl Handler<Shutdown> for RoomActor {
    type Result = ();

    fn handle(&mut self, _: Shutdown, context: &mut Self::Context) {
        context.stop();
    }
}
