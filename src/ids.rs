//! Ids, sequence numbers and points in time. Each is a type of its own, so that they cannot be
//! mixed up.

use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasherDefault, Hasher},
    str::FromStr,
};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize, de};
use uuid::Uuid;

/// Declares one id type over a UUID; the text form is the hyphenated lower-case UUID.
macro_rules! uuid_id {
    ($(#[$doc:meta] $name:ident),+ $(,)?) => {$(
        #[$doc]
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, out)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    )+};
}

uuid_id! {
    /// A room: the meeting place, a row in SQL.
    RoomId,
    /// A person known to the tenant, or a guest of one room.
    UserId,
    /// One session of a room, from the first join to the close.
    SessionId,
    /// A customer, who owns users, rooms and API keys.
    TenantId,
    /// One stay of one user, from joining to leaving; a resume does not change it.
    StayId,
    /// One WebSocket; a resume changes only this.
    ConnectionId,
    /// One process; new at every start.
    NodeId,
    /// An API key.
    ApiKeyId,
}

/// A map with connections as keys. It is read for every delivery. The keys are random numbers of
/// this server, so nobody can choose them so that they collide.
pub type ConnectionMap<T> = HashMap<ConnectionId, T, BuildHasherDefault<RandomIdHasher>>;

/// Uses a random id as its own hash.
#[derive(Debug, Default)]
pub struct RandomIdHasher(u64);

impl Hasher for RandomIdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for half in bytes.chunks(8) {
            let half = half.try_into().map_or(0, u64::from_be_bytes);
            self.0 ^= half;
        }
    }
}

/// Declares one counter type over `u64`.
macro_rules! counter {
    ($(#[$doc:meta] $name:ident),+ $(,)?) => {$(
        #[$doc]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// Returns the next number.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, out)
            }
        }

        impl FromStr for $name {
            type Err = std::num::ParseIntError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    )+};
}

counter! {
    /// Position of an event in its room's single order; the first event is 1, 0 means "none yet".
    Seq,
    /// Grows with each owner of a room; the mirror refuses writes of a lower epoch.
    Epoch,
    /// Counts the mirrored changes of a room; the mirror applies `from → to` only without gap.
    Version,
}

/// A point in time in whole milliseconds since 1970 UTC. Its text form is RFC 3339 with exactly
/// three fractional digits and `Z`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Returns the point `ms` milliseconds later.
    #[must_use]
    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add_unsigned(ms))
    }

    /// Returns the first multiple of `step_ms` milliseconds since 1970 that is not before this
    /// point.
    #[must_use]
    pub(crate) fn round_up(self, step_ms: u64) -> Self {
        let step_ms = step_ms.cast_signed();
        Self(self.0.saturating_add(step_ms - 1) / step_ms * step_ms)
    }

    /// Returns the milliseconds since `earlier`, or 0 if `earlier` is later.
    #[must_use]
    pub fn ms_since(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }

    /// Converts for SQL and display; a value out of range becomes 1970.
    #[must_use]
    pub fn to_utc(self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.0).unwrap_or_default()
    }
}

impl From<DateTime<Utc>> for Timestamp {
    fn from(time: DateTime<Utc>) -> Self {
        Self(time.timestamp_millis())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.to_utc().to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

impl FromStr for Timestamp {
    type Err = chrono::ParseError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        DateTime::parse_from_rfc3339(text).map(|time| time.to_utc().into())
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_ids_are_their_own_hash() {
        let of = |id: Uuid| {
            use std::hash::BuildHasher;
            BuildHasherDefault::<RandomIdHasher>::default().hash_one(ConnectionId(id))
        };
        let id = Uuid::new_v4();
        assert_eq!(of(id), of(id));
        let mut low_bits: Vec<u64> = (0..64)
            .map(|number| of(Uuid::from_u128(number)) & 63)
            .collect();
        low_bits.sort_unstable();
        low_bits.dedup();
        assert_eq!(low_bits.len(), 64);
    }

    #[test]
    fn timestamp_text_has_three_fractional_digits_and_z() {
        assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(
            "2026-11-22T16:18:51.120Z"
                .parse::<Timestamp>()
                .unwrap()
                .to_string(),
            "2026-11-22T16:18:51.120Z"
        );
    }
}
