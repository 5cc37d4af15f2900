//! The house before the doors open: nodes, rooms, places and tokens.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize},
};

use futures_util::{StreamExt, TryStreamExt, stream};
use url::Url;
use uuid::Uuid;

use super::{
    LoadError,
    api::{Api, ApiFault, MadeRoom},
    options::{Options, Profile},
    socket::Target,
    stage::{RoomCard, Who},
    ticket::{Signer, holder},
};

/// Rooms made at once.
const MAKING_MAX: usize = 32;
/// Seats beyond the people of a room: somebody who comes back as new must not find it full.
const SPARE_SEATS: usize = 8;

/// All that must be there before the first join.
pub(super) struct House {
    /// The nodes.
    pub targets: Vec<Target>,
    /// The rooms.
    pub rooms: Vec<Arc<RoomCard>>,
    /// Everybody.
    pub people: Vec<Who>,
    /// The HTTP API; none: a bare target has none.
    pub api: Option<Api>,
    /// The owner of all rooms.
    pub host_id: Uuid,
}

/// Prepares it.
pub(super) async fn prepare(options: &Options) -> Result<House, LoadError> {
    let mut targets = Vec::new();
    for url in &options.urls {
        let target = Target::of(url).await;
        targets.push(target.map_err(|fault| LoadError::Setup(fault.to_string()))?);
    }
    let mut house = House {
        targets,
        rooms: Vec::new(),
        people: Vec::new(),
        api: None,
        host_id: Uuid::nil(),
    };
    let Some(key) = options.key.as_deref().filter(|_| !options.is_bare) else {
        house.fill_bare(options);
        return Ok(house);
    };
    let api = Api::new(key)?;
    house.host_id = api.create_host(&house.targets[0].base).await?;
    // Calls make their own rooms.
    let rooms = match options.profile {
        Profile::Churn => 0,
        Profile::Meeting
        | Profile::JoinStorm
        | Profile::Broadcast
        | Profile::Idle
        | Profile::Reconnect => options.rooms,
    };
    let made = house.make_rooms(&api, rooms, options.size).await?;
    for room in made {
        house.furnish(key, &room, options.size)?;
    }
    house.api = Some(api);
    Ok(house)
}

impl House {
    async fn make_rooms(
        &self,
        api: &Api,
        rooms: usize,
        size: usize,
    ) -> Result<Vec<MadeRoom>, ApiFault> {
        let bases: Vec<Url> = self.targets.iter().map(|node| node.base.clone()).collect();
        let making = (0..rooms).map(|room| {
            let (api, base, host_id) =
                (api.clone(), bases[room % bases.len()].clone(), self.host_id);
            async move { api.create_room(&base, host_id, size + SPARE_SEATS).await }
        });
        stream::iter(making)
            .buffered(MAKING_MAX)
            .try_collect()
            .await
    }

    /// A room's people: the owner of all rooms, and guests.
    fn furnish(&mut self, key: &str, made: &MadeRoom, size: usize) -> Result<(), LoadError> {
        let unreadable = || LoadError::Setup("the key or the join token cannot be read".to_owned());
        let signer = Signer::new(key, &made.join_token).ok_or_else(unreadable)?;
        let host = holder(&made.join_token).ok_or_else(unreadable)?;
        let mut users = vec![host];
        let room = self.rooms.len();
        self.seat(room, 0, made.join_token.clone());
        for seat in 1..size {
            let (user_id, token) = signer.guest(made.room_id, seat);
            users.push(user_id);
            self.seat(room, seat, token);
        }
        self.rooms
            .push(card(made.room_id.to_string(), Some(made.room_id), users));
        Ok(())
    }

    /// Rooms 1 to n, tokens that nobody reads.
    fn fill_bare(&mut self, options: &Options) {
        for room in 0..options.rooms {
            for seat in 0..options.size {
                self.seat(room, seat, "none".to_owned());
            }
            self.rooms
                .push(card((room + 1).to_string(), None, Vec::new()));
        }
    }

    fn seat(&mut self, room: usize, seat: usize, token: String) {
        self.people.push(Who {
            index: self.people.len(),
            room,
            seat,
            token,
        });
    }
}

/// A room without anybody.
pub(super) fn card(name: String, id: Option<Uuid>, users: Vec<Uuid>) -> Arc<RoomCard> {
    Arc::new(RoomCard {
        id,
        name,
        users,
        inside: AtomicUsize::new(0),
        acked: AtomicU64::new(0),
    })
}
