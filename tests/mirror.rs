//! One suite of behaviours over the mirror's three adapters, and what is special to Redis and to
//! the file.

#![allow(clippy::unwrap_used, reason = "a failed assumption fails the test")]

#[path = "common/redis.rs"]
mod redis_server;
#[path = "mirror_suite/sample.rs"]
mod sample;

#[path = "mirror_suite/fixture.rs"]
mod fixture;

#[path = "mirror_suite/chains.rs"]
mod chains;
#[path = "mirror_suite/claims.rs"]
mod claims;
#[path = "mirror_suite/closings.rs"]
mod closings;
#[path = "mirror_suite/commits.rs"]
mod commits;
#[path = "mirror_suite/file.rs"]
mod file;
#[path = "mirror_suite/memory.rs"]
mod memory;
#[path = "mirror_suite/redis_keys.rs"]
mod redis_keys;
#[path = "mirror_suite/redis_outages.rs"]
mod redis_outages;
#[path = "mirror_suite/redis_servers.rs"]
mod redis_servers;
#[path = "mirror_suite/releases.rs"]
mod releases;
#[path = "mirror_suite/writer.rs"]
mod writer;
