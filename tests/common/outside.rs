//! The databases of a test server: one Redis per test, one PostgreSQL per test binary or per test.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use super::{postgres::Postgres, redis::RedisServer};

/// The databases of a test server.
pub struct Outside {
    /// This test's own Redis.
    pub redis: RedisServer,
    /// Shared by the tests of the binary, or own.
    pub postgres: Arc<Postgres>,
    /// URL of a database of this test alone.
    pub database: String,
}

impl Outside {
    /// A new Redis and a new database in the PostgreSQL that the tests of this binary share.
    pub fn shared() -> Self {
        static SHARED: OnceLock<Arc<Postgres>> = OnceLock::new();
        Self::on(Arc::clone(
            SHARED.get_or_init(|| Arc::new(Postgres::start())),
        ))
    }

    /// A new Redis and a PostgreSQL that only this test stops and starts.
    pub fn own() -> Self {
        Self::on(Arc::new(Postgres::start()))
    }

    fn on(postgres: Arc<Postgres>) -> Self {
        let database = postgres.url(&postgres.create_database());
        Self {
            redis: RedisServer::start(),
            postgres,
            database,
        }
    }

    /// All fields of a hash.
    pub fn hash(&self, key: &str) -> BTreeMap<String, String> {
        self.redis.command(&["HGETALL", key])
    }

    /// All keys that fit a pattern; `{` and `}` need no escape.
    pub fn keys(&self, pattern: &str) -> Vec<String> {
        self.redis.command(&["KEYS", pattern])
    }

    /// The time to live of a key in seconds. -1 without an expiry.
    pub fn seconds_to_live(&self, key: &str) -> i64 {
        self.redis.command(&["TTL", key])
    }
}
