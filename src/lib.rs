//! callboard: the control plane of a video-conferencing system.
//!
//! Each live room is an actix actor. It owns its participants and copies its state to the mirror,
//! so that another process can continue the room. The modules are listed from the lowest layer up:
//! a module uses only those before it. `ARCHITECTURE.md` explains them.

// The unit tests share the client of `tests/common`, which names this crate.
#[cfg(test)]
extern crate self as callboard;

pub mod ids;

pub mod clock;

pub mod fd_budget;

pub mod protocol;

pub mod secrets;

pub mod room;

pub mod lease;

pub mod mirror;

pub mod owner;

pub mod host;

pub mod config;

pub mod metrics;

pub mod store;

pub mod ws;

pub mod claims;

pub mod recorder;

pub mod cluster;

pub mod actor;

pub mod http;

pub mod node;

pub mod load;
