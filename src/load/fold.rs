//! The people of a room as its events tell them, to be compared with what the server says at the end.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::frame::Change;
use crate::protocol::{ParticipantView, Role};

/// What is compared of one person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Face {
    /// What they may do.
    role: Role,
    /// Microphone off.
    is_muted: bool,
    /// Camera on.
    is_video_on: bool,
    /// Sharing the screen.
    is_screen_sharing: bool,
    /// Hand up.
    is_hand_raised: bool,
    /// Connection lost.
    is_away: bool,
}

impl Face {
    fn new(participant: &ParticipantView) -> Self {
        Self {
            role: participant.role,
            is_muted: participant.flags.is_muted,
            is_video_on: participant.flags.is_video_on,
            is_screen_sharing: participant.flags.is_screen_sharing,
            is_hand_raised: participant.flags.is_hand_raised,
            is_away: participant.is_away,
        }
    }

    fn change(&mut self, change: &Change) {
        self.role = change.role.unwrap_or(self.role);
        self.is_muted = change.is_muted.unwrap_or(self.is_muted);
        self.is_video_on = change.is_video_on.unwrap_or(self.is_video_on);
        self.is_screen_sharing = change.is_screen_sharing.unwrap_or(self.is_screen_sharing);
        self.is_hand_raised = change.is_hand_raised.unwrap_or(self.is_hand_raised);
        self.is_away = change.is_away.unwrap_or(self.is_away);
    }
}

/// The people of a room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fold(BTreeMap<Uuid, Face>);

impl Fold {
    /// The people of a list.
    pub fn of(participants: &[ParticipantView]) -> Self {
        let mut fold = Self::default();
        fold.restart(participants);
        fold
    }

    /// Begins anew with a snapshot.
    pub fn restart(&mut self, participants: &[ParticipantView]) {
        let faces = participants.iter();
        self.0 = faces
            .map(|participant| (participant.user_id.0, Face::new(participant)))
            .collect();
    }

    /// Applies an event. False: it cannot be read, or speaks of somebody who is not there.
    pub fn take(&mut self, kind: &str, text: &str) -> bool {
        match kind {
            "ParticipantJoined" => match serde_json::from_str::<ParticipantView>(text) {
                Ok(participant) => {
                    let face = Face::new(&participant);
                    self.0.insert(participant.user_id.0, face).is_none()
                }
                Err(_) => false,
            },
            "StateChanged" | "RoleChanged" => match serde_json::from_str::<Change>(text) {
                Ok(change) => match self.0.get_mut(&change.user_id) {
                    Some(face) => {
                        face.change(&change);
                        true
                    }
                    None => false,
                },
                Err(_) => false,
            },
            "ParticipantLeft" => match serde_json::from_str::<Change>(text) {
                Ok(change) => self.0.remove(&change.user_id).is_some(),
                Err(_) => false,
            },
            _ => true,
        }
    }
}
