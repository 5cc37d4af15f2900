//! The fixture of the tests: a room with named people, virtual time, and lines that say who was
//! told what.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use uuid::Uuid;

use crate::{
    ids::{
        ConnectionId, Epoch, RoomId, Seq, SessionId, StayId, TenantId, Timestamp, UserId, Version,
    },
    protocol::{Command, Kind, OwnCommand, Settings, StateChange},
    room::{
        Room, RoomBasis,
        admin::AdminCommand,
        effect::Ticket,
        input::{Input, IssuedToken, Join, Resume},
        record::{ChangeSet, ClosedSession, Snapshot},
        rules::Rules,
    },
};

/// The owner of every test room.
pub(super) const OLGA: &str = "olga";

/// A room that mirrors itself after every input and checks that the mirror equals the room.
pub(super) struct Fixture {
    pub(super) room: Room,
    pub(super) mirror: Option<Snapshot>,
    pub(super) version: Version,
    /// Whether changes go to the mirror after each input.
    pub(super) is_mirrored: bool,
    pub(super) closed: Option<ClosedSession>,
    rules: Arc<Rules>,
    now: Timestamp,
    fresh: u128,
    pub(super) labels: HashMap<ConnectionId, String>,
    connections: BTreeMap<String, Vec<ConnectionId>>,
    pub(super) tokens: BTreeMap<String, String>,
    ids: HashMap<ConnectionId, u64>,
}

pub(super) fn user(name: &str) -> UserId {
    let mut bytes = [0; 16];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    UserId(Uuid::from_bytes(bytes))
}

/// Compares lines, and shows both sides whole when they differ.
#[track_caller]
pub(super) fn check(lines: Vec<String>, expect: &[&str]) {
    assert_eq!(
        lines.join("\n"),
        expect.join("\n"),
        "\ngot:\n{}\n",
        lines.join("\n")
    );
}

pub(super) fn muted(is_muted: bool) -> OwnCommand {
    OwnCommand::UpdateState {
        change: StateChange {
            is_muted: Some(is_muted),
            ..StateChange::default()
        },
    }
}

pub(super) fn chat(text: &str) -> OwnCommand {
    OwnCommand::SendMessage {
        text: text.to_owned(),
    }
}

impl Fixture {
    pub(super) fn new() -> Self {
        Self::with(Settings::default(), Rules::default())
    }

    pub(super) fn settings(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::default();
        change(&mut settings);
        Self::with(settings, Rules::default())
    }

    pub(super) fn rules(change: impl FnOnce(&mut Rules)) -> Self {
        let mut rules = Rules::default();
        change(&mut rules);
        Self::with(Settings::default(), rules)
    }

    /// A room with a lobby and its owner inside.
    pub(super) fn with_lobby() -> Self {
        let mut fixture = Self::settings(|settings| settings.is_lobby_enabled = true);
        fixture.join(OLGA);
        fixture
    }

    /// A default room in which these people are.
    pub(super) fn of(names: &[&str]) -> Self {
        let mut fixture = Self::new();
        for name in names {
            fixture.join(name);
        }
        fixture
    }

    pub(super) fn with(settings: Settings, rules: Rules) -> Self {
        let rules = Arc::new(rules);
        let basis = RoomBasis {
            room_id: RoomId(Uuid::from_u128(1)),
            tenant_id: TenantId(Uuid::from_u128(2)),
            host_user_id: user(OLGA),
            settings,
            bans: BTreeMap::new(),
        };
        let now = Timestamp(1_000_000);
        let mut fixture = Self {
            room: Room::create(Arc::clone(&rules), basis, Epoch(10), now),
            mirror: None,
            version: Version(0),
            is_mirrored: true,
            closed: None,
            rules,
            now,
            fresh: 100,
            labels: HashMap::new(),
            connections: BTreeMap::new(),
            tokens: BTreeMap::new(),
            ids: HashMap::new(),
        };
        fixture.mirror_now();
        fixture
    }

    fn fresh(&mut self) -> Uuid {
        self.fresh += 1;
        Uuid::from_u128(self.fresh)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    /// Milliseconds since the room was made.
    pub(super) fn since_start(&self, at: Timestamp) -> u64 {
        at.ms_since(Timestamp(1_000_000))
    }

    /// The newest connection of somebody.
    pub(super) fn connection(&self, name: &str) -> ConnectionId {
        *self.connections[name].last().unwrap()
    }

    /// The resume token that somebody received last.
    pub(super) fn token(&self, name: &str) -> String {
        self.tokens[name].clone()
    }

    /// A join as the edge would make it, on a new connection.
    pub(super) fn joining(&mut self, name: &str) -> Join {
        let connection_id = ConnectionId(self.fresh());
        let earlier = self.connections.entry(name.to_owned()).or_default();
        earlier.push(connection_id);
        let label = match earlier.len() {
            1 => name.to_owned(),
            count => format!("{name}{count}"),
        };
        self.labels.insert(connection_id, label);
        self.ids.insert(connection_id, 1);
        let text = format!("token-{}", self.fresh());
        Join {
            connection_id,
            id: 1,
            user_id: user(name),
            display_name: name.to_owned(),
            kind: Kind::Guest,
            is_expired: false,
            region: None,
            resume: None,
            stay_id: StayId(self.fresh()),
            session_id: SessionId(self.fresh()),
            resume_token: issued(&text),
        }
    }

    pub(super) fn join(&mut self, name: &str) -> Vec<String> {
        let join = self.joining(name);
        self.apply(Input::Join(Box::new(join)))
    }

    pub(super) fn join_as_host(&mut self, name: &str) -> Vec<String> {
        let join = Join {
            kind: Kind::Host,
            ..self.joining(name)
        };
        self.apply(Input::Join(Box::new(join)))
    }

    /// Comes back with the last token, having seen everything up to `last_seq`.
    pub(super) fn resume(&mut self, name: &str, last_seq: u64) -> Vec<String> {
        let token = self.token(name);
        self.resume_with(name, &token, last_seq)
    }

    pub(super) fn resume_with(&mut self, name: &str, token: &str, last_seq: u64) -> Vec<String> {
        let last_id = self
            .connections
            .get(name)
            .map_or(1, |earlier| self.ids[earlier.last().unwrap()]);
        let join = Join {
            resume: Some(Resume {
                token: issued(token),
                last_seq: Seq(last_seq),
            }),
            ..self.joining(name)
        };
        // The ids of a stay grow across its connections.
        self.ids.insert(join.connection_id, last_id);
        self.apply(Input::Join(Box::new(join)))
    }

    /// A command with the next id of the connection.
    pub(super) fn say(&mut self, name: &str, command: impl Into<Command>) -> Vec<String> {
        let connection_id = self.connection(name);
        let id = self.ids.get_mut(&connection_id).unwrap();
        *id += 1;
        let id = *id;
        self.say_with_id(name, id, command)
    }

    pub(super) fn say_with_id(
        &mut self,
        name: &str,
        id: u64,
        command: impl Into<Command>,
    ) -> Vec<String> {
        let connection_id = self.connection(name);
        self.apply(Input::Command {
            connection_id,
            id,
            command: command.into(),
        })
    }

    pub(super) fn keep_alive(&mut self, name: &str) -> Vec<String> {
        let connection_id = self.connection(name);
        self.apply(Input::KeepAlive { connection_id })
    }

    pub(super) fn lose(&mut self, name: &str) -> Vec<String> {
        let connection_id = self.connection(name);
        self.apply(Input::ConnectionLost { connection_id })
    }

    pub(super) fn admin(&mut self, command: AdminCommand) -> Vec<String> {
        self.apply(Input::Admin {
            ticket: Ticket(7),
            command,
        })
    }

    /// Lets time pass, waking the room whenever it wants to be woken.
    pub(super) fn pass(&mut self, ms: u64) -> Vec<String> {
        let end = self.now.plus_ms(ms);
        let mut lines = Vec::new();
        while let Some((at, _)) = self.room.next_deadline().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            lines.extend(self.apply(Input::Tick));
        }
        self.now = end;
        lines
    }

    /// Lets time pass without waking the room.
    pub(super) fn sleep(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
    }

    /// The process dies; after `ms` another one continues from the mirror.
    pub(super) fn takeover(&mut self, ms: u64) {
        self.sleep(ms);
        let snapshot = self.mirror.clone().unwrap();
        let epoch = self.room.epoch().next();
        self.room = Room::restore(
            Arc::clone(&self.rules),
            snapshot,
            epoch,
            self.version,
            self.now,
        );
        self.mirror_now();
    }

    pub(super) fn apply(&mut self, input: Input) -> Vec<String> {
        let effects = self.room.apply(self.now, input);
        if self.is_mirrored {
            self.mirror_now();
        }
        effects
            .into_iter()
            .map(|effect| self.line(effect))
            .collect()
    }

    /// Commits what changed; afterwards mirror and room are equal.
    pub(super) fn mirror_now(&mut self) -> Option<ChangeSet> {
        let changes = self.room.take_changes()?;
        assert_eq!(changes.from, self.version, "an unbroken chain");
        self.version = changes.to;
        if changes.closing.is_some() {
            self.mirror = None;
            return Some(changes);
        }
        let mirrored = applied(self.mirror.take(), &changes, &self.room);
        assert_eq!(mirrored, self.room.snapshot(), "the mirror equals the room");
        self.mirror = Some(mirrored);
        Some(changes)
    }
}

pub(super) fn issued(text: &str) -> IssuedToken {
    IssuedToken {
        text: text.to_owned(),
        hash: format!("hash of {text}"),
    }
}

/// What a mirror holds after a commit.
fn applied(stored: Option<Snapshot>, changes: &ChangeSet, room: &Room) -> Snapshot {
    let stored = stored.filter(|_| !changes.is_full);
    let mut mirrored = stored.unwrap_or_else(|| Snapshot {
        room_id: room.room_id(),
        head: changes.head.clone().expect("a full change set has a head"),
        seq: Seq(0),
        participants: BTreeMap::new(),
        lobby: BTreeMap::new(),
        left: BTreeMap::new(),
        bans: BTreeMap::new(),
        tail: Vec::new(),
    });
    if let Some(head) = &changes.head {
        mirrored.head = head.clone();
    }
    mirrored.seq = changes.seq;
    merge(&mut mirrored.participants, &changes.participants);
    merge(&mut mirrored.lobby, &changes.lobby);
    merge(&mut mirrored.left, &changes.left);
    merge(&mut mirrored.bans, &changes.bans);
    mirrored.tail.extend(changes.tail.iter().cloned());
    let excess = mirrored.tail.len().saturating_sub(changes.tail_keep);
    mirrored.tail.drain(..excess);
    mirrored
}

fn merge<K: Ord + Copy, V: Clone>(stored: &mut BTreeMap<K, V>, changes: &BTreeMap<K, Option<V>>) {
    for (key, change) in changes {
        match change {
            Some(record) => stored.insert(*key, record.clone()),
            None => stored.remove(key),
        };
    }
}
