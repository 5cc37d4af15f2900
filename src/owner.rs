//! A room with its owner's duties: what it tells waits for the mirror, and for proof that this node
//! owns the room.
//!
//! Pure like the rules it drives ([`Room`]). The shell brings inputs, the lease and answers of the
//! mirror. It carries out the resulting commits, recoveries and effects.
//!
//! - An effect is performed after its commit.
//! - While the room is *degraded*, effects do not wait, except irreversible ones.
//! - While the node's lease is in doubt, no effect is performed.

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
    lease::{LeaseState, LeaseView},
    mirror::{Commit, CommitOutcome},
    room::{Room, effect::Effect, input::Input, record::ChangeSet},
};

/// Times and bounds of an owned room.
#[derive(Clone, Copy, Debug)]
pub struct OwnerLimits {
    /// Bounds of the queue.
    pub queue: QueueLimits,
    /// The room is degraded when the mirror has not answered for this long.
    pub stall_ms: u64,
    /// How often an idle room is verified in the mirror.
    pub verify_ms: u64,
    /// How long an owner whose lease had expired waits before it restores a room that the mirror
    /// lost: a new owner writes first.
    pub expiry_ms: u64,
}

/// Whether the node still owns the room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum StillOwner {
    /// As far as it can tell.
    Yes,
    /// Another node owns it or takes it over: this one publishes nothing, and sends everybody
    /// there.
    No,
}

/// A commit without an answer.
#[derive(Debug)]
struct Flight {
    /// The version that the mirror has afterwards.
    to: Version,
    /// It is a full snapshot.
    is_full: bool,
    /// The lease's term when it was sent. Its answer proves ownership in this term only.
    term: u64,
    /// How long it has waited while this process was running.
    waited_ms: u64,
}

/// The mirror lost this room: the shell restores it, unless another node has claimed it.
#[derive(Clone, Debug)]
pub struct Loss {
    /// The full snapshot.
    pub commit: Commit,
    /// The mirror's answer.
    pub outcome: CommitOutcome,
}

/// See the module.
#[derive(Debug)]
pub struct Owner {
    room: Room,
    node_id: NodeId,
    limits: OwnerLimits,
    queue: Queue,
    /// The version that the mirror has.
    committed: Version,
    flight: Option<Flight>,
    is_degraded: bool,
    /// When the owner last learnt the time.
    checked_at: Timestamp,
    /// When the last commit was answered.
    answered_at: Timestamp,
    /// A commit that the writer did not take.
    refused: Option<ChangeSet>,
    /// How long the writer has taken nothing.
    refused_ms: u64,
    /// When the next recovery starts.
    recover_at: Option<(Timestamp, CommitOutcome)>,
    /// The lease when it was last read.
    lease: LeaseView,
    /// The lease's term in which the mirror last confirmed that this node owns the room.
    proven_term: u64,
    /// The next commit is due even if nothing has changed: it asks the mirror for the room.
    must_verify: bool,
}

impl Owner {
    /// Owns a room of which the mirror has the version `committed`, as confirmed in the lease's
    /// present term.
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
            checked_at: now,
            answered_at: now,
            refused: None,
            refused_ms: 0,
            recover_at: None,
            lease,
            proven_term: lease.term,
            must_verify: false,
        }
    }

    /// The room, to be read.
    #[must_use]
    pub fn room(&self) -> &Room {
        &self.room
    }

    /// The node that runs the room.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.node_id
    }

    /// The version that the mirror has.
    #[must_use]
    pub fn committed(&self) -> Version {
        self.committed
    }

    /// Events go out with `durable: false`.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        self.is_degraded
    }

    /// Whether the queue takes no more commands.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.queue.is_full()
    }

    /// Whether the mirror has all changes and no commit is without an answer.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.flight.is_none() && self.recover_at.is_none() && self.committed == self.room.version()
    }

    /// Commands whose answer still waits.
    #[must_use]
    pub fn unanswered(&self) -> Vec<(ConnectionId, u64)> {
        self.queue.unanswered()
    }

    /// Drops all waiting effects: another node owns the room.
    pub fn fall_silent(&mut self) {
        self.queue = Queue::new(self.limits.queue);
    }

    /// Applies an input. Returns the relays that need not wait.
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

    /// The next effect that may be performed, and whether the mirror has what it tells.
    pub fn next_effect(&mut self) -> Option<(Effect, bool)> {
        if !self.may_publish() {
            return None;
        }
        let effect = self.queue.pop(self.committed, self.is_degraded)?;
        Some((effect, !self.is_degraded))
    }

    /// A connection was told that it has joined. Returns the relays that waited for this.
    pub fn joined(&mut self, connection_id: ConnectionId) -> Vec<Relay> {
        self.queue.joined(connection_id)
    }

    /// Whether effects may be performed now.
    fn may_publish(&self) -> bool {
        match self.lease.state {
            LeaseState::Held | LeaseState::Outage => self.is_proven(),
            LeaseState::Unsure | LeaseState::CutOff => false,
        }
    }

    /// Whether the lease holds, and the mirror has confirmed this room in its present term.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        self.lease.state == LeaseState::Held && self.is_proven()
    }

    /// Whether the mirror has confirmed in the lease's present term that this node owns the room.
    fn is_proven(&self) -> bool {
        self.proven_term == self.lease.term
    }

    /// Reads the lease. The shell does this before anything else.
    pub fn read_lease(&mut self, lease: LeaseView) -> StillOwner {
        self.lease = lease;
        match lease.state {
            LeaseState::CutOff => StillOwner::No,
            LeaseState::Held | LeaseState::Unsure | LeaseState::Outage => StillOwner::Yes,
        }
    }
}

/// The immediate result of an input.
#[derive(Debug, Default)]
pub struct Applied {
    /// Relays that need not wait.
    pub relays: Vec<Relay>,
    /// Set if the rules refused the request.
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
