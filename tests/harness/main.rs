//! The tools of the fault tests are tested themselves: a check that finds nothing proves nothing
//! until it has found a lie.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../faults/arguments.rs"]
#[allow(dead_code, reason = "only what runners pass is tried here")]
mod arguments;
mod checker;
#[path = "../common/mod.rs"]
mod common;
mod proxy;
mod runners;
