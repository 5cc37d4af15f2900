//! What a run needs before the first join: nodes, rooms, users and tokens.

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
    context::{ClientSpec, RoomCard},
    options::{Options, Profile},
    socket::Target,
    ticket::{Signer, holder},
};

/// Concurrent requests for new rooms.
const MAKING_MAX: usize = 32;
/// Seats beyond the clients of a room: a client that joins anew must not find it full.
const SPARE_SEATS: usize = 8;

/// What exists before the first join.
pub(super) struct Setup {
    pub targets: Vec<Target>,
    pub rooms: Vec<Arc<RoomCard>>,
    pub specs: Vec<ClientSpec>,
    /// `None` for a bare target.
    pub api: Option<Api>,
    /// The host of all rooms.
    pub host_id: Uuid,
}

pub(super) async fn prepare(options: &Options) -> Result<Setup, LoadError> {
    let mut targets = Vec::new();
    for url in &options.urls {
        let target = Target::of(url).await;
        targets.push(target.map_err(|fault| LoadError::Setup(fault.to_string()))?);
    }
    let mut setup = Setup {
        targets,
        rooms: Vec::new(),
        specs: Vec::new(),
        api: None,
        host_id: Uuid::nil(),
    };
    let Some(key) = options.key.as_deref().filter(|_| !options.is_bare) else {
        setup.add_bare_rooms(options);
        return Ok(setup);
    };
    let api = Api::new(key)?;
    setup.host_id = api.create_host(&setup.targets[0].base).await?;
    // Each call makes its own room.
    let rooms = match options.profile {
        Profile::Churn => 0,
        Profile::Meeting
        | Profile::JoinStorm
        | Profile::Broadcast
        | Profile::Idle
        | Profile::Reconnect => options.rooms,
    };
    let made = setup.make_rooms(&api, rooms, options.size).await?;
    for room in made {
        setup.add_room(key, &room, options.size)?;
    }
    setup.api = Some(api);
    Ok(setup)
}

impl Setup {
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

    /// Adds a room with the host and guests.
    fn add_room(&mut self, key: &str, made: &MadeRoom, size: usize) -> Result<(), LoadError> {
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

    /// Adds rooms 1 to n without valid tokens.
    fn add_bare_rooms(&mut self, options: &Options) {
        for room in 0..options.rooms {
            for seat in 0..options.size {
                self.seat(room, seat, "none".to_owned());
            }
            self.rooms
                .push(card((room + 1).to_string(), None, Vec::new()));
        }
    }

    fn seat(&mut self, room: usize, seat: usize, token: String) {
        self.specs.push(ClientSpec {
            index: self.specs.len(),
            room,
            seat,
            token,
        });
    }
}

/// Returns a room without clients.
pub(super) fn card(name: String, id: Option<Uuid>, users: Vec<Uuid>) -> Arc<RoomCard> {
    Arc::new(RoomCard {
        id,
        name,
        users,
        inside: AtomicUsize::new(0),
        acked: AtomicU64::new(0),
    })
}
