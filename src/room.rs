//! The rules of a room: a pure, total state machine.
//!
//! [`Room::apply`] takes an [`Input`] with its time and returns the [`Effect`]s that the shell
//! performs. There is no clock, no randomness and no I/O in here: time and fresh ids come in as
//! input. Any input in any state gives effects or a rejection, never a panic.
//!
//! A journal marks what must be mirrored. [`Room::take_changes`] reads the marked records when a
//! commit is made, so changes that gather during a commit merge by themselves.

pub mod admin;
mod admission;
mod commands;
pub mod effect;
mod host_controls;
pub mod input;
mod journal;
mod lifecycle;
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
    protocol::{Code, Event, GoodbyeReason, Notice, Refusal, Rejection, Settings},
};

/// What an open connection is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attachment {
    /// It holds this user's seat.
    Seat(UserId),
    /// It waits in the lobby for this user.
    Lobby(UserId),
}

/// What the store knows about a room before its first session.
#[derive(Clone, Debug)]
pub struct RoomBasis {
    /// The id in the path.
    pub room_id: RoomId,
    /// The tenant that the room belongs to.
    pub tenant_id: TenantId,
    /// The owner: always host.
    pub host_user_id: UserId,
    /// As stored in SQL.
    pub settings: Settings,
    /// As stored in SQL.
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
    last_stays: HashMap<UserId, StayId>,
    bans: BTreeMap<UserId, BanRecord>,
    tail: Tail,
    /// All open connections of seats and lobby.
    attachments: ConnectionMap<Attachment>,
    /// Connections of the seats; `None` until it is computed again after a change.
    audience: Option<Audience>,
    journal: Journal,
    is_durable: bool,
    /// How the room ended; a closed room accepts no input.
    closing: Option<Closing>,
    /// Effects of the current input.
    effects: Vec<Effect>,
}

impl Room {
    /// Creates a room that the mirror did not know: empty, without a session.
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
            last_stays: HashMap::new(),
            bans: basis.bans,
            tail: Tail::default(),
            attachments: ConnectionMap::default(),
            audience: None,
            journal,
            is_durable: true,
            closing: None,
            effects: Vec::new(),
        }
    }

    /// Applies an input at `now`. The shell performs the effects in their order.
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

    /// Returns the room's id.
    #[must_use]
    pub fn room_id(&self) -> RoomId {
        self.room_id
    }

    /// Returns the tenant that the room belongs to.
    #[must_use]
    pub fn tenant_id(&self) -> TenantId {
        self.head.tenant_id
    }

    /// Returns the epoch of the current ownership.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Returns the position of the last event.
    #[must_use]
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// Returns the session, or `None` before the first admitted join.
    #[must_use]
    pub fn session(&self) -> Option<record::SessionHead> {
        self.head.session
    }

    /// Returns the version of the state in memory. Effects of an input wait until the mirror has
    /// it.
    #[must_use]
    pub fn version(&self) -> Version {
        self.journal.version
    }

    /// Returns whether the room is closed: it accepts no input.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closing.is_some()
    }

    /// Returns the number of seats taken, away ones included.
    #[must_use]
    pub fn participant_count(&self) -> usize {
        self.seats.len()
    }

    /// Returns the open connections of seats and lobby.
    pub fn connections(&self) -> impl Iterator<Item = ConnectionId> + '_ {
        self.attachments.keys().copied()
    }

    fn send(&mut self, to: ConnectionId, notice: Notice) {
        self.effects.push(Effect::Send { to, notice });
    }

    /// Closes a connection with a `Goodbye` and detaches it.
    fn disconnect(&mut self, connection_id: ConnectionId, reason: GoodbyeReason) {
        self.attachments.remove(&connection_id);
        self.audience = None;
        self.effects.push(Effect::Disconnect {
            connection_id,
            reason,
        });
    }

    fn refuse(&mut self, to: ConnectionId, id: u64, rejection: Rejection) {
        self.send(
            to,
            Notice::Error {
                id: Some(id),
                rejection,
            },
        );
    }

    /// Refuses a join and closes its connection.
    fn refuse_join(&mut self, to: ConnectionId, id: u64, refusal: Refusal) {
        self.refuse(to, id, refusal.rejection);
        self.disconnect(to, refusal.reason);
    }

    /// Appends an event to the room's order and sends it to all connected seats.
    fn publish(&mut self, event: &Event<'_>) {
        let audience = self.audience();
        self.publish_to(event, audience);
    }

    /// Like [`Room::publish`], but skips one connection.
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

    /// Returns the connections of all connected seats.
    fn audience(&mut self) -> Audience {
        self.audience
            .get_or_insert_with(|| self.seats.values().filter_map(Seat::connection).collect())
            .clone()
    }

    /// Returns the user whose seat a connection holds.
    fn seated(&self, connection_id: ConnectionId) -> Result<UserId, Rejection> {
        match self.attachments.get(&connection_id) {
            Some(Attachment::Seat(user_id)) => Ok(*user_id),
            Some(Attachment::Lobby(_)) | None => {
                Err(Rejection::new(Code::NotInRoom, "join the room first"))
            }
        }
    }

    /// Checks what must hold after every input; a violation is a bug.
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
            self.attachments.len(),
            "every open connection has one attachment"
        );
        for user_id in self.seats.keys() {
            assert!(!self.waiting.contains_key(user_id), "nobody sits and waits");
            assert!(!self.bans.contains_key(user_id), "nobody banned sits");
        }
    }
}
