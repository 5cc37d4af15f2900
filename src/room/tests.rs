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

impl super::Room {
    /// Puts the room at its last possible event, so that the next one overflows.
    pub(crate) fn break_rules(&mut self) {
        self.seq = crate::ids::Seq(u64::MAX);
        self.tail = super::Tail::default();
    }
}
