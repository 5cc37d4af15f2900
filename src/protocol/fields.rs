//! The fields of a client's message: collected in one pass over its bytes, read once its type is
//! known.

use std::borrow::Cow;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    command::MessageType,
    refusal::{Code, Rejection},
};

/// Highest command id: the largest integer that every JSON implementation keeps exactly (RFC 8259
/// section 6).
pub const ID_MAX: u64 = (1 << 53) - 1;

macro_rules! fields {
    ($($field:ident = $name:literal),+ $(,)?) => {
        /// A field that some message has.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
        #[serde(field_identifier)]
        pub(super) enum Field {
            $(
                #[doc = concat!("`", $name, "`")]
                #[serde(rename = $name)]
                $field,
            )+
            /// A field that no message has.
            #[serde(other)]
            Unknown,
        }

        impl Field {
            /// Returns the name on the wire.
            #[must_use]
            pub(super) const fn name(self) -> &'static str {
                match self {
                    $(Self::$field => $name,)+
                    Self::Unknown => "unknown",
                }
            }
        }
    };
}

fields! {
    Type = "type",
    Id = "id",
    RoomId = "roomId",
    Token = "token",
    Resume = "resume",
    Region = "region",
    IsMuted = "isMuted",
    IsVideoOn = "isVideoOn",
    IsScreenSharing = "isScreenSharing",
    IsHandRaised = "isHandRaised",
    TargetUserId = "targetUserId",
    UserId = "userId",
    Sdp = "sdp",
    Candidate = "candidate",
    Text = "text",
    Ban = "ban",
    Role = "role",
    IsLocked = "isLocked",
}

/// Known fields as raw JSON, borrowed from the message. The last one of a repeated field counts, as
/// in browsers.
pub(super) struct Fields<'a> {
    values: [Option<&'a RawValue>; Field::Unknown as usize],
    /// Longest `text` in bytes.
    pub text_bytes_max: usize,
}

impl<'a> Fields<'a> {
    /// Collects the fields of a message. Returns also whether it is one whole JSON object. What was
    /// read before a fault is kept, so that the id can still be echoed.
    pub fn collect(text: &'a str, text_bytes_max: usize) -> (Self, bool) {
        let mut fields = Self {
            values: [None; Field::Unknown as usize],
            text_bytes_max,
        };
        let mut json = serde_json::Deserializer::from_str(text);
        let outcome = json
            .deserialize_map(Collect(&mut fields))
            .and_then(|()| json.end());
        (fields, outcome.is_ok())
    }

    /// Returns the message's type, or `None` if it is absent or unknown.
    pub fn message_type(&self) -> Option<MessageType> {
        let raw = self.get(Field::Type)?;
        let name: Cow<'a, str> = read_text(raw)?;
        MessageType::from_name(&name)
    }

    /// Returns the message's id.
    pub fn id(&self) -> Result<u64, Rejection> {
        let id = self.required(Field::Id, "an integer")?;
        if (1..=ID_MAX).contains(&id) {
            Ok(id)
        } else {
            Err(bad_request(Field::Id, "must be 1 to 9007199254740991"))
        }
    }

    /// Returns a field's JSON.
    pub fn get(&self, field: Field) -> Option<&'a RawValue> {
        self.values[field as usize]
    }

    /// Returns whether a field is there and not null.
    pub fn has(&self, field: Field) -> bool {
        self.get(field).is_some_and(|raw| raw.get() != "null")
    }

    /// Reads a field that must be there. `expected` is for the error text.
    pub fn required<T: Deserialize<'a>>(
        &self,
        field: Field,
        expected: &'static str,
    ) -> Result<T, Rejection> {
        let raw = self.get(field).ok_or_else(|| missing(field))?;
        serde_json::from_str(raw.get()).map_err(|_| not_a(field, expected))
    }

    /// Reads a field that may be absent or null.
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

/// Reads a JSON string; borrows it if it has no escapes.
fn read_text(raw: &RawValue) -> Option<Cow<'_, str>> {
    let text = raw.get();
    let bare = text.strip_prefix('"')?.strip_suffix('"')?;
    if bare.contains('\\') {
        serde_json::from_str(text).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(bare))
    }
}

/// Creates a rejection that names the field, never its content.
pub(super) fn bad_request(field: Field, problem: &str) -> Rejection {
    rejection(Code::BadRequest, field, problem)
}

/// Creates a rejection for a field that is too long.
pub(super) fn too_large(field: Field, problem: &str) -> Rejection {
    rejection(Code::TooLarge, field, problem)
}

/// Creates a rejection for an absent field.
pub(super) fn missing(field: Field) -> Rejection {
    bad_request(field, "is missing")
}

fn not_a(field: Field, expected: &str) -> Rejection {
    bad_request(field, &format!("must be {expected}"))
}

fn rejection(code: Code, field: Field, problem: &str) -> Rejection {
    Rejection {
        code,
        message: Cow::Owned(format!("{} {problem}", field.name())),
    }
}

/// Fills [`Fields`] through a reference, so that they outlive a fault in the middle of the message.
struct Collect<'f, 'a>(&'f mut Fields<'a>);

impl<'de> Visitor<'de> for Collect<'_, 'de> {
    type Value = ();

    fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("a JSON object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(field) = map.next_key::<Field>()? {
            match self.0.values.get_mut(field as usize) {
                Some(value) => *value = Some(map.next_value::<&'de RawValue>()?),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}
