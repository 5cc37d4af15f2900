//! Writes this node's entry in the registry, and renews its lease.

use std::{sync::Arc, time::Duration};

use tracing::{debug, warn};

use crate::{
    actor::Rooms,
    claims::LeaseHandle,
    clock::Clock,
    mirror::{MirrorFault, NodeRecord, RoomMirror, writer::MirrorWriter},
};

/// How often the lease learns that the node runs.
const PULSE: Duration = Duration::from_millis(100);

/// The state of the node in its entry.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// `starting`, `ready` or `draining`.
    pub state: &'static str,
    /// Live rooms.
    pub rooms: u64,
    /// Open WebSockets.
    pub connections: u64,
}

/// See the module.
pub struct Heartbeat {
    /// Keeps the registry.
    pub mirror: Arc<dyn RoomMirror>,
    /// Learns whether the mirror answers.
    pub writer: MirrorWriter,
    /// Verified when the mirror lost everything.
    pub rooms: Rooms,
    /// The entry, without its load.
    pub node: NodeRecord,
    /// The node's time.
    pub clock: Clock,
    /// Renewed by each answered heartbeat.
    pub lease: LeaseHandle,
    /// Time between two heartbeats.
    pub interval: Duration,
}

impl Heartbeat {
    /// Sends heartbeats until it is dropped. A new generation of the mirror means that it lost
    /// everything: then all rooms are verified.
    pub async fn run(mut self, load: Arc<dyn Fn() -> Load + Send + Sync>) {
        let mut interval = tokio::time::interval(self.interval);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut generation: Option<String> = None;
        let mut connections = self.mirror.connections();
        loop {
            interval.tick().await;
            let sent_at = self.fill_in(load());
            let written = self.mirror.heartbeat(&self.node).await;
            self.writer.observe(&written);
            let had_ended = self.keep(sent_at, &written);
            // A new connection may lead to a mirror that was restarted with old data, or to a
            // replica that lacks some.
            let is_new_connection = connections != self.mirror.connections();
            connections = self.mirror.connections();
            if had_ended || is_new_connection {
                // Every room asks now, and not only when something changes in it.
                self.rooms.verify_all();
            }
            if let Ok(current) = written
                && generation
                    .replace(current.clone())
                    .is_some_and(|known| known != current)
            {
                warn!("the mirror has lost everything: writing it again");
                self.rooms.verify_all();
            }
        }
    }

    fn fill_in(&mut self, load: Load) -> crate::ids::Timestamp {
        let now = self.clock.now();
        self.node.heartbeat += 1;
        self.node.seen_at = now;
        self.node.rooms = load.rooms;
        self.node.connections = load.connections;
        load.state.clone_into(&mut self.node.state);
        now
    }

    /// Renews the lease. Returns whether it had expired before.
    fn keep(&self, sent_at: crate::ids::Timestamp, written: &Result<String, MirrorFault>) -> bool {
        let Some(mut lease) = self.lease.lock() else {
            return false;
        };
        match written {
            Ok(generation) => {
                let renewal = lease.renew(sent_at, self.clock.now(), generation);
                if renewal.had_ended {
                    warn!(
                        "the lease had expired: every room asks the mirror whether this node still owns it"
                    );
                }
                renewal.had_ended
            }
            Err(fault) => {
                debug!(%fault, "no heartbeat");
                lease.miss();
                false
            }
        }
    }
}

/// Tells the lease that the node runs, until it is dropped. A gap means that the node stood still.
pub async fn pulse(lease: LeaseHandle, clock: Clock) {
    let mut interval = tokio::time::interval(PULSE);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        if let Some(mut lease) = lease.lock() {
            lease.observe(clock.now());
        }
    }
}
