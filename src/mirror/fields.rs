//! The text form of a room: names and values as Redis shows them, kept alike by the SQLite adapter.
//!
//! Booleans are `"true"`/`"false"`, times RFC 3339, records the JSON that serde gives; an absent
//! option is an absent field.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Display,
    str::FromStr,
};

use serde::{Serialize, de::DeserializeOwned};

use super::MirrorFault;
use crate::{
    ids::{RoomId, Seq},
    room::record::{ChangeSet, EpochStart, Head, SessionHead, Snapshot, TailEvent},
};

/// The layout that this release writes and reads; rooms of a higher one are not claimed.
pub(super) const FORMAT: u32 = 1;

/// Names of the record collections of a room, in the order in which [`Writes`] and [`Stored`] hold
/// them.
pub(super) const COLLECTIONS: [&str; 4] = ["participants", "lobby", "left", "bans"];

const SFU_REGION: &str = "sfuRegion";
const IS_RECORDING: &str = "isRecording";
const IS_LOCKED: &str = "isLocked";
const SESSION_ID: &str = "sessionId";
const START_TIME: &str = "startTime";
const TENANT_ID: &str = "tenantId";
const HOST_USER_ID: &str = "hostUserId";
const SETTINGS: &str = "settings";
const EPOCH_STARTS: &str = "epochStarts";
const EMPTY_AT: &str = "emptyAt";
const DEPART_AT: &str = "departAt";
const ENDS_AT: &str = "endsAt";

/// One named text to write; none deletes it.
pub(super) type Write = (String, Option<String>);

/// What a change set writes, as text.
pub(super) struct Writes {
    /// The room's own fields: every known one, or nothing when they did not change.
    pub(super) head: Vec<(&'static str, Option<String>)>,
    /// Records by [`COLLECTIONS`].
    pub(super) collections: [Vec<Write>; 4],
}

impl Writes {
    /// The text form of what changed.
    pub(super) fn of(changes: &ChangeSet) -> Self {
        Self {
            head: changes.head.as_ref().map(head_fields).unwrap_or_default(),
            collections: [
                record_writes(&changes.participants),
                record_writes(&changes.lobby),
                record_writes(&changes.left),
                record_writes(&changes.bans),
            ],
        }
    }
}

/// A room as an adapter read it.
#[derive(Default)]
pub(super) struct Stored {
    /// Last event.
    pub(super) seq: Seq,
    /// The room's own fields, unknown ones included.
    pub(super) head: HashMap<String, String>,
    /// Records by [`COLLECTIONS`].
    pub(super) collections: [HashMap<String, String>; 4],
    /// Frames of the last events, oldest first, ending at `seq`.
    pub(super) tail: Vec<String>,
}

impl Stored {
    /// The room as data; none when nothing but the ownership is stored.
    ///
    /// # Errors
    /// A fault when a value cannot be read: the mirror was written by something else.
    pub(super) fn into_snapshot(self, room_id: RoomId) -> Result<Option<Snapshot>, MirrorFault> {
        if !self.head.contains_key(TENANT_ID) {
            return Ok(None);
        }
        let [participants, lobby, left, bans] = &self.collections;
        Ok(Some(Snapshot {
            room_id,
            head: head_of(&self.head)?,
            seq: self.seq,
            participants: records_of(participants)?,
            lobby: records_of(lobby)?,
            left: records_of(left)?,
            bans: records_of(bans)?,
            tail: tail_of(self.seq, self.tail)?,
        }))
    }
}

/// JSON of a record.
pub(super) fn to_json(record: &impl Serialize) -> String {
    serde_json::to_string(record).expect("records have text keys and cannot fail to serialise")
}

/// A record from its JSON.
pub(super) fn from_json<T: DeserializeOwned>(json: &str) -> Result<T, MirrorFault> {
    serde_json::from_str(json).map_err(|error| unreadable("record", &error))
}

/// A value from its text.
pub(super) fn parse<T: FromStr<Err: Display>>(what: &str, text: &str) -> Result<T, MirrorFault> {
    text.parse().map_err(|error| unreadable(what, &error))
}

/// The content is not repeated in the text: it may hold names and token hashes.
fn unreadable(what: &str, error: &impl Display) -> MirrorFault {
    MirrorFault(format!("stored {what} is unreadable: {error}"))
}

fn head_fields(head: &Head) -> Vec<(&'static str, Option<String>)> {
    let session = head.session.as_ref();
    vec![
        (SFU_REGION, head.sfu_region.clone()),
        (IS_RECORDING, Some(head.is_recording.to_string())),
        (IS_LOCKED, Some(head.is_locked.to_string())),
        (SESSION_ID, text(session.map(|session| session.session_id))),
        (START_TIME, text(session.map(|session| session.start_time))),
        (TENANT_ID, text(Some(head.tenant_id))),
        (HOST_USER_ID, text(Some(head.host_user_id))),
        (SETTINGS, Some(to_json(&head.settings))),
        (EPOCH_STARTS, epoch_starts_text(&head.epoch_starts)),
        (EMPTY_AT, text(head.empty_at)),
        (DEPART_AT, text(head.depart_at)),
        (ENDS_AT, text(head.ends_at)),
    ]
}

fn head_of(fields: &HashMap<String, String>) -> Result<Head, MirrorFault> {
    Ok(Head {
        tenant_id: required(fields, TENANT_ID)?,
        host_user_id: required(fields, HOST_USER_ID)?,
        settings: from_json(fields.get(SETTINGS).ok_or_else(|| absent(SETTINGS))?)?,
        sfu_region: fields.get(SFU_REGION).cloned(),
        is_recording: required(fields, IS_RECORDING)?,
        is_locked: required(fields, IS_LOCKED)?,
        session: match optional(fields, SESSION_ID)? {
            Some(session_id) => Some(SessionHead {
                session_id,
                start_time: required(fields, START_TIME)?,
            }),
            None => None,
        },
        epoch_starts: epoch_starts_of(fields.get(EPOCH_STARTS))?,
        empty_at: optional(fields, EMPTY_AT)?,
        depart_at: optional(fields, DEPART_AT)?,
        ends_at: optional(fields, ENDS_AT)?,
    })
}

fn text(value: Option<impl Display>) -> Option<String> {
    value.map(|value| value.to_string())
}

fn absent(name: &str) -> MirrorFault {
    MirrorFault(format!("stored room has no {name}"))
}

fn required<T: FromStr<Err: Display>>(
    fields: &HashMap<String, String>,
    name: &str,
) -> Result<T, MirrorFault> {
    optional(fields, name)?.ok_or_else(|| absent(name))
}

fn optional<T: FromStr<Err: Display>>(
    fields: &HashMap<String, String>,
    name: &str,
) -> Result<Option<T>, MirrorFault> {
    fields.get(name).map(|value| parse(name, value)).transpose()
}

/// `epoch:seq,epoch:seq`, oldest first.
fn epoch_starts_text(starts: &[EpochStart]) -> Option<String> {
    let parts: Vec<String> = starts
        .iter()
        .map(|start| format!("{}:{}", start.epoch, start.seq))
        .collect();
    (!parts.is_empty()).then(|| parts.join(","))
}

fn epoch_starts_of(text: Option<&String>) -> Result<Vec<EpochStart>, MirrorFault> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(Vec::new());
    };
    text.split(',')
        .map(|part| {
            let (epoch, seq) = part
                .split_once(':')
                .ok_or_else(|| unreadable(EPOCH_STARTS, &"no colon"))?;
            Ok(EpochStart {
                epoch: parse(EPOCH_STARTS, epoch)?,
                seq: parse(EPOCH_STARTS, seq)?,
            })
        })
        .collect()
}

fn record_writes<K: Display, V: Serialize>(records: &BTreeMap<K, Option<V>>) -> Vec<Write> {
    records
        .iter()
        .map(|(id, record)| (id.to_string(), record.as_ref().map(to_json)))
        .collect()
}

fn records_of<K, V>(stored: &HashMap<String, String>) -> Result<BTreeMap<K, V>, MirrorFault>
where
    K: FromStr<Err: Display> + Ord,
    V: DeserializeOwned,
{
    stored
        .iter()
        .map(|(id, json)| Ok((parse("record id", id)?, from_json(json)?)))
        .collect()
}

/// The list holds frames only: it has no gap and ends at the room's `seq`, so each place is known.
fn tail_of(last: Seq, frames: Vec<String>) -> Result<Vec<TailEvent>, MirrorFault> {
    let length = frames.len() as u64;
    let before = last
        .0
        .checked_sub(length)
        .ok_or_else(|| unreadable("tail", &"longer than the room's order"))?;
    Ok((before + 1..)
        .zip(frames)
        .map(|(seq, frame)| TailEvent {
            seq: Seq(seq),
            frame: frame.into(),
        })
        .collect())
}
