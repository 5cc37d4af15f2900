//! The end of a window: what is under way arrives, then what everybody saw is compared, with each other and with the server.

use std::{
    collections::BTreeMap,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use tokio::time::sleep;

use super::{
    api::Api, breach::Breach, crew::Crew, fold::Fold, person::Summary, plan::Window, stage::Stage,
};

/// Longest wait for answers and messages that are under way.
const ARRIVAL_DEADLINE: Duration = Duration::from_secs(30);
/// Longest wait for messages when all commands are answered.
const DELIVERY_DEADLINE: Duration = Duration::from_secs(5);
/// How long people may see different things.
const AGREEMENT_DEADLINE: Duration = Duration::from_secs(10);
/// Between two looks at counters.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// Between two comparisons.
const COMPARE_INTERVAL: Duration = Duration::from_millis(500);
/// Rooms asked for at once.
const ASKING_MAX: usize = 16;

/// A breach and where.
type Found = (usize, usize, Breach);

/// Waits, compares, notes what is broken.
pub(super) async fn settle(stage: &Stage, crew: &Crew, api: Option<&Api>, window: Window) {
    until_arrived(stage).await;
    let deadline = Instant::now() + AGREEMENT_DEADLINE;
    let found = loop {
        let summaries = crew.summaries().await;
        let mut found = compare(stage, &summaries, window);
        if let Some(api) = api {
            found.extend(compare_with_server(stage, api, &summaries).await);
        }
        if found.is_empty() || Instant::now() > deadline {
            break found;
        }
        sleep(COMPARE_INTERVAL).await;
    };
    for (room, seat, breach) in &found {
        stage.breaches.add(*room, *seat, breach);
    }
}

/// Until every command is answered and every message has arrived, or for too long.
async fn until_arrived(stage: &Stage) {
    let meter = &stage.meter;
    let mut deadline = Instant::now() + ARRIVAL_DEADLINE;
    let mut is_answered = false;
    while Instant::now() < deadline {
        if !is_answered && meter.unanswered() == 0 {
            is_answered = true;
            deadline = Instant::now() + DELIVERY_DEADLINE;
        }
        let counts = &meter.counts;
        let expected = counts.deliveries_expected.load(Relaxed);
        if is_answered && counts.deliveries_seen.load(Relaxed) >= expected {
            return;
        }
        sleep(LOOK_INTERVAL).await;
    }
}

/// What people saw, against each other and against what was acked.
fn compare(stage: &Stage, summaries: &[Summary], window: Window) -> Vec<Found> {
    let mut last_seqs: BTreeMap<usize, u64> = BTreeMap::new();
    for one in summaries {
        let last = last_seqs.entry(one.room).or_default();
        *last = (*last).max(one.last_seq.unwrap_or_default());
    }
    let mut found = Vec::new();
    for one in summaries {
        let acked = stage.rooms[one.room].acked.load(Relaxed);
        let breaches = judge(one, last_seqs[&one.room], acked, window);
        found.extend(breaches.map(|breach| (one.room, one.seat, breach)));
    }
    found
}

/// What is wrong with what one person saw of a room whose last event, and number of messages, are these.
fn judge(
    one: &Summary,
    last_seq: u64,
    acked: u64,
    window: Window,
) -> impl Iterator<Item = Breach> + use<> {
    let is_inside = one.last_seq.is_some();
    let is_behind = one.last_seq.is_some_and(|seq| seq < last_seq);
    let was_there = is_inside && one.stay_from_ns <= window.from_ns;
    let messages = one
        .messages
        .filter(|messages| was_there && *messages < acked);
    let unanswered = Some(one.unanswered).filter(|unanswered| *unanswered > 0 && is_inside);
    [
        is_behind.then(|| {
            let seen = format!("saw event {:?} last, others {last_seq}", one.last_seq);
            Breach::new("one-order", seen)
        }),
        messages.map(|messages| {
            let seen = format!("saw {messages} messages of {acked} acked ones");
            Breach::new("durable-ack", seen)
        }),
        unanswered.map(|count| Breach::new("one-answer", format!("{count} commands unanswered"))),
    ]
    .into_iter()
    .flatten()
}

/// What the events told, against `GET …/participants`.
async fn compare_with_server(stage: &Stage, api: &Api, summaries: &[Summary]) -> Vec<Found> {
    let mut by_room: BTreeMap<usize, Vec<(usize, &Fold)>> = BTreeMap::new();
    for one in summaries.iter().filter(|one| one.last_seq.is_some()) {
        if let Some(fold) = &one.fold {
            by_room.entry(one.room).or_default().push((one.seat, fold));
        }
    }
    let asked = by_room.into_iter().map(|(room, folds)| async move {
        let id = stage.rooms[room].id.unwrap_or_default();
        let answer = api.participants(&stage.target_of(room).base, id).await;
        let (told, wrong) = match answer {
            Ok(participants) => (Some(Fold::of(&participants)), None),
            Err(fault) => (None, Some(fault.to_string())),
        };
        let differs = move |(seat, fold): (usize, &Fold)| {
            let seen = match (&told, &wrong) {
                (Some(told), _) if told == fold => return None,
                (Some(_), _) => "the events tell other people than the server".to_owned(),
                (None, wrong) => format!("the server does not tell: {wrong:?}"),
            };
            Some((room, seat, Breach::new("same-state", seen)))
        };
        folds
            .into_iter()
            .filter_map(differs)
            .collect::<Vec<Found>>()
    });
    let found: Vec<Vec<Found>> = stream::iter(asked)
        .buffer_unordered(ASKING_MAX)
        .collect()
        .await;
    found.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Window = Window {
        from_ns: 10,
        until_ns: 20,
    };

    fn summary() -> Summary {
        Summary {
            room: 0,
            seat: 0,
            last_seq: Some(9),
            stay_from_ns: 5,
            messages: Some(4),
            unanswered: 0,
            fold: None,
        }
    }

    fn names(one: &Summary, last_seq: u64, acked: u64) -> Vec<&'static str> {
        judge(one, last_seq, acked, WINDOW)
            .map(|breach| breach.name)
            .collect()
    }

    #[test]
    fn what_everybody_saw_is_no_breach() {
        assert!(names(&summary(), 9, 4).is_empty());
    }

    #[test]
    fn a_message_that_did_not_arrive_is_named() {
        assert_eq!(names(&summary(), 9, 5), ["durable-ack"]);
    }

    #[test]
    fn an_event_that_only_others_saw_is_named() {
        assert_eq!(names(&summary(), 10, 4), ["one-order"]);
    }

    #[test]
    fn an_unanswered_command_is_named() {
        let one = Summary {
            unanswered: 1,
            ..summary()
        };
        assert_eq!(names(&one, 9, 4), ["one-answer"]);
    }

    #[test]
    fn who_came_late_or_was_told_by_a_snapshot_need_not_have_all_messages() {
        let late = Summary {
            stay_from_ns: 15,
            ..summary()
        };
        let snapshot = Summary {
            messages: None,
            ..summary()
        };
        assert!(names(&late, 9, 7).is_empty());
        assert!(names(&snapshot, 9, 7).is_empty());
    }
}
