//! The column types of the schema: ids and times are native on PostgreSQL and text on SQLite under
//! one Rust type each.

use chrono::{DateTime, Utc};
pub use diesel::sql_types::{Bytea, Int4, Int8, Jsonb, Nullable, Text};
use diesel::{
    data_types::PgTimestamp,
    deserialize::{self, FromSql},
    pg::{Pg, PgValue},
    query_builder::QueryId,
    serialize::{self, IsNull, Output, ToSql},
    sql_types::{self, SqlType},
    sqlite::{Sqlite, SqliteValue},
};

use crate::ids::Timestamp;

/// An id: `uuid` on PostgreSQL, hyphenated lower-case text on SQLite.
#[derive(Clone, Copy, Debug, Default, SqlType, QueryId)]
#[diesel(
    postgres_type(oid = 2950, array_oid = 2951),
    sqlite_type(name = "Text")
)]
pub struct Uuid;

/// A point in time: `timestamptz` on PostgreSQL, RFC 3339 text with milliseconds and `Z` on SQLite.
#[derive(Clone, Copy, Debug, Default, SqlType, QueryId)]
#[diesel(
    postgres_type(oid = 1184, array_oid = 1185),
    sqlite_type(name = "Text")
)]
pub struct Timestamptz;

// `table!` takes a column type of this name for one with date arithmetic.
impl sql_types::ops::Add for Timestamptz {
    type Rhs = sql_types::Interval;
    type Output = Timestamptz;
}

impl sql_types::ops::Sub for Timestamptz {
    type Rhs = sql_types::Interval;
    type Output = Timestamptz;
}

impl FromSql<Uuid, Pg> for uuid::Uuid {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        <Self as FromSql<sql_types::Uuid, Pg>>::from_sql(value)
    }
}

impl ToSql<Uuid, Pg> for uuid::Uuid {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        <Self as ToSql<sql_types::Uuid, Pg>>::to_sql(self, out)
    }
}

impl FromSql<Uuid, Sqlite> for uuid::Uuid {
    fn from_sql(value: SqliteValue<'_, '_, '_>) -> deserialize::Result<Self> {
        let text = <String as FromSql<Text, Sqlite>>::from_sql(value)?;
        Ok(text.parse()?)
    }
}

impl ToSql<Uuid, Sqlite> for uuid::Uuid {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        out.set_value(self.to_string());
        Ok(IsNull::No)
    }
}

/// 2000-01-01, where PostgreSQL begins to count, in milliseconds since 1970.
const POSTGRES_EPOCH_MS: i64 = 946_684_800_000;

impl FromSql<Timestamptz, Pg> for Timestamp {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        let PgTimestamp(micros) = FromSql::<sql_types::Timestamptz, Pg>::from_sql(value)?;
        Ok(Self(
            micros.div_euclid(1000).saturating_add(POSTGRES_EPOCH_MS),
        ))
    }
}

impl ToSql<Timestamptz, Pg> for Timestamp {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        let micros = self
            .0
            .saturating_sub(POSTGRES_EPOCH_MS)
            .saturating_mul(1000);
        let value = PgTimestamp(micros);
        ToSql::<sql_types::Timestamptz, Pg>::to_sql(&value, &mut out.reborrow())
    }
}

impl FromSql<Timestamptz, Sqlite> for Timestamp {
    fn from_sql(value: SqliteValue<'_, '_, '_>) -> deserialize::Result<Self> {
        let text = <String as FromSql<Text, Sqlite>>::from_sql(value)?;
        Ok(DateTime::parse_from_rfc3339(&text)?
            .with_timezone(&Utc)
            .into())
    }
}

impl ToSql<Timestamptz, Sqlite> for Timestamp {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        out.set_value(self.to_string());
        Ok(IsNull::No)
    }
}
