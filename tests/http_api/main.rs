//! The HTTP API, route by route, as a tenant's backend meets it.

#[path = "../common/mod.rs"]
mod common;

mod access;
mod joining;
mod live;
mod machines;
mod rooms;
mod users;
