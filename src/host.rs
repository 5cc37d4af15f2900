//! One hosted room without I/O: its owner, what waits for each of its connections, and how it ends.
//!
//! Pure like the owner. The shell brings each input with the time and the lease ([`Moment`]). After
//! it, the shell settles the room:
//!
//! 1. It sends [`Host::next_commit`] and [`Host::next_loss`] to the mirror.
//! 2. It performs the effects of [`Host::next_effect`] with [`Host::perform`], and carries out each
//!    returned [`Action`].
//! 3. It writes to the connections of [`Host::take_listed`].
//! 4. It carries out [`Host::next_hand_off`], and ends the room once [`Host::end`] is set.
//!
//! The room actor and the simulation are its two shells. All outboxes share one encoded frame per
//! event.

mod crash;
mod ending;
mod outbox;
mod release;
#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytestring::ByteString;

pub use self::{
    crash::CrashState,
    ending::{Closing, End, NextOwner},
    outbox::Outbox,
    release::{Action, Released},
};
use self::{ending::HandOffStage, outbox::Outboxes};
use crate::{
    ids::{ConnectionId, Timestamp, Version},
    lease::LeaseView,
    mirror::{Commit, CommitOutcome},
    owner::{Applied, Loss, Owner, Recovery},
    room::{Room, input::Input},
};

/// When something happens, and the node's lease then.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The node's own time.
    pub now: Timestamp,
    /// Read after `now`.
    pub lease: LeaseView,
}

/// Whether the room takes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intake {
    /// A request is decided at once.
    Open,
    /// Too much waits for the mirror: try again later.
    Full,
    /// The room is closing, moving or crashed: it takes no more requests.
    Closing,
}

/// See the module. `C` is the shell's handle of a connection.
#[derive(Debug)]
pub struct Host<C> {
    owner: Owner,
    outboxes: Outboxes<C>,
    /// Set when the room leaves for another node.
    hand_off: Option<HandOffStage>,
    end: Option<End>,
    has_panicked: bool,
    /// The command that made the rules panic.
    crashing_command: Option<(ConnectionId, u64)>,
    /// The room's next deadline at a version: computed again only when the room has changed.
    deadline: (Version, Option<Timestamp>),
}

impl<C> Host<C> {
    /// A room without connections.
    #[must_use]
    pub fn new(owner: Owner) -> Self {
        Self {
            deadline: (owner.room().version(), deadline_of(owner.room())),
            owner,
            outboxes: Outboxes::default(),
            hand_off: None,
            end: None,
            has_panicked: false,
            crashing_command: None,
        }
    }

    /// The owner, to be read.
    #[must_use]
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// The room, to be read.
    #[must_use]
    pub fn room(&self) -> &Room {
        self.owner.room()
    }

    /// Whether the rules have panicked: the shell stops, and a successor continues from the mirror.
    #[must_use]
    pub fn has_panicked(&self) -> bool {
        self.has_panicked
    }

    /// Whether a request may be applied now.
    #[must_use]
    pub fn intake(&self) -> Intake {
        if self.is_closing() {
            Intake::Closing
        } else if self.owner.is_full() {
            Intake::Full
        } else {
            Intake::Open
        }
    }

    /// Whether the room takes no more requests.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.has_panicked
            || self.end.is_some()
            || self.hand_off.is_some()
            || self.room().is_closed()
    }

    /// Adds a connection, so that the room can tell it something.
    pub fn connect(&mut self, connection_id: ConnectionId, connection: C) {
        self.outboxes.insert(connection_id, Outbox::new(connection));
    }

    /// The outbox of a connection.
    #[must_use]
    pub fn outbox(&self, connection_id: ConnectionId) -> Option<&Outbox<C>> {
        self.outboxes.get(connection_id)
    }

    /// The outbox of a connection, to be written.
    pub fn outbox_mut(&mut self, connection_id: ConnectionId) -> Option<&mut Outbox<C>> {
        self.outboxes.get_mut(connection_id)
    }

    /// All connections.
    pub fn outboxes(&self) -> impl Iterator<Item = (ConnectionId, &Outbox<C>)> {
        self.outboxes.iter()
    }

    /// Lists each connection for which `wants_write` returns true.
    pub fn list_where(&mut self, wants_write: impl FnMut(&mut C) -> bool) {
        self.outboxes.list_where(wants_write);
    }

    /// Lists one connection.
    pub fn list(&mut self, connection_id: ConnectionId) {
        self.outboxes.list(connection_id);
    }

    /// Up to `max` connections with something to write, each once, in the order in which they were
    /// listed.
    pub fn take_listed(&mut self, max: usize) -> Vec<ConnectionId> {
        self.outboxes.take_listed(max)
    }

    /// Whether connections with something to write are left.
    #[must_use]
    pub fn has_listed(&self) -> bool {
        self.outboxes.has_listed()
    }

    /// Removes a connection that has its goodbye or is lost. The rules are not told.
    pub fn remove(&mut self, connection_id: ConnectionId) -> Option<C> {
        self.outboxes
            .remove(connection_id)
            .map(|outbox| outbox.connection)
    }

    /// Removes all connections.
    pub fn remove_all(&mut self) -> impl Iterator<Item = C> + use<C> {
        let outboxes = std::mem::take(&mut self.outboxes);
        outboxes.into_connections()
    }

    /// Adds a frame that is no room event, and no answer that waits for the mirror.
    pub fn push(&mut self, to: ConnectionId, frame: ByteString) {
        self.outboxes.push(to, frame);
    }

    /// Applies an input. None if the room was given up, or if the rules panicked.
    ///
    /// The shell pushes the returned relays, unless too much waits for their targets.
    pub fn apply(&mut self, moment: Moment, input: Input) -> Option<Applied> {
        if self.has_panicked || !self.check_lease(moment) {
            return None;
        }
        let (command, joiner) = origin_of(&input);
        let owner = &mut self.owner;
        let applied = catch_unwind(AssertUnwindSafe(|| owner.apply(moment.now, input)));
        if applied.is_err() {
            self.has_panicked = true;
            self.crashing_command = command;
            if let Some(joiner) = joiner {
                // Its own actor tells it, and ends it.
                self.outboxes.remove(joiner);
            }
        }
        applied.ok()
    }

    /// A connection has ended: the rules learn it, unless the room ends as well.
    pub fn connection_closed(
        &mut self,
        moment: Moment,
        connection_id: ConnectionId,
    ) -> Option<Applied> {
        self.outboxes.remove(connection_id);
        if self.is_closing() {
            return None;
        }
        self.apply(moment, Input::ConnectionLost { connection_id })
    }

    /// Time has passed.
    pub fn tick(&mut self, moment: Moment) -> Option<Applied> {
        if !self.check_lease(moment) {
            return None;
        }
        self.owner.tick(moment.now);
        if self.is_closing() {
            return None;
        }
        self.apply(moment, Input::Tick)
    }

    /// Time has passed for the owner only. Rules see it with the next tick.
    pub fn tick_owner(&mut self, moment: Moment) {
        if self.check_lease(moment) {
            self.owner.tick(moment.now);
        }
    }

    /// The mirror may have lost the room: the next commit asks it.
    pub fn verify(&mut self, moment: Moment) {
        if self.check_lease(moment) {
            self.owner.verify();
        }
    }

    /// Reads the lease. False if the room has crashed or ended.
    pub fn check_lease(&mut self, moment: Moment) -> bool {
        if self.has_panicked {
            return false;
        }
        let still_owner = self.owner.read_lease(moment.lease);
        self.follow(still_owner, NextOwner::AnyNode)
    }

    /// The next commit to send, if none is on its way.
    pub fn next_commit(&mut self) -> Option<Commit> {
        self.is_active().then(|| self.owner.next_commit())?
    }

    /// Whether [`Host::next_commit`] returns one.
    #[must_use]
    pub fn has_commit(&self) -> bool {
        self.is_active() && self.owner.has_commit()
    }

    /// The writer took no commit: [`Host::next_commit`] returns it again.
    pub fn commit_refused(&mut self, commit: Commit) {
        self.owner.commit_refused(commit);
    }

    /// The room that the mirror lost, to be written again.
    pub fn next_loss(&mut self, now: Timestamp) -> Option<Loss> {
        self.is_active().then(|| self.owner.next_loss(now))?
    }

    /// A commit was answered. True if another node took the room although this node's lease holds.
    pub fn committed(&mut self, moment: Moment, to: Version, outcome: CommitOutcome) -> bool {
        if !self.check_lease(moment) {
            return false;
        }
        let is_trusted = self.owner.is_trusted();
        let still_owner = self.owner.committed_to(moment.now, to, outcome);
        let next_owner = match outcome {
            CommitOutcome::Fenced { owner, .. } => owner.into(),
            CommitOutcome::Ok | CommitOutcome::Behind | CommitOutcome::Missing => {
                NextOwner::AnyNode
            }
        };
        self.follow(still_owner, next_owner);
        is_trusted && matches!(outcome, CommitOutcome::Fenced { .. })
    }

    /// A recovery has ended.
    pub fn recovered(
        &mut self,
        moment: Moment,
        to: Version,
        outcome: CommitOutcome,
        recovery: Recovery,
    ) {
        if self.check_lease(moment) {
            let still_owner = self.owner.recovered(moment.now, to, outcome, recovery);
            self.follow(still_owner, NextOwner::AnyNode);
        }
    }

    /// When the rules want the next tick.
    pub fn next_deadline(&mut self) -> Option<Timestamp> {
        let room = self.owner.room();
        if self.deadline.0 != room.version() {
            self.deadline = (room.version(), deadline_of(room));
        }
        self.deadline.1
    }

    /// Whether the room still commits: it has neither crashed nor ended.
    fn is_active(&self) -> bool {
        !self.has_panicked && self.end.is_none()
    }
}

/// The command or the joining connection that an input comes from.
fn origin_of(input: &Input) -> (Option<(ConnectionId, u64)>, Option<ConnectionId>) {
    match input {
        Input::Command {
            connection_id, id, ..
        } => (Some((*connection_id, *id)), None),
        Input::Join(join) => (None, Some(join.connection_id)),
        Input::KeepAlive { .. }
        | Input::ConnectionLost { .. }
        | Input::Admin { .. }
        | Input::Tick
        | Input::Suspend
        | Input::Durability { .. }
        | Input::Reattach { .. }
        | Input::Decide { .. }
        | Input::End(_) => (None, None),
    }
}

/// Reads every seat. The result changes only with a mirrored change.
fn deadline_of(room: &Room) -> Option<Timestamp> {
    room.next_deadline().map(|(at, _)| at)
}
