//! What participants notice when the process, SQL or Redis fails during a meeting.

#[path = "../common/mod.rs"]
mod common;

mod process;
mod redis;
mod sql;
