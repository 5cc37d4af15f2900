//! The participants of a room as its events tell them.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use serde_json::Value;

use super::frame::{Change, ParticipantState};

/// The participants of a room, as JSON by user id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Participants {
    people: BTreeMap<String, (Value, u64)>,
    /// The sum of the participants' hashes.
    digest: u64,
}

impl Participants {
    /// Returns the participants of a list.
    #[must_use]
    pub fn of(participants: &[Value]) -> Self {
        let mut all = Self::default();
        for participant in participants {
            all.insert(participant.clone());
        }
        all
    }

    /// Returns a number that is equal for all who see the same participants in the same state.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Returns the number of participants.
    #[must_use]
    pub fn len(&self) -> usize {
        self.people.len()
    }

    /// Returns whether there is no participant.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.people.is_empty()
    }

    /// Returns one participant.
    #[must_use]
    pub fn get(&self, user_id: &str) -> Option<&Value> {
        self.people.get(user_id).map(|(participant, _)| participant)
    }

    /// Returns all user ids.
    pub fn keys(&self) -> impl Iterator<Item = &String> {
        self.people.keys()
    }

    /// Returns all participants by user id, without `connectionId`.
    #[must_use]
    pub fn without_connections(&self) -> BTreeMap<String, Value> {
        let mut all = BTreeMap::new();
        for (user_id, (participant, _)) in &self.people {
            all.insert(user_id.clone(), without_connection(participant));
        }
        all
    }

    /// Applies an event. The error says why it does not fit.
    ///
    /// # Errors
    ///
    /// Fails when the event is unreadable or does not fit the participants.
    pub fn apply(&mut self, kind: &str, text: &str) -> Result<(), &'static str> {
        match kind {
            "ParticipantJoined" => self.joined(text),
            "ParticipantLeft" => {
                let change = Change::read(text)?;
                let left = self.remove(&change.user_id);
                left.map(drop).ok_or("somebody left who was not there")
            }
            "StateChanged" | "RoleChanged" => self.changed(text),
            "MessageReceived" | "RoomLocked" | "RecordingChanged" | "RoomEnded" => Ok(()),
            _ => Err("an event of an unknown type"),
        }
    }

    /// Removes one participant.
    pub fn remove(&mut self, user_id: &str) -> Option<Value> {
        let (participant, hash) = self.people.remove(user_id)?;
        self.digest = self.digest.wrapping_sub(hash);
        Some(participant)
    }

    fn joined(&mut self, text: &str) -> Result<(), &'static str> {
        ParticipantState::read(text)?;
        let mut participant: Value = serde_json::from_str(text).map_err(|_| "unreadable")?;
        if let Some(fields) = participant.as_object_mut() {
            fields.remove("type");
            fields.remove("seq");
        }
        let was_there = self.insert(participant);
        if was_there {
            return Err("somebody joined who was there");
        }
        Ok(())
    }

    fn changed(&mut self, text: &str) -> Result<(), &'static str> {
        let change = Change::read(text)?;
        let event: Value = serde_json::from_str(text).map_err(|_| "unreadable")?;
        let mut participant = self
            .remove(&change.user_id)
            .ok_or("a change of somebody who is not there")?;
        for (field, value) in event.as_object().into_iter().flatten() {
            if !matches!(field.as_str(), "type" | "seq" | "userId" | "byUserId") {
                participant[field] = value.clone();
            }
        }
        self.insert(participant);
        Ok(())
    }

    /// Adds or replaces a participant. Returns whether it was there.
    fn insert(&mut self, participant: Value) -> bool {
        let user_id = participant["userId"].as_str().unwrap_or_default();
        let user_id = user_id.to_owned();
        let was_there = self.remove(&user_id).is_some();
        let hash = hash_of(&without_connection(&participant));
        self.digest = self.digest.wrapping_add(hash);
        self.people.insert(user_id, (participant, hash));
        was_there
    }
}

fn without_connection(participant: &Value) -> Value {
    let mut shown = participant.clone();
    if let Some(fields) = shown.as_object_mut() {
        fields.remove("connectionId");
    }
    shown
}

/// Returns a number that is equal for equal JSON.
pub(super) fn hash_of(value: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.to_string().hash(&mut hasher);
    hasher.finish()
}
