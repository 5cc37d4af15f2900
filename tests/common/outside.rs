//! The databases beside a server: a Redis of its own for each test, one PostgreSQL per test binary or an own one.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use super::{postgres::Postgres, redis::Redis};

/// What the server of a test stands on.
pub struct Outside {
    /// This test's own Redis.
    pub redis: Redis,
    /// Shared by the tests of the binary, or own.
    pub postgres: Arc<Postgres>,
    /// URL of a database of this test alone.
    pub database: String,
}

impl Outside {
    /// A new Redis and a new database in the PostgreSQL that the tests of this binary share.
    pub fn shared() -> Self {
        static SHARED: OnceLock<Arc<Postgres>> = OnceLock::new();
        Self::on(Arc::clone(SHARED.get_or_init(|| Arc::new(Postgres::start()))))
    }

    /// A new Redis and a PostgreSQL that only this test stops and starts.
    pub fn own() -> Self {
        Self::on(Arc::new(Postgres::start()))
    }

    fn on(postgres: Arc<Postgres>) -> Self {
        let database = postgres.create_database();
        Self {
            redis: Redis::start(),
            postgres,
            database,
        }
    }

    /// All fields of a hash.
    pub fn hash(&self, key: &str) -> BTreeMap<String, String> {
        self.ask(::redis::cmd("HGETALL").arg(key))
    }

    /// All keys that fit a pattern; `{` and `}` need no escape.
    pub fn keys(&self, pattern: &str) -> Vec<String> {
        self.ask(::redis::cmd("KEYS").arg(pattern))
    }

    /// Seconds a key has left to live; -1: for ever.
    pub fn seconds_to_live(&self, key: &str) -> i64 {
        self.ask(::redis::cmd("TTL").arg(key))
    }

    fn ask<T: ::redis::FromRedisValue>(&self, command: &::redis::Cmd) -> T {
        let client = ::redis::Client::open(self.redis.url()).expect("the URL is valid");
        let mut connection = client.get_connection().expect("Redis runs");
        command.query(&mut connection).expect("Redis answers")
    }
}
