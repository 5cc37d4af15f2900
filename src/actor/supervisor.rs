//! Finds rooms or starts them, one start per room at a time. Restarts the ones that crash.

use std::{collections::HashMap, sync::Arc, time::Instant};

use actix::{Actor, Addr, AsyncContext, Context, Handler, Message, ResponseFuture};
use tokio::sync::oneshot;
use tracing::{debug, error, info, warn};

use super::{
    context::NodeContext,
    failures::{Budget, Failures},
    room::{
        HandOff, HandOffFn, RoomActor, RoomContext, RoomCrashState, RoomDirectory, RoomGone,
        Shutdown,
    },
    threads::{RoomThread, RoomThreads},
    waiter::{Found, Right, Waiter, others},
};
use crate::{
    claims::{StartError, Started},
    ids::{Epoch, RoomId, TenantId},
};

/// Rooms that start at the same time. Further requests fail, and have to be repeated.
const STARTING_MAX: usize = 4_096;
/// Requests that wait for the start of one room.
const WAITING_MAX: usize = 16_384;

/// Asks for a room's actor; starts it if there is none.
#[derive(Message)]
#[rtype(result = "Found")]
pub struct FindRoom {
    /// The room.
    pub room_id: RoomId,
    /// By what right it is asked for.
    pub right: Right,
}

/// The node stops: every room commits, is handed off, says goodbye and ends.
#[derive(Message)]
#[rtype(result = "()")]
pub struct StopRooms {
    /// Finds each a successor.
    pub hand_off: HandOffFn,
    /// Receives the number of rooms that ended, once all have.
    pub done: oneshot::Sender<usize>,
}

/// A start has ended.
#[derive(Message)]
#[rtype(result = "()")]
struct StartEnded {
    room_id: RoomId,
    /// Of the first request. None for a restart.
    right: Option<Right>,
    result: Result<Started, StartError>,
    inherited: Option<RoomCrashState>,
}

enum Slot {
    Starting(Vec<Waiter>),
    Running {
        address: Addr<RoomActor>,
        epoch: Epoch,
        tenant_id: TenantId,
    },
}

/// See the module.
pub struct RoomSupervisor {
    node: Arc<NodeContext>,
    directory: Arc<RoomDirectory>,
    slots: HashMap<RoomId, Slot>,
    starting: usize,
    /// The threads for new rooms.
    threads: RoomThreads,
    /// How often rooms crashed.
    failures: Failures,
    is_stopping: bool,
}

impl RoomSupervisor {
    /// A supervisor that spreads rooms over `threads`.
    #[must_use]
    pub fn new(
        node: Arc<NodeContext>,
        directory: Arc<RoomDirectory>,
        threads: RoomThreads,
    ) -> Self {
        Self {
            node,
            directory,
            slots: HashMap::new(),
            starting: 0,
            threads,
            failures: Failures::default(),
            is_stopping: false,
        }
    }

    /// Starts a room on the I/O runtime; the result comes back as a message.
    fn start(&mut self, context: &mut Context<Self>, room_id: RoomId, right: Right) {
        let node = Arc::clone(&self.node);
        let start = async move {
            match right {
                Right::Join(tenant_id) => node.claimant.start(room_id, Some(tenant_id)).await,
                Right::Takeover => node.claimant.start(room_id, None).await,
                Right::HandOff(previous) => node.claimant.take_from(room_id, previous).await,
            }
        };
        self.launch(context, room_id, Some(right), None, start);
    }

    fn launch(
        &mut self,
        context: &mut Context<Self>,
        room_id: RoomId,
        right: Option<Right>,
        inherited: Option<RoomCrashState>,
        start: impl Future<Output = Result<Started, StartError>> + Send + 'static,
    ) {
        self.starting += 1;
        let (io, supervisor) = (self.node.io.clone(), context.address());
        io.clone().spawn(async move {
            // A snapshot at which the rules panic must not keep the room in `Starting`.
            let result = io.spawn(start).await.unwrap_or_else(|fault| {
                error!(room = %room_id, %fault, "a start failed");
                Err(StartError::Unavailable)
            });
            supervisor.do_send(StartEnded {
                room_id,
                right,
                result,
                inherited,
            });
        });
    }

    /// Restarts a crashed room from its mirror under a new epoch, or ends its session if it crashes
    /// too often.
    fn restart(&mut self, context: &mut Context<Self>, gone: RoomGone) {
        let RoomGone {
            room_id,
            epoch,
            mut crash_state,
            ..
        } = gone;
        match self.failures.count(room_id, Instant::now()) {
            Budget::Restart => {}
            Budget::End => crash_state.must_end = true,
            Budget::GiveUp => {
                error!(room = %room_id, "the room crashes even when its session is ended: not restarting it for a while");
                return self.part_with(room_id, crash_state);
            }
        }
        self.slots.insert(room_id, Slot::Starting(Vec::new()));
        self.node.metrics.room_restarts_total.inc();
        let node = Arc::clone(&self.node);
        let start = async move { node.claimant.restart(room_id, epoch).await };
        self.launch(context, room_id, None, Some(crash_state), start);
    }

    /// Gives up the ownership of a room that this node will not run.
    fn release(&self, room_id: RoomId, epoch: Epoch) {
        let (mirror, owner) = (Arc::clone(&self.node.mirror), self.node.node_id);
        self.node.io.spawn(async move {
            if let Err(fault) = mirror.release(room_id, owner, epoch).await {
                warn!(room = %room_id, %fault, "a room could not be released: another node takes it over later");
            }
        });
    }

    /// A crashed room has no successor: its clients have to connect again.
    fn part_with(&self, room_id: RoomId, crash_state: RoomCrashState) {
        self.directory.end_restart(room_id);
        for outbox in crash_state.outboxes.into_values() {
            outbox.connection.socket.cut();
        }
    }

    fn place(
        &self,
        context: &mut Context<Self>,
        thread: RoomThread,
        started: Started,
        inherited: Option<RoomCrashState>,
    ) -> Addr<RoomActor> {
        let room = RoomContext {
            node: Arc::clone(&self.node),
            directory: Arc::clone(&self.directory),
            supervisor: context.address().recipient(),
        };
        RoomActor::start_in_arbiter(&thread.arbiter.clone(), move |_| {
            RoomActor::new(started, room, thread, inherited)
        })
    }
}

impl Actor for RoomSupervisor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(WAITING_MAX);
    }
}

impl Handler<FindRoom> for RoomSupervisor {
    type Result = ResponseFuture<Found>;

    fn handle(&mut self, message: FindRoom, context: &mut Self::Context) -> Self::Result {
        let FindRoom { room_id, right } = message;
        if self.failures.is_given_up(room_id, Instant::now()) {
            return answer(Err(StartError::Unavailable));
        }
        if self.is_stopping {
            return self.find_elsewhere(room_id);
        }
        let (answer_to, receiver) = oneshot::channel();
        let waiter = Waiter {
            right,
            answer: answer_to,
        };
        match self.slots.get_mut(&room_id) {
            Some(Slot::Running { tenant_id, .. })
                if right.tenant_id().is_some_and(|tenant| tenant != *tenant_id) =>
            {
                return answer(Err(StartError::ForeignTenant));
            }
            Some(Slot::Running { address, .. }) => return answer(Ok(address.clone())),
            Some(Slot::Starting(waiting)) if waiting.len() < WAITING_MAX => waiting.push(waiter),
            Some(Slot::Starting(_)) => return answer(Err(StartError::Unavailable)),
            None if self.starting >= STARTING_MAX => return answer(Err(StartError::Unavailable)),
            None => {
                self.slots.insert(room_id, Slot::Starting(vec![waiter]));
                self.start(context, room_id, right);
            }
        }
        Box::pin(async move { receiver.await.unwrap_or(Err(StartError::Unavailable)) })
    }
}

impl RoomSupervisor {
    /// A node that stops starts no room, but finds the new owners of those that it handed off.
    fn find_elsewhere(&self, room_id: RoomId) -> ResponseFuture<Found> {
        let node = Arc::clone(&self.node);
        let look = async move { node.claimant.owner_of(room_id).await.ok().flatten() };
        let look = self.node.io.spawn(look);
        Box::pin(async move {
            let owner = look.await.ok().flatten();
            Err(owner.map_or(StartError::Unavailable, StartError::Elsewhere))
        })
    }
}

fn answer(found: Found) -> ResponseFuture<Found> {
    Box::pin(std::future::ready(found))
}

impl Handler<StartEnded> for RoomSupervisor {
    type Result = ();

    fn handle(&mut self, message: StartEnded, context: &mut Self::Context) {
        let room_id = message.room_id;
        self.starting = self.starting.saturating_sub(1);
        let Some(Slot::Starting(mut waiting)) = self.slots.remove(&room_id) else {
            return;
        };
        let result = message.result.and_then(|started| {
            let thread = match self.is_stopping {
                true => None,
                false => self.threads.next(),
            };
            let Some(thread) = thread else {
                self.release(room_id, started.room.epoch());
                return Err(StartError::Unavailable);
            };
            Ok((started, thread))
        });
        let found = match result {
            Ok((started, thread)) => {
                let (epoch, tenant_id) = (started.room.epoch(), started.room.tenant_id());
                info!(room = %room_id, %epoch, restored = started.is_restored, "room started");
                if started.is_restored && message.right.is_some() {
                    self.node.metrics.rooms_taken_over_total.inc();
                }
                if started.is_restored
                    && let Some(session) = started.room.session()
                {
                    // Its last owner may have died before SQL knew the session.
                    self.node.recorder.open_session(
                        room_id,
                        session.session_id,
                        session.start_time,
                    );
                }
                let address = self.place(context, thread, started, message.inherited);
                self.slots.insert(
                    room_id,
                    Slot::Running {
                        address: address.clone(),
                        epoch,
                        tenant_id,
                    },
                );
                Ok((address, tenant_id))
            }
            Err(failure) => {
                match failure {
                    StartError::Elsewhere(node) => {
                        debug!(room = %room_id, %node, "room is elsewhere")
                    }
                    StartError::RoomNotFound
                    | StartError::ForeignTenant
                    | StartError::Unavailable => {
                        warn!(room = %room_id, %failure, "room not started");
                    }
                }
                self.part_with(room_id, message.inherited.unwrap_or_default());
                let to_retry = others(&mut waiting, failure, message.right);
                if let Some(next) = to_retry.first() {
                    let right = next.right;
                    self.slots.insert(room_id, Slot::Starting(to_retry));
                    self.start(context, room_id, right);
                }
                Err(failure)
            }
        };
        for waiter in waiting {
            waiter.tell(&found);
        }
    }
}

impl Handler<RoomGone> for RoomSupervisor {
    type Result = ();

    fn handle(&mut self, message: RoomGone, context: &mut Self::Context) {
        let room_id = message.room_id;
        let address = match self.slots.get(&room_id) {
            Some(Slot::Running { address, epoch, .. }) if *epoch <= message.epoch => {
                address.clone()
            }
            Some(Slot::Running { .. } | Slot::Starting(_)) | None => return,
        };
        self.slots.remove(&room_id);
        if message.is_clean {
            self.failures.forget(room_id);
            address.do_send(Shutdown);
        } else if self.is_stopping {
            self.part_with(room_id, message.crash_state);
            self.release(room_id, message.epoch);
        } else {
            error!(room = %room_id, epoch = %message.epoch, "room crashed: restarting it from its mirror");
            self.restart(context, message);
        }
    }
}

impl Handler<StopRooms> for RoomSupervisor {
    type Result = ();

    fn handle(&mut self, message: StopRooms, _: &mut Self::Context) {
        self.is_stopping = true;
        let departures: Vec<oneshot::Receiver<()>> = self
            .slots
            .values()
            .filter_map(|slot| match slot {
                Slot::Running { address, .. } => {
                    let (done, departed) = oneshot::channel();
                    address.do_send(HandOff {
                        hand_off: Arc::clone(&message.hand_off),
                        done,
                    });
                    Some(departed)
                }
                Slot::Starting(_) => None,
            })
            .collect();
        self.node.io.spawn(async move {
            let mut ended = 0;
            for departure in departures {
                ended += usize::from(departure.await.is_ok());
            }
            // The server may have given up waiting.
            let _ = message.done.send(ended);
        });
    }
}
