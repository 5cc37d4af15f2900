//! The vocabulary of the tests: a room with named people, virtual time, and lines that say who was told what.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use serde_json::Value;
use uuid::Uuid;

use crate::{
    ids::{
        ConnectionId, Epoch, RoomId, Seq, SessionId, StayId, TenantId, Timestamp, UserId, Version,
    },
    room::{
        Room, RoomBasis,
        command::{AdminCommand, Command, StateChange},
        effect::{Effect, Notice, Ticket},
        input::{Input, IssuedToken, Join, Resume},
        record::{ChangeSet, ClosedSession, Snapshot},
        rules::Rules,
        settings::{Kind, Settings},
        view::AdminReply,
    },
};

/// The owner of every test room.
pub(super) const OLGA: &str = "olga";

/// A room on stage. It mirrors itself after every input and checks that the mirror equals the room.
pub(super) struct Stage {
    pub(super) room: Room,
    pub(super) mirror: Option<Snapshot>,
    pub(super) version: Version,
    /// Whether changes go to the mirror after each input.
    pub(super) is_mirrored: bool,
    pub(super) closed: Option<ClosedSession>,
    rules: Arc<Rules>,
    now: Timestamp,
    fresh: u128,
    labels: HashMap<ConnectionId, String>,
    connections: BTreeMap<String, Vec<ConnectionId>>,
    tokens: BTreeMap<String, String>,
    ids: HashMap<ConnectionId, u64>,
}

pub(super) fn user(name: &str) -> UserId {
    let mut bytes = [0; 16];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    UserId(Uuid::from_bytes(bytes))
}

fn name_of(user_id: &str) -> String {
    let id = user_id.parse::<Uuid>().unwrap();
    let letters = id.as_bytes().iter().take_while(|byte| **byte != 0);
    letters.map(|byte| char::from(*byte)).collect()
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

pub(super) fn muted(is_muted: bool) -> Command {
    Command::UpdateState(StateChange {
        is_muted: Some(is_muted),
        ..StateChange::default()
    })
}

pub(super) fn chat(text: &str) -> Command {
    Command::SendMessage {
        text: text.to_owned(),
        target_user_id: None,
    }
}

impl Stage {
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
        let mut stage = Self::settings(|settings| settings.is_lobby_enabled = true);
        stage.join(OLGA);
        stage
    }

    /// A default room in which these people are.
    pub(super) fn of(names: &[&str]) -> Self {
        let mut stage = Self::new();
        for name in names {
            stage.join(name);
        }
        stage
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
        let mut stage = Self {
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
        stage.mirror_now();
        stage
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
        // The ids of a stay go on growing over its connections.
        self.ids.insert(join.connection_id, last_id);
        self.apply(Input::Join(Box::new(join)))
    }

    /// A command with the next id of the connection.
    pub(super) fn say(&mut self, name: &str, command: Command) -> Vec<String> {
        let connection_id = self.connection(name);
        let id = self.ids.get_mut(&connection_id).unwrap();
        *id += 1;
        let id = *id;
        self.say_with_id(name, id, command)
    }

    pub(super) fn say_with_id(&mut self, name: &str, id: u64, command: Command) -> Vec<String> {
        let connection_id = self.connection(name);
        self.apply(Input::Command {
            connection_id,
            id,
            command,
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

    fn line(&mut self, effect: Effect) -> String {
        match effect {
            Effect::Send { to, notice } => {
                format!("{}: {}", self.label(to), self.notice(to, &notice))
            }
            Effect::Broadcast { to, event } => {
                let to: Vec<String> = to.iter().map(|to| self.label(*to)).collect();
                format!("{}: {}", to.join(" "), event_line(&event.frame))
            }
            Effect::Relay { to, frame, .. } => {
                format!("{}: {}", self.label(to), event_line(&frame))
            }
            Effect::Disconnect {
                connection_id,
                reason,
            } => format!("{}: Goodbye {}", self.label(connection_id), word(&reason)),
            Effect::Reply { result, .. } => match result {
                Ok(AdminReply::Participant(view)) => {
                    format!(
                        "admin: {} {} muted={}",
                        view.display_name,
                        word(&view.role),
                        view.is_muted
                    )
                }
                Ok(reply) => format!("admin: {reply:?}"),
                Err(rejection) => format!("admin: Error {}", word(&rejection.code)),
            },
            Effect::OpenSession { .. } => "sql: session".to_owned(),
            Effect::StoreBan { user_id, .. } => {
                format!("sql: ban {}", name_of(&user_id.to_string()))
            }
            Effect::Closed { session } => {
                self.closed = session.map(|session| *session);
                match &self.closed {
                    Some(session) => format!("closed: {}", word(&session.end_reason)),
                    None => "closed: no session".to_owned(),
                }
            }
        }
    }

    fn label(&self, connection_id: ConnectionId) -> String {
        self.labels[&connection_id].clone()
    }

    fn notice(&mut self, to: ConnectionId, notice: &Notice) -> String {
        let name = self.labels[&to].trim_end_matches(|c: char| c.is_ascii_digit());
        match notice {
            Notice::RoomJoined(joined) => {
                self.tokens
                    .insert(name.to_owned(), joined.resume_token.clone());
                let names: Vec<&str> = joined
                    .participants
                    .iter()
                    .map(|view| view.display_name.as_str())
                    .collect();
                let gap = if joined.is_snapshot_after_gap {
                    " after gap"
                } else {
                    ""
                };
                format!("RoomJoined @{} {}{gap}", joined.seq, names.join("+"))
            }
            Notice::RoomResumed(resumed) => {
                self.tokens
                    .insert(name.to_owned(), resumed.resume_token.clone());
                let missed: Vec<String> = resumed
                    .missed
                    .iter()
                    .map(|frame| event_line(frame))
                    .collect();
                let lost = if resumed.relays_lost {
                    " relays lost"
                } else {
                    ""
                };
                format!("RoomResumed @{} [{}]{lost}", resumed.seq, missed.join(", "))
            }
            Notice::LobbyWaiting { .. } => "LobbyWaiting".to_owned(),
            Notice::LobbyDenied { .. } => "LobbyDenied".to_owned(),
            Notice::Ack { id, seq } => format!("Ack {id} @{seq}"),
            Notice::RelayAck { id, seq } => format!("RelayAck {id} @{seq}"),
            Notice::Error { rejection, .. } => format!("Error {}", word(&rejection.code)),
            Notice::LobbyChanged { waiting } => {
                let names: Vec<&str> = waiting
                    .iter()
                    .map(|view| view.display_name.as_str())
                    .collect();
                format!("LobbyChanged {}", names.join("+"))
                    .trim_end()
                    .to_owned()
            }
            Notice::SfuEndpoint {
                ip, port, region, ..
            } => format!("SfuEndpoint {ip}:{port} {region}"),
            Notice::DurabilityChanged { durable } => format!("DurabilityChanged {durable}"),
            Notice::KeepAlive { seq } => format!("KeepAlive @{seq}"),
        }
    }
}

fn issued(text: &str) -> IssuedToken {
    IssuedToken {
        text: text.to_owned(),
        hash: format!("hash of {text}"),
    }
}

fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value)
        .unwrap()
        .as_str()
        .unwrap()
        .to_owned()
}

/// An event or a relay in short: names for ids, and only the fields that matter.
fn event_line(frame: &str) -> String {
    let value: Value = serde_json::from_str(frame).unwrap();
    let mut words = vec![value["type"].as_str().unwrap().to_owned()];
    if let Some(seq) = value["seq"].as_u64() {
        words.insert(0, format!("#{seq}"));
    }
    for key in ["sourceUserId", "userId"] {
        words.extend(value[key].as_str().map(name_of));
    }
    for key in ["role", "reason", "text", "sdp", "candidate"] {
        words.extend(value[key].as_str().map(str::to_owned));
    }
    let is_join = value["type"] == "ParticipantJoined";
    for key in [
        "isMuted",
        "isVideoOn",
        "isScreenSharing",
        "isHandRaised",
        "isAway",
        "isLocked",
        "isRecording",
    ] {
        if let (Some(flag), false) = (value[key].as_bool(), is_join) {
            words.push(format!("{key}={flag}"));
        }
    }
    if let Some(by) = value["byUserId"].as_str() {
        words.push(format!("by {}", name_of(by)));
    }
    words.join(" ")
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
