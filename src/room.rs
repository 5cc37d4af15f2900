//! The rules of a room: a pure, total state machine.
//!
//! [`Room::apply`] takes what happens ([`Input`]) with the time at which it happens and answers with what the shell is to
//! do ([`Effect`]). There is no clock, no randomness and no I/O in here: time and fresh ids come in as input. Any input
//! in any phase gives effects or a rejection, never a panic.
//!
//! What must be mirrored is marked in a journal; [`Room::take_changes`] reads the marked records when a commit is made,
//! so that changes which gather while a commit is under way merge by themselves.

pub mod admin;
mod admission;
mod conduct;
pub mod effect;
mod hosting;
pub mod input;
mod journal;
mod life;
mod lobby;
mod mirroring;
pub mod record;
mod relay;
mod resume;
pub mod rules;
mod seat;
mod tail;
#[cfg(test)]
mod tests;
mod window;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use self::{
    effect::{Audience, Effect},
    input::Input,
    journal::Journal,
    record::{BanRecord, Closing, EpochStart, Head, LeftRecord, TailEvent},
    rules::Rules,
    seat::{Seat, Waiting},
    tail::Tail,
};
use crate::{
    ids::{
        ConnectionId, ConnectionMap, Epoch, RoomId, Seq, StayId, TenantId, Timestamp, UserId,
        Version,
    },
    protocol::{Code, Event, GoodbyeReason, Notice, Rejection, Settings},
};

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// It holds this user's seat.
    Seat(UserId),
    /// It waits in the lobby for this user.
    Lobby(UserId),
}

/// What the store knows of a room before its first session.
#[derive(Clone, Debug)]
pub struct RoomBasis {
    /// Which room.
    pub room_id: RoomId,
    /// Whose.
    pub tenant_id: TenantId,
    /// The owner: always host.
    pub host_user_id: UserId,
    /// As stored.
    pub settings: Settings,
    /// As stored.
    pub bans: BTreeMap<UserId, BanRecord>,
}

/// A live room.
#[derive(Debug)]
pub struct Room {
    rules: Arc<Rules>,
    room_id: RoomId,
    epoch: Epoch,
    head: Head,
    seq: Seq,
    seats: BTreeMap<UserId, Seat>,
    waiting: BTreeMap<UserId, Waiting>,
    left: BTreeMap<StayId, LeftRecord>,
    /// The latest ended stay of each user of this session.
    former: HashMap<UserId, StayId>,
    bans: BTreeMap<UserId, BanRecord>,
    tail: Tail,
    /// All open connections that the room knows.
    places: ConnectionMap<Place>,
    /// Connected seats, remade when they change.
    audience: Option<Audience>,
    journal: Journal,
    is_durable: bool,
    /// How the room ended; nothing happens afterwards.
    closing: Option<Closing>,
    /// Effects of the input at hand.
    effects: Vec<Effect>,
}

impl Room {
    /// A room that the mirror did not know: nobody in it, no session yet.
    #[must_use]
    pub fn create(rules: Arc<Rules>, basis: RoomBasis, epoch: Epoch, now: Timestamp) -> Self {
        let head = Head {
            tenant_id: basis.tenant_id,
            host_user_id: basis.host_user_id,
            settings: basis.settings,
            sfu_region: None,
            is_recording: false,
            is_locked: false,
            session: None,
            epoch_starts: vec![EpochStart { epoch, seq: Seq(0) }],
            empty_at: Some(now.plus_ms(rules.empty_timeout_ms)),
            depart_at: None,
            ends_at: None,
        };
        let mut journal = Journal::new(Version(0), true);
        journal.full();
        Self {
            rules,
            room_id: basis.room_id,
            epoch,
            head,
            seq: Seq(0),
            seats: BTreeMap::new(),
            waiting: BTreeMap::new(),
            left: BTreeMap::new(),
            former: HashMap::new(),
            bans: basis.bans,
            tail: Tail::default(),
            places: ConnectionMap::default(),
            audience: None,
            journal,
            is_durable: true,
            closing: None,
            effects: Vec::new(),
        }
    }

    /// Lets something happen at `now`; the effects are in the order in which they are to be performed.
    pub fn apply(&mut self, now: Timestamp, input: Input) -> Vec<Effect> {
        match input {
            Input::Join(join) => self.join(now, *join),
            Input::Command {
                connection_id,
                id,
                command,
            } => self.command(now, connection_id, id, command),
            Input::KeepAlive { connection_id } => self.keep_alive(connection_id),
            Input::ConnectionLost { connection_id } => self.connection_lost(now, connection_id),
            Input::Admin { ticket, command } => self.admin(now, ticket, command),
            Input::Tick => self.tick(now),
            Input::Suspend => self.note_lost(now),
            Input::Durability { durable } => self.durability(durable),
            Input::Reattach { connections } => self.reattach(now, &connections),
            Input::Decide { connection_id, id } => self.decide(connection_id, id),
            Input::End(reason) => self.close(now, reason),
        }
        self.journal.end_input();
        self.debug_assert_invariants();
        std::mem::take(&mut self.effects)
    }

    /// Which room.
    #[must_use]
    pub fn room_id(&self) -> RoomId {
        self.room_id
    }

    /// Whose room.
    #[must_use]
    pub fn tenant_id(&self) -> TenantId {
        self.head.tenant_id
    }

    /// Under which epoch it is owned.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Last event.
    #[must_use]
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// The session, once somebody was admitted.
    #[must_use]
    pub fn session(&self) -> Option<record::SessionHead> {
        self.head.session
    }

    /// Version of the state in memory: effects of an input wait until the mirror has this version.
    #[must_use]
    pub fn version(&self) -> Version {
        self.journal.version
    }

    /// Closed: nothing will happen here any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closing.is_some()
    }

    /// Seats taken, away ones included.
    #[must_use]
    pub fn participant_count(&self) -> usize {
        self.seats.len()
    }

    /// The open connections that the room knows: seats and lobby.
    pub fn connections(&self) -> impl Iterator<Item = ConnectionId> + '_ {
        self.places.keys().copied()
    }

    /// Tells one connection.
    fn send(&mut self, to: ConnectionId, notice: Notice) {
        self.effects.push(Effect::Send { to, notice });
    }

    /// Says goodbye to a connection; the room no longer knows it.
    fn disconnect(&mut self, connection_id: ConnectionId, reason: GoodbyeReason) {
        self.places.remove(&connection_id);
        self.audience = None;
        self.effects.push(Effect::Disconnect {
            connection_id,
            reason,
        });
    }

    /// Refuses a command.
    fn refuse(&mut self, to: ConnectionId, id: u64, rejection: Rejection) {
        self.send(
            to,
            Notice::Error {
                id: Some(id),
                rejection,
            },
        );
    }

    /// Refuses a join: the connection cannot go on.
    fn turn_away(
        &mut self,
        to: ConnectionId,
        id: u64,
        rejection: Rejection,
        reason: GoodbyeReason,
    ) {
        self.refuse(to, id, rejection);
        self.disconnect(to, reason);
    }

    /// Appends an event to the room's order and tells everybody who is connected now.
    fn publish(&mut self, event: &Event<'_>) {
        let audience = self.audience();
        self.publish_to(event, audience);
    }

    /// Like [`Room::publish`], for all connected but one.
    fn publish_except(&mut self, event: &Event<'_>, connection_id: ConnectionId) {
        let audience = self.audience();
        let others = audience
            .iter()
            .copied()
            .filter(|other| *other != connection_id)
            .collect();
        self.publish_to(event, others);
    }

    fn publish_to(&mut self, event: &Event<'_>, to: Audience) {
        self.seq = self.seq.next();
        let event = TailEvent {
            seq: self.seq,
            frame: event.encode(self.seq),
        };
        self.tail.push(event.clone(), &self.rules);
        self.journal
            .event(event.clone(), self.rules.tail_events_max);
        self.effects.push(Effect::Broadcast { to, event });
    }

    /// The connected seats.
    fn audience(&mut self) -> Audience {
        self.audience
            .get_or_insert_with(|| self.seats.values().filter_map(Seat::connection).collect())
            .clone()
    }

    /// The user who sits on a connection.
    fn seated(&self, connection_id: ConnectionId) -> Result<UserId, Rejection> {
        match self.places.get(&connection_id) {
            Some(Place::Seat(user_id)) => Ok(*user_id),
            Some(Place::Lobby(_)) | None => {
                Err(Rejection::new(Code::NotInRoom, "join the room first"))
            }
        }
    }

    /// What must hold after every input; a breach is a bug.
    fn debug_assert_invariants(&self) {
        if !cfg!(debug_assertions) || self.is_closed() {
            return;
        }
        assert!(
            self.tail.is_contiguous(self.seq),
            "the tail ends at the last event"
        );
        assert!(
            self.seats.is_empty() || self.head.session.is_some(),
            "seats need a session"
        );
        assert!(
            self.head.session.is_none() || self.seats.is_empty() == self.head.depart_at.is_some(),
            "a session without seats is departing"
        );
        assert!(
            self.head.session.is_some() != self.head.empty_at.is_some(),
            "a room without a session may run empty"
        );
        let connected = self
            .seats
            .values()
            .filter(|seat| seat.is_connected())
            .count();
        let waiting = self
            .waiting
            .values()
            .filter(|waiting| waiting.join.is_some())
            .count();
        assert_eq!(
            connected + waiting,
            self.places.len(),
            "every open connection has one place"
        );
        for user_id in self.seats.keys() {
            assert!(!self.waiting.contains_key(user_id), "nobody sits and waits");
            assert!(!self.bans.contains_key(user_id), "nobody banned sits");
        }
    }
}
