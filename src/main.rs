//! The command `callboard`.
fn main() {}
