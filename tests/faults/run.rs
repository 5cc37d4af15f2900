//! What every run has around it: the cluster, the crowd, and at the end the audit of everything.

use std::time::{Duration, Instant};

use super::{
    arguments::Arguments,
    audit,
    fault::Fault,
    report::{Report, Row},
};
use crate::common::{
    cluster::Cluster,
    crowd::{Crowd, CrowdRoom, Size, intruder::Intruder, ledger::Violation, returns::Return},
};

/// Longest wait until everybody is back after a fault has ended; longer is a violation.
const BACK_DEADLINE: Duration = Duration::from_secs(30);
/// The same for the first joins, of a debug build on a busy machine.
const BEGIN_DEADLINE: Duration = Duration::from_secs(90);

/// A run in progress.
pub struct Run {
    /// The nodes.
    pub cluster: Cluster,
    /// The people.
    pub crowd: Crowd,
    /// What is known so far.
    pub report: Report,
    /// Mean time between two commands of a person.
    pub pace: Duration,
    intruder: Intruder,
}

impl Run {
    /// Starts everything; everybody is inside.
    pub async fn start(arguments: &Arguments, seed: u64) -> Self {
        let pace = Duration::from_millis(arguments.pace_ms);
        let cluster = Cluster::start(usize::from(arguments.nodes), &[]).await;
        let size = Size {
            rooms: arguments.rooms,
            people: arguments.people,
            pace,
            seed,
        };
        let begun = Instant::now();
        let crowd = Crowd::start(&cluster.apis(), size).await;
        let mut report = Report::default();
        if let Err(what) = crowd.until_all_in(begun, BEGIN_DEADLINE).await {
            report.violate("back", format!("at the begin: {what}"));
        }
        let intruder = Intruder::start(&cluster.apis(), &crowd);
        Self {
            cluster,
            crowd,
            report,
            pace,
            intruder,
        }
    }

    /// Does one fault, or two of which the second begins `later`, and waits until everybody is back.
    pub async fn suffer(&mut self, faults: &[Fault], later: Duration) {
        let forgiven = self.forgivable(faults).await;
        self.forgive(&forgiven, true);
        let number = self.crowd.fault_begins();
        let found = match faults {
            [one] => one.run(&self.cluster, &self.crowd).await,
            [one, other] => {
                let (mut one, other) = tokio::join!(one.run(&self.cluster, &self.crowd), async {
                    tokio::time::sleep(later).await;
                    other.run(&self.cluster, &self.crowd).await
                });
                one.extend(other);
                one
            }
            _ => Vec::new(),
        };
        self.report.violations.extend(found);
        let settled = self.until_back().await;
        self.forgive(&forgiven, false);
        self.report.rows.push(Row {
            kind: faults
                .iter()
                .map(Fault::kind)
                .collect::<Vec<_>>()
                .join(" + "),
            number,
            settled,
        });
    }

    /// Waits until everybody is inside a durable room that the mirror has; how long that took.
    pub async fn until_back(&mut self) -> Duration {
        let healed = Instant::now();
        if let Err(what) = self.crowd.until_all_in(healed, BACK_DEADLINE).await {
            self.report.violate("back", what);
        }
        if let Err(violation) = audit::until_mirrored(&self.cluster, &self.crowd).await {
            self.report.violations.push(violation);
        }
        healed.elapsed()
    }

    /// Everybody stands still: people, mirror and each other are compared.
    pub async fn compare(&mut self) {
        if let Err(what) = self.crowd.pause(BACK_DEADLINE).await {
            self.report.violate("back", what);
        }
        let found = audit::compare_mirror(&self.cluster, &self.crowd).await;
        self.report.violations.extend(found);
        self.crowd.go_on(self.pace);
    }

    /// How many promises are broken so far.
    pub fn violations(&self) -> usize {
        let of_rooms = |room: &CrowdRoom| {
            let ledger = room.ledger();
            ledger.violations().len() + ledger.violations_beyond
        };
        self.report.violations.len() + self.crowd.rooms.iter().map(of_rooms).sum::<usize>()
    }

    /// Ends all rooms and looks at what remains; everything known, and who came back when.
    pub async fn finish(mut self) -> (Report, Vec<Return>) {
        self.compare().await;
        self.report.refused_joins = self.intruder.stop().await;
        self.crowd
            .shared
            .is_ending
            .store(true, std::sync::atomic::Ordering::Release);
        let ended = audit::end_rooms(&self.cluster, &self.crowd, &mut self.report.violations).await;
        let returns = self.crowd.shared.returns().clone();
        let (rooms, counts, farewell) = self.crowd.farewell(BACK_DEADLINE).await;
        let report = &mut self.report;
        report.counts = counts;
        if let Err(what) = farewell {
            report.violate("back", format!("at the end: {what}"));
        }
        let found = audit::compare_store(&self.cluster, &rooms, &ended).await;
        report.violations.extend(found);
        for room in &rooms {
            let mut ledger = room.ledger();
            report.unseen_chats += ledger.settle();
            report.violations.extend_from_slice(ledger.violations());
            report.violations_beyond += ledger.violations_beyond;
        }
        if !report.violations.is_empty() {
            self.cluster.print_logs().await;
        }
        (self.report, returns)
    }

    /// What durable means (README, *What survives what*): acknowledged by Redis; it survives the loss of Redis as far as owners are
    /// alive. Rooms whose owner fails while Redis loses everything may lose what only Redis had. No other room may.
    async fn forgivable(&self, faults: &[Fault]) -> Vec<usize> {
        let failing: Vec<usize> = faults.iter().filter_map(Fault::node).collect();
        if failing.is_empty() || !faults.iter().any(Fault::loses_mirror) {
            return Vec::new();
        }
        let ids: Vec<String> = self
            .crowd
            .rooms
            .iter()
            .map(|room| room.room_id.clone())
            .collect();
        let owners = self.cluster.owner_urls(&ids).await;
        let is_failing = |url: &String| {
            let of = |node: &usize| {
                url.trim_end_matches('/') == self.cluster.nodes[*node].api.base.as_str()
            };
            failing.iter().any(of)
        };
        let rooms = self.crowd.rooms.iter().enumerate();
        rooms
            // An owner that the registry does not know cannot be told apart from the failing one.
            .filter(|(_, room)| owners[&room.room_id].as_ref().is_none_or(is_failing))
            .map(|(index, _)| index)
            .collect()
    }

    fn forgive(&mut self, rooms: &[usize], is_forgiving: bool) {
        for room in rooms {
            self.crowd.rooms[*room].ledger().forgive(is_forgiving);
        }
        self.report.amnesties += if is_forgiving { rooms.len() } else { 0 };
    }
}

impl Report {
    /// Notes a broken promise of the whole run.
    pub fn violate(&mut self, promise: &'static str, what: String) {
        self.violations.push(Violation::new(promise, &what));
    }
}
