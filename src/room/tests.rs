//! Rules, table style: what is told to whom, in virtual time, in lines that read like minutes of the meeting.

mod admission;
mod between_nodes;
mod bounds;
mod commands;
mod ending;
mod hosts;
mod lines;
mod lobby;
mod mirroring;
mod presence;
mod relays;
mod resume;
mod stage;

use self::stage::{OLGA, Stage, chat, check, muted};
