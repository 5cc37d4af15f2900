//! A room with people in it, without anything around it.

use std::{collections::BTreeMap, sync::Arc};

use callboard::{
    ids::{ConnectionId, Epoch, RoomId, SessionId, StayId, TenantId, Timestamp, UserId},
    protocol::{Command, Kind, Notice, OwnCommand, Settings, StateChange},
    room::{
        Room, RoomBasis,
        effect::Effect,
        input::{Input, IssuedToken, Join},
        record::ChangeSet,
        rules::Rules,
    },
};
use uuid::Uuid;

/// Seats beyond those taken at first.
const SPARE_SEATS: u32 = 10;

/// See the module. Everybody's number is that of their user and of their connection.
pub struct Meeting {
    room: Room,
    now: Timestamp,
    fresh: u128,
    /// Grows with each command: a repeated id would not be carried out.
    command_id: u64,
}

impl Meeting {
    /// With people 0 to `size` - 1.
    pub fn of(size: u32) -> Self {
        let now = Timestamp(1_000_000);
        let basis = RoomBasis {
            room_id: RoomId(Uuid::from_u128(1)),
            tenant_id: TenantId(Uuid::from_u128(2)),
            host_user_id: UserId(number(0)),
            settings: Settings {
                max_participants: size + SPARE_SEATS,
                ..Settings::default()
            },
            bans: BTreeMap::new(),
        };
        let mut meeting = Self {
            room: Room::create(Arc::new(Rules::default()), basis, Epoch(1), now),
            now,
            fresh: 1 << 64,
            command_id: 1,
        };
        for person in 0..size {
            meeting.join(person);
        }
        meeting.take_changes();
        meeting
    }

    /// Somebody takes a seat.
    pub fn join(&mut self, person: u32) -> Vec<Effect> {
        let join = Join {
            connection_id: ConnectionId(number(person)),
            id: 1,
            user_id: UserId(number(person)),
            display_name: format!("Person {person}"),
            kind: Kind::Guest,
            is_expired: false,
            region: None,
            resume: None,
            stay_id: StayId(self.fresh()),
            session_id: SessionId(self.fresh()),
            resume_token: IssuedToken {
                text: "0123456789abcdef0123456789abcdef".to_owned(),
                hash: "fedcba9876543210fedcba9876543210".to_owned(),
            },
        };
        self.room.apply(self.now, Input::Join(Box::new(join)))
    }

    /// Somebody mutes or unmutes themself, the other way than the last time.
    pub fn change_state(&mut self, person: u32) -> Vec<Effect> {
        let is_muted = Some(self.command_id.is_multiple_of(2));
        let change = StateChange {
            is_muted,
            ..StateChange::default()
        };
        self.command(person, Command::Own(OwnCommand::UpdateState { change }))
    }

    /// Somebody says something to all.
    pub fn say(&mut self, person: u32) -> Vec<Effect> {
        let message = Command::Own(OwnCommand::SendMessage {
            text: "a message of the length that messages have".to_owned(),
        });
        self.command(person, message)
    }

    /// Somebody gives up their seat.
    pub fn leave(&mut self, person: u32) -> Vec<Effect> {
        self.command(person, Command::Own(OwnCommand::LeaveRoom))
    }

    /// What a commit made now would carry.
    pub fn take_changes(&mut self) -> Option<ChangeSet> {
        self.room.take_changes()
    }

    /// What a person who comes to `size` - 1 others is told.
    pub fn joined_notice(size: u32) -> Notice {
        let effects = Self::of(size - 1).join(size);
        let mut told = effects.iter().filter_map(Effect::told);
        told.next().expect("a joiner is told").1.clone()
    }

    fn command(&mut self, person: u32, command: Command) -> Vec<Effect> {
        self.command_id += 1;
        let input = Input::Command {
            connection_id: ConnectionId(number(person)),
            id: self.command_id,
            command,
        };
        self.room.apply(self.now, input)
    }

    fn fresh(&mut self) -> Uuid {
        self.fresh += 1;
        Uuid::from_u128(self.fresh)
    }
}

fn number(person: u32) -> Uuid {
    Uuid::from_u128(u128::from(person) + 100)
}
