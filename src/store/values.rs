//! Writes the domain's types into columns and reads them back.

use diesel::{
    backend::Backend,
    deserialize::{self, FromSql, FromSqlRow},
    expression::AsExpression,
    serialize::{self, Output, ToSql},
};

use super::sql_types::{Bytea, Jsonb, Text, Timestamptz, Uuid};
use crate::{
    ids::{ApiKeyId, RoomId, SessionId, StayId, TenantId, Timestamp, UserId},
    protocol::{EndReason, LeaveReason, Role, Settings},
    store::{RoomStatus, Scope},
};

/// Makes types of other modules usable in queries, as the derives do for types that carry the
/// attributes themselves.
macro_rules! queryable {
    ($($proxy:ident($value:ty) as $sql:ident),+ $(,)?) => {$(
        #[derive(AsExpression, FromSqlRow)]
        #[diesel(foreign_derive)]
        #[diesel(sql_type = $sql)]
        #[expect(dead_code, reason = "names the type for the derive, never made")]
        struct $proxy($value);
    )+};
}

queryable! {
    RoomIdProxy(RoomId) as Uuid,
    UserIdProxy(UserId) as Uuid,
    SessionIdProxy(SessionId) as Uuid,
    TenantIdProxy(TenantId) as Uuid,
    StayIdProxy(StayId) as Uuid,
    ApiKeyIdProxy(ApiKeyId) as Uuid,
    AnyIdProxy(AnyId) as Uuid,
    TimestampProxy(Timestamp) as Timestamptz,
    RoomStatusProxy(RoomStatus) as Text,
    ScopeProxy(Scope) as Text,
    RoleProxy(Role) as Text,
    LeaveReasonProxy(LeaveReason) as Text,
    EndReasonProxy(EndReason) as Text,
}

/// An id of any kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct AnyId(pub(super) uuid::Uuid);

/// Reads and writes an id type as its UUID.
macro_rules! uuid_columns {
    ($($id:ident),+) => {$(
        impl<DB: Backend> FromSql<Uuid, DB> for $id
        where
            uuid::Uuid: FromSql<Uuid, DB>,
        {
            fn from_sql(value: DB::RawValue<'_>) -> deserialize::Result<Self> {
                uuid::Uuid::from_sql(value).map(Self)
            }
        }

        impl<DB: Backend> ToSql<Uuid, DB> for $id
        where
            uuid::Uuid: ToSql<Uuid, DB>,
        {
            fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
                self.0.to_sql(out)
            }
        }
    )+};
}

uuid_columns!(RoomId, UserId, SessionId, TenantId, StayId, ApiKeyId, AnyId);

/// Reads and writes an enum as one of its words.
macro_rules! word_columns {
    ($($name:ident { $($variant:ident = $word:literal),+ $(,)? })+) => {$(
        impl<DB: Backend> ToSql<Text, DB> for $name
        where
            str: ToSql<Text, DB>,
        {
            fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
                let word: &'static str = match self {
                    $(Self::$variant => $word,)+
                };
                word.to_sql(out)
            }
        }

        impl<DB: Backend> FromSql<Text, DB> for $name
        where
            String: FromSql<Text, DB>,
        {
            fn from_sql(value: DB::RawValue<'_>) -> deserialize::Result<Self> {
                let word = String::from_sql(value)?;
                match word.as_str() {
                    $($word => Ok(Self::$variant),)+
                    unknown => Err(format!(concat!("no ", stringify!($name), ": {}"), unknown).into()),
                }
            }
        }
    )+};
}

word_columns! {
    RoomStatus { Scheduled = "SCHEDULED", Active = "ACTIVE", Completed = "COMPLETED" }
    Scope { Tenant = "tenant", Operator = "operator" }
    Role { Host = "host", Attendee = "attendee" }
    LeaveReason {
        Left = "left",
        Timeout = "timeout",
        Removed = "removed",
        Banned = "banned",
        Superseded = "superseded",
        Ended = "ended",
    }
    EndReason {
        Empty = "empty",
        Ended = "ended",
        MaxDuration = "max_duration",
        Deleted = "deleted",
        Failed = "failed",
        Lost = "lost",
    }
}

/// A room's settings as read from the database.
#[derive(FromSqlRow)]
pub struct StoredSettings(Settings);

impl From<StoredSettings> for Settings {
    fn from(StoredSettings(settings): StoredSettings) -> Self {
        settings
    }
}

impl<DB: Backend> FromSql<Jsonb, DB> for StoredSettings
where
    serde_json::Value: FromSql<Jsonb, DB>,
{
    fn from_sql(value: DB::RawValue<'_>) -> deserialize::Result<Self> {
        let json = serde_json::Value::from_sql(value)?;
        Ok(Self(serde_json::from_value(json)?))
    }
}

/// A room's settings as written to the database.
pub(super) fn settings_json(settings: &Settings) -> serde_json::Value {
    serde_json::to_value(settings).expect("settings have string keys and plain values")
}

/// The SHA-256 of an API key's secret as read from the database.
#[derive(FromSqlRow)]
pub struct StoredHash([u8; 32]);

impl From<StoredHash> for [u8; 32] {
    fn from(StoredHash(hash): StoredHash) -> Self {
        hash
    }
}

impl<DB: Backend> FromSql<Bytea, DB> for StoredHash
where
    Vec<u8>: FromSql<Bytea, DB>,
{
    fn from_sql(value: DB::RawValue<'_>) -> deserialize::Result<Self> {
        let bytes = <Vec<u8> as FromSql<Bytea, DB>>::from_sql(value)?;
        let hash = bytes.try_into().map_err(|_| "a SHA-256 has 32 bytes")?;
        Ok(Self(hash))
    }
}
