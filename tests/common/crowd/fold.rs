//! A room folded from its events: who is inside, and one number that is the same for all who have seen the same.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use serde_json::Value;

use crate::common::view::{participant_of, text};

/// The people of a room as one person sees them.
#[derive(Clone, Debug, Default)]
pub struct Fold {
    people: HashMap<String, (Value, u64)>,
    /// Of all people, in any order; changes with each of them.
    digest: u64,
}

impl Fold {
    /// What a snapshot tells.
    pub fn of(participants: &[Value]) -> Self {
        let mut fold = Self::default();
        for participant in participants {
            fold.put(participant.clone());
        }
        fold
    }

    /// The same for all who see the same people in the same state.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// How many are inside.
    pub fn len(&self) -> usize {
        self.people.len()
    }

    /// One of them, without `connectionId`, which a resume changes silently.
    pub fn person(&self, user_id: &str) -> Option<&Value> {
        self.people.get(user_id).map(|(person, _)| person)
    }

    /// Everybody, by user id.
    pub fn people(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.people
            .iter()
            .map(|(user_id, (person, _))| (user_id.as_str(), person))
    }

    /// Takes an event in; the error says why it does not fit.
    pub fn apply(&mut self, event: &Value) -> Result<(), &'static str> {
        let user_id = text(event, "userId");
        match text(event, "type") {
            "ParticipantJoined" => {
                let was_there = self.people.contains_key(user_id);
                self.put(participant_of(event));
                if was_there {
                    return Err("somebody joined who was there");
                }
            }
            "ParticipantLeft" => {
                self.take(user_id)
                    .ok_or("somebody left who was not there")?;
            }
            "StateChanged" | "RoleChanged" => {
                let mut person = self
                    .take(user_id)
                    .ok_or("a change of somebody who is not there")?;
                for (field, value) in event.as_object().into_iter().flatten() {
                    if !matches!(field.as_str(), "type" | "seq" | "userId" | "byUserId") {
                        person[field] = value.clone();
                    }
                }
                self.put(person);
            }
            "MessageReceived" | "RoomLocked" | "RecordingChanged" | "RoomEnded" => {}
            _ => return Err("an event of an unknown type"),
        }
        Ok(())
    }

    fn put(&mut self, mut person: Value) {
        if let Some(fields) = person.as_object_mut() {
            fields.remove("connectionId");
        }
        let user_id = text(&person, "userId").to_owned();
        self.take(&user_id);
        let hash = hash_of(&person);
        self.digest = self.digest.wrapping_add(hash);
        self.people.insert(user_id, (person, hash));
    }

    fn take(&mut self, user_id: &str) -> Option<Value> {
        let (person, hash) = self.people.remove(user_id)?;
        self.digest = self.digest.wrapping_sub(hash);
        Some(person)
    }
}

/// The same for the same JSON.
pub fn hash_of(value: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.to_string().hash(&mut hasher);
    hasher.finish()
}
