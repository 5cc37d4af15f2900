//! At the end of the lease: asks the others what happened, again and again until it is renewed.

use std::{sync::Arc, time::Duration};

use tracing::warn;

use super::Registry;
use crate::{actor::Rooms, claims::Tenure, clock::Clock, lease::Judgement};

/// How often the lease is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Judges for ever: whenever the lease is over, once per heartbeat.
pub async fn keep_judging(
    tenure: Tenure,
    clock: Clock,
    registry: Arc<Registry>,
    rooms: Rooms,
    heartbeat: Duration,
) {
    let mut last = None;
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let has_ended = tenure
            .lease()
            .is_some_and(|lease| lease.generation().is_some() && lease.has_ended(clock.now()));
        if !has_ended {
            last = None;
            looks.tick().await;
            continue;
        }
        let answers = registry.ask_for_mirror().await;
        let Some(judgement) = tenure
            .lease()
            .filter(|lease| lease.has_ended(clock.now()))
            .map(|mut lease| lease.judged(clock.now(), &answers))
        else {
            continue;
        };
        if last.replace(judgement) != Some(judgement) {
            warn!(?judgement, ?answers, "the lease is over");
        }
        if judgement != Judgement::Unknown {
            rooms.look_all();
        }
        tokio::time::sleep(heartbeat).await;
    }
}
