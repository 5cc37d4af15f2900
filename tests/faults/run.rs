//! One run: the cluster, the crowd, and the audit at the end.

use std::time::{Duration, Instant};

use super::{
    arguments::Arguments,
    audit,
    fault::Fault,
    report::{Report, Row},
};
use callboard::load::client::Violation;

use crate::common::{
    cluster::Cluster,
    crowd::{Crowd, CrowdRoom, Size, intruder::Intruder, returns::Return},
};

/// Longest wait until all clients are back after a fault. A longer one is a violation.
const BACK_DEADLINE: Duration = Duration::from_secs(30);
/// The same for the first joins of a debug build on a busy machine.
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

    /// Causes one fault, or a second one `later`, and waits until all clients are back.
    pub async fn suffer(&mut self, faults: &[Fault], later: Duration) {
        let losable = self.losable(faults).await;
        self.allow_loss(&losable, true);
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
        self.allow_loss(&losable, false);
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

    /// Waits until all clients are in a durable room that the mirror has. Returns how long that
    /// took.
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

    /// Pauses all clients and compares them with each other and with the mirror.
    pub async fn compare(&mut self) {
        if let Err(what) = self.crowd.pause(BACK_DEADLINE).await {
            self.report.violate("back", what);
        }
        let found = audit::compare_mirror(&self.cluster, &self.crowd).await;
        self.report.violations.extend(found);
        self.crowd.end_pause(self.pace);
    }

    /// How many promises are broken so far.
    pub fn violations(&self) -> usize {
        let of_rooms = |room: &CrowdRoom| {
            let log = room.log();
            log.violations().len() + log.violations_beyond
        };
        self.report.violations.len() + self.crowd.rooms.iter().map(of_rooms).sum::<usize>()
    }

    /// Ends all rooms and checks what remains. Returns the report and all returns.
    pub async fn finish(mut self) -> (Report, Vec<Return>) {
        self.compare().await;
        self.report.refused_joins = self.intruder.stop().await;
        self.crowd
            .shared
            .is_ending
            .store(true, std::sync::atomic::Ordering::Release);
        let ended = audit::end_rooms(&self.cluster, &self.crowd, &mut self.report.violations).await;
        let returns = self.crowd.shared.returns().clone();
        let (rooms, counts, end) = self.crowd.finish(BACK_DEADLINE).await;
        let report = &mut self.report;
        report.counts = counts;
        if let Err(what) = end {
            report.violate("back", format!("at the end: {what}"));
        }
        let found = audit::compare_store(&self.cluster, &rooms, &ended).await;
        report.violations.extend(found);
        for room in &rooms {
            let mut log = room.log();
            report.unseen_chats += log.settle();
            report.violations.extend_from_slice(log.violations());
            report.violations_beyond += log.violations_beyond;
        }
        if !report.violations.is_empty() {
            self.cluster.print_logs().await;
        }
        (self.report, returns)
    }

    /// Returns the rooms that may lose history: their owner fails while Redis loses everything. All
    /// other rooms survive the loss of Redis through their owner.
    async fn losable(&self, faults: &[Fault]) -> Vec<usize> {
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

    fn allow_loss(&mut self, rooms: &[usize], is_allowed: bool) {
        for room in rooms {
            self.crowd.rooms[*room].log().allow_loss(is_allowed);
        }
        self.report.losses += if is_allowed { rooms.len() } else { 0 };
    }
}

impl Report {
    /// Notes a broken promise of the whole run.
    pub fn violate(&mut self, promise: &'static str, what: String) {
        self.violations.push(Violation::new(promise, &what));
    }
}
