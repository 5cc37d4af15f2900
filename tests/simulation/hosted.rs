//! One room of a simulated process: drives the same host as the room actor, over simulated wires.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use callboard::{
    claims::Started,
    host::{Action, Host, Intake, Moment, NextOwner, Released},
    ids::{ConnectionId, NodeId, RoomId, SessionId, Timestamp, UserId, Version},
    lease::LeaseView,
    mirror::{Commit, CommitOutcome, Ownership},
    owner::{Applied, Loss, Owner, OwnerLimits, QueueLimits, Recovery},
    protocol::{Code, Notice, Rejection, encode_error},
    room::{
        effect::Effect,
        input::{Input, Join},
        record::TailEvent,
    },
};

use crate::{
    mirror::short,
    node::{ClientFrame, Described, Done, Node},
    plan::{DEADLINES, GRACE_MS},
    world::Delivery,
};

const LIMITS: OwnerLimits = OwnerLimits {
    queue: QueueLimits {
        items_max: 400,
        bytes_max: 400_000,
    },
    stall_ms: DEADLINES.stall_ms,
    verify_ms: 3_000,
    expiry_ms: DEADLINES.expiry_ms,
};
const RETRY_MIN_MS: u64 = 50;
const RETRY_MAX_MS: u64 = 1_000;
/// The successor of a leaving process counts from its claim; people are told goodbye when it has
/// answered, or has not.
const HAND_OFF_MS: u64 = 3_500;
/// How often the writer has no room for a commit, in a thousand.
const REFUSED_PERMILLE: u64 = 5;

/// See the module.
pub struct Hosted {
    host: Host<UserId>,
    pub number: u64,
    pub wake_at: Timestamp,
    /// Set when the commit on its way is not to be repeated.
    commit: Option<Arc<AtomicBool>>,
    alive: Arc<()>,
}

impl Drop for Hosted {
    fn drop(&mut self) {
        self.cancel_commit();
    }
}

impl Hosted {
    pub fn new(node: &Node, started: Started, number: u64) -> Self {
        let now = node.world.now();
        let lease = LeaseView {
            state: node.claimant.lease.shared().view(now).state,
            term: started.term,
        };
        let is_restored = started.is_restored;
        let owner = Owner::new(
            started.room,
            started.committed,
            node.node_id,
            LIMITS,
            now,
            lease,
        );
        let room = Self {
            host: Host::new(owner),
            number,
            wake_at: now,
            commit: None,
            alive: Arc::new(()),
        };
        node.world.log(format_args!(
            "n{} hosts {} seq {} restored {is_restored}",
            node.process,
            short(room.room_id()),
            room.host.room().seq(),
        ));
        room
    }

    /// The first tick of the room; SQL may not know its session.
    pub fn begin(&mut self, node: &mut Node) {
        if let Some(session) = self.host.room().session() {
            let room_id = self.room_id();
            node.notes
                .open(room_id, session.session_id, session.start_time);
        }
        self.run(node, Input::Tick);
    }

    fn room_id(&self) -> RoomId {
        self.host.room().room_id()
    }

    pub fn session(&self) -> Option<SessionId> {
        let session = self.host.room().session();
        session.map(|session| session.session_id)
    }

    pub fn is_closing(&self) -> bool {
        self.host.is_closing()
    }

    pub fn has_ended(&self) -> bool {
        self.host.end().is_some()
    }

    pub fn describe(&self, room_id: RoomId) -> Described {
        Described {
            room_id,
            snapshot: self.host.room().snapshot(),
            is_degraded: self.host.owner().is_degraded(),
            is_settled: self.host.owner().is_settled(),
        }
    }

    pub fn join(&mut self, node: &mut Node, join: Box<Join>) {
        self.host.connect(join.connection_id, join.user_id);
        self.run(node, Input::Join(join));
    }

    pub fn hear(&mut self, node: &mut Node, connection_id: ConnectionId, frame: ClientFrame) {
        let (id, input) = match frame {
            ClientFrame::Command { id, command } => (
                Some(id),
                Input::Command {
                    connection_id,
                    id,
                    command,
                },
            ),
            ClientFrame::KeepAlive => (None, Input::KeepAlive { connection_id }),
            ClientFrame::Join { .. } => return,
        };
        match self.host.intake() {
            Intake::Open => self.run(node, input),
            Intake::Full => {
                let rejection = Rejection::new(Code::Unavailable, "too much waits");
                self.host.push(connection_id, encode_error(id, &rejection));
                self.write(node);
            }
            Intake::Closing => {}
        }
    }

    pub fn connection_lost(&mut self, node: &mut Node, connection_id: ConnectionId) {
        let moment = moment(node);
        let applied = self.host.connection_closed(moment, connection_id);
        self.pass_on(applied);
        self.settle(node);
    }

    fn run(&mut self, node: &mut Node, input: Input) {
        let applied = self.host.apply(moment(node), input);
        self.pass_on(applied);
        self.settle(node);
    }

    fn pass_on(&mut self, applied: Option<Applied>) {
        for (to, frame) in applied.map_or_else(Vec::new, |applied| applied.relays) {
            self.host.push(to, frame);
        }
    }

    fn settle(&mut self, node: &mut Node) {
        assert!(!self.host.has_panicked(), "the rules panicked");
        self.mirror(node);
        while let Some(released) = self.host.next_effect() {
            self.watch(node, &released);
            if let Some(action) = self.host.perform(released) {
                self.carry_out(node, action);
            }
        }
        self.write(node);
        if let Some(ownership) = self.host.next_hand_off() {
            self.offer_hand_off(node, ownership);
        }
        if let Some(end) = self.host.end() {
            node.world.log(format_args!(
                "n{} ends {}: {end:?}",
                node.process,
                short(self.room_id())
            ));
            self.part_with_all(node);
        }
        self.arm(node);
    }

    fn arm(&mut self, node: &Node) {
        let now = node.world.now();
        let check = self.host.owner().next_check(now);
        let deadline = self.host.next_deadline();
        let first = deadline.map_or(check, |at| at.min(check));
        // A tick that is not over yet is not due again in the same millisecond.
        self.wake_at = first.max(now.plus_ms(25));
    }

    pub fn tick(&mut self, node: &mut Node) {
        let applied = self.host.tick(moment(node));
        self.pass_on(applied);
        self.settle(node);
    }

    pub fn verify(&mut self, node: &mut Node) {
        self.host.verify(moment(node));
        self.settle(node);
    }

    pub fn check_lease(&mut self, node: &mut Node) {
        self.host.tick_owner(moment(node));
        self.settle(node);
    }

    fn mirror(&mut self, node: &mut Node) {
        if let Some(commit) = self.host.next_commit() {
            if node
                .world
                .random(|random| random.permille(REFUSED_PERMILLE))
            {
                self.host.commit_refused(commit);
            } else {
                self.send(node, commit);
            }
        }
        if let Some(loss) = self.host.next_loss(node.world.now()) {
            self.recover(node, loss);
        }
    }

    /// Repeats a commit until it has an outcome, as the writer does.
    fn send(&mut self, node: &mut Node, commit: Commit) {
        let is_cancelled = Arc::new(AtomicBool::new(false));
        self.commit = Some(Arc::clone(&is_cancelled));
        let mirror = Arc::clone(&node.mirror);
        let (room_id, number, to) = (self.room_id(), self.number, commit.changes.to);
        node.work.push(Box::pin(async move {
            let mut wait_ms = RETRY_MIN_MS;
            let commits = [commit];
            while !is_cancelled.load(Ordering::Relaxed) {
                if let Some(Ok(outcome)) = mirror.commit(&commits).await.pop() {
                    return Done::Committed {
                        room_id,
                        number,
                        to,
                        outcome,
                    };
                }
                tokio::time::sleep(Duration::from_millis(wait_ms)).await;
                wait_ms = (wait_ms * 2).min(RETRY_MAX_MS);
            }
            std::future::pending().await
        }));
    }

    fn recover(&mut self, node: &mut Node, loss: Loss) {
        self.cancel_commit();
        let (claimant, alive) = (Arc::clone(&node.claimant), Arc::downgrade(&self.alive));
        let (room_id, number) = (self.room_id(), self.number);
        node.work.push(Box::pin(async move {
            let recovery = claimant.restore(&loss, &alive).await;
            Done::Recovered {
                room_id,
                number,
                to: loss.commit.changes.to,
                outcome: loss.outcome,
                recovery,
            }
        }));
    }

    fn cancel_commit(&mut self) {
        if let Some(is_cancelled) = self.commit.take() {
            is_cancelled.store(true, Ordering::Relaxed);
        }
    }

    pub fn committed(&mut self, node: &mut Node, to: Version, outcome: CommitOutcome) {
        self.commit = None;
        if self.host.committed(moment(node), to, outcome) {
            node.claimant.was_taken(self.room_id());
        }
        self.settle(node);
    }

    pub fn recovered(
        &mut self,
        node: &mut Node,
        to: Version,
        outcome: CommitOutcome,
        recovery: Recovery,
    ) {
        node.world.log(format_args!(
            "n{} recovery of {}: {recovery:?}",
            node.process,
            short(self.room_id())
        ));
        self.host.recovered(moment(node), to, outcome, recovery);
        self.settle(node);
    }

    fn carry_out(&mut self, node: &mut Node, action: Action) {
        match action {
            Action::Reply { .. } => {}
            Action::OpenSession {
                session_id,
                start_time,
            } => node.notes.open(self.room_id(), session_id, start_time),
            Action::StoreBan { user_id, .. } => node.notes.ban(self.room_id(), user_id),
            Action::RecordSession(_) => node.notes.closed(),
        }
    }

    /// What the room tells is told to the checks.
    fn watch(&self, node: &Node, released: &Released) {
        match &released.effect {
            Effect::Broadcast { event, .. } => {
                self.check_event(node, event, released.is_durable);
            }
            Effect::Send { to, notice } => {
                if matches!(notice, Notice::RoomJoined(_) | Notice::RoomResumed(_)) {
                    let user_id = self.host.outbox(*to).map(|outbox| outbox.connection);
                    let seat = user_id.map(|user_id| (self.room_id(), user_id));
                    node.world.wire(*to, |wire| wire.seat = seat);
                }
            }
            Effect::Relay { .. }
            | Effect::Disconnect { .. }
            | Effect::Reply { .. }
            | Effect::OpenSession { .. }
            | Effect::StoreBan { .. }
            | Effect::Closed { .. } => {}
        }
    }

    fn check_event(&self, node: &Node, event: &TailEvent, durable: bool) {
        let room = self.host.room();
        let Some(session) = self.session() else {
            return;
        };
        node.world.log(format_args!(
            "n{} tells {}{} {}",
            node.process,
            short(room.room_id()),
            if durable { "" } else { " (not durable)" },
            event.frame
        ));
        node.world.truth(|truth| {
            let owner = (node.node_id, room.epoch());
            truth.told(owner, room.room_id(), session, event, durable)
        });
        self.check_ghosts(node, &event.frame);
    }

    /// no-ghosts: nobody who is there leaves by timeout, and nobody before the grace is over.
    fn check_ghosts(&self, node: &Node, frame: &str) {
        if !frame.contains("\"ParticipantLeft\"") || !frame.contains("\"timeout\"") {
            return;
        }
        let user = frame
            .split_once("\"userId\":\"")
            .and_then(|(_, rest)| rest.get(..36))
            .and_then(|text| text.parse::<UserId>().ok());
        let Some(user_id) = user else { return };
        let room_id = self.room_id();
        if node.world.holds_seat(node.process, room_id, user_id) {
            node.world.violate(format!(
                "no-ghosts: {user_id} is connected and left by timeout"
            ));
        }
        if let Some(ms) = node.world.seat_lost_ms(room_id, user_id)
            && ms + HAND_OFF_MS < GRACE_MS
            && !node.world.is_excused(room_id)
        {
            node.world.violate(format!(
                "no-ghosts: {user_id} left by timeout after {ms} ms"
            ));
        }
    }

    fn write(&mut self, node: &mut Node) {
        let is_durable = !self.host.owner().is_degraded();
        for connection_id in self.host.take_listed(usize::MAX) {
            let Some(outbox) = self.host.outbox_mut(connection_id) else {
                continue;
            };
            let (_, frames) = outbox.start_write();
            let frames: Vec<_> = frames
                .iter()
                .map(|frame| (frame.clone(), is_durable))
                .collect();
            outbox.clear();
            if let Some(closing) = outbox.closing() {
                let machine = match closing.next_owner {
                    NextOwner::Node(owner) => node.world.machine_named(owner),
                    NextOwner::AnyNode | NextOwner::Unknown => None,
                };
                self.host.remove(connection_id);
                node.dismiss(connection_id, frames, closing.reason, machine);
            } else if !frames.is_empty() {
                let delivery = Delivery {
                    frames,
                    goodbye: None,
                };
                node.world.down(connection_id, delivery);
            }
        }
    }

    /// Closes the connections that have no goodbye, as the room actor does.
    fn part_with_all(&mut self, node: &mut Node) {
        let left: Vec<ConnectionId> = self.host.outboxes().map(|(id, _)| id).collect();
        for connection_id in left {
            self.host.remove(connection_id);
            node.hang_up(connection_id);
        }
    }

    fn offer_hand_off(&self, node: &mut Node, former: Ownership) {
        let (room_id, number) = (self.room_id(), self.number);
        let (calls, registry) = (node.calls.clone(), Arc::clone(&node.registry));
        let (mirror, own) = (Arc::clone(&node.mirror), node.node_id);
        node.work.push(Box::pin(async move {
            let successor = calls.hand_off(&registry, room_id, former).await;
            if successor.is_none() {
                // What could not be released is taken over.
                let _ = mirror.release(room_id, own, former.epoch).await;
            }
            Done::HandedOff {
                room_id,
                number,
                successor,
            }
        }));
    }

    pub fn handed_off(&mut self, node: &mut Node, successor: Option<NodeId>) {
        self.host.handed_off(successor);
        self.settle(node);
    }

    pub fn hand_off(&mut self, node: &mut Node) {
        self.host.hand_off(moment(node));
        self.settle(node);
    }

    pub fn stop(&mut self, node: &mut Node) {
        self.host.stop();
        self.settle(node);
    }
}

fn moment(node: &Node) -> Moment {
    let now = node.world.now();
    let lease = node.claimant.lease.shared().view(now);
    Moment { now, lease }
}
