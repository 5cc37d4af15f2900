//! A room with its owner's duties: what it says waits for the mirror, and for the right to say it.
//!
//! Pure like the rules it drives ([`Room`]): the shell brings inputs, the lease and news of the mirror, and carries out what
//! comes back: commits, recoveries, effects. Nothing leaves before its commit; while *degraded* it leaves without, except
//! what cannot be taken back; while the node's lease is in doubt nothing leaves at all.

mod durability;
mod queue;
#[cfg(test)]
mod tests;

pub use self::{
    durability::Recovery,
    queue::{Queue, QueueLimits, Relay},
};
use crate::{
    ids::{ConnectionId, NodeId, Timestamp, Version},
    lease::{LeaseView, Standing},
    mirror::{Commit, CommitOutcome},
    room::{Room, effect::Effect, input::Input, record::ChangeSet},
};

/// Times and bounds of an owned room.
#[derive(Clone, Copy, Debug)]
pub struct OwnerLimits {
    /// Of the FIFO.
    pub queue: QueueLimits,
    /// Without an answer of the mirror for this long the room is degraded.
    pub stall_ms: u64,
    /// How often an idle room is verified in the mirror.
    pub verify_ms: u64,
    /// How long an owner whose lease had ended leaves a room alone that the mirror lost: its next owner writes first.
    pub expiry_ms: u64,
}

/// Whether the node goes on with the room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Fate {
    /// Yes.
    Ours,
    /// Another node owns it, or takes it: publish nothing, send everybody there.
    Lost,
}

/// A commit on its way.
#[derive(Debug)]
struct Flight {
    /// Version that the mirror has when it is answered.
    to: Version,
    /// It is a full snapshot.
    is_full: bool,
    /// The term of the lease in which it was sent: an answer to a later one proves ownership.
    term: u64,
    /// For how long it has been waiting, as far as this process was running.
    waited_ms: u64,
}

/// The mirror lost this room: write it again, if nobody else has claimed it. To be carried out by the shell.
#[derive(Clone, Debug)]
pub struct Loss {
    /// The full snapshot.
    pub commit: Commit,
    /// What the mirror said.
    pub outcome: CommitOutcome,
}

/// See the module.
#[derive(Debug)]
pub struct Owner {
    room: Room,
    node_id: NodeId,
    limits: OwnerLimits,
    queue: Queue,
    /// Version that the mirror has.
    committed: Version,
    flight: Option<Flight>,
    is_degraded: bool,
    /// The last look at the clock.
    looked_at: Timestamp,
    /// The last answered commit.
    answered_at: Timestamp,
    /// A commit that the writer had no room for.
    refused: Option<ChangeSet>,
    /// For how long the writer has had no room.
    refused_ms: u64,
    /// When a recovery is tried.
    recover_at: Option<(Timestamp, CommitOutcome)>,
    /// The lease at the last look.
    lease: LeaseView,
    /// The term of the lease in which the mirror last said that this node owns the room.
    proven_term: u64,
    /// The mirror is to be asked for a proof or for a lost room, whatever else is to be done.
    must_verify: bool,
}

impl Owner {
    /// Goes on with a room whose state at `committed` the mirror has, as it said in the present term of the lease.
    #[must_use]
    pub fn new(
        room: Room,
        committed: Version,
        node_id: NodeId,
        limits: OwnerLimits,
        now: Timestamp,
        lease: LeaseView,
    ) -> Self {
        Self {
            queue: Queue::new(limits.queue),
            room,
            node_id,
            limits,
            committed,
            flight: None,
            is_degraded: false,
            looked_at: now,
            answered_at: now,
            refused: None,
            refused_ms: 0,
            recover_at: None,
            lease,
            proven_term: lease.term,
            must_verify: false,
        }
    }

    /// The room.
    #[must_use]
    pub fn room(&self) -> &Room {
        &self.room
    }

    /// Version that the mirror has.
    #[must_use]
    pub fn committed(&self) -> Version {
        self.committed
    }

    /// Events go out with `durable: false`.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        self.is_degraded
    }

    /// Whether no further command may come in.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.queue.is_full()
    }

    /// Whether all changes are in the mirror and nothing is on its way.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.flight.is_none() && self.recover_at.is_none() && self.committed == self.room.version()
    }

    /// Commands that are still unanswered, for the case that nobody will answer them.
    #[must_use]
    pub fn unanswered(&self) -> Vec<(ConnectionId, u64)> {
        self.queue.unanswered()
    }

    /// Forgets what was to be said: somebody else speaks for the room now.
    pub fn fall_silent(&mut self) {
        self.queue = Queue::new(self.limits.queue);
    }

    /// Lets something happen. Answers the relays that need not wait.
    pub fn apply(&mut self, now: Timestamp, input: Input) -> Applied {
        let effects = self.room.apply(now, input);
        let needs = self.room.version();
        let refusal = refusal_of(&effects);
        let mut relays = Vec::new();
        for effect in effects {
            if let Some(relay) = self.queue.push(effect, needs) {
                relays.push(relay);
            }
        }
        if !self.may_publish() {
            relays.clear();
        }
        Applied { relays, refusal }
    }

    /// The next effect that may be performed, and whether what it tells is durable.
    pub fn next_effect(&mut self) -> Option<(Effect, bool)> {
        if !self.may_publish() {
            return None;
        }
        let effect = self.queue.pop(self.committed, self.is_degraded)?;
        Some((effect, !self.is_degraded))
    }

    /// The join of a connection was told: the relays that waited for it.
    pub fn joined(&mut self, connection_id: ConnectionId) -> Vec<Relay> {
        self.queue.joined(connection_id)
    }

    /// Whether the node may speak for the room now.
    fn may_publish(&self) -> bool {
        match self.lease.standing {
            Standing::Held | Standing::Outage => self.is_proven(),
            Standing::Unsure | Standing::CutOff => false,
        }
    }

    /// Whether the lease holds and nothing has put it in doubt since the mirror confirmed this room.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        self.lease.standing == Standing::Held && self.is_proven()
    }

    /// Whether the mirror has said in this term of the lease that this node owns the room.
    fn is_proven(&self) -> bool {
        self.proven_term == self.lease.term
    }

    /// The lease as it is at `now`; to be told before anything else is done with the room.
    pub fn look(&mut self, lease: LeaseView) -> Fate {
        self.lease = lease;
        match lease.standing {
            Standing::CutOff => Fate::Lost,
            Standing::Held | Standing::Unsure | Standing::Outage => Fate::Ours,
        }
    }
}

/// What an input has led to at once.
#[derive(Debug, Default)]
pub struct Applied {
    /// To be passed on now.
    pub relays: Vec<Relay>,
    /// Why the request was refused, if it was.
    pub refusal: Option<crate::protocol::Code>,
}

fn refusal_of(effects: &[Effect]) -> Option<crate::protocol::Code> {
    use crate::protocol::Notice;
    effects.iter().find_map(|effect| match effect {
        Effect::Send {
            notice: Notice::Error { rejection, .. },
            ..
        }
        | Effect::Reply {
            result: Err(rejection),
            ..
        } => Some(rejection.code),
        Effect::Send { .. }
        | Effect::Reply { .. }
        | Effect::Broadcast { .. }
        | Effect::Relay { .. }
        | Effect::Disconnect { .. }
        | Effect::OpenSession { .. }
        | Effect::StoreBan { .. }
        | Effect::Closed { .. } => None,
    })
}
