//! What a connection says on its own, without its room: the goodbye (errors are encoded like the room's).

use bytestring::ByteString;

use crate::room::goodbye::Goodbye;

/// A `Goodbye` for the client.
#[must_use]
pub fn encode_goodbye(goodbye: &Goodbye) -> ByteString {
    serde_json::to_string(goodbye)
        .expect("texts and numbers in a struct are always JSON")
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::{
        effect::encode_error,
        goodbye::GoodbyeReason,
        view::{Code, Rejection},
    };

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
