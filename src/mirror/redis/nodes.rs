//! The registry of nodes: heartbeats, and who is listed with which rooms.

use std::collections::{HashMap, HashSet};

use redis::{Cmd, cmd};
use uuid::Uuid;

use super::{RedisMirror, decode, fault, keys, scripts};
use crate::{
    ids::{NodeId, RoomId},
    mirror::{MirrorFault, NodeRecord, RoomMirror, fields::parse},
};

/// Rooms of a node that are read at once, about: Redis answers nobody else meanwhile.
const ROOMS_PAGE: usize = 250;

impl RedisMirror {
    /// Writes the hash of the node, its entry in `nodes` and, if there is none, a generation.
    /// Returns the generation.
    pub(super) async fn write_heartbeat(&self, node: &NodeRecord) -> Result<String, MirrorFault> {
        // The list is sorted by the clock of Redis: those of the nodes may differ.
        let (seconds, micros): (i64, i64) = self.call(cmd("TIME")).await?;
        let now_ms = seconds * 1000 + micros / 1000;
        let answers = self.client.run(self.heartbeat_calls(node, now_ms)).await?;
        let mut last = None;
        for answer in answers {
            last = Some(answer.map_err(fault)?);
        }
        decode(last.expect("the last answer is that of GET"))
    }

    fn heartbeat_calls(&self, node: &NodeRecord, now_ms: i64) -> Vec<Cmd> {
        let key = keys::node(node.node_id);
        let mut write = cmd("HSET");
        write.arg(&key);
        for (name, value) in node_fields(node) {
            write.arg(name).arg(value);
        }
        let mut expire = cmd("PEXPIRE");
        expire.arg(&key).arg(scripts::millis(self.options.node_ttl));
        let mut keep_rooms = cmd("PEXPIRE");
        keep_rooms
            .arg(keys::node_rooms(node.node_id))
            .arg(scripts::millis(self.options.ttl));
        let mut list = cmd("ZADD");
        list.arg(keys::NODES)
            .arg(now_ms)
            .arg(node.node_id.to_string());
        let mut generation = cmd("SET");
        generation
            .arg(keys::GENERATION)
            .arg(Uuid::new_v4().to_string())
            .arg("NX");
        let mut read = cmd("GET");
        read.arg(keys::GENERATION);
        vec![write, expire, keep_rooms, list, generation, read]
    }

    /// Returns the nodes, least recent heartbeat first. A node whose hash expired has empty fields.
    pub(super) async fn read_nodes(&self) -> Result<Vec<NodeRecord>, MirrorFault> {
        let mut query = cmd("ZRANGE");
        query.arg(keys::NODES).arg(0).arg(-1);
        let ids: Vec<String> = self.call(query).await?;
        let ids: Vec<NodeId> = ids.iter().filter_map(|id| id.parse().ok()).collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let calls = ids
            .iter()
            .map(|&id| {
                let mut read = cmd("HGETALL");
                read.arg(keys::node(id));
                read
            })
            .collect();
        let mut nodes = Vec::new();
        for (node_id, answer) in ids.into_iter().zip(self.client.run(calls).await?) {
            let fields: HashMap<String, String> = decode(answer.map_err(fault)?)?;
            // A node whose hash expired stays in the answer, because its rooms must be found.
            nodes.push(node_of(node_id, &fields)?);
        }
        Ok(nodes)
    }

    /// Reads the list of rooms of a node, page by page.
    pub(super) async fn read_rooms(&self, node_id: NodeId) -> Result<Vec<RoomId>, MirrorFault> {
        let mut rooms = HashSet::new();
        let mut cursor = "0".to_owned();
        let mut connections = None;
        loop {
            let mut scan = cmd("SSCAN");
            scan.arg(keys::node_rooms(node_id)).arg(&cursor);
            scan.arg("COUNT").arg(ROOMS_PAGE);
            let members: Vec<String>;
            (cursor, members) = self.call(scan).await?;
            rooms.extend(members.iter().filter_map(|id| id.parse::<RoomId>().ok()));
            // The cursor is not valid on another or restarted server.
            if *connections.get_or_insert(self.connections()) != self.connections() {
                return Err(MirrorFault(
                    "reconnected while rooms were listed".to_owned(),
                ));
            }
            if cursor == "0" {
                return Ok(rooms.into_iter().collect());
            }
        }
    }

    /// Removes a node. Its list of rooms stays, so that other nodes find rooms that are still on
    /// it.
    pub(super) async fn remove_node(&self, node_id: NodeId) -> Result<(), MirrorFault> {
        let mut delete = cmd("DEL");
        delete.arg(keys::node(node_id));
        let mut unlist = cmd("ZREM");
        unlist.arg(keys::NODES).arg(node_id.to_string());
        for answer in self.client.run(vec![delete, unlist]).await? {
            answer.map_err(fault)?;
        }
        Ok(())
    }
}

fn node_fields(node: &NodeRecord) -> [(&'static str, String); 9] {
    [
        ("url", node.url.clone()),
        ("region", node.region.clone()),
        ("version", node.version.clone()),
        ("databaseId", node.database_id.clone()),
        ("rooms", node.rooms.to_string()),
        ("connections", node.connections.to_string()),
        ("state", node.state.clone()),
        ("heartbeat", node.heartbeat.to_string()),
        ("seenAt", node.seen_at.to_string()),
    ]
}

fn node_of(node_id: NodeId, fields: &HashMap<String, String>) -> Result<NodeRecord, MirrorFault> {
    let text = |name: &str| fields.get(name).cloned().unwrap_or_default();
    let number = |name: &str| parse(name, fields.get(name).map_or("0", String::as_str));
    Ok(NodeRecord {
        node_id,
        url: text("url"),
        region: text("region"),
        version: text("version"),
        database_id: text("databaseId"),
        rooms: number("rooms")?,
        connections: number("connections")?,
        state: text("state"),
        heartbeat: number("heartbeat")?,
        seen_at: fields
            .get("seenAt")
            .map(|at| parse("seenAt", at))
            .transpose()?
            .unwrap_or_default(),
    })
}
