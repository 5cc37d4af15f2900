//! From a `JoinRoom` to a room's actor: checks the token, then asks the live room or the
//! supervisor, several times if necessary.

mod person;

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix::{Addr, Recipient};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use rand::RngExt;
use sha2::{Digest, Sha256};
use uuid::Uuid;

pub use self::person::Person;
use super::{
    context::NodeContext,
    room::{Applied, ConnectionClosed, JoinRoom, RoomActor, RoomDirectory, link::RoomNews},
    rooms::Rooms,
    supervisor::{FindRoom, RoomSupervisor},
    waiter::Right,
};
use crate::{
    claims::StartError,
    fd_budget::FdBudget,
    ids::{ConnectionId, NodeId, RoomId, SessionId, StayId, TenantId},
    protocol::{GoodbyeReason, Refusal, ResumeRequest},
    room::input::{IssuedToken, Join, Resume},
    secrets::{SigningKey, api_key::ApiKeyText},
    ws::{Pace, Socket},
};

/// Attempts at a room that is closing or overloaded.
const TRIES_MAX: usize = 40;
/// Wait between two attempts.
pub const TRY_AGAIN: Duration = Duration::from_millis(50);
/// Longest time from `JoinRoom` to the room's decision.
pub const JOIN_PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of a resume token before encoding.
const RESUME_TOKEN_BYTES: usize = 24;

/// Times and bounds of a connection.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Bytes of one message.
    pub frame_bytes_max: usize,
    /// Bytes of a chat text.
    pub text_bytes_max: usize,
    /// Messages per second.
    pub pace: Pace,
    /// Until a connection must have joined.
    pub join_timeout: Duration,
    /// Open WebSockets of this node.
    pub connections_max: usize,
}

/// Lets connections join rooms.
pub struct JoinService {
    pub(super) node: Arc<NodeContext>,
    directory: Arc<RoomDirectory>,
    supervisor: Addr<RoomSupervisor>,
    signing: SigningKey,
    bootstrap: ApiKeyText,
    pub(super) limits: ConnectionLimits,
    pub(super) fd_budget: FdBudget,
    open: Arc<AtomicUsize>,
}

/// Counts one of the node's connections until it is dropped.
pub struct ConnectionPermit {
    open: Arc<AtomicUsize>,
    node: Arc<NodeContext>,
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.node.metrics.connections.dec();
    }
}

/// A `JoinRoom` as it came, without its token.
pub struct JoinAttempt {
    pub(super) connection_id: ConnectionId,
    pub(super) id: u64,
    pub(super) room_id: RoomId,
    pub(super) resume: Option<ResumeRequest>,
    pub(super) region: Option<String>,
    pub(super) actor: Recipient<RoomNews>,
    pub(super) socket: Arc<Socket>,
}

/// Where a join has led.
pub(super) enum JoinTarget {
    /// This node runs the room, which has decided.
    Local(Addr<RoomActor>),
    /// This node owns the room.
    Remote(NodeId),
}

impl From<StartError> for Refusal {
    fn from(error: StartError) -> Self {
        match error {
            StartError::RoomNotFound => Self::new(GoodbyeReason::RoomNotFound, "unknown room"),
            StartError::ForeignTenant => unauthorized("the token is not for this room"),
            StartError::Elsewhere(_) | StartError::Unavailable => unavailable(),
        }
    }
}

/// Refuses a join token.
fn unauthorized(message: &'static str) -> Refusal {
    Refusal::new(GoodbyeReason::Unauthorized, message)
}

/// Refuses a join whose room cannot be reached now.
pub(super) fn unavailable() -> Refusal {
    Refusal::new(GoodbyeReason::Unavailable, "the room is not available now")
}

impl JoinService {
    /// Joins go to `rooms`. The server's key `signing` and the tenants' API keys verify tokens.
    #[must_use]
    pub fn new(
        rooms: &Rooms,
        signing: SigningKey,
        bootstrap: ApiKeyText,
        limits: ConnectionLimits,
        fd_budget: FdBudget,
    ) -> Self {
        Self {
            node: Arc::clone(&rooms.node),
            directory: Arc::clone(&rooms.directory),
            supervisor: rooms.supervisor.clone(),
            signing,
            bootstrap,
            limits,
            fd_budget,
            open: Arc::new(AtomicUsize::new(0)),
        }
    }

    /// A permit for one more connection. None if the node has as many as it may, or if only files
    /// for requests are left.
    #[must_use]
    pub fn take_permit(&self) -> Option<ConnectionPermit> {
        if !self.fd_budget.has_reserve() {
            return None;
        }
        let max = self.limits.connections_max;
        self.open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
                (open < max).then_some(open + 1)
            })
            .ok()?;
        self.node.metrics.connections.inc();
        Some(ConnectionPermit {
            open: Arc::clone(&self.open),
            node: Arc::clone(&self.node),
        })
    }

    /// Until a connection must have joined.
    #[must_use]
    pub fn join_timeout(&self) -> Duration {
        self.limits.join_timeout
    }

    /// Lets a connection join a room of this node. The room decides whether it gets a seat.
    ///
    /// Used for connections from other nodes, which are never forwarded again.
    pub(super) async fn enter_here(
        &self,
        attempt: &JoinAttempt,
        person: &Person,
    ) -> Result<Addr<RoomActor>, Refusal> {
        match self.join(attempt, person).await? {
            JoinTarget::Local(room) => Ok(room),
            JoinTarget::Remote(_) => Err(Refusal::new(
                GoodbyeReason::Moved,
                "the room is on another node",
            )),
        }
    }

    /// Asks the room to let somebody in, again while it is closing or overloaded.
    pub(super) async fn join(
        &self,
        attempt: &JoinAttempt,
        person: &Person,
    ) -> Result<JoinTarget, Refusal> {
        let join = join(attempt, person);
        // A live room knows its tenant as well as the supervisor does.
        let mut live = self.directory.find(attempt.room_id);
        for _ in 0..TRIES_MAX {
            let room = match live.take() {
                Some(room) => room,
                None => match self.find(attempt.room_id, person.tenant_id).await {
                    Ok(room) => room,
                    Err(StartError::Elsewhere(node_id)) => return Ok(JoinTarget::Remote(node_id)),
                    Err(error) => return Err(error.into()),
                },
            };
            let enter = JoinRoom {
                join: Box::new(join.clone()),
                tenant_id: person.tenant_id,
                actor: attempt.actor.clone(),
                socket: Arc::clone(&attempt.socket),
            };
            match room.send(enter).await {
                Ok(Ok(Applied::Done)) => return Ok(JoinTarget::Local(room)),
                Ok(Err(refusal)) => return Err(refusal),
                Ok(Ok(Applied::Failed)) => {
                    return Err(Refusal::new(
                        GoodbyeReason::Internal,
                        "the room failed on this join",
                    ));
                }
                // Busy: many join at once, and their answers wait for the mirror.
                Ok(Ok(Applied::Busy | Applied::Closing)) | Err(_) => {
                    tokio::time::sleep(TRY_AGAIN).await;
                }
            }
        }
        Err(unavailable())
    }

    async fn find(
        &self,
        room_id: RoomId,
        tenant_id: TenantId,
    ) -> Result<Addr<RoomActor>, StartError> {
        let right = Right::Join(tenant_id);
        let found = self.supervisor.send(FindRoom { room_id, right }).await;
        found.unwrap_or(Err(StartError::Unavailable))
    }

    /// Nobody waits for the room's decision any more.
    pub(super) fn give_up(&self, room_id: RoomId, connection_id: ConnectionId) -> Refusal {
        if let Some(room) = self.directory.find(room_id) {
            // It may let the connection in too late.
            room.do_send(ConnectionClosed { connection_id });
        }
        Refusal::outcome_unknown()
    }
}

/// The room's input: fresh ids, and what the token says.
fn join(attempt: &JoinAttempt, person: &Person) -> Join {
    Join {
        connection_id: attempt.connection_id,
        id: attempt.id,
        user_id: person.user_id,
        display_name: person.display_name.clone(),
        kind: person.kind,
        is_expired: person.is_expired,
        region: attempt.region.clone(),
        resume: attempt.resume.as_ref().map(|resume| Resume {
            token: issued(resume.resume_token.clone()),
            last_seq: resume.last_seq,
        }),
        stay_id: StayId(Uuid::now_v7()),
        session_id: SessionId(Uuid::now_v7()),
        resume_token: issued(
            BASE64_URL_SAFE_NO_PAD.encode(rand::rng().random::<[u8; RESUME_TOKEN_BYTES]>()),
        ),
    }
}

/// A resume token with its hash, which the mirror keeps.
fn issued(text: String) -> IssuedToken {
    let hash = hex::encode(Sha256::digest(text.as_bytes()));
    IssuedToken { text, hash }
}

/// A pace from the configured figures, which are not zero.
#[must_use]
pub fn pace(per_second: u32, burst: u32, refusals_max: u32, refusal_window: Duration) -> Pace {
    let positive = |number: u32| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
    Pace {
        per_second: positive(per_second),
        burst: positive(burst),
        refusals_max,
        refusal_window,
    }
}
