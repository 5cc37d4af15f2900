//! The commands of the clients in a fault campaign.

use callboard::load::client::{Command, SWITCHES};
use serde_json::{Value, json};

/// A command without its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A switch by its place in [`SWITCHES`], and its new value.
    Switch(usize, bool),
    /// A text that no other client says.
    Chat(String),
}

impl Command for Wish {
    fn switch(&self) -> Option<(usize, bool)> {
        match self {
            Self::Switch(switch, value) => Some((*switch, *value)),
            Self::Chat(_) => None,
        }
    }

    fn chat(&self) -> Option<&str> {
        match self {
            Self::Switch(..) => None,
            Self::Chat(text) => Some(text),
        }
    }
}

impl Wish {
    /// Returns the message under an id.
    pub fn frame(&self, id: u64) -> Value {
        match self {
            Self::Switch(switch, value) => {
                let mut frame = json!({"type": "UpdateState", "id": id});
                frame[SWITCHES[*switch]] = (*value).into();
                frame
            }
            Self::Chat(text) => json!({"type": "SendMessage", "id": id, "text": text}),
        }
    }
}
