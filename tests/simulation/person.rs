//! A person with a client that keeps its side of the contract: resumes, repeats what is unanswered,
//! obeys the goodbye. What it sees is checked frame by frame.

use std::{collections::VecDeque, sync::Arc};

use callboard::{
    ids::{ConnectionId, RoomId, SessionId, Timestamp, UserId},
    protocol::{
        Action, Command, GoodbyeReason, HostCommand, Kind, OwnCommand, RelayCommand, Role,
        StateChange,
    },
};
use serde_json::{Value, value::RawValue};

use crate::{
    mirror::short,
    node::ClientFrame,
    plan::{GRACE_MS, MACHINES},
    view::{View, text},
    world::{Delivery, Event, World},
};

/// Without a frame for so long the connection is given up.
const DEADLINE_MS: u64 = 4_000;
/// A join may wait for a takeover.
const JOIN_DEADLINE_MS: u64 = 9_000;
const UNANSWERED_MAX: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Not connected; comes at the next timer.
    Away,
    /// Has asked to come in.
    Joining,
    /// Waits in the lobby.
    Waiting,
    /// Is in the room.
    Inside,
    /// Was told to stop, or has left.
    Out,
    /// Never comes again.
    Banned,
}

/// What people do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Any command.
    Lively,
    /// Finish what they began.
    Calm,
    /// Leave.
    Leaving,
}

struct Unanswered {
    id: u64,
    command: Command,
    /// Of a chat message.
    text: Option<String>,
}

/// See the module.
pub struct Person {
    world: Arc<World>,
    index: usize,
    pub user_id: UserId,
    pub room_id: RoomId,
    kind: Kind,
    pub stage: Stage,
    pub view: View,
    connection: Option<ConnectionId>,
    has_stay: bool,
    machine: Option<usize>,
    next_id: u64,
    join_id: u64,
    unanswered: VecDeque<Unanswered>,
    /// Something is to be repeated: its outcome is not known.
    must_repeat: bool,
    heard_at: Timestamp,
    ticket: u64,
    chats: u64,
    pub mood: Mood,
    others: Vec<UserId>,
}

impl Person {
    pub fn new(
        world: Arc<World>,
        index: usize,
        user_id: UserId,
        room_id: RoomId,
        others: Vec<UserId>,
    ) -> Self {
        let kind = if world.random(|random| random.permille(250)) {
            Kind::Host
        } else {
            Kind::Guest
        };
        let mut person = Self {
            heard_at: world.now(),
            world,
            index,
            user_id,
            room_id,
            kind,
            stage: Stage::Away,
            view: View::default(),
            connection: None,
            has_stay: false,
            machine: None,
            next_id: 1,
            join_id: 0,
            unanswered: VecDeque::new(),
            must_repeat: false,
            ticket: 0,
            chats: 0,
            mood: Mood::Lively,
            others,
        };
        let ms = person.world.random(|random| random.between(10, 4_000));
        person.wake_in(ms);
        person
    }

    fn wake_in(&mut self, ms: u64) {
        self.ticket += 1;
        self.world.after(
            ms,
            Event::Timer {
                person: self.index,
                ticket: self.ticket,
            },
        );
    }

    fn wake_between(&mut self, low: u64, high: u64) {
        let ms = self.world.random(|random| random.between(low, high));
        self.wake_in(ms);
    }

    pub fn timer(&mut self, ticket: u64) {
        if ticket != self.ticket {
            return;
        }
        let silent_ms = self.world.now().ms_since(self.heard_at);
        match self.stage {
            Stage::Away => self.connect(),
            Stage::Joining if silent_ms > JOIN_DEADLINE_MS => self.give_up(),
            Stage::Joining => self.wake_between(300, 900),
            Stage::Waiting | Stage::Inside if silent_ms > DEADLINE_MS => self.give_up(),
            Stage::Waiting if self.mood == Mood::Leaving => self.leave_quietly(),
            Stage::Waiting => {
                self.send(ClientFrame::KeepAlive);
                self.wake_between(500, 1_500);
            }
            Stage::Inside => {
                self.act();
                self.wake_between(150, 1_500);
            }
            Stage::Out if self.mood == Mood::Lively => {
                self.stage = Stage::Away;
                self.connect();
            }
            Stage::Out | Stage::Banned => {}
        }
    }

    /// Nothing was heard for too long.
    fn give_up(&mut self) {
        self.world
            .log(format_args!("p{} hears nothing", self.index));
        self.machine = None;
        self.leave_quietly();
        self.stage = Stage::Away;
        self.come_back();
    }

    fn leave_quietly(&mut self) {
        if let Some(connection_id) = self.connection.take() {
            self.world.person_closes(connection_id);
        }
        self.stage = Stage::Out;
    }

    fn connect(&mut self) {
        if self.mood == Mood::Leaving && !self.has_stay {
            self.stage = Stage::Out;
            return;
        }
        let machine = self
            .machine
            .take()
            .unwrap_or_else(|| self.world.random(|random| random.below(MACHINES)));
        let process = self.world.processes(|processes| {
            let last = processes
                .iter()
                .rposition(|process| process.machine == machine);
            last.filter(|index| !processes[*index].is_draining || processes[*index].is_alive)
        });
        let connection = process.and_then(|process| self.world.connect(self.index, process));
        let Some(connection_id) = connection else {
            return self.wake_between(100, 700);
        };
        self.connection = Some(connection_id);
        self.stage = Stage::Joining;
        self.heard_at = self.world.now();
        self.join_id = self.next_id;
        self.next_id += 1;
        self.view.begin_connection();
        let resume = self
            .has_stay
            .then(|| (self.view.resume_token.clone(), self.view.seq));
        self.world.log(format_args!(
            "p{} connects to {process:?} for {} resume {:?}",
            self.index,
            short(self.room_id),
            resume
        ));
        self.send(ClientFrame::Join {
            room_id: self.room_id,
            user_id: self.user_id,
            kind: self.kind,
            id: self.join_id,
            resume,
        });
        self.wake_between(300, 900);
    }

    fn send(&self, frame: ClientFrame) {
        if let Some(connection_id) = self.connection {
            self.world.up(connection_id, frame);
        }
    }

    fn act(&mut self) {
        if std::mem::take(&mut self.must_repeat) {
            return self.repeat();
        }
        if self.unanswered.len() >= UNANSWERED_MAX {
            return self.send(ClientFrame::KeepAlive);
        }
        match self.mood {
            Mood::Calm => self.send(ClientFrame::KeepAlive),
            Mood::Leaving if self.unanswered.is_empty() => self.ask(OwnCommand::LeaveRoom, None),
            Mood::Leaving => self.send(ClientFrame::KeepAlive),
            Mood::Lively => self.do_something(),
        }
    }

    fn do_something(&mut self) {
        let (choice, other, flag) = self.world.random(|random| {
            (
                random.below(100),
                self.others[random.below(self.others.len())],
                random.permille(500),
            )
        });
        if !self.view.waiting.is_empty() && flag {
            return self.admit_somebody();
        }
        match choice {
            0..35 => self.ask(
                OwnCommand::UpdateState {
                    change: StateChange {
                        is_muted: Some(flag),
                        is_hand_raised: (choice % 2 == 0).then_some(!flag),
                        ..StateChange::default()
                    },
                },
                None,
            ),
            35..65 => {
                self.chats += 1;
                let text = format!("p{}-{}", self.index, self.chats);
                let command = Command::Own(OwnCommand::SendMessage { text: text.clone() });
                self.ask(command, Some(text));
            }
            65..71 => self.ask(
                RelayCommand::SendOffer {
                    target_user_id: other,
                    sdp: RawValue::from_string("\"x\"".to_owned()).unwrap(),
                },
                None,
            ),
            71..74 => self.ask(HostCommand::MuteParticipant { user_id: other }, None),
            74 => self.ask(
                HostCommand::RemoveParticipant {
                    user_id: other,
                    ban: flag && self.world.random(|random| random.permille(300)),
                },
                None,
            ),
            75..77 => self.ask(
                HostCommand::LockRoom {
                    is_locked: flag && choice == 75,
                },
                None,
            ),
            77 => self.ask(
                HostCommand::SetRole {
                    user_id: other,
                    role: if flag { Role::Host } else { Role::Attendee },
                },
                None,
            ),
            78 if flag => self.ask(HostCommand::EndRoom, None),
            79..81 => self.ask(OwnCommand::LeaveRoom, None),
            81..84 => {
                // Another network: the old connection is left without a word, or closed.
                self.leave_quietly();
                self.stage = Stage::Away;
            }
            _ => self.send(ClientFrame::KeepAlive),
        }
    }

    fn admit_somebody(&mut self) {
        let waiting = self.view.waiting.first();
        let user = waiting.and_then(|person| text(person, "userId").parse().ok());
        match user {
            Some(user_id) => self.ask(HostCommand::AdmitParticipant { user_id }, None),
            None => self.send(ClientFrame::KeepAlive),
        }
    }

    fn ask(&mut self, command: impl Into<Command>, text: Option<String>) {
        let command = command.into();
        let id = self.next_id;
        self.next_id += 1;
        self.send(ClientFrame::Command {
            id,
            command: command.clone(),
        });
        self.unanswered.push_back(Unanswered { id, command, text });
    }

    fn repeat(&mut self) {
        for waiting in &self.unanswered {
            self.send(ClientFrame::Command {
                id: waiting.id,
                command: waiting.command.clone(),
            });
        }
    }

    /// Frames arrive.
    pub fn receive(&mut self, connection_id: ConnectionId, delivery: Delivery) {
        if self.connection != Some(connection_id) {
            return;
        }
        self.heard_at = self.world.now();
        for (frame, is_durable) in delivery.frames {
            self.frame(&frame, is_durable);
        }
        if let Some(violation) = self.view.violation.take() {
            self.world
                .violate(format!("one-order: p{}: {violation}", self.index));
        }
        if let Some((reason, machine)) = delivery.goodbye {
            self.goodbye(reason, machine);
        }
    }

    fn frame(&mut self, frame: &str, is_durable: bool) {
        let value: Value = serde_json::from_str(frame).expect("a frame is JSON");
        let kind = text(&value, "type").to_owned();
        let is_event = value["seq"].is_u64()
            && !matches!(
                kind.as_str(),
                "Ack" | "KeepAlive" | "RoomJoined" | "RoomResumed"
            );
        if is_event && !is_durable && self.view.is_durable {
            self.world.violate(format!(
                "durable-ack: p{} was told {frame} before it knew that it is not durable",
                self.index
            ));
        }
        let id = value["id"].as_u64();
        match kind.as_str() {
            "Ack" => self.ack(&value),
            "Error" => self.error(&value),
            _ => {}
        }
        self.view.take(frame);
        match kind.as_str() {
            "RoomJoined" => self.joined(),
            "RoomResumed" => {
                self.stage = Stage::Inside;
                self.repeat();
            }
            "LobbyWaiting" => self.stage = Stage::Waiting,
            _ => {}
        }
        if id.is_some() && id == Some(self.join_id) && kind == "Error" {
            self.world
                .log(format_args!("p{} is refused: {frame}", self.index));
        }
    }

    fn joined(&mut self) {
        let is_same_stay = self
            .view
            .frames
            .last()
            .is_some_and(|frame| frame["isSnapshotAfterGap"] == true);
        self.view.frames.clear();
        self.stage = Stage::Inside;
        self.has_stay = true;
        if is_same_stay {
            self.repeat();
        } else {
            self.unanswered.clear();
        }
    }

    fn ack(&mut self, ack: &Value) {
        let Some(id) = ack["id"].as_u64() else { return };
        let Some(index) = self.unanswered.iter().position(|waiting| waiting.id == id) else {
            return;
        };
        let Some(answered) = self.unanswered.remove(index) else {
            return;
        };
        if let (Some(chat), true) = (&answered.text, ack["durable"] == true)
            && let Ok(session_id) = self.view.session_id.parse::<SessionId>()
        {
            self.world.truth(|truth| truth.acked(session_id, chat));
        }
    }

    fn error(&mut self, error: &Value) {
        let Some(id) = error["id"].as_u64() else {
            return;
        };
        let is_open = matches!(text(error, "code"), "timeout" | "unavailable" | "internal");
        if is_open {
            self.must_repeat |= id != self.join_id;
        } else {
            self.unanswered.retain(|waiting| waiting.id != id);
        }
    }

    fn goodbye(&mut self, reason: GoodbyeReason, machine: Option<usize>) {
        self.world.log(format_args!(
            "p{} goodbye {reason:?} to {machine:?}",
            self.index
        ));
        self.connection = None;
        self.machine = machine;
        match reason.action() {
            Action::Reconnect => {
                self.stage = Stage::Away;
                self.come_back();
            }
            Action::Rejoin => {
                self.forget_stay();
                let has_time = self.mood == Mood::Lively;
                self.stage = if has_time { Stage::Away } else { Stage::Out };
                self.wake_between(700, 2_500);
            }
            Action::Stop if reason == GoodbyeReason::Banned => self.stage = Stage::Banned,
            Action::Stop => {
                self.forget_stay();
                self.stage = Stage::Out;
                self.wake_between(300, 6_000);
            }
        }
    }

    fn forget_stay(&mut self) {
        self.has_stay = false;
        self.unanswered.clear();
    }

    /// The connection is gone without a goodbye.
    pub fn disconnected(&mut self, connection_id: ConnectionId) {
        if self.connection != Some(connection_id) {
            return;
        }
        self.connection = None;
        self.stage = Stage::Away;
        self.come_back();
    }

    /// Soon, or when the grace is over or almost.
    fn come_back(&mut self) {
        if self.mood == Mood::Lively && self.world.random(|random| random.permille(120)) {
            self.wake_between(1_000, 2 * GRACE_MS);
        } else {
            self.wake_between(10, 1_000);
        }
    }

    /// Whether nothing is left to be done or answered.
    pub fn is_at_rest(&self) -> bool {
        match self.stage {
            Stage::Inside => self.unanswered.is_empty() && !self.must_repeat,
            Stage::Waiting | Stage::Out | Stage::Banned => true,
            Stage::Away | Stage::Joining => false,
        }
    }

    /// A change of mood is acted on soon.
    pub fn change_mood(&mut self, mood: Mood) {
        self.mood = mood;
        if !matches!(self.stage, Stage::Banned) {
            self.wake_between(10, 300);
        }
    }
}
