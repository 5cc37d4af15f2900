//! The rules in table style: who is told what, in virtual time, one line for each message.

mod admission;
mod between_nodes;
mod bounds;
mod commands;
mod ending;
mod fixture;
mod hosts;
mod lines;
mod lobby;
mod mirroring;
mod presence;
mod relays;
mod resume;

use self::fixture::{Fixture, OLGA, chat, check, muted};
