//! Who asks for a room, by what right, and whose start is tried again when another's has failed.

use actix::Addr;
use tokio::sync::oneshot;

use super::{room::RoomActor, supervisor::Found};
use crate::{claims::StartError, ids::TenantId, mirror::Ownership};

/// By what right a room is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// Somebody of this tenant joins.
    Join(TenantId),
    /// Its owner is gone.
    Takeover,
    /// Its owner hands it over.
    Handover(Ownership),
}

impl Right {
    /// Whose the room must be; none: whoever's it is.
    pub(super) fn tenant_id(self) -> Option<TenantId> {
        match self {
            Self::Join(tenant_id) => Some(tenant_id),
            Self::Takeover | Self::Handover(_) => None,
        }
    }

    /// Whether a start by another right may succeed although one by this right has failed so.
    fn explains(self, failure: StartError, other: Self) -> bool {
        match failure {
            StartError::ForeignTenant => other.tenant_id().is_some() && other != self,
            StartError::RoomNotFound => self.tenant_id().is_none() && other.tenant_id().is_some(),
            StartError::Elsewhere(_) | StartError::Unavailable => {
                matches!(other, Self::Handover(_)) && other != self
            }
        }
    }
}

/// Somebody who waits for a start.
pub(super) struct Asker {
    /// By what right.
    pub(super) right: Right,
    /// Receives the answer.
    pub(super) answer: oneshot::Sender<Found>,
}

impl Asker {
    /// A start that succeeded is none of a foreign asker's.
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
        // The asker may have given up.
        let _ = self.answer.send(answer);
    }
}

/// The askers for whom a start has to be tried again by their own right.
pub(super) fn others(
    waiting: &mut Vec<Asker>,
    failure: StartError,
    starter: Option<Right>,
) -> Vec<Asker> {
    let Some(starter) = starter else {
        return Vec::new();
    };
    let (others, same) = std::mem::take(waiting)
        .into_iter()
        .partition(|asker| starter.explains(failure, asker.right));
    *waiting = same;
    others
}
