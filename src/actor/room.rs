//! The actor of one live room: brings a [`Host`] its inputs, and carries out what comes of them.
//!
//! Handlers are synchronous. Tasks of the I/O runtime do what needs I/O, and their results come
//! back as messages.

mod ending;
mod handlers;
pub(super) mod link;
mod messages;
mod mirroring;
mod writes;

use std::{collections::HashMap, sync::Arc};

use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Recipient};
use tokio::sync::oneshot;
use tracing::{error, info};

use self::link::Link;
pub use self::messages::{
    Applied, CheckLease, ConnectionClosed, HandOff, HandOffFn, JoinRoom, KeepAlive, RoomGone,
    RunAdmin, RunCommand, Shutdown, StopNow, Verify,
};
use super::{
    commit_pacer::CommitPacer,
    context::NodeContext,
    directory::{Directory, Entry},
    threads::RoomThread,
};
use crate::{
    claims::Started,
    host::{Action, CrashState, Host, Moment},
    ids::{ConnectionMap, Timestamp},
    lease::LeaseView,
    metrics::{CommandLabel, CommandOutcome},
    mirror::writer::{CommitToken, MirrorWriter},
    owner::Owner,
    protocol::{MessageType, Rejection},
    recorder::LiveSession,
    room::{admin::AdminReply, effect::Ticket, input::Input},
};

/// Messages that may wait in a room's mailbox, besides one per connection.
const MAILBOX: usize = 1024;
/// Ticks that check the mirror are rounded up to this grid. Many rooms then wake their thread
/// together, and their commits share a call.
const CHECK_SLOT_MS: u64 = 100;
/// The grid for what a quiet room does: pings, evicting silent clients, asking the mirror whether
/// it still has the room.
pub(super) const QUIET_SLOT_MS: u64 = 250;
/// How often the room checks clients that are behind.
const BEHIND_MS: u64 = 50;

/// The live rooms of this node.
pub type RoomDirectory = Directory<Addr<RoomActor>>;
/// What a room actor leaves to its successor when it crashes.
pub type RoomCrashState = CrashState<Link>;

/// What a room actor shares with the others of its node.
#[derive(Clone)]
pub struct RoomContext {
    /// What all actors share.
    pub node: Arc<NodeContext>,
    /// Lists the room while it is live.
    pub directory: Arc<RoomDirectory>,
    /// Learns that the room has ended.
    pub supervisor: Recipient<RoomGone>,
}

/// See the module.
pub struct RoomActor {
    pub(super) host: Host<Link>,
    node: Arc<NodeContext>,
    directory: Arc<RoomDirectory>,
    supervisor: Recipient<RoomGone>,
    /// Of the thread on which it lives.
    writer: MirrorWriter,
    pacer: CommitPacer,
    /// None before the room is live, and after it has ended.
    entry: Option<Arc<Entry<Addr<RoomActor>>>>,
    live_session: Option<LiveSession>,
    /// The rest of the listed connections is written to in a later turn.
    is_writing: bool,
    /// Connections whose clients have not taken everything.
    behind: ConnectionMap<()>,
    replies: HashMap<Ticket, oneshot::Sender<Result<AdminReply, Rejection>>>,
    last_ticket: u64,
    /// The commit in flight. Dropping it cancels the writer's retries.
    commit: Option<CommitToken>,
    was_degraded: bool,
    /// Replaced when the actor ends, so that recovery tasks notice that they are stale.
    alive: Arc<()>,
    /// When a client may have been silent for too long.
    liveness_at: Timestamp,
    /// When quiet connections are pinged next, all at once: then their answers come together, too.
    ping_at: Timestamp,
    /// When the room checks how long the mirror and the clients take; none while it waits for
    /// nobody.
    check_at: Option<Timestamp>,
    departing: Option<HandOff>,
    /// What a crashed predecessor left, until this actor has started.
    inherited: Option<RoomCrashState>,
}

impl RoomActor {
    /// The actor of a claimed room.
    pub fn new(
        started: Started,
        context: RoomContext,
        thread: RoomThread,
        inherited: Option<RoomCrashState>,
    ) -> Self {
        let RoomContext {
            node,
            directory,
            supervisor,
        } = context;
        let now = node.clock.now();
        let lease = LeaseView {
            state: node.claimant.lease.shared().view(now).state,
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
            check_at: None,
            ping_at: now.plus_ms(node.limits.ping_interval_ms),
            host: Host::new(owner),
            node,
            directory,
            supervisor,
            writer: thread.writer,
            pacer: CommitPacer::new(thread.load),
            entry: None,
            live_session: None,
            is_writing: false,
            behind: ConnectionMap::default(),
            replies: HashMap::new(),
            last_ticket: 0,
            commit: None,
            was_degraded: false,
            alive: Arc::new(()),
            departing: None,
            inherited,
        }
    }

    /// Whether nothing is left to do.
    fn is_over(&self) -> bool {
        self.host.has_panicked() || self.entry.is_none()
    }

    fn moment(&self) -> Moment {
        let now = self.node.clock.now();
        let lease = self.node.claimant.lease.shared().view(now);
        Moment { now, lease }
    }

    /// Applies an input and settles the room.
    fn run(&mut self, context: &mut Context<Self>, input: Input) {
        self.apply(input);
        self.settle(context);
    }

    /// Applies an input; the room is to be settled afterwards.
    fn apply(&mut self, input: Input) {
        let kind = command_label(&input);
        let Some(applied) = self.host.apply(self.moment(), input) else {
            return;
        };
        if let Some(kind) = kind {
            let outcome = applied
                .refusal
                .map_or(CommandOutcome::Applied, CommandOutcome::Refused);
            self.node.metrics.command(kind, outcome);
        }
        self.push_relays(applied.relays);
    }

    /// Carries out what the host has decided, until it has nothing more to say.
    fn settle(&mut self, context: &mut Context<Self>) {
        loop {
            if self.host.has_panicked() {
                let room = self.host.room();
                error!(room = %room.room_id(), epoch = %room.epoch(), "the room failed");
                return context.stop();
            }
            self.mirror(context);
            self.perform_effects();
            let lost = self.write_listed(context);
            if lost.is_empty() {
                break;
            }
            for connection_id in lost {
                self.apply(Input::ConnectionLost { connection_id });
            }
        }
        self.offer_hand_off(context);
        self.end_if_done();
        self.arm();
    }

    fn perform_effects(&mut self) {
        while let Some(released) = self.host.next_effect() {
            if let Some(action) = self.host.perform(released) {
                self.carry_out(action);
            }
        }
    }

    fn carry_out(&mut self, action: Action) {
        let room_id = self.host.room().room_id();
        let recorder = &self.node.recorder;
        match action {
            Action::Reply { ticket, result } => {
                if let Some(reply) = self.replies.remove(&ticket) {
                    // The HTTP request may be gone.
                    let _ = reply.send(result);
                }
            }
            Action::OpenSession {
                session_id,
                start_time,
            } => {
                info!(room = %room_id, session = %session_id, "session began");
                recorder.open_session(room_id, session_id, start_time);
            }
            Action::StoreBan { user_id, ban } => {
                recorder.store_ban(room_id, user_id, ban.created_at);
            }
            Action::RecordSession(session) => {
                let reason = session.end_reason;
                info!(room = %room_id, session = %session.session_id, ?reason, "session ended");
                recorder.session_closed();
            }
        }
    }

    /// Sets the next tick, and shows the room's figures.
    fn arm(&mut self) {
        let Some(entry) = &self.entry else {
            return;
        };
        let now = self.node.clock.now();
        let deadline = self.host.next_deadline();
        let owner = self.host.owner();
        // `next_check` moves with `now`. `check_at` keeps the earliest, so that a busy room cannot
        // postpone its tick again and again.
        let is_waiting = owner.is_waiting();
        let slot_ms = if is_waiting {
            CHECK_SLOT_MS
        } else {
            QUIET_SLOT_MS
        };
        let owner_check_at = owner.next_check(now).round_up(slot_ms);
        let behind_at = (!self.behind.is_empty()).then(|| now.plus_ms(BEHIND_MS));
        let soon = behind_at
            .into_iter()
            .chain(is_waiting.then_some(owner_check_at));
        self.check_at = soon
            .min()
            .map(|at| self.check_at.map_or(at, |set| set.min(at)));
        let wanted = [
            Some(self.liveness_at.round_up(QUIET_SLOT_MS)),
            Some(self.ping_at.round_up(QUIET_SLOT_MS)),
            deadline,
            self.check_at,
            (!is_waiting).then_some(owner_check_at),
        ];
        if let Some(first) = wanted.into_iter().flatten().min() {
            entry.wake_at(first);
        }
        let room = owner.room();
        entry.show(room.participant_count(), owner.is_degraded());
        let session_id = room.session().map(|session| session.session_id);
        if self.live_session.as_ref().map(LiveSession::session_id) != session_id {
            self.live_session = session_id.map(|id| self.node.recorder.keep_alive(id));
        }
    }
}

/// The metric's label of a request; `None` for other inputs.
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
        let address = context.address();
        let entry = self.directory.insert(
            self.host.room().room_id(),
            address.clone(),
            address.recipient(),
            self.node.metrics.clone(),
        );
        self.entry = Some(entry);
        match self.inherited.take() {
            Some(crash_state) => self.inherit(context, crash_state),
            None => self.run(context, Input::Tick),
        }
    }
}
