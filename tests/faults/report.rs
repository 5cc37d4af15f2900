//! What a run has shown, as Markdown; and whether the machine was too small for it.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinHandle;

use callboard::load::client::{Counts, Violation};

use crate::common::crowd::returns::{Return, Samples};

/// A wait of this length is measured again and again.
const PROBE: Duration = Duration::from_millis(10);
/// A load generator that wakes up later than this (p99) measures the machine.
const LAG_MAX: Duration = Duration::from_millis(50);
/// A load generator that uses more of the machine than this share measures itself.
const SHARE_MAX: f64 = 0.5;

/// Watches this process during a run.
pub struct Strain {
    started: Instant,
    /// CPU time used before.
    cpu_secs: f64,
    lags: Arc<Mutex<Vec<Duration>>>,
    is_over: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Strain {
    /// Begins to watch.
    pub fn watch() -> Self {
        let lags = Arc::new(Mutex::new(Vec::new()));
        let is_over = Arc::new(AtomicBool::new(false));
        let (noted, over) = (Arc::clone(&lags), Arc::clone(&is_over));
        let task = tokio::spawn(async move {
            while !over.load(Ordering::Acquire) {
                let asked = Instant::now();
                tokio::time::sleep(PROBE).await;
                let lag = asked.elapsed().saturating_sub(PROBE);
                noted.lock().expect("nobody panics with it").push(lag);
            }
        });
        Self {
            started: Instant::now(),
            cpu_secs: own_cpu_secs(),
            lags,
            is_over,
            task,
        }
    }

    /// What was seen, in sentences.
    pub async fn tell(self) -> String {
        self.is_over.store(true, Ordering::Release);
        // It ends by itself.
        let _ = self.task.await;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let seconds = self.started.elapsed().as_secs_f64();
        let used = (own_cpu_secs() - self.cpu_secs) / seconds;
        let lags = Samples::of(self.lags.lock().expect("nobody panics with it").drain(..));
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let mut told = format!(
            "Machine: {cores} cores, load average {}. The load generator used {used:.2} cores and woke up late by p50 {}, p99 {}.",
            load.split_whitespace()
                .take(3)
                .collect::<Vec<_>>()
                .join(" "),
            lags.show(0.5),
            lags.show(0.99),
        );
        if used > SHARE_MAX * cores as f64 {
            told.push_str(" **The load generator is itself the bottleneck: times are too long, and say little about the server.**");
        } else if lags.exceeds(0.99, LAG_MAX) {
            told.push_str(
                " **The machine was too busy for the load generator: times are too long.**",
            );
        }
        told
    }
}

/// CPU time of this process so far, in seconds.
fn own_cpu_secs() -> f64 {
    callboard::load::cpu_secs(std::process::id()).unwrap_or_default()
}

/// One fault, or two at the same time, and how it went.
pub struct Row {
    /// Kind or kinds.
    pub kind: String,
    /// The number under which the people counted.
    pub number: usize,
    /// From the end of the fault until everybody was in a durable room.
    pub settled: Duration,
}

/// The whole run.
#[derive(Default)]
pub struct Report {
    /// In order.
    pub rows: Vec<Row>,
    /// Every broken promise, with the room where there is one.
    pub violations: Vec<Violation>,
    /// Broken promises beyond those kept.
    pub violations_beyond: usize,
    /// Everybody's.
    pub counts: Counts,
    /// Rooms whose loss was allowed at some time.
    pub losses: usize,
    /// Chats acknowledged as durable in a part that nobody saw.
    pub unseen_chats: usize,
    /// Joins of the intruder that were refused.
    pub refused_joins: u64,
}

impl Report {
    /// Faults by kind.
    pub fn table(&self, returns: &[Return]) -> String {
        let mut kinds: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
        for row in &self.rows {
            kinds.entry(&row.kind).or_default().push(row);
        }
        let mut table = String::from(
            "| fault | count | people who lost their connection | back after p50 | p99 | max | all settled after the end of the fault, max |\n\
             |---|---:|---:|---:|---:|---:|---:|\n",
        );
        let all: Vec<&Row> = self.rows.iter().collect();
        let total = [("**all**", all)];
        for (kind, rows) in kinds.into_iter().chain(total) {
            let is_of = |back: &&Return| rows.iter().any(|row| row.number == back.fault);
            let samples = Samples::of(returns.iter().filter(is_of).map(|back| back.since_fault));
            let settled = Samples::of(rows.iter().map(|row| row.settled));
            let _ = writeln!(
                table,
                "| {kind} | {} | {} | {} | {} | {} | {} |",
                rows.len(),
                samples.len(),
                samples.show(0.5),
                samples.show(0.99),
                samples.show(1.0),
                settled.show(1.0),
            );
        }
        table
    }

    /// Totals.
    pub fn totals(&self, rooms: usize, people: usize) -> String {
        let counts = &self.counts;
        format!(
            "Rooms {rooms}, people {people}, events seen {}, acks {} ({} without durability), resumes {}, snapshots after a gap {}, \
             refused for now {}, joins refused because full {}. Rooms whose loss the contract allowed (Redis emptied and the owner lost \
             at the same time): {}. Durable chats that nobody could see: {}. **Violations: {}.**",
            counts.events,
            counts.acks,
            counts.unsure_acks,
            counts.resumes,
            counts.snapshots,
            counts.refusals,
            self.refused_joins,
            self.losses,
            self.unseen_chats,
            self.violations.len() + self.violations_beyond,
        )
    }
}
