//! Messages of clients: text in, a [`ClientMessage`] or a [`DecodeError`] out.

use serde_json::{Value, value::RawValue};
use thiserror::Error;

use super::{
    command::{Command, ResumeRequest, StateChange},
    fields::{Field, Fields, bad_request, missing, too_large},
    message_type::MessageType,
    rejection::{Code, Rejection},
    view::Role,
};
use crate::ids::{RoomId, UserId};

/// Longest join token in bytes.
pub const TOKEN_BYTES_MAX: usize = 4 * 1024;
/// Longest resume token in bytes.
pub const RESUME_TOKEN_BYTES_MAX: usize = 256;
/// Longest region name; its characters are ASCII.
pub const REGION_CHARACTERS_MAX: usize = 64;
/// Deepest nesting of an `sdp` or `candidate`: half of what common JSON parsers accept, as receivers see it wrapped.
pub const NESTING_MAX: usize = 64;

const A_UUID: &str = "a UUID";
const A_STRING: &str = "a string";
const A_BOOLEAN: &str = "true or false";

/// A client's message.
#[derive(Clone, Debug)]
pub enum ClientMessage {
    /// `JoinRoom`.
    Join {
        /// Echoed.
        id: u64,
        /// Must be the room of the path.
        room_id: RoomId,
        /// The join token, unverified; a secret: not logged.
        token: String,
        /// The stay to go on with.
        resume: Option<ResumeRequest>,
        /// Where the client is, for the choice of media servers.
        region: Option<String>,
    },
    /// Everything that a participant may ask of the room.
    Command {
        /// Echoed; grows within a stay.
        id: u64,
        /// What is asked.
        command: Command,
    },
    /// `KeepAlive`.
    KeepAlive,
}

impl ClientMessage {
    /// The type's name; a label of metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Join { .. } => MessageType::JoinRoom.name(),
            Self::Command { command, .. } => command.name(),
            Self::KeepAlive => MessageType::KeepAlive.name(),
        }
    }
}

/// A message that cannot be read; the connection lives on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}", rejection.message)]
pub struct DecodeError {
    /// Echoed whenever it can be read.
    pub id: Option<u64>,
    /// Name of the type when it is a known one; a label of metrics.
    pub kind: Option<&'static str>,
    /// `bad_request` or `too_large`.
    pub rejection: Rejection,
}

/// Reads one message. `text_bytes_max` bounds the `text` of a chat message.
///
/// # Errors
/// [`DecodeError`] for anything that is not a known message with the fields it needs; unknown fields are ignored.
pub fn decode(text: &str, text_bytes_max: usize) -> Result<ClientMessage, DecodeError> {
    let (fields, is_whole) = Fields::collect(text);
    let message_type = fields.message_type();
    read(&fields, is_whole, message_type, text_bytes_max).map_err(|rejection| DecodeError {
        id: fields.id().ok(),
        kind: message_type.map(MessageType::name),
        rejection,
    })
}

/// The message of a known type; `is_whole`: it was one JSON object.
fn read(
    fields: &Fields<'_>,
    is_whole: bool,
    message_type: Option<MessageType>,
    text_bytes_max: usize,
) -> Result<ClientMessage, Rejection> {
    if !is_whole {
        return Err(Rejection::new(
            Code::BadRequest,
            "the message is not a JSON object",
        ));
    }
    let Some(message_type) = message_type else {
        return Err(match fields.get(Field::Type) {
            None => missing(Field::Type),
            Some(_) => bad_request(Field::Type, "is unknown"),
        });
    };
    let command = match message_type {
        MessageType::KeepAlive => return Ok(ClientMessage::KeepAlive),
        MessageType::JoinRoom => return join(fields),
        MessageType::UpdateState => Command::UpdateState(state_change(fields)?),
        MessageType::SendOffer => Command::SendOffer {
            target_user_id: user(fields, Field::TargetUserId)?,
            sdp: session_description(fields)?,
        },
        MessageType::SendAnswer => Command::SendAnswer {
            target_user_id: user(fields, Field::TargetUserId)?,
            sdp: session_description(fields)?,
        },
        MessageType::SendIceCandidate => Command::SendIceCandidate {
            target_user_id: user(fields, Field::TargetUserId)?,
            candidate: candidate(fields)?,
        },
        MessageType::SendMessage => Command::SendMessage {
            text: chat_text(fields, text_bytes_max)?,
            target_user_id: fields.optional(Field::TargetUserId, A_UUID)?,
        },
        MessageType::MuteParticipant => Command::MuteParticipant {
            user_id: user(fields, Field::UserId)?,
        },
        MessageType::RemoveParticipant => Command::RemoveParticipant {
            user_id: user(fields, Field::UserId)?,
            ban: fields.optional(Field::Ban, A_BOOLEAN)?.unwrap_or(false),
        },
        MessageType::AdmitParticipant => Command::AdmitParticipant {
            user_id: user(fields, Field::UserId)?,
        },
        MessageType::DenyParticipant => Command::DenyParticipant {
            user_id: user(fields, Field::UserId)?,
        },
        MessageType::SetRole => Command::SetRole {
            user_id: user(fields, Field::UserId)?,
            role: fields.required::<Role>(Field::Role, "host or attendee")?,
        },
        MessageType::LockRoom => Command::LockRoom {
            is_locked: fields.required(Field::IsLocked, A_BOOLEAN)?,
        },
        MessageType::StartRecording => Command::StartRecording,
        MessageType::StopRecording => Command::StopRecording,
        MessageType::EndRoom => Command::EndRoom,
        MessageType::LeaveRoom => Command::LeaveRoom,
    };
    let id = fields.id()?;
    Ok(ClientMessage::Command { id, command })
}

fn join(fields: &Fields<'_>) -> Result<ClientMessage, Rejection> {
    let token: String = fields.required(Field::Token, A_STRING)?;
    if token.len() > TOKEN_BYTES_MAX {
        return Err(too_large(Field::Token, "must be at most 4096 bytes"));
    }
    let resume: Option<ResumeRequest> = fields.optional(
        Field::Resume,
        "an object of connectionId, resumeToken and lastSeq",
    )?;
    if let Some(resume) = &resume
        && resume.resume_token.len() > RESUME_TOKEN_BYTES_MAX
    {
        return Err(too_large(
            Field::Resume,
            "must have a resumeToken of at most 256 bytes",
        ));
    }
    Ok(ClientMessage::Join {
        id: fields.id()?,
        room_id: fields.required(Field::RoomId, A_UUID)?,
        token,
        resume,
        region: region(fields)?,
    })
}

fn region(fields: &Fields<'_>) -> Result<Option<String>, Rejection> {
    let region: Option<String> = fields.optional(Field::Region, A_STRING)?;
    let is_valid = region.as_ref().is_none_or(|region| {
        (1..=REGION_CHARACTERS_MAX).contains(&region.len())
            && region
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    });
    if is_valid {
        Ok(region)
    } else {
        Err(bad_request(
            Field::Region,
            "must be 1 to 64 letters, digits, dots, underscores or hyphens",
        ))
    }
}

fn user(fields: &Fields<'_>, field: Field) -> Result<UserId, Rejection> {
    fields.required(field, A_UUID)
}

fn state_change(fields: &Fields<'_>) -> Result<StateChange, Rejection> {
    let change = StateChange {
        is_muted: fields.optional(Field::IsMuted, A_BOOLEAN)?,
        is_video_on: fields.optional(Field::IsVideoOn, A_BOOLEAN)?,
        is_screen_sharing: fields.optional(Field::IsScreenSharing, A_BOOLEAN)?,
        is_hand_raised: fields.optional(Field::IsHandRaised, A_BOOLEAN)?,
    };
    if change.is_empty() {
        return Err(Rejection::new(
            Code::BadRequest,
            "UpdateState needs at least one of isMuted, isVideoOn, isScreenSharing, isHandRaised",
        ));
    }
    Ok(change)
}

fn chat_text(fields: &Fields<'_>, bytes_max: usize) -> Result<String, Rejection> {
    let text: String = fields.required(Field::Text, A_STRING)?;
    if text.is_empty() {
        return Err(bad_request(Field::Text, "must not be empty"));
    }
    if text.len() > bytes_max {
        return Err(too_large(
            Field::Text,
            &format!("must be at most {bytes_max} bytes"),
        ));
    }
    Ok(text)
}

/// An `sdp`: a string or an object.
fn session_description(fields: &Fields<'_>) -> Result<Box<RawValue>, Rejection> {
    opaque(fields, Field::Sdp, b"\"{", "must be a string or an object")
}

/// A `candidate`: a string, an object, or null for the end of candidates.
fn candidate(fields: &Fields<'_>) -> Result<Box<RawValue>, Rejection> {
    opaque(
        fields,
        Field::Candidate,
        b"\"{n",
        "must be a string, an object or null",
    )
}

/// JSON that is relayed as it is; `starts` are the first bytes of the allowed kinds. What only some parsers take (RFC 8259
/// sections 6 and 8.2) is refused here: the receiver could not read the frame, and would blame the server.
fn opaque(
    fields: &Fields<'_>,
    field: Field,
    starts: &[u8],
    problem: &str,
) -> Result<Box<RawValue>, Rejection> {
    let raw = fields.get(field).ok_or_else(|| missing(field))?;
    let is_allowed = raw
        .get()
        .bytes()
        .next()
        .is_some_and(|first| starts.contains(&first));
    if !is_allowed {
        return Err(bad_request(field, problem));
    }
    if is_nested_deeper_than(NESTING_MAX, raw.get()) {
        return Err(bad_request(field, "is nested too deep"));
    }
    if serde_json::from_str::<Value>(raw.get()).is_err() {
        return Err(bad_request(
            field,
            "has a lone surrogate or a number out of range",
        ));
    }
    Ok(raw.to_owned())
}

/// Whether valid JSON has more than `depth_max` objects and arrays open at once. Needed because raw JSON is skipped
/// without a limit, and would be a trap for the receiver's parser.
fn is_nested_deeper_than(depth_max: usize, json: &str) -> bool {
    let mut depth = 0_usize;
    let mut is_in_string = false;
    let mut is_escaped = false;
    for byte in json.bytes() {
        if is_escaped {
            is_escaped = false;
            continue;
        }
        match (byte, is_in_string) {
            (b'\\', true) => is_escaped = true,
            (b'"', _) => is_in_string = !is_in_string,
            (b'{' | b'[', false) => depth += 1,
            (b'}' | b']', false) => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > depth_max {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests;
