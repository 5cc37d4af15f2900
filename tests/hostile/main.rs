//! What bad input gets: an answer or the door, never memory, never somebody else's time.

#[path = "../common/mod.rs"]
mod common;

mod floods;
mod frames;
mod messages;
mod requests;
mod tokens;
