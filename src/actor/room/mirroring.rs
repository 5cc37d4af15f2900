//! The room's way to its mirror: commits and recoveries go out, and their results come back as
//! messages.

use std::{sync::Arc, time::Instant};

use actix::{AsyncContext, Context, Handler};
use tracing::{info, warn};

use super::{
    RoomActor,
    messages::{CheckLease, Committed, Recovered, Verify},
};
use crate::{
    mirror::{Commit, CommitOutcome, writer::WriterBusy},
    owner::{Loss, Recovery},
};

impl RoomActor {
    /// Sends the mirror what changed or what is owed, unless a commit is on its way or was a moment
    /// ago.
    pub(super) fn mirror(&mut self, context: &mut Context<Self>) {
        if self.may_send(context)
            && let Some(commit) = self.host.next_commit()
        {
            self.submit(context, commit);
        }
        if let Some(loss) = self.host.next_loss(self.node.clock.now()) {
            self.recover(context, loss);
        }
        self.log_durability();
    }

    fn submit(&mut self, context: &mut Context<Self>, commit: Commit) {
        let (to, address) = (commit.changes.to, context.address());
        let done = Box::new(move |outcome| address.do_send(Committed { to, outcome }));
        match self.writer.submit(commit, done) {
            Ok(token) => self.commit = Some(token),
            Err(WriterBusy(commit)) => self.host.commit_refused(*commit),
        }
    }

    fn recover(&mut self, context: &mut Context<Self>, loss: Loss) {
        warn!(room = %self.host.room().room_id(), outcome = ?loss.outcome, "the mirror lost this room: writing it again");
        self.commit = None;
        let (address, node) = (context.address(), Arc::clone(&self.node));
        let alive = Arc::downgrade(&self.alive);
        self.node.io.spawn(async move {
            let (to, outcome) = (loss.commit.changes.to, loss.outcome);
            let recovery = node.claimant.restore(&loss, &alive).await;
            address.do_send(Recovered {
                to,
                outcome,
                recovery,
            });
        });
    }

    /// Whether to send a commit now. One that follows the last too closely is sent later, with what
    /// happens until then.
    fn may_send(&mut self, context: &mut Context<Self>) -> bool {
        if self.pacer.is_waiting || !self.host.has_commit() {
            return false;
        }
        let wait = self.pacer.wait(Instant::now(), self.node.limits.pacing);
        if wait.is_zero() {
            return true;
        }
        self.pacer.is_waiting = true;
        context.run_later(wait, |room, context| {
            room.pacer.is_waiting = false;
            room.settle_unless_over(context);
        });
        false
    }

    /// Settles a room in which nothing has happened but that time has passed.
    pub(super) fn settle_unless_over(&mut self, context: &mut Context<Self>) {
        if !self.is_over() {
            self.host.check_lease(self.moment());
            self.settle(context);
        }
    }

    fn log_durability(&mut self) {
        let room = self.host.room().room_id();
        let is_degraded = self.host.owner().is_degraded();
        match (
            std::mem::replace(&mut self.was_degraded, is_degraded),
            is_degraded,
        ) {
            (false, true) => warn!(%room, "the mirror does not answer: continuing without it"),
            (true, false) => info!(%room, "the mirror answers for this room again"),
            (false, false) | (true, true) => {}
        }
    }
}

impl Handler<Committed> for RoomActor {
    type Result = ();

    fn handle(&mut self, message: Committed, context: &mut Self::Context) {
        if self.is_over() {
            return;
        }
        self.commit = None;
        let room_id = self.host.room().room_id();
        if let CommitOutcome::Fenced { epoch, owner } = message.outcome {
            warn!(room = %room_id, own = %self.host.room().epoch(), %epoch, ?owner, "another node owns the room: giving it up");
        }
        let moment = self.moment();
        if self.host.committed(moment, message.to, message.outcome) {
            self.node.claimant.was_taken(room_id);
        }
        self.settle(context);
    }
}

impl Handler<Recovered> for RoomActor {
    type Result = ();

    fn handle(&mut self, message: Recovered, context: &mut Self::Context) {
        if self.is_over() {
            return;
        }
        if let Recovery::Restored(epoch) = message.recovery {
            info!(room = %self.host.room().room_id(), %epoch, "the mirror has the room again");
        }
        let Recovered {
            to,
            outcome,
            recovery,
        } = message;
        self.host.recovered(self.moment(), to, outcome, recovery);
        self.settle(context);
    }
}

impl Handler<Verify> for RoomActor {
    type Result = ();

    fn handle(&mut self, _: Verify, context: &mut Self::Context) {
        if !self.is_over() {
            self.host.verify(self.moment());
            self.settle(context);
        }
    }
}

impl Handler<CheckLease> for RoomActor {
    type Result = ();

    fn handle(&mut self, _: CheckLease, context: &mut Self::Context) {
        if !self.is_over() {
            self.host.tick_owner(self.moment());
            self.settle(context);
        }
    }
}
