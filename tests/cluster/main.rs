//! Several nodes over one Redis and one PostgreSQL behave like one server.

#[path = "../common/mod.rs"]
mod common;

mod admin;
mod forwarding;
mod hop;
mod internal;
mod nodes;
mod starting;
