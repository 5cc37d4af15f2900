use super::*;
use crate::protocol::{HostCommand, RelayCommand, parameters::NESTING_MAX};

const TEXT_MAX: usize = 4096;
const USER: &str = "0190aaaa-bbbb-7ccc-8ddd-eeeeffff0001";
const ROOM: &str = "0190aaaa-bbbb-7ccc-8ddd-eeeeffff0002";

/// Replaces `U` and `R` in quotes by ids, so that the tables stay readable.
fn with_ids(text: &str) -> String {
    text.replace("\"U\"", &format!("\"{USER}\""))
        .replace("\"R\"", &format!("\"{ROOM}\""))
}

fn command(text: &str) -> (u64, Command) {
    match decode(&with_ids(text), TEXT_MAX) {
        Ok(ClientMessage::Command { id, command }) => (id, command),
        other => panic!("{text}: {other:?}"),
    }
}

fn error(text: &str) -> DecodeError {
    decode(&with_ids(text), TEXT_MAX).expect_err(text)
}

#[test]
fn every_command_is_read_as_a_client_writes_it() {
    // Commands as clients write them, with the fields in the order in which the server encodes
    // them.
    let table = [
        r#"{"type":"UpdateState","isMuted":true}"#,
        r#"{"type":"UpdateState","isMuted":false,"isVideoOn":true,"isScreenSharing":false,"isHandRaised":true}"#,
        r#"{"type":"SendOffer","targetUserId":"U","sdp":"v=0\r\n"}"#,
        r#"{"type":"SendAnswer","targetUserId":"U","sdp":{"type":"answer","sdp":"v=0"}}"#,
        r#"{"type":"SendIceCandidate","targetUserId":"U","candidate":{"candidate":"x","sdpMLineIndex":0}}"#,
        r#"{"type":"SendIceCandidate","targetUserId":"U","candidate":null}"#,
        r#"{"type":"SendMessage","text":"hello"}"#,
        r#"{"type":"SendMessage","text":"hello","targetUserId":"U"}"#,
        r#"{"type":"MuteParticipant","userId":"U"}"#,
        r#"{"type":"RemoveParticipant","userId":"U","ban":true}"#,
        r#"{"type":"AdmitParticipant","userId":"U"}"#,
        r#"{"type":"DenyParticipant","userId":"U"}"#,
        r#"{"type":"SetRole","userId":"U","role":"host"}"#,
        r#"{"type":"LockRoom","isLocked":true}"#,
        r#"{"type":"StartRecording"}"#,
        r#"{"type":"StopRecording"}"#,
        r#"{"type":"EndRoom"}"#,
        r#"{"type":"LeaveRoom"}"#,
    ];
    for (id, text) in (1..).zip(table) {
        let message = format!("{},\"id\":{id}}}", text.strip_suffix('}').unwrap());
        let (read_id, command) = command(&message);
        assert_eq!(read_id, id, "{text}");
        assert_eq!(serde_json::to_string(&command).unwrap(), with_ids(text));
        assert!(text.contains(command.message_type().name()));
    }
}

#[test]
fn join_room_is_read_with_and_without_resume() {
    let bare = with_ids(r#"{"type":"JoinRoom","id":1,"roomId":"R","token":"t"}"#);
    let Ok(ClientMessage::Join(JoinRequest {
        id,
        room_id,
        token,
        resume,
        region,
    })) = decode(&bare, TEXT_MAX)
    else {
        panic!("not a join");
    };
    assert_eq!((id, token.as_str(), resume, region), (1, "t", None, None));
    assert_eq!(room_id.to_string(), ROOM);

    let full = with_ids(
        r#"{"type":"JoinRoom","id":2,"roomId":"R","token":"t","region":"eu-1.a_b",
            "resume":{"connectionId":"U","resumeToken":"r","lastSeq":41,"extra":[1]}}"#,
    );
    let Ok(ClientMessage::Join(JoinRequest { resume, region, .. })) = decode(&full, TEXT_MAX)
    else {
        panic!("not a join");
    };
    let resume = resume.unwrap();
    assert_eq!(resume.connection_id.to_string(), USER);
    assert_eq!((resume.resume_token.as_str(), resume.last_seq.0), ("r", 41));
    assert_eq!(region.as_deref(), Some("eu-1.a_b"));
}

#[test]
fn keep_alive_needs_nothing_but_its_type() {
    for text in [
        r#"{"type":"KeepAlive"}"#,
        r#"{"id":"x","type":"KeepAlive"}"#,
    ] {
        assert!(matches!(
            decode(text, TEXT_MAX),
            Ok(ClientMessage::KeepAlive)
        ));
    }
}

#[test]
fn unknown_fields_nulls_and_order_do_not_matter() {
    let (id, read) = command(
        r#" { "future": [[{"type":"x"}]], "id": 9, "isMuted": null, "isHandRaised": true, "type": "UpdateState" } "#,
    );
    assert_eq!(id, 9);
    assert_eq!(
        serde_json::to_string(&read).unwrap(),
        r#"{"type":"UpdateState","isHandRaised":true}"#
    );
    let (_, read) = command(r#"{"type":"RemoveParticipant","id":1,"userId":"U"}"#);
    assert!(matches!(
        read,
        Command::Host(HostCommand::RemoveParticipant { ban: false, .. })
    ));
    let (_, read) = command(r#"{"typ\u0065":"Leave\u0052oom","\u0069d":1}"#);
    assert_eq!(read.message_type(), MessageType::LeaveRoom);
}

#[test]
fn opaque_json_is_relayed_byte_by_byte() {
    let sdp = r#"{"b" :1.0e3 , "a":"\u00e9\/", "b":[ ]}"#;
    let (_, read) = command(&format!(
        r#"{{"type":"SendOffer","id":1,"targetUserId":"U","sdp":{sdp} }}"#
    ));
    let Command::Relay(RelayCommand::SendOffer { sdp: relayed, .. }) = read else {
        panic!("not an offer");
    };
    assert_eq!(relayed.get(), sdp);
}

#[test]
fn of_a_repeated_field_the_last_one_counts() {
    let (id, read) = command(r#"{"type":"EndRoom","id":1,"id":2,"type":"LeaveRoom"}"#);
    assert_eq!((id, read.message_type()), (2, MessageType::LeaveRoom));
}

#[test]
fn refusals_say_what_is_wrong_and_echo_the_id_when_there_is_one() {
    const MISSING: &str = "is missing";
    // message, id, known type, part of the text for the client
    let table: [(&str, Option<u64>, Option<&str>, &str); 34] = [
        ("", None, None, "not a JSON object"),
        ("null", None, None, "not a JSON object"),
        ("[1]", None, None, "not a JSON object"),
        (r#""JoinRoom""#, None, None, "not a JSON object"),
        (
            r#"{"type":"LeaveRoom","id":3}x"#,
            Some(3),
            Some("LeaveRoom"),
            "not a JSON object",
        ),
        (
            r#"{"id":4,"type":"LeaveRoom","a":"#,
            Some(4),
            Some("LeaveRoom"),
            "not a JSON object",
        ),
        (r#"{}"#, None, None, "type is missing"),
        (r#"{"id":5}"#, Some(5), None, "type is missing"),
        (
            r#"{"id":5,"type":"leaveroom"}"#,
            Some(5),
            None,
            "type is unknown",
        ),
        (
            r#"{"id":5,"type":["LeaveRoom"]}"#,
            Some(5),
            None,
            "type is unknown",
        ),
        (r#"{"id":5,"type":null}"#, Some(5), None, "type is unknown"),
        (
            r#"{"type":"LeaveRoom"}"#,
            None,
            Some("LeaveRoom"),
            "id is missing",
        ),
        (
            r#"{"type":"LeaveRoom","id":0}"#,
            None,
            Some("LeaveRoom"),
            "id must be 1 to",
        ),
        (
            r#"{"type":"LeaveRoom","id":9007199254740992}"#,
            None,
            Some("LeaveRoom"),
            "id must be 1 to",
        ),
        (
            r#"{"type":"LeaveRoom","id":-1}"#,
            None,
            Some("LeaveRoom"),
            "id must be an integer",
        ),
        (
            r#"{"type":"LeaveRoom","id":1.5}"#,
            None,
            Some("LeaveRoom"),
            "id must be an integer",
        ),
        (
            r#"{"type":"LeaveRoom","id":"1"}"#,
            None,
            Some("LeaveRoom"),
            "id must be an integer",
        ),
        (
            r#"{"type":"UpdateState","id":6}"#,
            Some(6),
            Some("UpdateState"),
            "at least one",
        ),
        (
            r#"{"type":"UpdateState","id":6,"isMuted":1}"#,
            Some(6),
            Some("UpdateState"),
            "isMuted must be",
        ),
        (
            r#"{"type":"SendMessage","id":6}"#,
            Some(6),
            Some("SendMessage"),
            MISSING,
        ),
        (
            r#"{"type":"SendMessage","id":6,"text":""}"#,
            Some(6),
            Some("SendMessage"),
            "not be empty",
        ),
        (
            r#"{"type":"SendMessage","id":6,"text":{}}"#,
            Some(6),
            Some("SendMessage"),
            "a string",
        ),
        (
            r#"{"type":"SendMessage","id":6,"text":"\ud800"}"#,
            Some(6),
            Some("SendMessage"),
            "a string",
        ),
        (
            r#"{"type":"SendMessage","id":6,"text":"a","targetUserId":"b"}"#,
            Some(6),
            Some("SendMessage"),
            "a UUID",
        ),
        (
            r#"{"type":"SendOffer","id":6,"targetUserId":"U"}"#,
            Some(6),
            Some("SendOffer"),
            "sdp is missing",
        ),
        (
            r#"{"type":"SendOffer","id":6,"targetUserId":"U","sdp":null}"#,
            Some(6),
            Some("SendOffer"),
            "a string or an object",
        ),
        (
            r#"{"type":"SendIceCandidate","id":6,"targetUserId":"U"}"#,
            Some(6),
            Some("SendIceCandidate"),
            MISSING,
        ),
        (
            r#"{"type":"SendIceCandidate","id":6,"targetUserId":"U","candidate":[]}"#,
            Some(6),
            Some("SendIceCandidate"),
            "or null",
        ),
        (
            r#"{"type":"SetRole","id":6,"userId":"U","role":"guest"}"#,
            Some(6),
            Some("SetRole"),
            "host or attendee",
        ),
        (
            r#"{"type":"LockRoom","id":6}"#,
            Some(6),
            Some("LockRoom"),
            MISSING,
        ),
        (
            r#"{"type":"JoinRoom","id":6,"roomId":"R"}"#,
            Some(6),
            Some("JoinRoom"),
            "token is missing",
        ),
        (
            r#"{"type":"JoinRoom","id":6,"roomId":"R","token":"t","resume":{}}"#,
            Some(6),
            Some("JoinRoom"),
            "resume must be",
        ),
        (
            r#"{"type":"JoinRoom","id":6,"roomId":"R","token":"t","region":"a b"}"#,
            Some(6),
            Some("JoinRoom"),
            "region must be",
        ),
        (
            r#"{"type":"JoinRoom","id":6,"roomId":"R","token":"t","region":""}"#,
            Some(6),
            Some("JoinRoom"),
            "region must be",
        ),
    ];
    for (text, id, kind, problem) in table {
        let error = error(text);
        let known = error.message_type.map(MessageType::name);
        assert_eq!((error.id, known), (id, kind), "{text}");
        assert_eq!(error.rejection.code, Code::BadRequest, "{text}");
        assert!(error.to_string().contains(problem), "{text}: {error}");
    }
}

#[test]
fn lengths_are_counted_in_bytes_and_the_limit_itself_is_allowed() {
    let message = |text: &str| format!(r#"{{"type":"SendMessage","id":1,"text":"{text}"}}"#);
    assert!(decode(&message(&"é".repeat(2048)), TEXT_MAX).is_ok());
    assert!(decode(&message(&r"\u00e9".repeat(2048)), TEXT_MAX).is_ok());
    let error = decode(&message(&"é".repeat(2049)), TEXT_MAX).unwrap_err();
    assert_eq!((error.id, error.rejection.code), (Some(1), Code::TooLarge));

    let join = |token: usize, resume: usize, region: usize| {
        let (token, resume, region) = ("t".repeat(token), "r".repeat(resume), "a".repeat(region));
        decode(
            &with_ids(&format!(
                r#"{{"type":"JoinRoom","id":1,"roomId":"R","token":"{token}","region":"{region}",
                    "resume":{{"connectionId":"U","resumeToken":"{resume}","lastSeq":0}}}}"#
            )),
            TEXT_MAX,
        )
        .map_err(|error| error.rejection.code)
    };
    assert!(join(4096, 256, 64).is_ok());
    assert_eq!(join(4097, 256, 64).unwrap_err(), Code::TooLarge);
    assert_eq!(join(4096, 257, 64).unwrap_err(), Code::TooLarge);
    assert_eq!(join(4096, 256, 65).unwrap_err(), Code::BadRequest);
}

#[test]
fn nesting_is_bounded_in_what_is_relayed_and_harmless_elsewhere() {
    let nested = |depth: usize| format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
    let offer = |sdp: &str| {
        with_ids(&format!(
            r#"{{"type":"SendOffer","id":1,"targetUserId":"U","sdp":{sdp}}}"#
        ))
    };
    assert!(decode(&offer(&nested(NESTING_MAX)), TEXT_MAX).is_ok());
    assert!(decode(&offer(&nested(NESTING_MAX + 1)), TEXT_MAX).is_err());
    // Brackets inside strings are no nesting.
    let brackets = format!(r#"{{"a\"":"{}"}}"#, r#"[\\\"{"#.repeat(NESTING_MAX + 1));
    assert!(decode(&offer(&brackets), TEXT_MAX).is_ok());

    let deep = "[".repeat(30_000) + &"]".repeat(30_000);
    let ignored = format!(r#"{{"type":"LeaveRoom","id":1,"future":{deep}}}"#);
    assert!(decode(&ignored, TEXT_MAX).is_ok());
    for field in ["id", "type", "token", "resume", "userId", "isMuted"] {
        let text = format!(r#"{{"type":"MuteParticipant","{field}":{deep}}}"#);
        assert!(decode(&text, TEXT_MAX).is_err());
    }
    assert!(decode(&"[".repeat(60_000), TEXT_MAX).is_err());
}

#[test]
fn every_type_of_the_wire_is_known_by_its_name() {
    for known in MessageType::ALL.iter().copied() {
        assert_eq!(MessageType::from_name(known.name()), Some(known));
    }
    assert_eq!(MessageType::from_name("RoomJoined"), None);
}
