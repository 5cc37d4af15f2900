//! The state that participants show to each other. The table in this file is the only definition of
//! a flag: views, `UpdateState`, `StateChanged`, mirror records and the decoder follow from it.

use serde::{Deserialize, Serialize};

use super::{
    fields::{Field, Fields},
    parameters::optional_boolean,
    refusal::{Code, Rejection},
};

macro_rules! participant_flags {
    ($($(#[doc = $doc:literal])+ $flag:ident: $field:ident),+ $(,)?) => {
        /// The flags of one participant. A flag that an older release did not write is false.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct ParticipantFlags {
            $($(#[doc = $doc])+ pub $flag: bool,)+
        }

        /// New values of some flags; `None` leaves a flag as it is.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase")]
        pub struct StateChange {
            $(
                $(#[doc = $doc])+
                #[serde(skip_serializing_if = "Option::is_none")]
                pub $flag: Option<bool>,
            )+
        }

        impl ParticipantFlags {
            /// Name on the wire and description of each flag.
            pub const FIELDS: &'static [(&'static str, &'static str)] =
                &[$((Field::$field.name(), concat!($($doc),+)),)+];

            /// Sets what differs and returns it.
            pub fn apply(&mut self, wanted: StateChange) -> StateChange {
                StateChange {
                    $($flag: set(&mut self.$flag, wanted.$flag),)+
                }
            }
        }

        impl StateChange {
            /// Reads the fields of an `UpdateState`.
            fn read(fields: &Fields<'_>) -> Result<Self, Rejection> {
                Ok(Self {
                    $($flag: optional_boolean(fields, Field::$field)?,)+
                })
            }
        }
    };
}

participant_flags! {
    /// Microphone off.
    is_muted: IsMuted,
    /// Camera on.
    is_video_on: IsVideoOn,
    /// Sharing the screen.
    is_screen_sharing: IsScreenSharing,
    /// Hand up.
    is_hand_raised: IsHandRaised,
}

impl StateChange {
    /// Returns whether it sets no flag.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Reads the flags of an `UpdateState`: at least one is given.
pub(super) fn state_change(fields: &Fields<'_>) -> Result<StateChange, Rejection> {
    let change = StateChange::read(fields)?;
    if change.is_empty() {
        let names: Vec<&str> = ParticipantFlags::FIELDS
            .iter()
            .map(|(name, _)| *name)
            .collect();
        return Err(Rejection {
            code: Code::BadRequest,
            message: format!("UpdateState needs at least one of {}", names.join(", ")).into(),
        });
    }
    Ok(change)
}

/// Sets a flag and returns its new value, or `None` if it did not change.
fn set(flag: &mut bool, wanted: Option<bool>) -> Option<bool> {
    let changed = wanted.filter(|wanted| wanted != flag)?;
    *flag = changed;
    Some(changed)
}
