//! Admin commands and their answers as nodes exchange them: exact JSON, because nodes of two
//! releases may run together.

use std::fmt::Debug;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    ids::{ConnectionId, Seq, SessionId, Timestamp, UserId},
    protocol::{
        Code, DuplicatePolicy, EndReason, Kind, ParticipantFlags, ParticipantView, Rejection, Role,
        Settings,
    },
    room::{
        admin::{AdminCommand, AdminReply, LiveRoom},
        record::BanRecord,
    },
};

const USER: UserId = UserId(Uuid::from_u128(1));
/// [`USER`] as text.
const USER_TEXT: &str = "00000000-0000-0000-0000-000000000001";
/// 2026-11-22T16:18:51.120Z
const NOW: Timestamp = Timestamp(1_795_364_331_120);

/// Writes a value as `wanted` and reads it back as it was.
fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T, wanted: &Value) {
    assert_eq!(&serde_json::to_value(value).unwrap(), wanted);
    let text = serde_json::to_string(value).unwrap();
    assert_eq!(&serde_json::from_str::<T>(&text).unwrap(), value, "{text}");
}

fn settings() -> Settings {
    Settings {
        is_recording_enabled: true,
        max_participants: 12,
        allowed_roles: vec![Kind::Host],
        is_lobby_enabled: true,
        duplicate_policy: DuplicatePolicy::Reject,
        max_duration_secs: Some(90),
    }
}

/// Every command with its JSON; a new one does not compile until it is here.
fn json_of_command(command: &AdminCommand) -> Value {
    match command {
        AdminCommand::Describe => json!({"kind": "describe"}),
        AdminCommand::ListParticipants => json!({"kind": "listParticipants"}),
        AdminCommand::ChangeParticipant { mute, role, .. } => json!({
            "kind": "changeParticipant",
            "value": {"userId": USER_TEXT, "mute": mute, "role": role},
        }),
        AdminCommand::Remove { ban, .. } => json!({
            "kind": "remove",
            "value": {"userId": USER_TEXT, "ban": ban},
        }),
        AdminCommand::End(reason) => json!({"kind": "end", "value": reason}),
        AdminCommand::SystemMessage(text) => json!({"kind": "systemMessage", "value": text}),
        AdminCommand::ChangeSettings(settings) => json!({
            "kind": "changeSettings",
            "value": settings,
        }),
        AdminCommand::ListBans => json!({"kind": "listBans"}),
        AdminCommand::LiftBan { .. } => json!({
            "kind": "liftBan",
            "value": {"userId": USER_TEXT},
        }),
    }
}

#[test]
fn every_command_travels() {
    let change = |mute, role| AdminCommand::ChangeParticipant {
        user_id: USER,
        mute,
        role,
    };
    for command in [
        AdminCommand::Describe,
        AdminCommand::ListParticipants,
        change(true, None),
        change(false, Some(Role::Host)),
        change(true, Some(Role::Attendee)),
        AdminCommand::Remove {
            user_id: USER,
            ban: true,
        },
        AdminCommand::End(EndReason::Ended),
        AdminCommand::End(EndReason::Deleted),
        AdminCommand::SystemMessage("five minutes\n\u{1F514} \"left\"".to_owned()),
        AdminCommand::ChangeSettings(settings()),
        AdminCommand::ChangeSettings(Settings::default()),
        AdminCommand::ListBans,
        AdminCommand::LiftBan { user_id: USER },
    ] {
        check(&command, &json_of_command(&command));
    }
}

fn participant() -> (ParticipantView, Value) {
    let view = ParticipantView {
        user_id: USER,
        connection_id: ConnectionId(Uuid::from_u128(2)),
        display_name: "Göran 'the' \"best\"".to_owned(),
        role: Role::Attendee,
        flags: ParticipantFlags {
            is_muted: true,
            is_video_on: false,
            is_screen_sharing: true,
            is_hand_raised: false,
        },
        is_away: true,
        joined_at: NOW,
    };
    let wanted = json!({
        "userId": USER_TEXT,
        "connectionId": "00000000-0000-0000-0000-000000000002",
        "displayName": "Göran 'the' \"best\"",
        "role": "attendee",
        "isMuted": true,
        "isVideoOn": false,
        "isScreenSharing": true,
        "isHandRaised": false,
        "isAway": true,
        "joinedAt": "2026-11-22T16:18:51.120Z",
    });
    (view, wanted)
}

fn live_room(session_id: Option<SessionId>) -> (LiveRoom, Value) {
    let view = LiveRoom {
        session_id,
        start_time: session_id.map(|_| NOW),
        participant_count: 3,
        lobby_count: 1,
        is_recording: true,
        is_locked: false,
        sfu_region: session_id.map(|_| "eu-1".to_owned()),
        seq: Seq(u64::MAX),
        durable: true,
    };
    let wanted = json!({
        "sessionId": session_id,
        "startTime": session_id.map(|_| "2026-11-22T16:18:51.120Z"),
        "participantCount": 3,
        "lobbyCount": 1,
        "isRecording": true,
        "isLocked": false,
        "sfuRegion": session_id.map(|_| "eu-1"),
        "seq": u64::MAX,
        "durable": true,
    });
    (view, wanted)
}

/// Every answer's name; a new one does not compile until it is here.
fn kind_of_reply(reply: &AdminReply) -> &'static str {
    match reply {
        AdminReply::Live(_) => "live",
        AdminReply::Participants(_) => "participants",
        AdminReply::Participant(_) => "participant",
        AdminReply::Bans(_) => "bans",
        AdminReply::Ended(_) => "ended",
        AdminReply::Lifted(_) => "lifted",
        AdminReply::Done => "done",
    }
}

#[test]
fn every_answer_travels() {
    let (view, view_json) = participant();
    let (live, live_json) = live_room(Some(SessionId(Uuid::from_u128(3))));
    let (empty, empty_json) = live_room(None);
    let ban = BanRecord { created_at: NOW };
    let bans_json = json!([[USER_TEXT, {"createdAt": "2026-11-22T16:18:51.120Z"}]]);
    for (reply, value) in [
        (AdminReply::Live(live), live_json),
        (AdminReply::Live(empty), empty_json),
        (AdminReply::Participants(Vec::new()), json!([])),
        (
            AdminReply::Participants(vec![view.clone(), view.clone()]),
            json!([view_json, view_json]),
        ),
        (AdminReply::Participant(view), view_json),
        (AdminReply::Bans(vec![(USER, ban)]), bans_json),
        (AdminReply::Ended(true), json!(true)),
        (AdminReply::Lifted(false), json!(false)),
    ] {
        let wanted = json!({"kind": kind_of_reply(&reply), "value": value});
        check(&reply, &wanted);
    }
    let done = AdminReply::Done;
    check(&done, &json!({"kind": kind_of_reply(&done)}));
}

/// The code after this one, as they are declared; a new one does not compile until it is here.
fn next_code(code: Code) -> Option<Code> {
    Some(match code {
        Code::BadRequest => Code::Unauthorized,
        Code::Unauthorized => Code::Forbidden,
        Code::Forbidden => Code::RoleNotAllowed,
        Code::RoleNotAllowed => Code::Banned,
        Code::Banned => Code::RoomFull,
        Code::RoomFull => Code::RoomLocked,
        Code::RoomLocked => Code::Duplicate,
        Code::Duplicate => Code::RoomNotFound,
        Code::RoomNotFound => Code::NotInRoom,
        Code::NotInRoom => Code::TargetNotFound,
        Code::TargetNotFound => Code::Superseded,
        Code::Superseded => Code::Unavailable,
        Code::Unavailable => Code::TooLarge,
        Code::TooLarge => Code::RateLimited,
        Code::RateLimited => Code::Timeout,
        Code::Timeout => Code::Internal,
        Code::Internal => return None,
    })
}

#[test]
fn every_refusal_travels() {
    let codes: Vec<Code> =
        std::iter::successors(Some(Code::BadRequest), |&code| next_code(code)).collect();
    assert_eq!(codes.len(), 17);
    for code in codes {
        let name = serde_json::to_value(code).unwrap();
        check(&code, &name);
        let refusal = Rejection::new(code, "the \"target\" is not here");
        let wanted = json!({"code": name, "message": "the \"target\" is not here"});
        check(&refusal, &wanted);
        check(
            &Err::<AdminReply, Rejection>(refusal),
            &json!({"Err": wanted}),
        );
    }
}

#[test]
fn what_is_not_among_them_is_refused() {
    for text in [
        r#"{"kind": "explode"}"#,
        r#"{"kind": "remove"}"#,
        r#"{"kind": "remove", "value": {"userId": "nobody", "ban": true}}"#,
        r#"{"kind": "changeSettings", "value": {"maxParticipants": -1}}"#,
        r#""describe""#,
    ] {
        assert!(
            serde_json::from_str::<AdminCommand>(text).is_err(),
            "{text}"
        );
    }
}
