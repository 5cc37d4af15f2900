//! The load tool against a real server, and against one that breaks its promises.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

#[path = "../common/mod.rs"]
mod common;

mod liar;
mod profiles;
mod tool;
