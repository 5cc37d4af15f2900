//! A room as data: the records that the mirror keeps, and from which a successor continues.

use std::collections::BTreeMap;

use bytestring::ByteString;
use serde::{Deserialize, Serialize};

use crate::{
    ids::{
        ConnectionId, Epoch, RoomId, Seq, SessionId, StayId, TenantId, Timestamp, UserId, Version,
    },
    protocol::{
        EndReason, LeaveReason, ParticipantFlags, ParticipantView, Role, Settings, WaitingView,
    },
};

/// One resume token, as a hash, with the epoch that issued it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenHash {
    /// SHA-256 of the token text, hex.
    pub hash: String,
    /// Epoch of the owner that issued it; limits which events its holder may have seen.
    pub epoch: Epoch,
}

/// A seat. Field names are those of Redis and of the wire; private fields come last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParticipantRecord {
    /// The connection that holds the seat, or held it last.
    pub connection_id: ConnectionId,
    /// Decides which commands are allowed.
    pub role: Role,
    /// As everybody sees them.
    #[serde(flatten)]
    pub flags: ParticipantFlags,
    /// When the stay began.
    pub joined_at: Timestamp,
    /// Shown to everybody; at most 128 characters.
    pub display_name: String,
    /// The connection is lost; the seat is held.
    pub is_away: bool,
    /// Does not change when the stay is resumed.
    pub stay_id: StayId,
    /// When the connection was lost; `None` while connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_at: Option<Timestamp>,
    /// The role came from `SetRole` and wins over the token's.
    #[serde(default)]
    pub is_role_set: bool,
    /// Private: valid resume tokens, newest last, at most three.
    #[serde(default)]
    pub resume_token_hashes: Vec<TokenHash>,
    /// Private: highest command id that took effect; 0 if none did.
    #[serde(default)]
    pub last_command_id: u64,
    /// Private: bit n is set if command `last_command_id - 1 - n` took effect.
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
            flags: self.flags,
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
    /// When the person began to wait; survives a reconnect.
    pub since: Timestamp,
    /// When the connection was lost; `None` while connected.
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
    /// The person of the stay.
    pub user_id: UserId,
    /// The name during the stay.
    pub display_name: String,
    /// The role at the end of the stay.
    pub role: Role,
    /// When the stay began.
    pub joined_at: Timestamp,
    /// When the connection was lost, or the stay was ended by a command.
    pub left_at: Timestamp,
    /// When the room ended the stay; later than `left_at` after a grace period.
    pub ended_at: Timestamp,
    /// Why the stay ended.
    pub leave_reason: LeaveReason,
    /// The role came from `SetRole` and holds when the user joins again in this session.
    #[serde(default)]
    pub is_role_set: bool,
    /// Private: for `reconnect_grace` after `ended_at`, a refused resume is told the reason.
    #[serde(default)]
    pub resume_token_hashes: Vec<TokenHash>,
}

/// A ban of one user from the room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BanRecord {
    /// When the ban was made.
    pub created_at: Timestamp,
}

/// The session of a live room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionHead {
    /// Chosen at the first admitted join.
    pub session_id: SessionId,
    /// Time of the first admitted join.
    pub start_time: Timestamp,
}

/// At which event an epoch began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochStart {
    /// The epoch that began.
    pub epoch: Epoch,
    /// The last event of the state it began with.
    pub seq: Seq,
}

/// A room's own fields: the content of the hash `room:{roomId}` without owner, epoch, version and
/// `participantCount`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The tenant that the room belongs to.
    pub tenant_id: TenantId,
    /// The owner: always host.
    pub host_user_id: UserId,
    /// As last set over HTTP.
    pub settings: Settings,
    /// Region of the media servers; fixed for the session.
    pub sfu_region: Option<String>,
    /// The announced recording flag.
    pub is_recording: bool,
    /// Locked rooms admit nobody new.
    pub is_locked: bool,
    /// `None` before the first admitted join.
    pub session: Option<SessionHead>,
    /// The last 16 epochs, oldest first.
    pub epoch_starts: Vec<EpochStart>,
    /// When a room without a session closes.
    pub empty_at: Option<Timestamp>,
    /// When a session without participants closes.
    pub depart_at: Option<Timestamp>,
    /// When the session reaches `maxDurationSecs`.
    pub ends_at: Option<Timestamp>,
}

/// One event as sent: encoded once, the same for live delivery and replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TailEvent {
    /// Its position in the room's order.
    pub seq: Seq,
    /// The event as a JSON object.
    pub frame: ByteString,
}

/// A whole live room as data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The id in the path.
    pub room_id: RoomId,
    /// Everything that is not a collection.
    pub head: Head,
    /// Position of the last event.
    pub seq: Seq,
    /// The seats, away ones included.
    pub participants: BTreeMap<UserId, ParticipantRecord>,
    /// People who wait in the lobby.
    pub lobby: BTreeMap<UserId, LobbyRecord>,
    /// Ended stays of this session.
    pub left: BTreeMap<StayId, LeftRecord>,
    /// Users who may not return.
    pub bans: BTreeMap<UserId, BanRecord>,
    /// The last events, oldest first, without gap, ending at `seq`.
    pub tail: Vec<TailEvent>,
}

impl Snapshot {
    /// Marks everybody who was connected as lost at `at`, when the previous owner was last known to
    /// be alive, but not before the stay began.
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
    /// The version that the mirror must hold.
    pub from: Version,
    /// The version that it holds afterwards.
    pub to: Version,
    /// Position of the last event afterwards.
    pub seq: Seq,
    /// A full snapshot: everything else that the mirror holds of the room is deleted first.
    pub is_full: bool,
    /// The own fields, if one of them changed.
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
    /// How many events the mirror keeps after this commit.
    pub tail_keep: usize,
    /// The room closes: live keys are deleted, and the finished session goes to the outbox.
    pub closing: Option<Closing>,
}

impl ChangeSet {
    /// Returns whether it changes nothing, and only checks that the mirror holds this version.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.from == self.to && !self.is_full && self.closing.is_none()
    }
}

/// The close of a room, in the commit that deletes its live keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closing {
    /// The finished session; `None` if nobody was ever admitted.
    pub session: Option<ClosedSession>,
}

/// A finished session: the outbox entry and, later, the rows in SQL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClosedSession {
    /// The session of the rows in SQL.
    pub session_id: SessionId,
    /// The room of the session.
    pub room_id: RoomId,
    /// The tenant that the room belongs to.
    pub tenant_id: TenantId,
    /// Time of the first admitted join.
    pub start_time: Timestamp,
    /// The latest `leftAt`.
    pub end_time: Timestamp,
    /// Why the session ended.
    pub end_reason: EndReason,
    /// Every stay of the session.
    pub attendances: Vec<Attendance>,
    /// Bans of the room at its end, in case SQL missed them.
    pub bans: BTreeMap<UserId, BanRecord>,
}

/// One stay in a finished session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attendance {
    /// The stay that ended.
    pub stay_id: StayId,
    /// The person of the stay.
    pub user_id: UserId,
    /// The name during the stay.
    pub display_name: String,
    /// The role at the end of the stay.
    pub role: Role,
    /// When the stay began.
    pub joined_at: Timestamp,
    /// When the connection was lost, or the stay was ended by a command.
    pub left_at: Timestamp,
    /// Why the stay ended.
    pub leave_reason: LeaveReason,
}
