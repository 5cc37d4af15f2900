//! A report for people at a terminal.

use std::fmt::Write;

use super::{meter::Latency, report::Report};

/// What the report says, in lines.
#[must_use]
pub fn table(report: &Report) -> String {
    let mut text = format!(
        "{}: {} rooms of {}, {:.1} s\n",
        report.profile, report.rooms, report.size, report.window_secs
    );
    text.push_str("              count       p50       p90       p99     p99.9       max\n");
    for (name, count, latency) in rows(report) {
        if count > 0 {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name:<10} {count:>8} {}", cells(latency));
        }
    }
    for line in remarks(report) {
        let _ = writeln!(text, "{line}");
    }
    text
}

/// Name, count and latency of what has one.
pub(super) fn rows(report: &Report) -> [(&'static str, u64, &Latency); 4] {
    let (joins, commands) = (&report.joins, &report.commands);
    let (deliveries, resumes) = (&report.deliveries, &report.resumes);
    [
        ("joins", joins.done, &joins.latency_us),
        ("commands", commands.acked, &commands.latency_us),
        ("deliveries", deliveries.seen, &deliveries.latency_us),
        ("resumes", resumes.done, &resumes.latency_us),
    ]
}

fn cells(latency: &Latency) -> String {
    let all = [
        latency.p50,
        latency.p90,
        latency.p99,
        latency.p999,
        latency.max,
    ];
    all.map(|us| format!("{:>9}", milliseconds(us))).join(" ")
}

/// Microseconds as milliseconds.
pub(super) fn milliseconds(us: u64) -> String {
    format!("{}.{:02}ms", us / 1_000, us % 1_000 / 10)
}

/// What is no latency.
pub(super) fn remarks(report: &Report) -> Vec<String> {
    let (joins, commands) = (&report.joins, &report.commands);
    let mut lines = vec![
        format!(
            "joins: {} offered, {} refused, {} failed",
            joins.offered, joins.refused, joins.failed
        ),
        format!(
            "commands: {} offered, {} refused ({} of them not sent); {} requests",
            commands.offered, commands.refused, commands.withheld, report.requests
        ),
        format!(
            "deliveries: {} expected, {:.0} a second; {} connections lost",
            report.deliveries.expected, report.deliveries.per_second, report.connections.lost
        ),
    ];
    if report.sessions.expected > 0 {
        let sessions = &report.sessions;
        lines.push(format!(
            "sessions: {} of {} recorded",
            sessions.recorded, sessions.expected
        ));
    }
    if let Some(server) = &report.server {
        lines.push(format!(
            "server: {:.2} s of CPU, {} KiB at the beginning, {} at the end, {} at most",
            server.cpu_secs, server.rss_begin_kib, server.rss_end_kib, server.rss_max_kib
        ));
    }
    if let Some(commits) = &report.commits {
        lines.push(format!(
            "commits: {}, p50 {}, p99 {}",
            commits.count,
            milliseconds(commits.p50_us),
            milliseconds(commits.p99_us)
        ));
    }
    let own = &report.generator;
    lines.push(format!(
        "load tool: {:.2} s of CPU on {} cores, orders late by {} (p99)",
        own.cpu_secs,
        own.cores,
        milliseconds(own.late_us.p99)
    ));
    if own.is_bottleneck {
        lines.push("THE LOAD TOOL IS THE BOTTLENECK: these are not the server's limits".to_owned());
    }
    lines.extend(violations(report));
    lines
}

fn violations(report: &Report) -> Vec<String> {
    let mut lines: Vec<String> = report
        .violations
        .iter()
        .map(|violation| format!("VIOLATION {violation}"))
        .collect();
    if report.violations_beyond > 0 {
        lines.push(format!("and {} more", report.violations_beyond));
    }
    if lines.is_empty() {
        lines.push("no violations".to_owned());
    }
    lines
}
