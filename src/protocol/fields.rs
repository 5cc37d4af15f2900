//! The fields of a client's message, picked out in one pass over its bytes and read when their type is known.

use std::borrow::Cow;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    message_type::MessageType,
    rejection::{Code, Rejection},
};

/// Highest command id: the largest integer that every JSON implementation keeps exactly (RFC 8259 section 6).
pub const ID_MAX: u64 = (1 << 53) - 1;

/// Every field that some message has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
pub(super) enum Field {
    Type,
    Id,
    RoomId,
    Token,
    Resume,
    Region,
    IsMuted,
    IsVideoOn,
    IsScreenSharing,
    IsHandRaised,
    TargetUserId,
    UserId,
    Sdp,
    Candidate,
    Text,
    Ban,
    Role,
    IsLocked,
    #[serde(other)]
    Unknown,
}

impl Field {
    /// As on the wire, for error texts.
    const fn name(self) -> &'static str {
        match self {
            Self::Type => "type",
            Self::Id => "id",
            Self::RoomId => "roomId",
            Self::Token => "token",
            Self::Resume => "resume",
            Self::Region => "region",
            Self::IsMuted => "isMuted",
            Self::IsVideoOn => "isVideoOn",
            Self::IsScreenSharing => "isScreenSharing",
            Self::IsHandRaised => "isHandRaised",
            Self::TargetUserId => "targetUserId",
            Self::UserId => "userId",
            Self::Sdp => "sdp",
            Self::Candidate => "candidate",
            Self::Text => "text",
            Self::Ban => "ban",
            Self::Role => "role",
            Self::IsLocked => "isLocked",
            Self::Unknown => "unknown",
        }
    }
}

/// Known fields as raw JSON, borrowed from the message. Of a repeated field the last one counts, as in browsers.
#[derive(Default)]
pub(super) struct Fields<'a> {
    values: [Option<&'a RawValue>; Field::Unknown as usize],
}

impl<'a> Fields<'a> {
    /// Reads a message; the flag says whether it was one whole JSON object. What was read before a fault is kept, so that
    /// the id can still be echoed.
    pub fn collect(text: &'a str) -> (Self, bool) {
        let mut fields = Self::default();
        let mut json = serde_json::Deserializer::from_str(text);
        let outcome = json
            .deserialize_map(Collect(&mut fields))
            .and_then(|()| json.end());
        (fields, outcome.is_ok())
    }

    /// The message's type, when it is a known one.
    pub fn message_type(&self) -> Option<MessageType> {
        let raw = self.get(Field::Type)?;
        let name: Cow<'a, str> = read_text(raw)?;
        MessageType::of_name(&name)
    }

    /// The message's id.
    pub fn id(&self) -> Result<u64, Rejection> {
        let id = self.required(Field::Id, "an integer")?;
        if (1..=ID_MAX).contains(&id) {
            Ok(id)
        } else {
            Err(bad_request(Field::Id, "must be 1 to 9007199254740991"))
        }
    }

    /// A field as it stands in the message.
    pub fn get(&self, field: Field) -> Option<&'a RawValue> {
        self.values[field as usize]
    }

    /// A field that must be there; `expected` says what it must be, for the error text.
    pub fn required<T: Deserialize<'a>>(
        &self,
        field: Field,
        expected: &'static str,
    ) -> Result<T, Rejection> {
        let raw = self.get(field).ok_or_else(|| missing(field))?;
        serde_json::from_str(raw.get()).map_err(|_| not_a(field, expected))
    }

    /// A field that may be absent or null.
    pub fn optional<T: Deserialize<'a>>(
        &self,
        field: Field,
        expected: &'static str,
    ) -> Result<Option<T>, Rejection> {
        let Some(raw) = self.get(field) else {
            return Ok(None);
        };
        serde_json::from_str(raw.get()).map_err(|_| not_a(field, expected))
    }
}

/// A JSON string, borrowed where it has no escapes.
fn read_text(raw: &RawValue) -> Option<Cow<'_, str>> {
    let text = raw.get();
    let bare = text.strip_prefix('"')?.strip_suffix('"')?;
    if bare.contains('\\') {
        serde_json::from_str(text).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(bare))
    }
}

/// A refusal that names the field, never its content.
pub(super) fn bad_request(field: Field, problem: &str) -> Rejection {
    refusal(Code::BadRequest, field, problem)
}

/// A refusal for length.
pub(super) fn too_large(field: Field, problem: &str) -> Rejection {
    refusal(Code::TooLarge, field, problem)
}

/// A refusal of an absent field.
pub(super) fn missing(field: Field) -> Rejection {
    bad_request(field, "is missing")
}

fn not_a(field: Field, expected: &str) -> Rejection {
    bad_request(field, &format!("must be {expected}"))
}

fn refusal(code: Code, field: Field, problem: &str) -> Rejection {
    Rejection {
        code,
        message: Cow::Owned(format!("{} {problem}", field.name())),
    }
}

/// Fills [`Fields`] from outside, so that they outlive a fault in the middle of the message.
struct Collect<'f, 'a>(&'f mut Fields<'a>);

impl<'de> Visitor<'de> for Collect<'_, 'de> {
    type Value = ();

    fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("a JSON object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(field) = map.next_key::<Field>()? {
            match self.0.values.get_mut(field as usize) {
                Some(slot) => *slot = Some(map.next_value::<&'de RawValue>()?),
                // Unknown fields are ignored.
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}
