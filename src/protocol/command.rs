//! Commands: what a participant asks of a room. The table in this file is the only definition of a
//! command: its type, its name on the wire, its decoder and its label in metrics follow from it.

use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    client::{ClientMessage, join},
    fields::{Field, Fields},
    parameters::{
        boolean, candidate, chat_text, false_if_absent, has_target, role, session_description, user,
    },
    refusal::Rejection,
    state::{StateChange, state_change},
    view::Role,
};
use crate::ids::UserId;

/// Declares the commands, one group for each answer to *who handles it*.
///
/// A row is `Name { field: Type = reader(WireField) }`; readers are functions of
/// [`parameters`](super::parameters). Rows of `shared` have the wire name of a row of another
/// group, and are meant if their condition holds.
macro_rules! commands {
    ($(
        $(#[$doc:meta])*
        $group:ident($commands:ident) {
            $(
                $(#[$row_doc:meta])*
                $row:ident $({ $(
                    $(#[$attribute:meta])*
                    $field:ident: $type:ty = $read:ident($($wire:ident)?)
                ),+ $(,)? })?,
            )+
        }
        $(+ shared {
            $(
                $(#[$shared_doc:meta])*
                $shared:ident if $is_meant:ident { $(
                    $shared_field:ident: $shared_type:ty = $shared_read:ident($shared_wire:ident)
                ),+ $(,)? },
            )+
        })?
    )+) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, Serialize)]
            #[serde(tag = "type", rename_all_fields = "camelCase")]
            pub enum $commands {
                $(
                    $(#[$row_doc])*
                    $row $({ $(
                        #[doc = concat!("Read by `", stringify!($read), "`.")]
                        $(#[$attribute])*
                        $field: $type,
                    )+ })?,
                )+
                $($(
                    $(#[$shared_doc])*
                    $shared { $(
                        #[doc = concat!("Read by `", stringify!($shared_read), "`.")]
                        $shared_field: $shared_type,
                    )+ },
                )+)?
            }

            impl $commands {
                const fn message_type(&self) -> MessageType {
                    match self {
                        $(Self::$row { .. } => MessageType::$row,)+
                        $($(Self::$shared { .. } => MessageType::$shared,)+)?
                    }
                }
            }

            impl From<$commands> for Command {
                fn from(command: $commands) -> Self {
                    Self::$group(command)
                }
            }
        )+

        /// A participant's command; the command id travels beside it. Serialized it is what a
        /// client sends, without the id.
        #[derive(Clone, Debug, Serialize)]
        #[serde(untagged)]
        pub enum Command {
            $($(#[$doc])* $group($commands),)+
        }

        impl Command {
            /// Returns the type of the message that carries the command.
            #[must_use]
            pub const fn message_type(&self) -> MessageType {
                match self {
                    $(Self::$group(command) => command.message_type(),)+
                }
            }
        }

        /// The `type` of a client's message.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum MessageType {
            /// The first message of a connection.
            JoinRoom,
            /// A sign of life from a client that cannot see pings.
            KeepAlive,
            $($($(#[$row_doc])* $row,)+)+
        }

        impl MessageType {
            /// All types.
            pub const ALL: &'static [Self] =
                &[Self::JoinRoom, Self::KeepAlive, $($(Self::$row,)+)+];

            /// Returns the name on the wire, which is also the label of metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    Self::JoinRoom => "JoinRoom",
                    Self::KeepAlive => "KeepAlive",
                    $($(Self::$row => stringify!($row),)+)+
                }
            }
        }

        /// Reads the message of a known type.
        pub(super) fn read(
            message_type: MessageType,
            fields: &Fields<'_>,
        ) -> Result<ClientMessage, Rejection> {
            let command = match message_type {
                MessageType::JoinRoom => return join(fields),
                MessageType::KeepAlive => return Ok(ClientMessage::KeepAlive),
                $($($(
                    MessageType::$shared if $is_meant(fields) => Command::$group($commands::$shared {
                        $($shared_field: $shared_read(fields, Field::$shared_wire)?,)+
                    }),
                )+)?)+
                $($(
                    MessageType::$row => Command::$group($commands::$row $({
                        $($field: $read(fields $(, Field::$wire)?)?,)+
                    })?),
                )+)+
            };
            Ok(ClientMessage::Command { id: fields.id()?, command })
        }
    };
}

commands! {
    /// About the participant's own stay.
    Own(OwnCommand) {
        /// Changes the participant's own flags; at least one is given.
        UpdateState { #[serde(flatten)] change: StateChange = state_change() },
        /// Sends a chat message to everybody in the room.
        SendMessage { text: String = chat_text(Text) },
        /// Leaves the room or its lobby.
        LeaveRoom,
    }

    /// Only for hosts.
    Host(HostCommand) {
        /// Mutes a participant.
        MuteParticipant { user_id: UserId = user(UserId) },
        /// Removes a participant; with `ban` for good.
        RemoveParticipant { user_id: UserId = user(UserId), ban: bool = false_if_absent(Ban) },
        /// Lets somebody in from the lobby.
        AdmitParticipant { user_id: UserId = user(UserId) },
        /// Refuses somebody in the lobby.
        DenyParticipant { user_id: UserId = user(UserId) },
        /// Changes a role.
        SetRole { user_id: UserId = user(UserId), role: Role = role(Role) },
        /// Locks or unlocks the room.
        LockRoom { is_locked: bool = boolean(IsLocked) },
        /// Starts the recording.
        StartRecording,
        /// Stops the recording.
        StopRecording,
        /// Ends the meeting for everybody.
        EndRoom,
    }

    /// Passed on to one other participant: not part of the room's state, delivered at most once.
    Relay(RelayCommand) {
        /// Sends a session description.
        SendOffer {
            target_user_id: UserId = user(TargetUserId),
            sdp: Box<RawValue> = session_description(Sdp),
        },
        /// Answers an offer.
        SendAnswer {
            target_user_id: UserId = user(TargetUserId),
            sdp: Box<RawValue> = session_description(Sdp),
        },
        /// Sends a candidate of a peer connection; null ends the candidates.
        SendIceCandidate {
            target_user_id: UserId = user(TargetUserId),
            candidate: Box<RawValue> = candidate(Candidate),
        },
    } + shared {
        /// Sends a chat message to one participant.
        SendMessage if has_target {
            text: String = chat_text(Text),
            target_user_id: UserId = user(TargetUserId),
        },
    }
}

impl MessageType {
    /// Returns the type with that name on the wire.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|known| known.name() == name)
    }
}
