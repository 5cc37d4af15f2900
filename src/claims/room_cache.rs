//! What SQL said of rooms that were started here, for times without SQL. Bounded.

use std::collections::{HashMap, VecDeque};

use crate::{ids::RoomId, room::RoomBasis};

/// Rooms in the cache.
const BASES_MAX: usize = 10_000;

/// See the module.
#[derive(Debug, Default)]
pub struct RoomCache {
    known: HashMap<RoomId, RoomBasis>,
    /// In the order in which they were inserted.
    order: VecDeque<RoomId>,
}

impl RoomCache {
    /// Inserts a room. At the bound the oldest is dropped.
    pub fn insert(&mut self, basis: RoomBasis) {
        let room_id = basis.room_id;
        if self.known.insert(room_id, basis).is_none() {
            self.order.push_back(room_id);
        }
        if self.order.len() > BASES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// What SQL said of a room.
    #[must_use]
    pub fn get(&self, room_id: RoomId) -> Option<RoomBasis> {
        self.known.get(&room_id).cloned()
    }

    /// Drops a room whose row has changed.
    pub fn remove(&mut self, room_id: RoomId) {
        if self.known.remove(&room_id).is_some() {
            self.order.retain(|known| *known != room_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use uuid::Uuid;

    use super::*;
    use crate::{
        ids::{TenantId, UserId},
        protocol::Settings,
    };

    #[test]
    fn at_the_bound_the_oldest_is_forgotten() {
        let mut room_cache = RoomCache::default();
        let room = |number: usize| RoomId(Uuid::from_u128(number as u128));
        for number in 0..=BASES_MAX {
            room_cache.insert(RoomBasis {
                room_id: room(number),
                tenant_id: TenantId(Uuid::nil()),
                host_user_id: UserId(Uuid::nil()),
                settings: Settings::default(),
                bans: BTreeMap::new(),
            });
        }
        assert!(room_cache.get(room(0)).is_none());
        assert!(room_cache.get(room(1)).is_some());
        room_cache.remove(room(1));
        assert!(room_cache.get(room(1)).is_none());
        assert_eq!(room_cache.known.len(), room_cache.order.len());
    }
}
