//! What claiming asks of SQL and of the other nodes.

use async_trait::async_trait;

use crate::{
    ids::{NodeId, RoomId, SessionId, Timestamp},
    mirror::MirrorFault,
    room::{RoomBasis, record::BanRecord},
    store::{OpenSession, RoomFacts, Store, StoreFault},
};

/// What SQL has of a room that is to begin.
#[derive(Clone, Debug)]
pub struct Beginning {
    /// What its new session begins from.
    pub basis: RoomBasis,
    /// Its sessions without end.
    pub open: Vec<OpenSession>,
}

/// SQL, as far as ownership is concerned.
#[async_trait]
pub trait Ledger: Send + Sync + 'static {
    /// What a room begins from; none: unknown or deleted.
    async fn beginning(&self, room_id: RoomId) -> Result<Option<Beginning>, StoreFault>;

    /// Whether a session is recorded with its end.
    async fn is_closed(&self, session_id: SessionId) -> Result<bool, StoreFault>;

    /// Ends a session of which nobody knows any more, when it was last seen.
    async fn close_lost(&self, session_id: SessionId) -> Result<(), StoreFault>;
}

#[async_trait]
impl Ledger for Store {
    async fn beginning(&self, room_id: RoomId) -> Result<Option<Beginning>, StoreFault> {
        let facts = self.room_facts(room_id).await?;
        Ok(facts.map(|RoomFacts { room, bans, open }| {
            let bans = bans
                .into_iter()
                .map(|(user_id, created_at)| (user_id, BanRecord { created_at }))
                .collect();
            let basis = RoomBasis {
                room_id,
                tenant_id: room.tenant_id,
                host_user_id: room.host_user_id,
                settings: room.settings,
                bans,
            };
            Beginning { basis, open }
        }))
    }

    async fn is_closed(&self, session_id: SessionId) -> Result<bool, StoreFault> {
        self.session_closed(session_id).await
    }

    async fn close_lost(&self, session_id: SessionId) -> Result<(), StoreFault> {
        Store::close_lost(self, session_id).await.map(|_| ())
    }
}

/// What is known of the owner of a room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Former {
    /// Its process has ended: nobody listens where it did, or somebody else does.
    pub is_gone: bool,
    /// Its heartbeat was watched to stand still for the whole expiry, or it is not listed any more.
    pub has_expired: bool,
    /// Its last sign of life: when its connections were lost.
    pub seen_at: Option<Timestamp>,
}

impl Former {
    /// It has just let go of the room.
    pub const GONE_NOW: Self = Self {
        is_gone: true,
        has_expired: true,
        seen_at: None,
    };
}

/// The other processes on the same mirror.
#[async_trait]
pub trait Peers: Send + Sync + 'static {
    /// Whether the owner of a room can still serve it. What cannot be told is "yes".
    async fn former(&self, node_id: NodeId) -> Result<Former, MirrorFault>;
}

/// The mirror is this process's alone: whoever owned a room before is gone.
pub struct Alone<M: ?Sized>(pub std::sync::Arc<M>);

#[async_trait]
impl<M: crate::mirror::RoomMirror + ?Sized> Peers for Alone<M> {
    async fn former(&self, node_id: NodeId) -> Result<Former, MirrorFault> {
        let nodes = self.0.nodes().await?;
        let node = nodes.into_iter().find(|node| node.node_id == node_id);
        Ok(Former {
            seen_at: node.map(|node| node.seen_at),
            ..Former::GONE_NOW
        })
    }
}
