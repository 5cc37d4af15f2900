//! The end of a window: pending messages arrive, then the views of all clients and of the server
//! are compared.

use std::{
    collections::BTreeMap,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use tokio::time::sleep;

use super::{
    api::Api,
    client::{Participants, Violation},
    clients::Clients,
    context::RunContext,
    person::Summary,
    plan::Window,
};

/// Longest wait for pending answers and messages.
const ARRIVAL_DEADLINE: Duration = Duration::from_secs(30);
/// Longest wait for messages when all commands are answered.
const DELIVERY_DEADLINE: Duration = Duration::from_secs(5);
/// How long the views of clients may differ.
const AGREEMENT_DEADLINE: Duration = Duration::from_secs(10);
/// Interval of reading the counters.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// Interval of comparisons.
const COMPARE_INTERVAL: Duration = Duration::from_millis(500);
/// Concurrent requests for rooms.
const ASKING_MAX: usize = 16;

/// Room, seat and violation.
type Found = (usize, usize, Violation);

/// Waits, compares and adds the violations found.
pub(super) async fn settle(
    context: &RunContext,
    clients: &Clients,
    api: Option<&Api>,
    window: Window,
) {
    until_arrived(context).await;
    let deadline = Instant::now() + AGREEMENT_DEADLINE;
    let found = loop {
        let summaries = clients.summaries().await;
        let mut found = compare(context, &summaries, window);
        if let Some(api) = api {
            found.extend(compare_with_server(context, api, &summaries).await);
        }
        if found.is_empty() || Instant::now() > deadline {
            break found;
        }
        sleep(COMPARE_INTERVAL).await;
    };
    for (room, seat, violation) in &found {
        context.violations.add(*room, *seat, violation);
    }
}

/// Waits until every command is answered and every message has arrived, or until the deadline.
async fn until_arrived(context: &RunContext) {
    let meter = &context.meter;
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

/// Compares the views of all clients with each other and with the acknowledged messages.
fn compare(context: &RunContext, summaries: &[Summary], window: Window) -> Vec<Found> {
    let mut last_seqs: BTreeMap<usize, u64> = BTreeMap::new();
    for one in summaries {
        let last = last_seqs.entry(one.room).or_default();
        *last = (*last).max(one.last_seq.unwrap_or_default());
    }
    let mut found = Vec::new();
    for one in summaries {
        let acked = context.rooms[one.room].acked.load(Relaxed);
        let violations = check(one, last_seqs[&one.room], acked, window);
        found.extend(violations.map(|violation| (one.room, one.seat, violation)));
    }
    found
}

/// Checks one client's view against the room's last event and its number of acknowledged messages.
fn check(
    one: &Summary,
    last_seq: u64,
    acked: u64,
    window: Window,
) -> impl Iterator<Item = Violation> + use<> {
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
            Violation::new("one-order", &seen)
        }),
        messages.map(|messages| {
            let seen = format!("saw {messages} messages of {acked} acked ones");
            Violation::new("durable-ack", &seen)
        }),
        unanswered
            .map(|count| Violation::new("one-answer", &format!("{count} commands unanswered"))),
    ]
    .into_iter()
    .flatten()
}

/// Compares the participants that events told with `GET …/participants`.
async fn compare_with_server(context: &RunContext, api: &Api, summaries: &[Summary]) -> Vec<Found> {
    let mut by_room: BTreeMap<usize, Vec<(usize, &Participants)>> = BTreeMap::new();
    for one in summaries.iter().filter(|one| one.last_seq.is_some()) {
        if let Some(participants) = &one.participants {
            by_room
                .entry(one.room)
                .or_default()
                .push((one.seat, participants));
        }
    }
    let asked = by_room.into_iter().map(|(room, folds)| async move {
        let id = context.rooms[room].id.unwrap_or_default();
        let answer = api.participants(&context.target_of(room).base, id).await;
        let (told, wrong) = match answer {
            Ok(participants) => (Some(Participants::of(&participants)), None),
            Err(fault) => (None, Some(fault.to_string())),
        };
        let differs = move |(seat, seen): (usize, &Participants)| {
            let what = match (&told, &wrong) {
                (Some(told), _) if told.digest() == seen.digest() => return None,
                (Some(_), _) => "the events tell other people than the server".to_owned(),
                (None, wrong) => format!("the server does not tell: {wrong:?}"),
            };
            Some((room, seat, Violation::new("same-state", &what)))
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
            participants: None,
        }
    }

    fn names(one: &Summary, last_seq: u64, acked: u64) -> Vec<&'static str> {
        check(one, last_seq, acked, WINDOW)
            .map(|violation| violation.promise)
            .collect()
    }

    #[test]
    fn what_everybody_saw_is_no_violation() {
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
