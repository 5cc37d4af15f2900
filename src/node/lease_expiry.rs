//! When the lease has expired: asks the other nodes why, until it is renewed.

use std::{sync::Arc, time::Duration};

use tracing::warn;

use crate::{
    actor::Rooms, claims::LeaseHandle, clock::Clock, cluster::Registry, lease::ExpiryCause,
};

/// How often the lease is read.
const CHECK_EVERY: Duration = Duration::from_millis(100);

/// Asks once per heartbeat while the lease is expired. Runs until it is dropped.
pub async fn watch_lease_expiry(
    lease: LeaseHandle,
    clock: Clock,
    registry: Arc<Registry>,
    rooms: Rooms,
    heartbeat: Duration,
) {
    let mut last = None;
    let mut checks = tokio::time::interval(CHECK_EVERY);
    checks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let has_ended = lease
            .lock()
            .is_some_and(|lease| lease.generation().is_some() && lease.has_ended(clock.now()));
        if !has_ended {
            last = None;
            checks.tick().await;
            continue;
        }
        let answers = registry.ask_for_mirror().await;
        let Some(cause) = lease
            .lock()
            .filter(|lease| lease.has_ended(clock.now()))
            .map(|mut lease| lease.diagnose(clock.now(), &answers))
        else {
            continue;
        };
        if last.replace(cause) != Some(cause) {
            warn!(?cause, ?answers, "the lease has expired");
        }
        if cause != ExpiryCause::Unknown {
            rooms.check_leases();
        }
        tokio::time::sleep(heartbeat).await;
    }
}
