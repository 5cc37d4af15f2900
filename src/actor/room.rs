//! The actor of one live room: lets the rules decide, commits what changed, then performs the effects.
//!
//! Handlers are synchronous; what needs I/O is done by tasks of the I/O runtime and comes back as a message.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use actix::{
    Actor, ActorContext, Addr, AsyncContext, Context, Handler, Message, MessageResponse, Recipient,
};
use bytestring::ByteString;
use tokio::sync::oneshot;
use tracing::{error, info};

use super::{
    Node,
    directory::Entry,
    durability::{Durability, Flight},
    link::{Deliver, Link, LinkState, Lost},
    queue::Queue,
    supervisor::{RoomGone, RoomSupervisor},
};
use crate::{
    ids::{ConnectionId, TenantId, Timestamp, Version},
    metrics::{CommandOutcome, CommandType},
    protocol::encode_error,
    room::{
        Room,
        command::{AdminCommand, Command},
        effect::{Effect, Notice, Ticket},
        goodbye::GoodbyeReason,
        input::{Input, Join},
        record::EndReason,
        view::{AdminReply, Code, Rejection},
    },
};

/// Messages that may wait in a room's mailbox, besides one per connection.
const MAILBOX: usize = 1024;
/// How often connections are looked at for signs of life.
const LIVENESS_MS: u64 = 2_000;
/// How soon a refused delivery is tried again.
const REFUSED_MS: u64 = 50;
/// How long a peer may take to close after the goodbye.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// What became of a request: the answer to the client itself comes through the room's FIFO.
#[derive(Clone, Debug, PartialEq, Eq, MessageResponse)]
pub enum Applied {
    /// The rules decided.
    Done,
    /// Too much waits: try again later.
    Busy,
    /// The room is closing or moving: ask the supervisor again.
    Closing,
    /// Not for this room: the connection cannot go on.
    Refused(Rejection, GoodbyeReason),
    /// The room failed on this request; it will not be tried again.
    Failed,
}

/// A connection asks to come in.
#[derive(Message)]
#[rtype(result = "Applied")]
pub struct Enter {
    /// The verified join.
    pub join: Box<Join>,
    /// The token's tenant.
    pub tenant_id: TenantId,
    /// Where to deliver.
    pub recipient: Recipient<Deliver>,
    /// Shared with the connection.
    pub state: Arc<LinkState>,
}

/// A participant's command.
#[derive(Message)]
#[rtype(result = "Applied")]
pub struct Instruct {
    /// On which connection.
    pub connection_id: ConnectionId,
    /// Its id.
    pub id: u64,
    /// The command.
    pub command: Command,
}

/// A participant asks for the current `seq`.
#[derive(Message)]
#[rtype(result = "Applied")]
pub struct StillThere {
    /// On which connection.
    pub connection_id: ConnectionId,
}

/// A connection's actor has ended.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ConnectionClosed {
    /// Which.
    pub connection_id: ConnectionId,
}

/// An admin's command; the answer comes through the room's FIFO.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Administer {
    /// The command.
    pub command: AdminCommand,
    /// Dropped: the room could not answer.
    pub reply: oneshot::Sender<Result<AdminReply, Rejection>>,
}

/// Time has passed.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Tick;

/// The node stops: the last commit, goodbye to all, end. Answered when nothing is left to be done.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Depart {
    /// Dropped or sent: the room has ended.
    pub done: oneshot::Sender<()>,
}

/// The supervisor has forgotten the room: nobody asks any more.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Forgotten;

/// What a room actor hands to its successor after a failure.
#[derive(Debug, Default)]
pub struct Survivors {
    /// Open connections.
    pub links: HashMap<ConnectionId, Link>,
    /// Commands that were applied but not answered.
    pub unanswered: Vec<(ConnectionId, u64)>,
    /// The command that made the room fail.
    pub culprit: Option<(ConnectionId, u64)>,
    /// The restart budget is used up: the session ends.
    pub must_end: bool,
}

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

    /// Lets something happen: rules, commit, effects. Connections that turn out to be lost on the way are fed back.
    pub(super) fn run(&mut self, context: &mut Context<Self>, input: Input) {
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
        let culprit = if let Input::Command {
            connection_id, id, ..
        } = &input
        {
            Some((*connection_id, *id))
        } else {
            None
        };
        let room = &mut self.room;
        let kind = command_type(&input);
        let Ok(effects) = catch_unwind(AssertUnwindSafe(|| room.apply(now, input))) else {
            error!(room = %self.room.room_id(), epoch = %self.room.epoch(), "the room failed");
            self.is_poisoned = true;
            self.culprit = culprit;
            context.stop();
            return false;
        };
        if let Some(kind) = kind {
            self.node.metrics.command(kind, outcome(&effects));
        }
        let needs = self.room.version();
        for effect in effects {
            if let Some((to, frame)) = self.queue.push(effect, needs) {
                self.push_to(to, frame);
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

    fn tell(&mut self, to: ConnectionId, notice: &Notice, durable: bool) {
        let seq = match notice {
            Notice::RoomJoined(joined) => Some(joined.seq),
            Notice::RoomResumed(resumed) => Some(resumed.seq),
            Notice::LobbyWaiting { .. }
            | Notice::LobbyDenied { .. }
            | Notice::Ack { .. }
            | Notice::RelayAck { .. }
            | Notice::Error { .. }
            | Notice::LobbyChanged { .. }
            | Notice::SfuEndpoint { .. }
            | Notice::DurabilityChanged { .. }
            | Notice::KeepAlive { .. } => None,
        };
        if self.links.contains_key(&to) {
            self.push_to(to, notice.encode(durable));
        }
        let Some(seq) = seq else {
            return;
        };
        if let Some(link) = self.links.get_mut(&to) {
            link.sent = Some(seq);
        }
        for (target, frame) in self.queue.joined(to) {
            self.push_to(target, frame);
        }
    }

    fn push_to(&mut self, to: ConnectionId, frame: ByteString) {
        if let Some(link) = self.links.get_mut(&to)
            && link.push(frame)
        {
            self.touched.push(to);
        }
    }

    /// Hands over one message per connection; answers the connections that are lost.
    fn flush_links(&mut self, now: Timestamp) -> Vec<ConnectionId> {
        let mut lost = Vec::new();
        for connection_id in std::mem::take(&mut self.touched) {
            let Some(link) = self.links.get_mut(&connection_id) else {
                continue;
            };
            match link.flush(now, self.node.limits.link) {
                Ok(()) if link.is_refused() => {
                    self.refused.insert(connection_id);
                }
                Ok(()) => {
                    self.refused.remove(&connection_id);
                    if link.is_done() {
                        self.close_later(connection_id);
                    }
                }
                Err(reason) => {
                    self.drop_link(connection_id, reason);
                    lost.push(connection_id);
                }
            }
        }
        lost
    }

    /// The goodbye is on its way; a peer that neither reads it nor closes is cut off.
    fn close_later(&mut self, connection_id: ConnectionId) {
        if let Some(link) = self.links.remove(&connection_id) {
            self.node.io.spawn(async move {
                tokio::time::sleep(CLOSE_TIMEOUT).await;
                link.state.disconnect.shutdown();
            });
        }
    }

    fn drop_link(&mut self, connection_id: ConnectionId, reason: Lost) {
        self.refused.remove(&connection_id);
        if let Some(link) = self.links.remove(&connection_id) {
            link.state.disconnect.shutdown();
        }
        if let Some(reason) = reason.eviction() {
            info!(room = %self.room.room_id(), connection = %connection_id, ?reason, "connection evicted");
            self.node.metrics.eviction(reason);
        }
    }

    /// Evicts connections that were not heard of; their actors may stand still, so they cannot judge themselves.
    fn evict_silent(&mut self, context: &mut Context<Self>, now: Timestamp) {
        let silent: Vec<ConnectionId> = self
            .links
            .iter()
            .filter(|(_, link)| {
                now.ms_since(link.state.last_seen()) > self.node.limits.ping_timeout_ms
            })
            .map(|(connection_id, _)| *connection_id)
            .collect();
        for connection_id in silent {
            self.drop_link(connection_id, Lost::Silent);
            self.run(context, Input::ConnectionLost { connection_id });
        }
    }

    /// Says when the next tick is due, and shows the room's figures.
    fn arm(&self) {
        let Some(entry) = &self.entry else {
            return;
        };
        let now = self.node.clock.now();
        let wake_at = [
            Some(self.liveness_at),
            self.room.next_deadline().map(|(at, _)| at),
            (!self.refused.is_empty()).then(|| now.plus_ms(REFUSED_MS)),
            Some(self.next_durability_check(now)),
        ];
        entry.wake_at(wake_at.into_iter().flatten().min());
        entry.show(self.room.participant_count(), self.durability.is_degraded());
        entry.show_session(self.room.session().map(|session| session.session_id));
    }

    /// A room that closed or departed has nothing left to do once its last commit is answered.
    fn end_if_done(&mut self, context: &mut Context<Self>) {
        let has_departed = self.departing.is_some()
            && self.flight.is_none()
            && self.committed == self.room.version();
        if has_departed && !self.is_finished {
            self.say_goodbye_to_all(GoodbyeReason::Draining);
            self.is_finished = true;
        }
        if self.is_finished && context.state() == actix::ActorState::Running && self.entry.is_some()
        {
            self.announce_end(true);
            if let Some(done) = self.departing.take() {
                // The node may have given up waiting.
                let _ = done.send(());
            }
        }
    }

    /// Tells every connection goodbye without asking the rules: the room itself goes on elsewhere.
    pub(super) fn say_goodbye_to_all(&mut self, reason: GoodbyeReason) {
        let connections: Vec<ConnectionId> = self.links.keys().copied().collect();
        for connection_id in connections {
            self.perform(
                Effect::Disconnect {
                    connection_id,
                    reason,
                },
                true,
            );
        }
        self.flush_links(self.node.clock.now());
    }

    /// Another node owns the room: publish nothing, send everybody there.
    pub(super) fn give_up(&mut self, context: &mut Context<Self>) {
        self.queue = Queue::new(self.node.limits.queue);
        self.say_goodbye_to_all(GoodbyeReason::Moved);
        self.is_finished = true;
        self.end_if_done(context);
    }

    fn announce_end(&mut self, is_clean: bool) {
        if let Some(entry) = self.entry.take() {
            self.node.directory.remove(self.room.room_id(), &entry);
        }
        self.supervisor.do_send(RoomGone {
            room_id: self.room.room_id(),
            epoch: self.room.epoch(),
            is_clean,
            survivors: Survivors {
                links: std::mem::take(&mut self.links),
                unanswered: self.queue.unanswered(),
                culprit: self.culprit,
                must_end: false,
            },
        });
    }

    /// Takes over the connections of a failed predecessor: each is told what it missed, or must come again.
    fn inherit(&mut self, context: &mut Context<Self>, survivors: Survivors) {
        let seq = self.room.seq();
        let mut kept = Vec::new();
        for (connection_id, mut link) in survivors.links {
            let Some(missed) = link.sent.and_then(|sent| self.room.events_after(sent)) else {
                link.state.disconnect.shutdown();
                continue;
            };
            link.sent = Some(seq);
            self.links.insert(connection_id, link);
            kept.push(connection_id);
            for frame in missed {
                self.push_to(connection_id, frame);
            }
        }
        for (connection_id, id) in survivors.unanswered {
            let rejection =
                Rejection::new(Code::Timeout, "outcome unknown: repeat with the same id");
            self.push_to(connection_id, encode_error(Some(id), &rejection));
        }
        self.run(context, Input::Reattach { connections: kept });
        if let Some((connection_id, id)) = survivors.culprit {
            self.run(context, Input::Decide { connection_id, id });
        }
        if survivors.must_end {
            self.run(context, Input::End(EndReason::Failed));
        }
    }
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

impl Drop for RoomActor {
    /// The death watch: an actor that ended without having said so failed.
    fn drop(&mut self) {
        if self.entry.is_some() {
            self.announce_end(false);
        }
    }
}

impl Handler<Enter> for RoomActor {
    type Result = Applied;

    fn handle(&mut self, message: Enter, context: &mut Self::Context) -> Applied {
        if self.is_closing() {
            return Applied::Closing;
        }
        if message.tenant_id != self.room.tenant_id() {
            let rejection = Rejection::new(Code::Unauthorized, "the token is not for this room");
            return Applied::Refused(rejection, GoodbyeReason::Unauthorized);
        }
        if self.queue.is_full() {
            return Applied::Busy;
        }
        let link = Link::new(message.recipient, message.state);
        self.links.insert(message.join.connection_id, link);
        self.run(context, Input::Join(message.join));
        self.applied()
    }
}

impl Handler<Instruct> for RoomActor {
    type Result = Applied;

    fn handle(&mut self, message: Instruct, context: &mut Self::Context) -> Applied {
        if self.is_closing() {
            return Applied::Closing;
        }
        if self.queue.is_full() {
            return Applied::Busy;
        }
        self.run(
            context,
            Input::Command {
                connection_id: message.connection_id,
                id: message.id,
                command: message.command,
            },
        );
        self.applied()
    }
}

impl Handler<StillThere> for RoomActor {
    type Result = Applied;

    fn handle(&mut self, message: StillThere, context: &mut Self::Context) -> Applied {
        if self.is_closing() {
            return Applied::Closing;
        }
        if self.queue.is_full() {
            return Applied::Busy;
        }
        let connection_id = message.connection_id;
        self.run(context, Input::KeepAlive { connection_id });
        self.applied()
    }
}

impl RoomActor {
    fn applied(&self) -> Applied {
        if self.is_poisoned {
            Applied::Failed
        } else {
            Applied::Done
        }
    }
}

impl Handler<ConnectionClosed> for RoomActor {
    type Result = ();

    fn handle(&mut self, message: ConnectionClosed, context: &mut Self::Context) {
        let connection_id = message.connection_id;
        self.links.remove(&connection_id);
        self.refused.remove(&connection_id);
        if !self.is_closing() {
            self.run(context, Input::ConnectionLost { connection_id });
        }
    }
}

impl Handler<Administer> for RoomActor {
    type Result = ();

    fn handle(&mut self, message: Administer, context: &mut Self::Context) {
        if self.is_closing() || self.queue.is_full() {
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
        if self.is_poisoned || self.entry.is_none() {
            return;
        }
        let now = self.node.clock.now();
        self.check_durability(context, now);
        self.touched.extend(self.refused.iter().copied());
        if self.departing.is_some() || self.room.is_closed() {
            return self.settle(context);
        }
        if self.liveness_at <= now {
            self.liveness_at = now.plus_ms(LIVENESS_MS);
            self.evict_silent(context, now);
        }
        self.run(context, Input::Tick);
    }
}

impl Handler<Depart> for RoomActor {
    type Result = ();

    fn handle(&mut self, message: Depart, context: &mut Self::Context) {
        if self.is_poisoned || self.entry.is_none() {
            return;
        }
        self.departing = Some(message.done);
        self.commit_if_idle(context);
        self.settle(context);
    }
}

impl Handler<Forgotten> for RoomActor {
    type Result = ();

    fn handle(&mut self, _: Forgotten, context: &mut Self::Context) {
        context.stop();
    }
}
