//! How a hosted room ends: it closes, is handed off to another node, is given up, or is stopped.

use super::{Host, Moment};
use crate::{
    ids::NodeId, mirror::Ownership, owner::StillOwner, protocol::GoodbyeReason, room::input::Input,
};

/// How a room ended here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its session ended and is in the mirror's outbox, or no session began.
    Closed,
    /// Another node continues it, or none does yet.
    HandedOff,
    /// Another node owns it.
    GivenUp,
    /// The node stopped before the last commit was answered.
    Stopped,
}

/// Where the people of a room find it next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextOwner {
    /// This is not known.
    Unknown,
    /// On this node.
    Node(NodeId),
    /// Any node leads to it.
    AnyNode,
}

impl From<Option<NodeId>> for NextOwner {
    fn from(owner: Option<NodeId>) -> Self {
        owner.map_or(Self::AnyNode, Self::Node)
    }
}

/// How a connection closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closing {
    /// Decides action and close code.
    pub reason: GoodbyeReason,
    /// Where to connect next.
    pub next_owner: NextOwner,
}

impl From<GoodbyeReason> for Closing {
    fn from(reason: GoodbyeReason) -> Self {
        Self {
            reason,
            next_owner: NextOwner::Unknown,
        }
    }
}

/// A room that leaves for another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HandOffStage {
    /// The mirror does not have all of it yet.
    Settling,
    /// The shell looks for a successor.
    Offered,
}

impl<C> Host<C> {
    /// How the room ended, once it has.
    #[must_use]
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// Whether the room leaves for another node.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.hand_off.is_some()
    }

    /// The node stops: the room takes no more requests, and is handed off when the mirror has all
    /// of it.
    pub fn hand_off(&mut self, moment: Moment) {
        if self.hand_off.is_some() || self.end.is_some() {
            return;
        }
        if !self.room().is_closed() {
            // Nobody is told: the successor continues from here.
            self.apply(moment, Input::Suspend);
        }
        self.hand_off = Some(HandOffStage::Settling);
    }

    /// The ownership to hand off, once: the mirror has all of the room. The shell answers with
    /// [`Host::handed_off`].
    pub fn next_hand_off(&mut self) -> Option<Ownership> {
        let is_due = self.hand_off == Some(HandOffStage::Settling)
            && self.is_active()
            && self.owner.is_settled();
        if !is_due {
            return None;
        }
        self.hand_off = Some(HandOffStage::Offered);
        Some(Ownership {
            owner: Some(self.owner.node_id()),
            epoch: self.room().epoch(),
        })
    }

    /// Another node has claimed the room, or none would.
    pub fn handed_off(&mut self, successor: Option<NodeId>) {
        let next_owner = successor.map_or(NextOwner::Unknown, NextOwner::Node);
        self.finish(End::HandedOff, GoodbyeReason::Draining, next_owner);
    }

    /// The node stops and does not wait for the last commit.
    pub fn stop(&mut self) {
        self.finish(End::Stopped, GoodbyeReason::Draining, NextOwner::Unknown);
    }

    /// False if the node has lost the room: it publishes nothing more, and everybody is sent to
    /// `next_owner`.
    pub(super) fn follow(&mut self, still_owner: StillOwner, next_owner: NextOwner) -> bool {
        match still_owner {
            StillOwner::Yes => true,
            StillOwner::No => {
                self.give_up(next_owner);
                false
            }
        }
    }

    fn give_up(&mut self, next_owner: NextOwner) {
        if self.end.is_none() {
            self.owner.fall_silent();
            self.outboxes.clear_all();
            self.finish(End::GivenUp, GoodbyeReason::Moved, next_owner);
        }
    }

    fn finish(&mut self, end: End, reason: GoodbyeReason, next_owner: NextOwner) {
        if self.end.is_none() {
            self.end = Some(end);
            self.outboxes.close_all(Closing { reason, next_owner });
        }
    }
}
