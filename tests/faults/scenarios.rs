//! One kind of fault under a steady load, measured.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use super::{
    arguments::{Arguments, Scenario},
    fault::{Fault, start_again, terminate},
    report::{Report, Row},
    run::Run,
};
use callboard::load::client::Entry;

use crate::common::crowd::returns::{Return, Samples};

/// Traffic before the fault.
const STEADY: Duration = Duration::from_secs(5);
/// Longer than `cluster.expiry_ms`: the others take the rooms over.
const FREEZE: Duration = Duration::from_secs(9);
/// Before a killed node comes back.
const DOWN: Duration = Duration::from_secs(3);

/// Runs the scenario; the figures as Markdown come last.
pub async fn run(
    arguments: &Arguments,
    scenario: Scenario,
    seed: u64,
) -> (Report, Vec<Return>, String) {
    let mut run = Run::start(arguments, seed).await;
    tokio::time::sleep(STEADY).await;
    let mut exits = String::new();
    match scenario {
        Scenario::Kill => {
            let kill = Fault::Kill {
                node: 0,
                down: DOWN,
            };
            run.suffer(&[kill], Duration::ZERO).await;
        }
        Scenario::Freeze => {
            let freeze = Fault::Freeze {
                node: 0,
                length: FREEZE,
            };
            run.suffer(&[freeze], Duration::ZERO).await;
        }
        Scenario::RollingRestart => exits = restart_all(&mut run).await,
    }
    tokio::time::sleep(STEADY).await;
    let (report, returns) = run.finish().await;
    let figures = figures(&report, &returns, scenario, &exits);
    (report, returns, figures)
}

async fn restart_all(run: &mut Run) -> String {
    let mut exits = Vec::new();
    for node in 0..run.cluster.nodes.len() {
        let number = run.crowd.fault_begins();
        let started = Instant::now();
        let wrong = terminate(&run.cluster, node).await;
        let took = started.elapsed();
        exits.push(match &wrong {
            None => format!("node {node}: 0 after {} ms", took.as_millis()),
            Some(violation) => violation.what.clone(),
        });
        run.report.violations.extend(wrong);
        let failed = start_again(&run.cluster, node).await;
        run.report.violations.extend(failed);
        let settled = run.until_back().await;
        run.report.rows.push(Row {
            kind: "SIGTERM of a node".to_owned(),
            number,
            settled,
        });
    }
    exits.join("; ")
}

fn figures(report: &Report, returns: &[Return], scenario: Scenario, exits: &str) -> String {
    let (what, samples) = match scenario {
        Scenario::Kill => (
            "kill -9 of one node, from the kill to the resume",
            Samples::of(returns.iter().map(|back| back.since_fault)),
        ),
        Scenario::Freeze => (
            "SIGSTOP of one node, from the stop to the resume",
            Samples::of(returns.iter().map(|back| back.since_fault)),
        ),
        Scenario::RollingRestart => (
            "SIGTERM and restart of all nodes, from Goodbye or close to the resume",
            Samples::of(returns.iter().map(|back| back.since_loss)),
        ),
    };
    let broken = |promise: &str| {
        let of = |violation: &&callboard::load::client::Violation| violation.promise == promise;
        report.violations.iter().filter(of).count()
    };
    let by = |entry: Entry| returns.iter().filter(|back| back.entry == entry).count();
    let mut text = format!(
        "| {what} | |\n|---|---:|\n| people affected | {} |\n| p50 | {} |\n| p99 | {} |\n| max | {} |\n",
        samples.len(),
        samples.show(0.5),
        samples.show(0.99),
        samples.show(1.0),
    );
    for (name, count) in [
        ("resumed with the missed events", by(Entry::Resumed)),
        ("resumed with a snapshot", by(Entry::Snapshot)),
        ("lost the seat", by(Entry::Joined)),
        ("acked changes lost (durable-ack)", broken("durable-ack")),
        (
            "gaps, repeats, differences (one-order)",
            broken("one-order"),
        ),
        ("commands that took effect twice (once)", broken("once")),
    ] {
        // Writing to a String does not fail.
        let _ = writeln!(text, "| {name} | {count} |");
    }
    if !exits.is_empty() {
        let _ = writeln!(text, "| exit codes | {exits} |");
    }
    text
}
