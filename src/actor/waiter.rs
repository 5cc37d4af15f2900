//! Requests that wait for the start of a room, and which of them are tried again when it fails.

use actix::Addr;
use tokio::sync::oneshot;

use super::room::RoomActor;
use crate::{claims::StartError, ids::TenantId, mirror::Ownership};

/// The answer to a request for a room.
pub type Found = Result<Addr<RoomActor>, StartError>;

/// Why a room is asked for. The reason decides which rooms may be claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// Somebody with a token of this tenant joins.
    Join(TenantId),
    /// Its owner is gone.
    Takeover,
    /// Its owner hands it off.
    HandOff(Ownership),
}

impl Right {
    /// The tenant to which the room must belong. None if any tenant will do.
    pub(super) fn tenant_id(self) -> Option<TenantId> {
        match self {
            Self::Join(tenant_id) => Some(tenant_id),
            Self::Takeover | Self::HandOff(_) => None,
        }
    }

    /// Whether a start with `other` may succeed although one with `self` failed with `failure`.
    fn may_differ(self, failure: StartError, other: Self) -> bool {
        match failure {
            StartError::ForeignTenant => other.tenant_id().is_some() && other != self,
            StartError::RoomNotFound => self.tenant_id().is_none() && other.tenant_id().is_some(),
            StartError::Elsewhere(_) | StartError::Unavailable => {
                matches!(other, Self::HandOff(_)) && other != self
            }
        }
    }
}

/// A request that waits for a start.
pub(super) struct Waiter {
    /// By what right.
    pub(super) right: Right,
    /// Receives the answer.
    pub(super) answer: oneshot::Sender<Found>,
}

impl Waiter {
    /// Answers the request. A room of another tenant is refused.
    pub(super) fn tell(self, found: &Result<(Addr<RoomActor>, TenantId), StartError>) {
        let answer = match found {
            Ok((_, owner))
                if self
                    .right
                    .tenant_id()
                    .is_some_and(|tenant| tenant != *owner) =>
            {
                Err(StartError::ForeignTenant)
            }
            Ok((address, _)) => Ok(address.clone()),
            Err(failure) => Err(*failure),
        };
        // Nobody may wait any more.
        let _ = self.answer.send(answer);
    }
}

/// The waiters for which the start is tried again by their own right.
pub(super) fn others(
    waiting: &mut Vec<Waiter>,
    failure: StartError,
    starter: Option<Right>,
) -> Vec<Waiter> {
    let Some(starter) = starter else {
        return Vec::new();
    };
    let (others, same) = std::mem::take(waiting)
        .into_iter()
        .partition(|waiter| starter.may_differ(failure, waiter.right));
    *waiting = same;
    others
}
