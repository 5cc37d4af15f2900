//! The room's way to its mirror: commits and recoveries go out, their answers come back as messages; the lease is read before
//! anything is decided.

use std::time::Instant;

use actix::{AsyncContext, Context, Handler, Message};
use tracing::{info, warn};

use super::room::RoomActor;
use crate::{
    ids::{NodeId, Timestamp, Version},
    mirror::{
        CommitOutcome,
        writer::{CommitToken, WriterBusy},
    },
    owner::{Fate, Recovery},
};

/// What keeps the writer at a commit.
#[derive(Debug)]
pub struct Flight(#[expect(dead_code, reason = "held for its drop")] CommitToken);

/// A commit was answered.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Committed {
    to: Version,
    outcome: CommitOutcome,
}

/// The mirror may have lost this room, or another node may have it: ask now.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Verify;

/// The node's lease has been judged: see what it says now.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Look;

/// A recovery has ended.
#[derive(Message)]
#[rtype(result = "()")]
struct Recovered {
    to: Version,
    outcome: CommitOutcome,
    recovery: Recovery,
}

impl RoomActor {
    /// Reads the node's lease; whether the room goes on here.
    pub(super) fn look(&mut self, context: &mut Context<Self>, now: Timestamp) -> bool {
        let lease = self.node.claimant.tenure.cell().view(now);
        let fate = self.owner.look(lease);
        self.follow(context, fate, None)
    }

    /// Whether the room goes on here; if not, its people are sent to `owner`.
    fn follow(&mut self, context: &mut Context<Self>, fate: Fate, owner: Option<NodeId>) -> bool {
        match fate {
            Fate::Ours => true,
            Fate::Lost => {
                self.give_up(context, owner);
                false
            }
        }
    }

    /// Sends what changed or what is owed to the mirror, unless something is on its way or was a moment ago: then it gathers.
    pub(super) fn mirror(&mut self, context: &mut Context<Self>, now: Timestamp) {
        if self.is_poisoned() {
            return;
        }
        let was_degraded = self.owner.is_degraded();
        if self.may_send(context)
            && let Some(commit) = self.owner.next_commit()
        {
            let (to, address) = (commit.changes.to, context.address());
            let done = Box::new(move |outcome| address.do_send(Committed { to, outcome }));
            match self.writer.submit(commit, done) {
                Ok(pending) => self.flight = Some(Flight(pending)),
                Err(WriterBusy(commit)) => self.owner.commit_refused(*commit),
            }
        }
        if let Some(loss) = self.owner.next_loss(now) {
            warn!(room = %self.owner.room().room_id(), outcome = ?loss.outcome, "the mirror lost this room: writing it again");
            self.flight = None;
            let address = context.address();
            let node = std::sync::Arc::clone(&self.node);
            let alive = std::sync::Arc::downgrade(&self.alive);
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
        self.say_if_durability_changed(was_degraded);
    }

    /// Whether a commit is to be sent now. One that follows the last too closely is sent later, with what happens until then.
    fn may_send(&mut self, context: &mut Context<Self>) -> bool {
        if self.spacing.is_waiting || !self.owner.has_commit() {
            return false;
        }
        let limits = self.node.limits.spacing;
        let wait = self.spacing.wait(Instant::now(), limits);
        if wait.is_zero() {
            return true;
        }
        self.spacing.is_waiting = true;
        context.run_later(wait, |room, context| {
            room.spacing.is_waiting = false;
            let now = room.node.clock.now();
            if !room.is_over() && room.look(context, now) {
                room.mirror(context, now);
                room.settle(context);
            }
        });
        false
    }

    pub(super) fn say_if_durability_changed(&self, was_degraded: bool) {
        let room = self.owner.room().room_id();
        match (was_degraded, self.owner.is_degraded()) {
            (false, true) => warn!(%room, "the mirror does not answer: going on without it"),
            (true, false) => info!(%room, "the mirror is back"),
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
        let now = self.node.clock.now();
        if !self.look(context, now) {
            return;
        }
        self.flight = None;
        let was_degraded = self.owner.is_degraded();
        let is_ours = self.owner.is_trusted();
        let fate = self.owner.committed_to(now, message.to, message.outcome);
        self.say_if_durability_changed(was_degraded);
        let mut owner = None;
        if let CommitOutcome::Fenced {
            epoch,
            owner: new_owner,
        } = message.outcome
        {
            let room = self.owner.room();
            warn!(room = %room.room_id(), own = %room.epoch(), %epoch, owner = ?new_owner, "fenced");
            owner = new_owner;
            if is_ours {
                self.node.claimant.was_taken(room.room_id());
            }
        }
        if self.follow(context, fate, owner) {
            self.mirror(context, now);
            self.settle(context);
        }
    }
}

impl Handler<Recovered> for RoomActor {
    type Result = ();

    fn handle(&mut self, message: Recovered, context: &mut Self::Context) {
        if self.is_over() {
            return;
        }
        let now = self.node.clock.now();
        if !self.look(context, now) {
            return;
        }
        if let Recovery::Restored(epoch) = message.recovery {
            info!(room = %self.owner.room().room_id(), %epoch, "the mirror has the room again");
        }
        let was_degraded = self.owner.is_degraded();
        let fate = self
            .owner
            .recovered(now, message.to, message.outcome, message.recovery);
        self.say_if_durability_changed(was_degraded);
        if self.follow(context, fate, None) {
            self.mirror(context, now);
            self.settle(context);
        }
    }
}

impl Handler<Verify> for RoomActor {
    type Result = ();

    fn handle(&mut self, _: Verify, context: &mut Self::Context) {
        let now = self.node.clock.now();
        if !self.is_over() && self.look(context, now) {
            self.owner.verify();
            self.mirror(context, now);
            self.settle(context);
        }
    }
}

impl Handler<Look> for RoomActor {
    type Result = ();

    fn handle(&mut self, _: Look, context: &mut Self::Context) {
        let now = self.node.clock.now();
        if !self.is_over() && self.look(context, now) {
            self.owner.tick(now);
            self.settle(context);
        }
    }
}
