//! Shared by the black-box tests: server processes, databases, clients over WebSocket and HTTP.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "tests; each test binary uses its own part of this"
)]

pub mod client;
pub mod cluster;
pub mod crowd;
pub mod http;
pub mod outside;
pub mod pair;
pub mod postgres;
pub mod proxy;
pub mod raw;
pub mod redis;
pub mod scenario;
pub mod server;
pub mod socket;
pub mod view;
