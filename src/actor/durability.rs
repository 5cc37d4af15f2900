//! The room and its mirror: commits, one at a time; degraded while none is answered; recovery of what the mirror lost.

use std::sync::{Arc, Weak};

use actix::{AsyncContext, Context, Handler, Message};
use tracing::{info, warn};

use super::{Node, room::RoomActor};
use crate::{
    ids::{Timestamp, Version},
    mirror::{
        ClaimOutcome, Commit, CommitOutcome, MirrorFault, Ownership,
        writer::{CommitToken, WriterBusy},
    },
    room::{input::Input, record::ChangeSet},
};

/// Longest time that one look at the clock may add to the age of a commit: a process that was frozen reads what the
/// mirror answered before it judges it.
const LOOK_MS: u64 = 250;
/// How soon a failed recovery is tried again.
const RETRY_MS: u64 = 500;

/// A commit on its way.
#[derive(Debug)]
pub struct Flight {
    /// Version that the mirror has when it is answered.
    to: Version,
    /// It is the full snapshot that ends a degraded time.
    is_full: bool,
    /// For how long it has been waiting, as far as this process was running.
    waited_ms: u64,
    /// Keeps the writer at it; none while a recovery task is.
    _pending: Option<CommitToken>,
}

/// Whether the mirror takes this room's changes.
#[derive(Debug)]
pub struct Durability {
    is_degraded: bool,
    /// The last look at the clock.
    looked_at: Timestamp,
    /// The last answered commit.
    answered_at: Timestamp,
    /// A commit that the writer had no room for.
    refused: Option<ChangeSet>,
    /// For how long the writer has had no room.
    refused_ms: u64,
    /// When a failed recovery is tried again.
    recover_at: Option<(Timestamp, CommitOutcome)>,
    /// Lives as long as nobody else claims the room here.
    alive: Arc<()>,
}

impl Durability {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            is_degraded: false,
            looked_at: now,
            answered_at: now,
            refused: None,
            refused_ms: 0,
            recover_at: None,
            alive: Arc::new(()),
        }
    }

    /// From now on a recovery under way must not write any more: a successor may.
    pub fn stop_recovery(&mut self) {
        self.alive = Arc::new(());
    }

    /// Events go out with `durable: false`.
    pub fn is_degraded(&self) -> bool {
        self.is_degraded
    }
}

/// A commit was answered.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Committed {
    to: Version,
    outcome: CommitOutcome,
}

/// The mirror may have lost this room: look now.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Verify;

/// A recovery has ended.
#[derive(Message)]
#[rtype(result = "()")]
struct Recovered {
    to: Version,
    outcome: CommitOutcome,
    result: Recovery,
}

/// What became of a recovery.
pub(super) enum Recovery {
    /// Written under a new epoch.
    Restored(crate::ids::Epoch),
    /// The room's closing commit had arrived before, and its session is in SQL already.
    Closed,
    /// Somebody else owns the room, or its session is closed.
    Lost,
    /// The mirror or SQL is away.
    Failed,
}

impl RoomActor {
    /// Sends what changed, unless a commit is on its way: then it gathers.
    pub(super) fn commit_if_idle(&mut self, context: &mut Context<Self>) {
        let is_held =
            self.is_poisoned() || self.flight.is_some() || self.durability.recover_at.is_some();
        if is_held {
            return;
        }
        if let Some(changes) = self
            .durability
            .refused
            .take()
            .or_else(|| self.room.take_changes())
        {
            self.submit(context, changes);
        }
    }

    fn submit(&mut self, context: &mut Context<Self>, changes: ChangeSet) {
        let (to, is_full) = (changes.to, changes.is_full);
        let address = context.address();
        let commit = self.commit_of(changes);
        let done = Box::new(move |outcome| address.do_send(Committed { to, outcome }));
        match self.node.writer.submit(commit, done) {
            Ok(pending) => {
                self.durability.refused_ms = 0;
                self.flight = Some(Flight {
                    to,
                    is_full,
                    waited_ms: 0,
                    _pending: Some(pending),
                });
            }
            Err(WriterBusy(commit)) => self.durability.refused = Some(commit.changes),
        }
    }

    fn commit_of(&self, changes: ChangeSet) -> Commit {
        Commit {
            room_id: self.room.room_id(),
            owner: self.node.node_id,
            epoch: self.room.epoch(),
            changes,
        }
    }

    /// When durability wants to be looked at again.
    pub(super) fn next_durability_check(&self, now: Timestamp) -> Timestamp {
        if self.flight.is_some()
            || self.durability.refused.is_some()
            || self.durability.recover_at.is_some()
        {
            return now.plus_ms(LOOK_MS / 2);
        }
        self.durability
            .answered_at
            .plus_ms(self.node.limits.verify_ms)
    }

    pub(super) fn check_durability(&mut self, context: &mut Context<Self>, now: Timestamp) {
        let looked_at = std::mem::replace(&mut self.durability.looked_at, now);
        let passed_ms = now.ms_since(looked_at).min(LOOK_MS);
        if let Some(flight) = &mut self.flight {
            flight.waited_ms += passed_ms;
            if flight.waited_ms >= self.node.limits.stall_ms && !self.durability.is_degraded {
                self.degrade(context);
            }
            return;
        }
        if let Some((at, outcome)) = self.durability.recover_at {
            if at <= now {
                self.durability.recover_at = None;
                self.recover(context, outcome);
            }
            return;
        }
        self.commit_if_idle(context);
        if self.durability.refused.is_some() {
            self.durability.refused_ms += passed_ms;
            if self.durability.refused_ms >= self.node.limits.stall_ms
                && !self.durability.is_degraded
            {
                self.degrade(context);
            }
        }
        let is_idle = self.flight.is_none() && self.durability.refused.is_none();
        if is_idle
            && now
                >= self
                    .durability
                    .answered_at
                    .plus_ms(self.node.limits.verify_ms)
        {
            self.verify(context);
        }
    }

    /// An empty commit shows whether the mirror still has the room and this node still owns it.
    fn verify(&mut self, context: &mut Context<Self>) {
        let changes = self.room.no_changes(self.committed);
        self.submit(context, changes);
    }

    fn degrade(&mut self, context: &mut Context<Self>) {
        warn!(room = %self.room.room_id(), "the mirror does not answer: going on without it");
        self.durability.is_degraded = true;
        self.run(context, Input::Durability { durable: false });
    }

    fn answered(&mut self, context: &mut Context<Self>, is_full: bool) {
        if self.durability.is_degraded && !is_full {
            // The mirror is back; whatever it missed, one full snapshot puts it right.
            self.room.mirror_everything();
            return self.commit_if_idle(context);
        }
        if self.durability.is_degraded {
            info!(room = %self.room.room_id(), "the mirror is back");
            self.durability.is_degraded = false;
            return self.run(context, Input::Durability { durable: true });
        }
        self.commit_if_idle(context);
    }

    /// The mirror lost writes of this room: everything is written again under a new epoch, if nobody else has claimed it.
    fn recover(&mut self, context: &mut Context<Self>, outcome: CommitOutcome) {
        self.room.mirror_everything();
        self.durability.refused = None;
        let Some(changes) = self.room.take_changes() else {
            return;
        };
        let to = changes.to;
        let commit = self.commit_of(changes);
        self.flight = Some(Flight {
            to,
            is_full: true,
            waited_ms: 0,
            _pending: None,
        });
        let address = context.address();
        let node = Arc::clone(&self.node);
        let alive = Arc::downgrade(&self.durability.alive);
        self.node.io.spawn(async move {
            let result = restore(&node, &commit, outcome, &alive)
                .await
                .unwrap_or_else(|fault| {
                    warn!(room = %commit.room_id, %fault, "recovery failed");
                    Recovery::Failed
                });
            address.do_send(Recovered {
                to,
                outcome,
                result,
            });
        });
    }
}

/// Writes the snapshot if the mirror's ownership is still what it was, or if the room is missing there and its session
/// is not closed.
pub(super) async fn restore(
    node: &Node,
    commit: &Commit,
    outcome: CommitOutcome,
    alive: &Weak<()>,
) -> Result<Recovery, MirrorFault> {
    let expected = match outcome {
        CommitOutcome::Missing => {
            let session = commit.changes.head.as_ref().and_then(|head| head.session);
            if let Some(session) = session {
                match node.store.session_closed(session.session_id).await {
                    Ok(true) if commit.changes.closing.is_some() => return Ok(Recovery::Closed),
                    Ok(true) => return Ok(Recovery::Lost),
                    Ok(false) => {}
                    Err(fault) => {
                        warn!(room = %commit.room_id, %fault, "cannot ask SQL whether the session is closed");
                        return Ok(Recovery::Failed);
                    }
                }
            }
            None
        }
        CommitOutcome::Ok | CommitOutcome::Behind | CommitOutcome::Fenced { .. } => {
            let stored = node.mirror.ownership(commit.room_id).await?;
            let is_ours = |stored: &Ownership| {
                stored.owner == Some(node.node_id) || stored.epoch < commit.epoch
            };
            if stored.as_ref().is_some_and(|stored| !is_ours(stored)) {
                return Ok(Recovery::Lost);
            }
            stored
        }
    };
    let mut claimed = node.mirror.restore(commit, expected).await?;
    if let ClaimOutcome::Lost(Some(stored)) = claimed
        && stored.owner == Some(node.node_id)
        && alive.strong_count() > 0
    {
        // This node's own: an earlier try arrived and its answer did not. Nobody else writes the room here while its actor
        // lives, and it lived after `stored` was read.
        claimed = node.mirror.restore(commit, Some(stored)).await?;
    }
    Ok(match claimed {
        ClaimOutcome::Claimed { epoch, .. } => Recovery::Restored(epoch),
        ClaimOutcome::Lost(_) | ClaimOutcome::TooNew => Recovery::Lost,
    })
}

impl Handler<Committed> for RoomActor {
    type Result = ();

    fn handle(&mut self, message: Committed, context: &mut Self::Context) {
        let Some(flight) = self.flight.take_if(|flight| flight.to == message.to) else {
            return;
        };
        let now = self.node.clock.now();
        self.durability.answered_at = now;
        match message.outcome {
            CommitOutcome::Ok => {
                self.committed = flight.to;
                self.answered(context, flight.is_full);
                self.settle(context);
            }
            CommitOutcome::Fenced { epoch, owner } => {
                warn!(room = %self.room.room_id(), own = %self.room.epoch(), %epoch, ?owner, "fenced");
                self.give_up(context);
            }
            outcome @ (CommitOutcome::Behind | CommitOutcome::Missing) => {
                warn!(room = %self.room.room_id(), ?outcome, "the mirror lost this room: writing it again");
                self.recover(context, outcome);
                self.settle(context);
            }
        }
    }
}

impl Handler<Recovered> for RoomActor {
    type Result = ();

    fn handle(&mut self, message: Recovered, context: &mut Self::Context) {
        let Some(flight) = self.flight.take_if(|flight| flight.to == message.to) else {
            return;
        };
        let now = self.node.clock.now();
        match message.result {
            Recovery::Restored(epoch) => {
                self.durability.answered_at = now;
                self.committed = flight.to;
                self.room.begin_epoch(epoch);
                info!(room = %self.room.room_id(), %epoch, "the mirror has the room again");
                self.answered(context, true);
                self.settle(context);
            }
            Recovery::Closed => {
                self.committed = flight.to;
                self.settle(context);
            }
            Recovery::Lost => self.give_up(context),
            Recovery::Failed => {
                self.durability.recover_at = Some((now.plus_ms(RETRY_MS), message.outcome));
                if !self.durability.is_degraded {
                    self.degrade(context);
                }
                self.settle(context);
            }
        }
    }
}

impl Handler<Verify> for RoomActor {
    type Result = ();

    fn handle(&mut self, _: Verify, context: &mut Self::Context) {
        if self.flight.is_none() && self.durability.recover_at.is_none() && self.entry.is_some() {
            self.verify(context);
            self.settle(context);
        }
    }
}
