//! The rules of a room as people meet them over the wire, on both backends.

#[path = "../common/mod.rs"]
mod common;

mod admission;
mod life;
mod lobby;
mod roles;
mod talk;
