//! One room on a process: what `actor/room.rs` and `actor/durability.rs` do, over simulated wires.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytestring::ByteString;
use callboard::{
    claims::Started,
    ids::{ConnectionId, NodeId, RoomId, SessionId, Timestamp, UserId, Version},
    lease::LeaseView,
    mirror::{CommitOutcome, Ownership},
    owner::{Fate, Owner, OwnerLimits, QueueLimits, Recovery},
    protocol::{Code, GoodbyeReason, Notice, Rejection, encode_error},
    room::{
        effect::Effect,
        input::{Input, Join},
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
/// The successor of a leaving process counts from its claim; people are told goodbye when it has answered, or has not.
const HANDOVER_MS: u64 = 3_500;
/// How often the writer has no room for a commit, in a thousand.
const REFUSED_PERMILLE: u64 = 5;

#[derive(Default)]
struct Link {
    user_id: Option<UserId>,
    pending: Delivery,
}

/// A room on its way to another process.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Departure {
    Settling,
    HandingOver,
}

/// See the module.
pub struct Hosted {
    pub owner: Owner,
    pub number: u64,
    pub wake_at: Timestamp,
    pub is_finished: bool,
    links: BTreeMap<ConnectionId, Link>,
    /// Set when the commit on its way is not to be repeated.
    flight: Option<Arc<AtomicBool>>,
    alive: Arc<()>,
    departing: Option<Departure>,
}

impl Drop for Hosted {
    fn drop(&mut self) {
        self.cancel_flight();
    }
}

impl Hosted {
    pub fn new(node: &Node, started: Started, number: u64) -> Self {
        let now = node.world.now();
        let lease = LeaseView {
            standing: node.claimant.tenure.cell().view(now).standing,
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
            owner,
            number,
            wake_at: now,
            is_finished: false,
            links: BTreeMap::new(),
            flight: None,
            alive: Arc::new(()),
            departing: None,
        };
        node.world.log(format_args!(
            "n{} hosts {} seq {} restored {is_restored}",
            node.process,
            short(room.room_id()),
            room.owner.room().seq(),
        ));
        room
    }

    /// The first look at the room; SQL may not know its session.
    pub fn begin(&mut self, node: &mut Node) {
        if let Some(session) = self.owner.room().session() {
            let room_id = self.room_id();
            node.notes
                .open(room_id, session.session_id, session.start_time);
        }
        self.run(node, Input::Tick);
    }

    fn room_id(&self) -> RoomId {
        self.owner.room().room_id()
    }

    pub fn session(&self) -> Option<SessionId> {
        self.owner
            .room()
            .session()
            .map(|session| session.session_id)
    }

    pub fn is_closing(&self) -> bool {
        self.is_finished || self.departing.is_some() || self.owner.room().is_closed()
    }

    pub fn describe(&self, room_id: RoomId) -> Described {
        Described {
            room_id,
            snapshot: self.owner.room().snapshot(),
            is_degraded: self.owner.is_degraded(),
            is_settled: self.owner.is_settled(),
        }
    }

    pub fn enter(&mut self, node: &mut Node, join: Box<Join>) {
        let link = Link {
            user_id: Some(join.user_id),
            ..Link::default()
        };
        self.links.insert(join.connection_id, link);
        self.run(node, Input::Join(join));
    }

    pub fn hear(&mut self, node: &mut Node, connection_id: ConnectionId, frame: ClientFrame) {
        if self.is_closing() {
            return;
        }
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
        if self.owner.is_full() {
            let rejection = Rejection::new(Code::Unavailable, "too much waits");
            self.push(connection_id, encode_error(id, &rejection), false);
            return self.flush(node);
        }
        self.run(node, input);
    }

    pub fn connection_lost(&mut self, node: &mut Node, connection_id: ConnectionId) {
        self.links.remove(&connection_id);
        if !self.is_closing() {
            self.run(node, Input::ConnectionLost { connection_id });
        }
    }

    /// Reads the lease; whether the room goes on here.
    fn look(&mut self, node: &mut Node, now: Timestamp) -> bool {
        let lease = node.claimant.tenure.cell().view(now);
        let fate = self.owner.look(lease);
        self.follow(node, fate, None)
    }

    fn follow(&mut self, node: &mut Node, fate: Fate, owner: Option<NodeId>) -> bool {
        match fate {
            Fate::Ours => true,
            Fate::Lost => {
                self.give_up(node, owner);
                false
            }
        }
    }

    fn run(&mut self, node: &mut Node, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let now = node.world.now();
            if self.is_finished || !self.look(node, now) {
                return;
            }
            let applied = self.owner.apply(now, input);
            for (to, frame) in applied.relays {
                self.push(to, frame, false);
            }
            self.mirror(node, now);
            self.release(node);
        }
        self.end_if_done(node);
        self.arm(node);
    }

    fn settle(&mut self, node: &mut Node) {
        self.release(node);
        self.end_if_done(node);
        self.arm(node);
    }

    fn arm(&mut self, node: &Node) {
        let now = node.world.now();
        let deadline = self.owner.room().next_deadline().map(|(at, _)| at);
        let check = self.owner.next_check(now);
        let wish = deadline.map_or(check, |at| at.min(check));
        // A tick that is not over yet is not due again in the same millisecond.
        self.wake_at = wish.max(now.plus_ms(25));
    }

    pub fn tick(&mut self, node: &mut Node) {
        let now = node.world.now();
        if !self.look(node, now) {
            return;
        }
        self.owner.tick(now);
        self.mirror(node, now);
        if self.departing.is_some() || self.owner.room().is_closed() {
            return self.settle(node);
        }
        self.run(node, Input::Tick);
    }

    pub fn verify(&mut self, node: &mut Node) {
        let now = node.world.now();
        if self.look(node, now) {
            self.owner.verify();
            self.mirror(node, now);
            self.settle(node);
        }
    }

    pub fn look_again(&mut self, node: &mut Node) {
        let now = node.world.now();
        if self.look(node, now) {
            self.owner.tick(now);
            self.settle(node);
        }
    }

    fn mirror(&mut self, node: &mut Node, now: Timestamp) {
        if let Some(commit) = self.owner.next_commit() {
            if node
                .world
                .random(|random| random.permille(REFUSED_PERMILLE))
            {
                self.owner.commit_refused(commit);
            } else {
                self.send(node, commit);
            }
        }
        if let Some(loss) = self.owner.next_loss(now) {
            self.cancel_flight();
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
    }

    /// Repeats a commit until it has an outcome, as the writer does.
    fn send(&mut self, node: &mut Node, commit: callboard::mirror::Commit) {
        let is_cancelled = Arc::new(AtomicBool::new(false));
        self.flight = Some(Arc::clone(&is_cancelled));
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

    fn cancel_flight(&mut self) {
        if let Some(is_cancelled) = self.flight.take() {
            is_cancelled.store(true, Ordering::Relaxed);
        }
    }

    pub fn committed(&mut self, node: &mut Node, to: Version, outcome: CommitOutcome) {
        let now = node.world.now();
        if !self.look(node, now) {
            return;
        }
        self.flight = None;
        let is_ours = self.owner.is_trusted();
        let fate = self.owner.committed_to(now, to, outcome);
        let mut new_owner = None;
        if let CommitOutcome::Fenced { owner, .. } = outcome {
            new_owner = owner;
            if is_ours {
                node.claimant.was_taken(self.room_id());
            }
        }
        if self.follow(node, fate, new_owner) {
            self.mirror(node, now);
            self.settle(node);
        }
    }

    pub fn recovered(
        &mut self,
        node: &mut Node,
        to: Version,
        outcome: CommitOutcome,
        recovery: Recovery,
    ) {
        let now = node.world.now();
        if !self.look(node, now) {
            return;
        }
        node.world.log(format_args!(
            "n{} recovery of {}: {recovery:?}",
            node.process,
            short(self.room_id())
        ));
        let fate = self.owner.recovered(now, to, outcome, recovery);
        if self.follow(node, fate, None) {
            self.mirror(node, now);
            self.settle(node);
        }
    }

    fn release(&mut self, node: &mut Node) {
        while let Some((effect, durable)) = self.owner.next_effect() {
            self.perform(node, effect, durable);
        }
        self.flush(node);
    }

    fn perform(&mut self, node: &mut Node, effect: Effect, durable: bool) {
        match effect {
            Effect::Send { to, notice } => self.tell(node, to, &notice, durable),
            Effect::Broadcast { to, event } => {
                self.witness(node, &event, durable);
                for connection_id in to.iter() {
                    self.push(*connection_id, event.frame.clone(), durable);
                }
            }
            Effect::Relay { to, frame, .. } => self.push(to, frame, false),
            Effect::Disconnect {
                connection_id,
                reason,
            } => {
                if let Some(link) = self.links.get_mut(&connection_id) {
                    link.pending.goodbye = Some((reason, None));
                }
            }
            Effect::Reply { .. } => {}
            Effect::OpenSession {
                session_id,
                start_time,
            } => node.notes.open(self.room_id(), session_id, start_time),
            Effect::StoreBan { user_id, .. } => node.notes.ban(self.room_id(), user_id),
            Effect::Closed { session } => {
                if session.is_some() {
                    node.notes.closed();
                }
                self.is_finished = true;
            }
        }
    }

    /// What is told to the room is told to the checks.
    fn witness(&self, node: &Node, event: &callboard::room::record::TailEvent, durable: bool) {
        let room = self.owner.room();
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
            && ms + HANDOVER_MS < GRACE_MS
            && !node.world.is_excused(room_id)
        {
            node.world.violate(format!(
                "no-ghosts: {user_id} left by timeout after {ms} ms"
            ));
        }
    }

    fn tell(&mut self, node: &Node, to: ConnectionId, notice: &Notice, durable: bool) {
        self.push(to, notice.encode(durable), durable);
        if matches!(notice, Notice::RoomJoined(_) | Notice::RoomResumed(_)) {
            let room_id = self.room_id();
            let user_id = self.links.get(&to).and_then(|link| link.user_id);
            let seat = user_id.map(|user_id| (room_id, user_id));
            node.world.wire(to, |wire| wire.seat = seat);
            for (target, frame) in self.owner.joined(to) {
                self.push(target, frame, false);
            }
        }
    }

    fn push(&mut self, to: ConnectionId, frame: ByteString, durable: bool) {
        if let Some(link) = self.links.get_mut(&to) {
            link.pending.frames.push((frame, durable));
        }
    }

    fn flush(&mut self, node: &mut Node) {
        let mut over = Vec::new();
        for (connection_id, link) in &mut self.links {
            if link.pending.goodbye.is_some() {
                over.push(*connection_id);
            } else if !link.pending.frames.is_empty() {
                let delivery = std::mem::take(&mut link.pending);
                node.world.down(*connection_id, delivery);
            }
        }
        for connection_id in over {
            if let Some(link) = self.links.remove(&connection_id)
                && let Some((reason, machine)) = link.pending.goodbye
            {
                node.dismiss(connection_id, link.pending.frames, reason, machine);
            }
        }
    }

    fn say_goodbye_to_all(
        &mut self,
        node: &mut Node,
        reason: GoodbyeReason,
        process: Option<usize>,
    ) {
        let machine = process.map(|process| node.world.machine_of(process));
        for link in self.links.values_mut() {
            link.pending.goodbye.get_or_insert((reason, machine));
        }
        self.flush(node);
    }

    fn give_up(&mut self, node: &mut Node, owner: Option<NodeId>) {
        if self.is_finished {
            return;
        }
        node.world.log(format_args!(
            "n{} gives {} up",
            node.process,
            short(self.room_id())
        ));
        self.owner.fall_silent();
        let process = owner.and_then(|owner| node.world.process_named(owner));
        self.say_goodbye_to_all(node, GoodbyeReason::Moved, process);
        self.is_finished = true;
    }

    fn end_if_done(&mut self, node: &mut Node) {
        let is_due = self.departing == Some(Departure::Settling)
            && self.owner.is_settled()
            && !self.is_finished;
        if is_due {
            self.departing = Some(Departure::HandingOver);
            self.hand_over(node);
        }
        if self.is_finished {
            self.say_goodbye_to_all(node, GoodbyeReason::Ended, None);
        }
    }

    fn hand_over(&mut self, node: &mut Node) {
        let (room_id, number) = (self.room_id(), self.number);
        let former = Ownership {
            owner: Some(node.node_id),
            epoch: self.owner.room().epoch(),
        };
        let (calls, registry) = (node.calls.clone(), Arc::clone(&node.registry));
        let (mirror, own) = (Arc::clone(&node.mirror), node.node_id);
        node.work.push(Box::pin(async move {
            let successor = calls.hand_over(&registry, room_id, former).await;
            if successor.is_none() {
                // What could not be released is taken over.
                let _ = mirror.release(room_id, own, former.epoch).await;
            }
            Done::HandedOver {
                room_id,
                number,
                successor,
            }
        }));
    }

    pub fn handed_over(&mut self, node: &mut Node, successor: Option<usize>) {
        self.say_goodbye_to_all(node, GoodbyeReason::Draining, successor);
        self.is_finished = true;
    }

    pub fn depart(&mut self, node: &mut Node) {
        if self.departing.is_some() {
            return;
        }
        if !self.owner.room().is_closed() {
            self.run(node, Input::Suspend);
        }
        self.departing = Some(Departure::Settling);
        self.settle(node);
    }

    pub fn abandon(&mut self, node: &mut Node) {
        self.say_goodbye_to_all(node, GoodbyeReason::Draining, None);
        self.is_finished = true;
    }
}
