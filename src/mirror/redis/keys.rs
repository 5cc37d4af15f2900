//! Names of the keys. The braces keep all keys of a room in one slot of a Redis Cluster.

use crate::ids::{NodeId, RoomId, SessionId};

/// Sorted set of node ids by the time of their last heartbeat.
pub(super) const NODES: &str = "nodes";
/// Random text, set once: a new one means that Redis lost everything.
pub(super) const GENERATION: &str = "mirror:generation";
/// Set of `<roomId>/<sessionId>`: hints where outbox entries are.
pub(super) const OUTBOX: &str = "outbox";

/// What follows [`main`] in the six live keys of a room, in the order that the scripts expect.
pub(super) const ROOM_PARTS: [&str; 6] = ["", ":participants", ":lobby", ":left", ":bans", ":tail"];

/// The hash of a room.
pub(super) fn main(room_id: RoomId) -> String {
    format!("room:{{{room_id}}}")
}

/// A finished session that waits to be recorded.
pub(super) fn closed(room_id: RoomId, session_id: SessionId) -> String {
    format!("room:{{{room_id}}}:closed:{session_id}")
}

/// The hash of a node.
pub(super) fn node(node_id: NodeId) -> String {
    format!("node:{{{node_id}}}")
}

/// The rooms that a node owns.
pub(super) fn node_rooms(node_id: NodeId) -> String {
    format!("node:{{{node_id}}}:rooms")
}

/// A member of [`OUTBOX`].
pub(super) fn outbox_member(room_id: RoomId, session_id: SessionId) -> String {
    format!("{room_id}/{session_id}")
}

/// The ids in a member of [`OUTBOX`]. `None` if it has another form.
pub(super) fn parse_outbox_member(member: &str) -> Option<(RoomId, SessionId)> {
    let (room_id, session_id) = member.split_once('/')?;
    Some((room_id.parse().ok()?, session_id.parse().ok()?))
}
