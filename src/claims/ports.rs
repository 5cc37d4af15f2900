//! What claiming asks SQL and the other nodes.

use async_trait::async_trait;

use crate::{
    ids::{NodeId, RoomId, SessionId, Timestamp},
    mirror::MirrorFault,
    room::{RoomBasis, record::BanRecord},
    store::{OpenSession, RoomFacts, Store, StoreFault},
};

/// What SQL knows of a room that starts.
#[derive(Clone, Debug)]
pub struct StoredRoom {
    /// What its new session starts from.
    pub basis: RoomBasis,
    /// Its sessions without end.
    pub open: Vec<OpenSession>,
}

/// The sessions in SQL, as ownership needs them.
#[async_trait]
pub trait SessionHistory: Send + Sync + 'static {
    /// What a room starts from. None if it is unknown or deleted.
    async fn stored_room(&self, room_id: RoomId) -> Result<Option<StoredRoom>, StoreFault>;

    /// Whether a session is recorded with its end.
    async fn is_closed(&self, session_id: SessionId) -> Result<bool, StoreFault>;

    /// Ends a lost session at the time at which it was last seen.
    async fn close_lost(&self, session_id: SessionId) -> Result<(), StoreFault>;
}

#[async_trait]
impl SessionHistory for Store {
    async fn stored_room(&self, room_id: RoomId) -> Result<Option<StoredRoom>, StoreFault> {
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
            StoredRoom { basis, open }
        }))
    }

    async fn is_closed(&self, session_id: SessionId) -> Result<bool, StoreFault> {
        self.session_closed(session_id).await
    }

    async fn close_lost(&self, session_id: SessionId) -> Result<(), StoreFault> {
        Store::close_lost(self, session_id).await.map(|_| ())
    }
}

/// Whether the owner of a room can still serve it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnerLiveness {
    /// Its process has ended: nobody listens at its address, or another process does.
    pub is_gone: bool,
    /// Its heartbeat stood still for the whole expiry, or it is not registered any more.
    pub has_expired: bool,
    /// When it was last known to live. Its connections were lost then.
    pub seen_at: Option<Timestamp>,
}

impl OwnerLiveness {
    /// It has just given up the room.
    pub const GONE_NOW: Self = Self {
        is_gone: true,
        has_expired: true,
        seen_at: None,
    };
}

/// The other processes on the same mirror.
#[async_trait]
pub trait NodeLiveness: Send + Sync + 'static {
    /// Whether a node can still serve its rooms. If this cannot be told, the answer is yes.
    async fn liveness_of(&self, node_id: NodeId) -> Result<OwnerLiveness, MirrorFault>;
}

/// For a mirror that belongs to this process alone: earlier owners are gone.
pub struct Alone<M: ?Sized>(pub std::sync::Arc<M>);

#[async_trait]
impl<M: crate::mirror::RoomMirror + ?Sized> NodeLiveness for Alone<M> {
    async fn liveness_of(&self, node_id: NodeId) -> Result<OwnerLiveness, MirrorFault> {
        let nodes = self.0.nodes().await?;
        let node = nodes.into_iter().find(|node| node.node_id == node_id);
        Ok(OwnerLiveness {
            seen_at: node.map(|node| node.seen_at),
            ..OwnerLiveness::GONE_NOW
        })
    }
}
