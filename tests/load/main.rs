//! The load tool against a real server, and against one that breaks its promises.

#[path = "../common/mod.rs"]
mod common;

mod liar;
mod profiles;
mod tool;
