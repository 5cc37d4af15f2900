//! The actor of one live room: lets the rules decide, commits what changed, then performs the effects.
//!
//! Handlers are synchronous; what needs I/O is done by tasks of the I/O runtime and comes back as a message.

mod delivery;
mod handlers;
mod requests;
mod succession;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use actix::{Actor, ActorContext, Addr, AsyncContext, Context};
use tokio::sync::oneshot;
use tracing::{error, info};

pub use self::{
    requests::{
        Abandon, Administer, Applied, ConnectionClosed, Depart, Enter, Forgotten, Instruct,
        StillThere, Tick,
    },
    succession::Survivors,
};
use super::{
    Node,
    directory::Entry,
    durability::{Durability, Flight},
    link::Link,
    queue::Queue,
    supervisor::RoomSupervisor,
};
use crate::{
    ids::{ConnectionId, Timestamp, Version},
    metrics::{CommandOutcome, CommandType},
    room::{
        Room,
        effect::{Effect, Notice, Ticket},
        input::Input,
        view::{AdminReply, Rejection},
    },
};

/// Messages that may wait in a room's mailbox, besides one per connection.
const MAILBOX: usize = 1024;
/// How often connections are looked at for signs of life.
const LIVENESS_MS: u64 = 2_000;
/// How soon a refused delivery is tried again.
const REFUSED_MS: u64 = 50;
/// See the module.
pub struct RoomActor {
    pub(super) room: Room,
    pub(super) node: Arc<Node>,
    supervisor: Addr<RoomSupervisor>,
    pub(super) entry: Option<Arc<Entry>>,
    links: HashMap<ConnectionId, Link>,
    queue: Queue,
    /// Links with something to be delivered.
    touched: Vec<ConnectionId>,
    /// Links that refused a delivery.
    refused: HashSet<ConnectionId>,
    replies: HashMap<Ticket, oneshot::Sender<Result<AdminReply, Rejection>>>,
    last_ticket: u64,
    /// Version that the mirror has.
    pub(super) committed: Version,
    pub(super) flight: Option<Flight>,
    pub(super) durability: Durability,
    liveness_at: Timestamp,
    /// The room's next deadline at a version: looked up again only when something has changed.
    deadline: (Version, Option<Timestamp>),
    departing: Option<oneshot::Sender<()>>,
    culprit: Option<(ConnectionId, u64)>,
    /// What a predecessor left behind, until started.
    inherited: Option<Survivors>,
    /// The rules failed: the state is not to be used any more.
    is_poisoned: bool,
    /// The room ended by decision.
    is_finished: bool,
}

impl RoomActor {
    /// The actor of a room whose state at `committed` the mirror has.
    pub fn new(
        room: Room,
        committed: Version,
        node: Arc<Node>,
        supervisor: Addr<RoomSupervisor>,
        inherited: Option<Survivors>,
    ) -> Self {
        let now = node.clock.now();
        Self {
            queue: Queue::new(node.limits.queue),
            durability: Durability::new(now),
            liveness_at: now.plus_ms(LIVENESS_MS),
            deadline: (room.version(), deadline_of(&room)),
            room,
            node,
            supervisor,
            entry: None,
            links: HashMap::new(),
            touched: Vec::new(),
            refused: HashSet::new(),
            replies: HashMap::new(),
            last_ticket: 0,
            committed,
            flight: None,
            departing: None,
            culprit: None,
            inherited,
            is_poisoned: false,
            is_finished: false,
        }
    }

    /// Whether no request is taken any more.
    fn is_closing(&self) -> bool {
        self.is_poisoned || self.is_finished || self.departing.is_some() || self.room.is_closed()
    }

    /// Whether the rules failed: this state is neither used nor written any more.
    pub(super) fn is_poisoned(&self) -> bool {
        self.is_poisoned
    }

    /// Lets something happen: rules, commit, effects. Connections that turn out to be lost on the way are fed back.
    pub(super) fn run(&mut self, context: &mut Context<Self>, input: Input) {
        if self.is_poisoned {
            return;
        }
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let now = self.node.clock.now();
            if !self.apply(context, now, input) {
                return;
            }
            self.commit_if_idle(context);
            let lost = self.release(now);
            inputs.extend(
                lost.into_iter()
                    .map(|connection_id| Input::ConnectionLost { connection_id }),
            );
        }
        self.end_if_done(context);
        self.arm();
    }

    /// Whether the rules decided; a panic in them costs this actor, and its successor continues from the mirror.
    fn apply(&mut self, context: &mut Context<Self>, now: Timestamp, input: Input) -> bool {
        let (culprit, joiner) = match &input {
            Input::Command {
                connection_id, id, ..
            } => (Some((*connection_id, *id)), None),
            Input::Join(join) => (None, Some(join.connection_id)),
            Input::KeepAlive { .. }
            | Input::ConnectionLost { .. }
            | Input::Admin { .. }
            | Input::Tick
            | Input::Durability { .. }
            | Input::Reattach { .. }
            | Input::Decide { .. }
            | Input::End(_) => (None, None),
        };
        let room = &mut self.room;
        let kind = command_type(&input);
        let decided = catch_unwind(AssertUnwindSafe(|| {
            #[cfg(test)]
            super::tests::fail_if_told(&input);
            room.apply(now, input)
        }));
        let Ok(effects) = decided else {
            error!(room = %self.room.room_id(), epoch = %self.room.epoch(), "the room failed");
            self.is_poisoned = true;
            self.culprit = culprit;
            if let Some(joiner) = joiner {
                // Its own actor tells it and ends it.
                self.links.remove(&joiner);
            }
            context.stop();
            return false;
        };
        if let Some(kind) = kind {
            self.node.metrics.command(kind, outcome(&effects));
        }
        let needs = self.room.version();
        for effect in effects {
            if let Some((to, frame)) = self.queue.push(effect, needs) {
                self.push_relay(to, frame);
            }
        }
        true
    }

    /// Performs what need not wait any longer; answers the connections that are lost.
    pub(super) fn release(&mut self, now: Timestamp) -> Vec<ConnectionId> {
        let is_degraded = self.durability.is_degraded();
        while let Some(effect) = self.queue.pop(self.committed, is_degraded) {
            self.perform(effect, !is_degraded);
        }
        self.flush_links(now)
    }

    /// After news of the mirror: whatever need not wait any longer.
    pub(super) fn settle(&mut self, context: &mut Context<Self>) {
        for connection_id in self.release(self.node.clock.now()) {
            self.run(context, Input::ConnectionLost { connection_id });
        }
        self.end_if_done(context);
        self.arm();
    }

    fn perform(&mut self, effect: Effect, durable: bool) {
        #[cfg(test)]
        super::tests::fail_later_if_told(&effect);
        match effect {
            Effect::Send { to, notice } => self.tell(to, &notice, durable),
            Effect::Broadcast { to, event } => {
                for connection_id in to.iter() {
                    if let Some(link) = self.links.get_mut(connection_id) {
                        if link.push(event.frame.clone()) {
                            self.touched.push(*connection_id);
                        }
                        link.sent = Some(event.seq);
                    }
                }
            }
            Effect::Relay { to, frame, .. } => self.push_to(to, frame),
            Effect::Disconnect {
                connection_id,
                reason,
            } => {
                if let Some(link) = self.links.get_mut(&connection_id)
                    && link.close(reason)
                {
                    self.touched.push(connection_id);
                }
            }
            Effect::Reply { ticket, result } => {
                if let Some(reply) = self.replies.remove(&ticket) {
                    // The HTTP request may be gone.
                    let _ = reply.send(result);
                }
            }
            Effect::OpenSession {
                session_id,
                start_time,
            } => {
                info!(room = %self.room.room_id(), session = %session_id, "session began");
                self.node
                    .recorder
                    .open_session(self.room.room_id(), session_id, start_time);
            }
            Effect::StoreBan { user_id, ban } => {
                self.node
                    .recorder
                    .store_ban(self.room.room_id(), user_id, ban.created_at);
            }
            Effect::Closed { session } => {
                if let Some(session) = session {
                    let reason = session.end_reason;
                    info!(room = %session.room_id, session = %session.session_id, ?reason, "session ended");
                    self.node.recorder.session_closed();
                }
                self.is_finished = true;
            }
        }
    }

    /// Says when the next tick is due, and shows the room's figures.
    fn arm(&mut self) {
        let Some(entry) = &self.entry else {
            return;
        };
        if self.deadline.0 != self.room.version() {
            self.deadline = (self.room.version(), deadline_of(&self.room));
        }
        let now = self.node.clock.now();
        let wishes = [
            Some(self.liveness_at),
            self.deadline.1,
            (!self.refused.is_empty()).then(|| now.plus_ms(REFUSED_MS)),
            Some(self.next_durability_check(now)),
        ];
        for wish in wishes.into_iter().flatten() {
            entry.wake_at(wish);
        }
        entry.show(self.room.participant_count(), self.durability.is_degraded());
        entry.show_session(self.room.session().map(|session| session.session_id));
    }
}

/// When the room wants to be woken. A look at every seat; it changes only with a change that is mirrored.
fn deadline_of(room: &Room) -> Option<Timestamp> {
    room.next_deadline().map(|(at, _)| at)
}

/// What kind of request an input is, for the metrics.
fn command_type(input: &Input) -> Option<CommandType> {
    match input {
        Input::Join(_) => Some(CommandType::JoinRoom),
        Input::Command { command, .. } => Some(CommandType::from(command)),
        Input::KeepAlive { .. } => Some(CommandType::KeepAlive),
        Input::Admin { .. } => Some(CommandType::Admin),
        Input::ConnectionLost { .. }
        | Input::Tick
        | Input::Durability { .. }
        | Input::Reattach { .. }
        | Input::Decide { .. }
        | Input::End(_) => None,
    }
}

/// What became of a request.
fn outcome(effects: &[Effect]) -> CommandOutcome {
    let refusal = effects.iter().find_map(|effect| match effect {
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
    });
    refusal.map_or(CommandOutcome::Applied, CommandOutcome::Refused)
}

impl Actor for RoomActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(MAILBOX);
        let entry = Arc::new(Entry::new(context.address(), self.node.metrics.clone()));
        self.node
            .directory
            .insert(self.room.room_id(), Arc::clone(&entry));
        self.entry = Some(entry);
        match self.inherited.take() {
            Some(survivors) => self.inherit(context, survivors),
            None => self.run(context, Input::Tick),
        }
    }
}
