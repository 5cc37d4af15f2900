//! What a tenant decides about a room: the settings as JSON, and their bounds.

use serde::{Deserialize, Serialize};

use super::wire_enum::wire_enum;

/// Lower bound of `maxParticipants`.
pub const PARTICIPANTS_MIN: u32 = 1;
/// Upper bound of `maxParticipants`.
pub const PARTICIPANTS_MAX: u32 = 10_000;
/// Upper bound of `maxDurationSecs`: seven days.
pub const DURATION_SECS_MAX: u32 = 7 * 24 * 3600;

wire_enum! {
    /// The kind of a joiner, as tokens and `allowedRoles` name it.
    pub enum Kind {
        /// The owner of the room and those made host.
        Host = "host",
        /// Everybody else.
        Guest = "guest",
    }
}

wire_enum! {
    /// What happens when a user who holds a seat joins again without resuming.
    #[derive(Default)]
    pub enum DuplicatePolicy {
        /// The newer connection wins; the older stay is superseded.
        #[default]
        Replace = "replace",
        /// The newer connection is refused while the seat is connected. An away seat may be taken
        /// by its own user.
        Reject = "reject",
    }
}

/// A room's settings as stored in SQL, mirrored and shown to clients. Unknown keys are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Settings {
    /// Whether hosts may start a recording.
    pub is_recording_enabled: bool,
    /// Seats, 1 to 10,000. Lowering it removes nobody.
    pub max_participants: u32,
    /// Kinds of joiner that are admitted; not empty, no repeats.
    pub allowed_roles: Vec<Kind>,
    /// Whether attendees wait until a host admits them.
    pub is_lobby_enabled: bool,
    /// What a second connection of the same user does.
    pub duplicate_policy: DuplicatePolicy,
    /// Longest duration of a session in seconds, 1 to 604,800; `None` sets no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_duration_secs: Option<u32>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            is_recording_enabled: false,
            max_participants: 100,
            allowed_roles: vec![Kind::Host, Kind::Guest],
            is_lobby_enabled: false,
            duplicate_policy: DuplicatePolicy::Replace,
            max_duration_secs: None,
        }
    }
}

impl Settings {
    /// Returns a sentence for every bound that is broken.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !(PARTICIPANTS_MIN..=PARTICIPANTS_MAX).contains(&self.max_participants) {
            problems.push(format!(
                "maxParticipants must be {PARTICIPANTS_MIN} to {PARTICIPANTS_MAX}"
            ));
        }
        let mut kinds = self.allowed_roles.clone();
        kinds.sort();
        kinds.dedup();
        if kinds.is_empty() || kinds.len() != self.allowed_roles.len() {
            problems.push("allowedRoles must name host, guest or both, each once".to_owned());
        }
        if self
            .max_duration_secs
            .is_some_and(|secs| !(1..=DURATION_SECS_MAX).contains(&secs))
        {
            problems.push(format!("maxDurationSecs must be 1 to {DURATION_SECS_MAX}"));
        }
        problems
    }
}
