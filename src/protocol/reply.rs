//! What a connection says on its own, without its room: errors and the goodbye. Encoded once, shared afterwards.

use bytestring::ByteString;
use serde::Serialize;

use crate::room::{
    goodbye::Goodbye,
    view::{Code, Rejection},
};

/// `{"type":"Error","id":…,"code":…,"message":…}`; `id` is left out when it could not be read.
#[derive(Serialize)]
#[serde(tag = "type", rename = "Error")]
struct ErrorReply<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    code: Code,
    message: &'a str,
}

/// An `Error` for the client.
#[must_use]
pub fn encode_error(id: Option<u64>, rejection: &Rejection) -> ByteString {
    encode(&ErrorReply {
        id,
        code: rejection.code,
        message: &rejection.message,
    })
}

/// A `Goodbye` for the client.
#[must_use]
pub fn encode_goodbye(goodbye: &Goodbye) -> ByteString {
    encode(goodbye)
}

fn encode(message: &impl Serialize) -> ByteString {
    serde_json::to_string(message)
        .expect("texts and numbers in a struct are always JSON")
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::goodbye::GoodbyeReason;

    #[test]
    fn error_carries_the_id_only_when_it_is_known() {
        let rejection = Rejection::new(Code::RoomFull, "no seat is free");
        assert_eq!(
            encode_error(Some(7), &rejection),
            r#"{"type":"Error","id":7,"code":"room_full","message":"no seat is free"}"#
        );
        assert_eq!(
            encode_error(None, &rejection),
            r#"{"type":"Error","code":"room_full","message":"no seat is free"}"#
        );
    }

    #[test]
    fn goodbye_says_what_to_do_next() {
        assert_eq!(
            encode_goodbye(&GoodbyeReason::RoomFull.into()),
            r#"{"type":"Goodbye","reason":"room_full","action":"rejoin"}"#
        );
    }
}
