//! The actors: one per live room, one per connection, and the supervisor that brings them together.
//! The only place that knows actix actors. [`Rooms`] is what the rest of the node sees of them.
//!
//! From low to high: what the actors share (`context`, `directory`, `threads`), then `room`,
//! `supervisor`, `rooms`, `join_service` and `connection`.

mod commit_pacer;
mod connection;
mod context;
mod directory;
mod failures;
mod join_service;
mod room;
mod rooms;
mod supervisor;
#[cfg(test)]
mod tests;
mod threads;
mod timer;
mod waiter;

pub use self::{
    commit_pacer::PacingLimits,
    connection::{Connection, Origin},
    context::{ActorLimits, Leaving, NodeContext},
    join_service::{ConnectionLimits, ConnectionPermit, JoinService, Person, pace},
    room::HandOffFn,
    rooms::{AdminError, Location, Rooms},
    threads::RoomThreads,
};
pub use crate::ws::LinkLimits;
