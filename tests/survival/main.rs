//! What survives what: one test per row of the README's table, with real nodes over one Redis and
//! one PostgreSQL.

#[path = "../common/mod.rs"]
mod common;

mod deaths;
mod leaving;
mod mirror;
mod partitions;
mod resumes;
mod setup;
