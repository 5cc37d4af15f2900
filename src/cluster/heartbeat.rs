//! This node's line in the registry, and the lease that it keeps with it.

use std::{sync::Arc, time::Duration};

use tracing::{debug, warn};

use crate::{
    actor::Rooms,
    claims::Tenure,
    clock::Clock,
    mirror::{MirrorFault, NodeRecord, RoomMirror, writer::MirrorWriter},
};

/// How often the lease sees that the node runs.
const PULSE: Duration = Duration::from_millis(100);

/// What the line says of the node besides who it is.
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
    /// Where it is written.
    pub mirror: Arc<dyn RoomMirror>,
    /// Is told how the mirror does.
    pub writer: MirrorWriter,
    /// The rooms to be verified when the mirror lost everything.
    pub rooms: Rooms,
    /// The line, without figures.
    pub node: NodeRecord,
    /// Says when.
    pub clock: Clock,
    /// Is renewed.
    pub tenure: Tenure,
    /// Between two heartbeats.
    pub interval: Duration,
}

impl Heartbeat {
    /// Writes for ever. A mirror that lost everything is noticed by its new generation: then all rooms are verified.
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
            // Behind a new connection may be a mirror that was restarted with old data, or a replica that had not all.
            let is_new_connection = connections != self.mirror.connections();
            connections = self.mirror.connections();
            if had_ended || is_new_connection {
                // Every room asks at once whether it is still there and owned here, instead of when something changes in it.
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

    /// Renews the lease; whether it had ended before.
    fn keep(&self, sent_at: crate::ids::Timestamp, written: &Result<String, MirrorFault>) -> bool {
        let Some(mut lease) = self.tenure.lease() else {
            return false;
        };
        match written {
            Ok(generation) => {
                let renewal = lease.renew(sent_at, self.clock.now(), generation);
                if renewal.had_ended {
                    warn!(
                        "the lease had ended: every room asks the mirror whether it is still owned here"
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

/// Shows the lease that the node runs; a gap means that it stood still.
pub async fn pulse(tenure: Tenure, clock: Clock) {
    let mut interval = tokio::time::interval(PULSE);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        if let Some(mut lease) = tenure.lease() {
            lease.look(clock.now());
        }
    }
}
