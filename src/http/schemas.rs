//! OpenAPI schemas of the types that HTTP shares with the wire. The core itself knows no OpenAPI.

use serde_json::{Map, Value, json};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{RefOr, Schema},
};

use crate::{
    protocol::{
        DURATION_SECS_MAX, DuplicatePolicy, EndReason, Kind, LeaveReason, PARTICIPANTS_MAX,
        PARTICIPANTS_MIN, ParticipantFlags, ParticipantView, Role, Settings,
    },
    room::admin::LiveRoom,
};

/// Gives enums of the wire a schema with their words.
macro_rules! word_schemas {
    ($($name:ident: $description:literal),+ $(,)?) => {$(
        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let words: Vec<&str> = $name::ALL.iter().map(|value| value.as_str()).collect();
                schema(json!({"type": "string", "description": $description, "enum": words}))
            }
        }

        impl ToSchema for $name {}
    )+};
}

word_schemas! {
    Role: "What a participant may do.",
    Kind: "The kind of a joiner, as a token and `allowedRoles` name it.",
    DuplicatePolicy: "What happens when a user who holds a seat joins again without resuming.",
    LeaveReason: "Why a stay ended.",
    EndReason: "Why a session ended.",
}

type Schemas = Vec<(String, RefOr<Schema>)>;

impl PartialSchema for ParticipantView {
    fn schema() -> RefOr<Schema> {
        let mut properties = object(json!({
            "userId": {"type": "string", "format": "uuid",
                "description": "A user of the tenant, or a guest of this room."},
            "connectionId": {"type": "string", "format": "uuid",
                "description": "The connection that holds the seat."},
            "displayName": {"type": "string", "description": "At most 128 characters."},
            "role": {"$ref": "#/components/schemas/Role",
                "description": "Decides which commands are allowed."},
            "isAway": {"type": "boolean",
                "description": "The connection is lost; the seat is held."},
            "joinedAt": {"type": "string", "format": "date-time",
                "description": "When the stay began."},
        }));
        for (name, description) in ParticipantFlags::FIELDS {
            let flag = json!({"type": "boolean", "description": description.trim()});
            properties.insert((*name).to_owned(), flag);
        }
        let required: Vec<&String> = properties.keys().collect();
        schema(json!({
            "type": "object",
            "description": "A participant as everybody in the room is shown them.",
            "required": required,
            "properties": properties,
        }))
    }
}

impl ToSchema for ParticipantView {
    fn schemas(schemas: &mut Schemas) {
        schemas.push((Role::name().into(), Role::schema()));
    }
}

impl PartialSchema for Settings {
    fn schema() -> RefOr<Schema> {
        let default = json!(Settings::default());
        schema(json!({
            "type": "object",
            "description": "A room's settings as stored in SQL, mirrored and shown to clients. \
                Unknown keys are refused.",
            "properties": {
                "isRecordingEnabled": {"type": "boolean",
                    "description": "Whether hosts may start a recording.",
                    "default": default["isRecordingEnabled"]},
                "maxParticipants": {"type": "integer", "format": "int32",
                    "description": "Seats, 1 to 10,000. Lowering it removes nobody.",
                    "default": default["maxParticipants"],
                    "minimum": PARTICIPANTS_MIN, "maximum": PARTICIPANTS_MAX},
                "allowedRoles": {"type": "array", "items": {"$ref": "#/components/schemas/Kind"},
                    "description": "Kinds of joiner that are admitted; not empty, no repeats.",
                    "default": default["allowedRoles"], "minItems": 1, "maxItems": 2},
                "isLobbyEnabled": {"type": "boolean",
                    "description": "Whether attendees wait until a host admits them.",
                    "default": default["isLobbyEnabled"]},
                "duplicatePolicy": {"$ref": "#/components/schemas/DuplicatePolicy",
                    "description": "What a second connection of the same user does.",
                    "default": default["duplicatePolicy"]},
                "maxDurationSecs": {"type": ["integer", "null"], "format": "int32",
                    "description": "Longest duration of a session in seconds; null sets no limit.",
                    "default": null, "minimum": 1, "maximum": DURATION_SECS_MAX},
            },
            "additionalProperties": false,
        }))
    }
}

impl ToSchema for Settings {
    fn schemas(schemas: &mut Schemas) {
        schemas.push((Kind::name().into(), Kind::schema()));
        schemas.push((DuplicatePolicy::name().into(), DuplicatePolicy::schema()));
    }
}

impl PartialSchema for LiveRoom {
    fn schema() -> RefOr<Schema> {
        schema(json!({
            "type": "object",
            "description": "A live room as admins see it.",
            "required": ["participantCount", "lobbyCount", "isRecording", "isLocked", "seq", "durable"],
            "properties": {
                "sessionId": {"type": ["string", "null"], "format": "uuid",
                    "description": "Null before the first admitted join."},
                "startTime": {"type": ["string", "null"], "format": "date-time",
                    "description": "Time of the first admitted join."},
                "participantCount": {"type": "integer", "minimum": 0,
                    "description": "Seats taken, away ones included."},
                "lobbyCount": {"type": "integer", "minimum": 0,
                    "description": "People who wait in the lobby."},
                "isRecording": {"type": "boolean", "description": "The announced recording flag."},
                "isLocked": {"type": "boolean", "description": "Locked rooms admit nobody new."},
                "sfuRegion": {"type": ["string", "null"],
                    "description": "Region of the media servers."},
                "seq": {"type": "integer", "format": "int64", "minimum": 0,
                    "description": "Position of the last event."},
                "durable": {"type": "boolean",
                    "description": "Whether the mirror holds everything."},
            },
        }))
    }
}

impl ToSchema for LiveRoom {}

fn schema(json: Value) -> RefOr<Schema> {
    RefOr::T(serde_json::from_value(json).expect("the schemas of this file are valid"))
}

fn object(json: Value) -> Map<String, Value> {
    match json {
        Value::Object(members) => members,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Map::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde::Serialize;
    use uuid::Uuid;

    use super::*;
    use crate::ids::{ConnectionId, Seq, SessionId, Timestamp, UserId};

    /// Compares the properties of a schema with the keys of a value.
    fn check<T: Serialize + PartialSchema>(value: &T) {
        let schema = serde_json::to_value(T::schema()).unwrap();
        let keys = |value: &Value| -> BTreeSet<String> {
            value.as_object().unwrap().keys().cloned().collect()
        };
        assert_eq!(
            keys(&schema["properties"]),
            keys(&serde_json::to_value(value).unwrap())
        );
    }

    #[test]
    fn schemas_have_the_fields_of_their_types() {
        check(&ParticipantView {
            user_id: UserId(Uuid::nil()),
            connection_id: ConnectionId(Uuid::nil()),
            display_name: String::new(),
            role: Role::Host,
            flags: ParticipantFlags::default(),
            is_away: false,
            joined_at: Timestamp(0),
        });
        check(&Settings {
            max_duration_secs: Some(1),
            ..Settings::default()
        });
        check(&LiveRoom {
            session_id: Some(SessionId(Uuid::nil())),
            start_time: Some(Timestamp(0)),
            participant_count: 0,
            lobby_count: 0,
            is_recording: false,
            is_locked: false,
            sfu_region: Some(String::new()),
            seq: Seq(0),
            durable: true,
        });
    }

    #[test]
    fn schemas_keep_what_is_written_here() {
        let schema = serde_json::to_value(Settings::schema()).unwrap();
        assert_eq!(schema["additionalProperties"], false);
        assert_eq!(schema["properties"]["maxParticipants"]["maximum"], 10_000);
        assert_eq!(schema["properties"]["allowedRoles"]["minItems"], 1);
        let words = serde_json::to_value(Role::schema()).unwrap();
        assert_eq!(words["enum"], json!(["host", "attendee"]));
    }
}
