//! The rules of a room as clients see them on the wire, with both backends.

#[path = "../common/mod.rs"]
mod common;

mod admission;
mod lifecycle;
mod lobby;
mod roles;
mod talk;
