//! What one person has asked for: commands with growing ids until they are answered, and what each own switch may show meanwhile.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// Commands without an answer at any time; the contract allows 64.
pub const UNANSWERED_MAX: usize = 8;
/// The own switches that are toggled.
pub const SWITCHES: [&str; 3] = ["isMuted", "isVideoOn", "isHandRaised"];
/// Before a command that was refused for now is sent again.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// What a command is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A switch by its place in [`SWITCHES`].
    Switch(usize, bool),
    /// A text that nobody else says.
    Chat(String),
}

/// A command without an answer.
#[derive(Clone, Debug)]
pub struct Command {
    /// What for.
    pub wish: Wish,
    /// When it was sent last; none: to be sent.
    pub sent_at: Option<Instant>,
    /// Not before.
    not_before: Option<Instant>,
}

/// What one switch may show.
#[derive(Clone, Debug, Default)]
struct Allowed {
    /// Set by the last change acknowledged as durable; none: unknown.
    sure: Option<bool>,
    /// Acknowledged later without durability: each may hold or be lost.
    unsure: Vec<bool>,
}

/// The desk of one person.
#[derive(Debug)]
pub struct Desk {
    next_id: u64,
    unanswered: BTreeMap<u64, Command>,
    switches: [Allowed; SWITCHES.len()],
}

impl Default for Desk {
    fn default() -> Self {
        Self {
            next_id: 1,
            unanswered: BTreeMap::new(),
            switches: Default::default(),
        }
    }
}

impl Desk {
    /// An id never used in this stay.
    pub fn take_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    /// Whether a further command may be asked.
    pub fn has_room(&self) -> bool {
        self.unanswered.len() < UNANSWERED_MAX
    }

    /// Whether everything is answered.
    pub fn is_empty(&self) -> bool {
        self.unanswered.is_empty()
    }

    /// Whether a switch has a command without an answer.
    pub fn is_moving(&self, switch: usize) -> bool {
        let of = |command: &Command| matches!(command.wish, Wish::Switch(own, _) if own == switch);
        self.unanswered.values().any(of)
    }

    /// Notes a wish; to be sent by [`Self::due`].
    pub fn ask(&mut self, wish: Wish) -> u64 {
        let id = self.take_id();
        let command = Command {
            wish,
            sent_at: None,
            not_before: None,
        };
        self.unanswered.insert(id, command);
        id
    }

    /// On a new connection everything without an answer is sent again, with the same id.
    pub fn repeat_all(&mut self) {
        for command in self.unanswered.values_mut() {
            command.sent_at = None;
            command.not_before = None;
        }
    }

    /// The frames to be sent now, in order of their ids; they count as sent.
    pub fn due(&mut self, now: Instant) -> Vec<String> {
        let mut frames = Vec::new();
        for (id, command) in &mut self.unanswered {
            let is_due = command.not_before.is_none_or(|at| at <= now);
            if command.sent_at.is_none() && is_due {
                command.sent_at = Some(now);
                frames.push(frame(*id, &command.wish).to_string());
            }
        }
        frames
    }

    /// The oldest time of sending without an answer.
    pub fn waiting_since(&self) -> Option<Instant> {
        self.unanswered
            .values()
            .filter_map(|command| command.sent_at)
            .min()
    }

    /// When [`Self::due`] has something again.
    pub fn next_due(&self) -> Option<Instant> {
        self.unanswered
            .values()
            .filter(|command| command.sent_at.is_none())
            .filter_map(|command| command.not_before)
            .min()
    }

    /// An `Ack` came; none: nobody asked.
    pub fn acked(&mut self, id: u64, durable: bool) -> Option<Command> {
        let command = self.unanswered.remove(&id)?;
        if let Wish::Switch(switch, value) = command.wish {
            let allowed = &mut self.switches[switch];
            if durable {
                allowed.sure = Some(value);
                allowed.unsure.clear();
            } else {
                allowed.unsure.push(value);
            }
        }
        Some(command)
    }

    /// Refused for now: the same command again, a little later.
    pub fn refused_for_now(&mut self, id: u64, now: Instant) -> Option<Command> {
        let command = self.unanswered.get_mut(&id)?;
        let was = command.clone();
        command.sent_at = None;
        command.not_before = Some(now + RETRY_AFTER);
        Some(was)
    }

    /// Refused for good.
    pub fn refused(&mut self, id: u64) -> Option<Command> {
        self.unanswered.remove(&id)
    }

    /// A new stay: ids of the old one mean nothing there, so nothing may be repeated.
    pub fn forget_commands(&mut self) {
        self.unanswered.clear();
        self.switches = Default::default();
    }

    /// History may be lost: every value is possible until it is seen.
    pub fn trust_nothing(&mut self) {
        self.switches = Default::default();
    }

    /// `DurabilityChanged{true}`: what was acknowledged without durability holds.
    pub fn all_is_sure(&mut self) {
        for allowed in &mut self.switches {
            if let Some(last) = allowed.unsure.last() {
                allowed.sure = Some(*last);
            }
            allowed.unsure.clear();
        }
    }

    /// What a room tells that is known to be durable (`own`: oneself as a participant).
    pub fn shown(&mut self, own: &Value) {
        for (allowed, name) in self.switches.iter_mut().zip(SWITCHES) {
            allowed.sure = own[name].as_bool();
            allowed.unsure.clear();
        }
    }

    /// The first switch that shows what it must not: older than what was acknowledged.
    pub fn wrong_switch(&self, own: &Value) -> Option<&'static str> {
        let is_wrong = |switch: &usize| {
            let shown = own[SWITCHES[*switch]].as_bool();
            shown.is_none_or(|value| !self.may_show(*switch, value))
        };
        (0..SWITCHES.len())
            .find(is_wrong)
            .map(|switch| SWITCHES[switch])
    }

    fn may_show(&self, switch: usize, value: bool) -> bool {
        let allowed = &self.switches[switch];
        let is_asked = |command: &Command| command.wish == Wish::Switch(switch, value);
        allowed.sure.is_none_or(|sure| sure == value)
            || allowed.unsure.contains(&value)
            || self.unanswered.values().any(is_asked)
    }
}

fn frame(id: u64, wish: &Wish) -> Value {
    match wish {
        Wish::Switch(switch, value) => {
            let mut frame = json!({"type": "UpdateState", "id": id});
            frame[SWITCHES[*switch]] = (*value).into();
            frame
        }
        Wish::Chat(text) => json!({"type": "SendMessage", "id": id, "text": text}),
    }
}
