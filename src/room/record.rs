//! A room as data: the records that the mirror keeps and a successor continues from.

use std::collections::BTreeMap;

use bytestring::ByteString;
use serde::{Deserialize, Serialize};

use crate::{
    ids::{
        ConnectionId, Epoch, RoomId, Seq, SessionId, StayId, TenantId, Timestamp, UserId, Version,
    },
    protocol::{EndReason, LeaveReason, ParticipantView, Role, Settings, WaitingView},
};

/// One resume token, as a hash, with the epoch that issued it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenHash {
    /// SHA-256 of the token text, hex.
    pub hash: String,
    /// Epoch of the owner that issued it: decides which events its holder may have seen.
    pub epoch: Epoch,
}

/// A seat. Field names are those of Redis and of the wire; the private fields come last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParticipantRecord {
    /// The connection that holds the seat, or held it last.
    pub connection_id: ConnectionId,
    /// What this person may do.
    pub role: Role,
    /// Microphone off.
    pub is_muted: bool,
    /// Camera on.
    pub is_video_on: bool,
    /// When the stay began.
    pub joined_at: Timestamp,
    /// Shown to the others; at most 128 characters.
    pub display_name: String,
    /// Connection lost, seat held.
    pub is_away: bool,
    /// Hand up.
    pub is_hand_raised: bool,
    /// Sharing the screen.
    pub is_screen_sharing: bool,
    /// The stay.
    pub stay_id: StayId,
    /// When the connection was lost; none while connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_at: Option<Timestamp>,
    /// The role came from `SetRole` and wins over the token's.
    #[serde(default)]
    pub is_role_set: bool,
    /// Private: valid resume tokens, newest last, at most three.
    #[serde(default)]
    pub resume_token_hashes: Vec<TokenHash>,
    /// Private: highest command id that took effect; 0: none.
    #[serde(default)]
    pub last_command_id: u64,
    /// Private: bit n: command `last_command_id - 1 - n` took effect.
    #[serde(default)]
    pub command_bits: u64,
}

impl ParticipantRecord {
    /// Returns what everybody in the room is shown.
    #[must_use]
    pub fn view(&self, user_id: UserId) -> ParticipantView {
        ParticipantView {
            user_id,
            connection_id: self.connection_id,
            display_name: self.display_name.clone(),
            role: self.role,
            is_muted: self.is_muted,
            is_video_on: self.is_video_on,
            is_screen_sharing: self.is_screen_sharing,
            is_hand_raised: self.is_hand_raised,
            is_away: self.is_away,
            joined_at: self.joined_at,
        }
    }
}

/// Somebody who waits in the lobby.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LobbyRecord {
    /// Shown to the hosts.
    pub display_name: String,
    /// Since when; survives a reconnect.
    pub since: Timestamp,
    /// When the connection was lost; none while connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_at: Option<Timestamp>,
    /// A host admitted this person while unconnected: the next join does not wait.
    #[serde(default)]
    pub is_admitted: bool,
}

impl LobbyRecord {
    /// Returns what hosts are shown.
    #[must_use]
    pub fn view(&self, user_id: UserId) -> WaitingView {
        WaitingView {
            user_id,
            display_name: self.display_name.clone(),
            since: self.since,
        }
    }
}

/// Attendance of an ended stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeftRecord {
    /// Whose stay.
    pub user_id: UserId,
    /// Name at that time.
    pub display_name: String,
    /// Role at the end.
    pub role: Role,
    /// When the stay began.
    pub joined_at: Timestamp,
    /// When the connection was lost or the leave was decided.
    pub left_at: Timestamp,
    /// When the stay was taken off the room; differs from `left_at` after a grace period.
    pub ended_at: Timestamp,
    /// Why.
    pub leave_reason: LeaveReason,
    /// The role came from `SetRole` and holds when the user joins again in this session.
    #[serde(default)]
    pub is_role_set: bool,
    /// Private: lets a resume be told why it fails, for `reconnect_grace` after `ended_at`.
    #[serde(default)]
    pub resume_token_hashes: Vec<TokenHash>,
}

/// A ban.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BanRecord {
    /// Since when.
    pub created_at: Timestamp,
}

/// The session of a live room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionHead {
    /// Its id.
    pub session_id: SessionId,
    /// First admitted join.
    pub start_time: Timestamp,
}

/// At which event an epoch began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochStart {
    /// The epoch.
    pub epoch: Epoch,
    /// The last event of the state it began with.
    pub seq: Seq,
}

/// A room's own fields: what the hash `room:{roomId}` holds besides owner, epoch, version and `participantCount`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Whose room.
    pub tenant_id: TenantId,
    /// The owner: always host.
    pub host_user_id: UserId,
    /// As last set over HTTP.
    pub settings: Settings,
    /// Region of the media servers; sticky for the session.
    pub sfu_region: Option<String>,
    /// The announced recording flag.
    pub is_recording: bool,
    /// Locked rooms admit nobody new.
    pub is_locked: bool,
    /// The session, once somebody was admitted.
    pub session: Option<SessionHead>,
    /// The last 16 epochs, oldest first.
    pub epoch_starts: Vec<EpochStart>,
    /// When a room without a session gives up.
    pub empty_at: Option<Timestamp>,
    /// When a session without participants closes.
    pub depart_at: Option<Timestamp>,
    /// When `maxDurationSecs` is over.
    pub ends_at: Option<Timestamp>,
}

/// One event as sent: encoded once for everybody, live or replayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TailEvent {
    /// Its place in the room's order.
    pub seq: Seq,
    /// The JSON object.
    pub frame: ByteString,
}

/// A whole live room as data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Which room.
    pub room_id: RoomId,
    /// Its own fields.
    pub head: Head,
    /// Last event.
    pub seq: Seq,
    /// Seats.
    pub participants: BTreeMap<UserId, ParticipantRecord>,
    /// Who waits.
    pub lobby: BTreeMap<UserId, LobbyRecord>,
    /// Ended stays of this session.
    pub left: BTreeMap<StayId, LeftRecord>,
    /// Who may not return.
    pub bans: BTreeMap<UserId, BanRecord>,
    /// Last events, oldest first, without gap, ending at `seq`.
    pub tail: Vec<TailEvent>,
}

impl Snapshot {
    /// Notes that whoever was connected lost the connection at `at`, when the former owner was last known to live; not
    /// before the stay began.
    pub fn lost_at(&mut self, at: Timestamp) {
        for record in self.participants.values_mut() {
            record.lost_at.get_or_insert(at.max(record.joined_at));
        }
        for record in self.lobby.values_mut() {
            record.lost_at.get_or_insert(at.max(record.since));
        }
    }
}

/// What one commit writes to the mirror. Records are whole; `None` deletes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeSet {
    /// Version that the mirror must hold.
    pub from: Version,
    /// Version that it holds afterwards.
    pub to: Version,
    /// Last event afterwards.
    pub seq: Seq,
    /// A full snapshot: whatever else the mirror holds of the room is dropped first.
    pub is_full: bool,
    /// Changed own fields; none: only `seq` moved.
    pub head: Option<Head>,
    /// Changed seats.
    pub participants: BTreeMap<UserId, Option<ParticipantRecord>>,
    /// Changed lobby entries.
    pub lobby: BTreeMap<UserId, Option<LobbyRecord>>,
    /// Changed ended stays.
    pub left: BTreeMap<StayId, Option<LeftRecord>>,
    /// Changed bans.
    pub bans: BTreeMap<UserId, Option<BanRecord>>,
    /// New events, oldest first.
    pub tail: Vec<TailEvent>,
    /// How many events the list keeps after this commit.
    pub tail_keep: usize,
    /// The room closes: live keys are deleted, the finished session (if one began) goes to the outbox.
    pub closing: Option<Closing>,
}

impl ChangeSet {
    /// Whether it changes nothing: it asks whether the mirror holds this version. The version moves with each change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.from == self.to && !self.is_full && self.closing.is_none()
    }
}

/// The end of a room's life, in the commit that deletes its live keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closing {
    /// The finished session; none when nobody was ever admitted.
    pub session: Option<ClosedSession>,
}

/// A finished session: the outbox entry and, later, the rows in SQL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClosedSession {
    /// Its id.
    pub session_id: SessionId,
    /// The room.
    pub room_id: RoomId,
    /// The room's tenant.
    pub tenant_id: TenantId,
    /// First admitted join.
    pub start_time: Timestamp,
    /// The last `leftAt`.
    pub end_time: Timestamp,
    /// Why.
    pub end_reason: EndReason,
    /// Every stay.
    pub attendances: Vec<Attendance>,
    /// Bans of the room at its end: SQL may have missed them.
    pub bans: BTreeMap<UserId, BanRecord>,
}

/// One stay in a finished session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attendance {
    /// The stay.
    pub stay_id: StayId,
    /// Whose.
    pub user_id: UserId,
    /// Name at that time.
    pub display_name: String,
    /// Role at the end.
    pub role: Role,
    /// When it began.
    pub joined_at: Timestamp,
    /// When the connection was lost or the leave was decided.
    pub left_at: Timestamp,
    /// Why.
    pub leave_reason: LeaveReason,
}
