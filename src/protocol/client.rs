//! Messages of clients: text in, a [`ClientMessage`] or a [`DecodeError`] out.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{
    command::{self, Command, MessageType},
    fields::{Field, Fields, bad_request, missing, too_large},
    parameters::{A_STRING, A_UUID},
    refusal::{Code, Rejection},
};
use crate::ids::{ConnectionId, RoomId, Seq};

/// Longest join token in bytes.
const TOKEN_BYTES_MAX: usize = 4 * 1024;
/// Longest resume token in bytes.
const RESUME_TOKEN_BYTES_MAX: usize = 256;
/// Longest region name; its characters are ASCII.
const REGION_CHARACTERS_MAX: usize = 64;

/// A client's message.
#[derive(Clone, Debug)]
pub enum ClientMessage {
    /// `JoinRoom`: the first message of a connection.
    Join(JoinRequest),
    /// A command of a participant.
    Command {
        /// Echoed in the answer; grows within a stay.
        id: u64,
        /// What the client asks.
        command: Command,
    },
    /// `KeepAlive`.
    KeepAlive,
}

/// The content of `JoinRoom`.
#[derive(Clone, Debug)]
pub struct JoinRequest {
    /// Echoed in the answer.
    pub id: u64,
    /// Must be the room of the path.
    pub room_id: RoomId,
    /// The join token, unverified. It is a secret: never logged.
    pub token: String,
    /// The stay to continue.
    pub resume: Option<ResumeRequest>,
    /// Region of the client, for the choice of media servers.
    pub region: Option<String>,
}

/// The `resume` part of a `JoinRoom`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResumeRequest {
    /// The lost connection.
    pub connection_id: ConnectionId,
    /// As last received. It is a secret: never logged.
    pub resume_token: String,
    /// The last event that the client has seen.
    pub last_seq: Seq,
}

impl ClientMessage {
    /// Returns the id that the answer echoes.
    #[must_use]
    pub const fn id(&self) -> Option<u64> {
        match self {
            Self::Join(JoinRequest { id, .. }) | Self::Command { id, .. } => Some(*id),
            Self::KeepAlive => None,
        }
    }
}

/// A message that cannot be read; the connection lives on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}", rejection.message)]
pub struct DecodeError {
    /// Echoed whenever it can be read.
    pub id: Option<u64>,
    /// The message's type, if it is known.
    pub message_type: Option<MessageType>,
    /// `bad_request` or `too_large`.
    pub rejection: Rejection,
}

/// Reads one message; `text_bytes_max` bounds the `text` of a chat message. Ignores unknown fields.
///
/// # Errors
/// [`DecodeError`] for anything that is not a known message with the fields it needs.
pub fn decode(text: &str, text_bytes_max: usize) -> Result<ClientMessage, DecodeError> {
    let (fields, is_whole) = Fields::collect(text, text_bytes_max);
    let message_type = fields.message_type();
    read(&fields, is_whole, message_type).map_err(|rejection| DecodeError {
        id: fields.id().ok(),
        message_type,
        rejection,
    })
}

/// `is_whole`: the message was one JSON object.
fn read(
    fields: &Fields<'_>,
    is_whole: bool,
    message_type: Option<MessageType>,
) -> Result<ClientMessage, Rejection> {
    if !is_whole {
        return Err(Rejection::new(
            Code::BadRequest,
            "the message is not a JSON object",
        ));
    }
    match (message_type, fields.get(Field::Type)) {
        (Some(message_type), _) => command::read(message_type, fields),
        (None, Some(_)) => Err(bad_request(Field::Type, "is unknown")),
        (None, None) => Err(missing(Field::Type)),
    }
}

/// Reads the fields of a `JoinRoom`.
pub(super) fn join(fields: &Fields<'_>) -> Result<ClientMessage, Rejection> {
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
    Ok(ClientMessage::Join(JoinRequest {
        id: fields.id()?,
        room_id: fields.required(Field::RoomId, A_UUID)?,
        token,
        resume,
        region: region(fields)?,
    }))
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

#[cfg(test)]
mod tests;
