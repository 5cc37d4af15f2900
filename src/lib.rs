//! callboard: the control plane of a video-conferencing system.
//!
//! Every live room is an actix actor that owns its participants and mirrors its state, so that another process can
//! continue it. The modules, in the order of their dependencies:

pub mod ids;

pub mod clock;

pub mod fd_budget;

pub mod protocol;

pub mod room;

pub mod lease;

pub mod secrets;

pub mod config;

pub mod metrics;

pub mod mirror;

pub mod owner;

pub mod store;

pub mod ws;

pub mod recorder;

pub mod claims;

pub mod cluster;

pub mod actor;

pub mod http;

pub mod server;

pub mod load;
