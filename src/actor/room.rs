//! The actor of one live room: lets the rules decide, commits what changed, then performs the effects.
//!
//! Handlers are synchronous; what needs I/O is done by tasks of the I/O runtime and comes back as a message.

mod delivery;
mod handlers;
mod requests;
mod succession;

use std::{
    collections::{HashMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use actix::{Actor, ActorContext, Addr, AsyncContext, Context};
use tokio::sync::oneshot;
use tracing::{error, info};

use self::succession::Departure;
pub use self::{
    requests::{
        Abandon, Administer, Applied, ConnectionClosed, Depart, Enter, Forgotten, HandOver,
        Instruct, StillThere, Tick,
    },
    succession::Survivors,
};
use super::{
    Node,
    directory::Entry,
    durability::Flight,
    link::{Farewell, Link},
    spacing::Spacing,
    supervisor::RoomSupervisor,
    threads::RoomThread,
};
use crate::{
    claims::Started,
    ids::{ConnectionId, ConnectionMap, Timestamp, Version},
    lease::LeaseView,
    metrics::{CommandLabel, CommandOutcome},
    mirror::writer::MirrorWriter,
    owner::Owner,
    protocol::{MessageType, Rejection},
    room::{
        Room,
        admin::AdminReply,
        effect::{Effect, Ticket},
        input::Input,
    },
};

/// Messages that may wait in a room's mailbox, besides one per connection.
const MAILBOX: usize = 1024;
/// What can wait a moment is done on a common beat: many rooms then wake their thread once, and their commits go together.
const BEAT_MS: u64 = 100;
/// The same of what a quiet room does: pings, looks for the silent, asking the mirror whether it still has the room.
pub(super) const QUIET_BEAT_MS: u64 = 250;
/// How often clients that are behind are judged.
const BEHIND_MS: u64 = 50;

/// See the module.
pub struct RoomActor {
    pub(super) owner: Owner,
    pub(super) node: Arc<Node>,
    /// Of the thread on which it lives.
    pub(super) writer: MirrorWriter,
    pub(super) spacing: Spacing,
    supervisor: Addr<RoomSupervisor>,
    pub(super) entry: Option<Arc<Entry>>,
    links: ConnectionMap<Link>,
    /// Links with something to be delivered, each once.
    touched: Vec<ConnectionId>,
    /// The next go at them is to come.
    is_writing: bool,
    /// Links whose clients have not taken everything.
    behind: ConnectionMap<()>,
    replies: HashMap<Ticket, oneshot::Sender<Result<AdminReply, Rejection>>>,
    last_ticket: u64,
    pub(super) flight: Option<Flight>,
    /// Lives as long as nobody else claims the room here.
    pub(super) alive: Arc<()>,
    /// When somebody may have been silent for too long.
    liveness_at: Timestamp,
    /// When quiet connections are pinged next, in one go: their answers come together, too.
    ping_at: Timestamp,
    /// When it is looked at how long the mirror and the clients take; none: nobody is waited for.
    look_at: Option<Timestamp>,
    /// The room's next deadline at a version: looked up again only when something has changed.
    deadline: (Version, Option<Timestamp>),
    departing: Option<Departure>,
    culprit: Option<(ConnectionId, u64)>,
    /// What a predecessor left behind, until started.
    inherited: Option<Survivors>,
    /// The rules failed: the state is not to be used any more.
    is_poisoned: bool,
    /// The room ended by decision.
    is_finished: bool,
}

impl RoomActor {
    /// The actor of a room that was claimed.
    pub fn new(
        started: Started,
        node: Arc<Node>,
        thread: RoomThread,
        supervisor: Addr<RoomSupervisor>,
        inherited: Option<Survivors>,
    ) -> Self {
        let now = node.clock.now();
        let lease = LeaseView {
            standing: node.claimant.tenure.cell().view(now).standing,
            term: started.term,
        };
        let owner = Owner::new(
            started.room,
            started.committed,
            node.node_id,
            node.limits.owner,
            now,
            lease,
        );
        Self {
            liveness_at: now,
            look_at: None,
            ping_at: now.plus_ms(node.limits.ping_interval_ms),
            deadline: (owner.room().version(), deadline_of(owner.room())),
            owner,
            node,
            writer: thread.writer,
            spacing: Spacing::new(thread.load),
            supervisor,
            entry: None,
            links: ConnectionMap::default(),
            touched: Vec::new(),
            is_writing: false,
            behind: ConnectionMap::default(),
            replies: HashMap::new(),
            last_ticket: 0,
            flight: None,
            alive: Arc::new(()),
            departing: None,
            culprit: None,
            inherited,
            is_poisoned: false,
            is_finished: false,
        }
    }

    /// Whether no request is taken any more.
    fn is_closing(&self) -> bool {
        self.is_poisoned
            || self.is_finished
            || self.departing.is_some()
            || self.owner.room().is_closed()
    }

    /// Whether the rules failed: this state is neither used nor written any more.
    pub(super) fn is_poisoned(&self) -> bool {
        self.is_poisoned
    }

    /// Whether nothing is to be done any more.
    pub(super) fn is_over(&self) -> bool {
        self.is_poisoned || self.entry.is_none()
    }

    /// Lets something happen: rules, commit, effects. Connections that turn out to be lost on the way are fed back.
    pub(super) fn run(&mut self, context: &mut Context<Self>, input: Input) {
        if self.is_poisoned || !self.look(context, self.node.clock.now()) {
            return;
        }
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let now = self.node.clock.now();
            if !self.apply(context, now, input) {
                return;
            }
            self.mirror(context, now);
            let lost = self.release(context);
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
            | Input::Suspend
            | Input::Durability { .. }
            | Input::Reattach { .. }
            | Input::Decide { .. }
            | Input::End(_) => (None, None),
        };
        let owner = &mut self.owner;
        let kind = command_label(&input);
        let decided = catch_unwind(AssertUnwindSafe(|| {
            #[cfg(test)]
            super::tests::fail_if_told(&input);
            owner.apply(now, input)
        }));
        let Ok(applied) = decided else {
            let room = self.owner.room();
            error!(room = %room.room_id(), epoch = %room.epoch(), "the room failed");
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
            let outcome = applied
                .refusal
                .map_or(CommandOutcome::Applied, CommandOutcome::Refused);
            self.node.metrics.command(kind, outcome);
        }
        for (to, frame) in applied.relays {
            self.push_relay(to, frame);
        }
        true
    }

    /// Performs what need not wait any longer; answers the connections that are lost.
    pub(super) fn release(&mut self, context: &mut Context<Self>) -> Vec<ConnectionId> {
        while let Some((effect, durable)) = self.owner.next_effect() {
            self.perform(effect, durable);
        }
        self.flush_links(context)
    }

    /// After news of the mirror: whatever need not wait any longer.
    pub(super) fn settle(&mut self, context: &mut Context<Self>) {
        for connection_id in self.release(context) {
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
                    && link.close(Farewell::from(reason))
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
                info!(room = %self.owner.room().room_id(), session = %session_id, "session began");
                self.node.recorder.open_session(
                    self.owner.room().room_id(),
                    session_id,
                    start_time,
                );
            }
            Effect::StoreBan { user_id, ban } => {
                self.node
                    .recorder
                    .store_ban(self.owner.room().room_id(), user_id, ban.created_at);
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
        let room = self.owner.room();
        if self.deadline.0 != room.version() {
            self.deadline = (room.version(), deadline_of(room));
        }
        let now = self.node.clock.now();
        // None of these times moves when the room is busy, so that it cannot put its tick off for ever.
        let is_waiting = self.owner.is_waiting();
        let check_at = on_beat(
            self.owner.next_check(now),
            if is_waiting { BEAT_MS } else { QUIET_BEAT_MS },
        );
        let behind_at = (!self.behind.is_empty()).then(|| now.plus_ms(BEHIND_MS));
        let soon = behind_at.into_iter().chain(is_waiting.then_some(check_at));
        self.look_at = soon
            .min()
            .map(|at| self.look_at.map_or(at, |set| set.min(at)));
        let wishes = [
            Some(on_beat(self.liveness_at, QUIET_BEAT_MS)),
            Some(on_beat(self.ping_at, QUIET_BEAT_MS)),
            self.deadline.1,
            self.look_at,
            (!is_waiting).then_some(check_at),
        ];
        if let Some(first) = wishes.into_iter().flatten().min() {
            entry.wake_at(first);
        }
        entry.show(room.participant_count(), self.owner.is_degraded());
        entry.show_session(room.session().map(|session| session.session_id));
    }
}

/// The beat at that time or the next one.
fn on_beat(at: Timestamp, beat_ms: u64) -> Timestamp {
    let beat_ms = beat_ms.cast_signed();
    Timestamp(at.0.saturating_add(beat_ms - 1) / beat_ms * beat_ms)
}

/// When the room wants to be woken. A look at every seat; it changes only with a change that is mirrored.
fn deadline_of(room: &Room) -> Option<Timestamp> {
    room.next_deadline().map(|(at, _)| at)
}

/// What kind of request an input is, for the metrics.
fn command_label(input: &Input) -> Option<CommandLabel> {
    match input {
        Input::Join(_) => Some(CommandLabel::Message(MessageType::JoinRoom)),
        Input::Command { command, .. } => Some(CommandLabel::Message(command.message_type())),
        Input::KeepAlive { .. } => Some(CommandLabel::Message(MessageType::KeepAlive)),
        Input::Admin { .. } => Some(CommandLabel::Admin),
        Input::ConnectionLost { .. }
        | Input::Tick
        | Input::Suspend
        | Input::Durability { .. }
        | Input::Reattach { .. }
        | Input::Decide { .. }
        | Input::End(_) => None,
    }
}

impl Actor for RoomActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(MAILBOX);
        let entry = self.node.directory.insert(
            self.owner.room().room_id(),
            context.address(),
            self.node.metrics.clone(),
        );
        self.entry = Some(entry);
        match self.inherited.take() {
            Some(survivors) => self.inherit(context, survivors),
            None => self.run(context, Input::Tick),
        }
    }
}
