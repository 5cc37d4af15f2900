//! One run of the load tool against one server, and what it reports.

use std::{fs, path::Path, process::Stdio, time::Duration};

use serde_json::Value;

use crate::{
    processes::{Ground, Server},
    rows::{Row, Unit},
};

/// Time in which all connections of a load are made: so many a second.
const CONNECTS_PER_SECOND: f64 = 1_000.0;
/// How many people one source address may have: a loopback address has about 28,000 ports.
const PEOPLE_PER_SOURCE: u32 = 20_000;

/// What was seen of one run.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// The server's cost of a unit: see [`Unit::name`].
    pub cost: f64,
    /// The server's CPU time, in hundredths of the time that passed.
    pub cpu_percent: f64,
    /// Microseconds from when a unit was due to its end.
    pub p50_us: f64,
    /// The same, of the slowest hundredth.
    pub p99_us: f64,
    /// Units that arrived for each that was due.
    pub share_done: f64,
    /// Broken promises.
    pub violations: u64,
    /// Whether the load tool was too slow for this.
    pub is_generator_bottleneck: bool,
    /// The slowest hundredth of the median second: a pause of the machine spoils one second, not
    /// the run.
    pub median_second_p99_us: f64,
    /// Microseconds that half of the window's commits stayed below; 0 on the baseline, which makes
    /// none.
    pub commit_p50_us: f64,
    /// The same of all but the slowest hundredth.
    pub commit_p99_us: f64,
}

/// Runs the load of a row against a fresh server.
///
/// # Errors
/// What the load tool said when it gave no report.
pub fn run(
    ground: &Ground,
    server: &Server,
    row: &Row,
    duration: Duration,
) -> Result<Figures, String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let file = directory.path().join("report.json");
    let people = row.rooms * row.size;
    let ramp_secs = f64::from(people) / CONNECTS_PER_SECOND;
    let mut command = ground.pinning.load(ground.callboard);
    command
        .args(["load", row.profile, "--url", &server.url])
        .args(["--rooms", &row.rooms.to_string()])
        .args(["--size", &row.size.to_string()])
        .args(["--rate", &row.rate.to_string()])
        .args(["--duration", &duration.as_secs().max(1).to_string()])
        .args(["--ramp", &ramp_secs.to_string()])
        .args(["--sources", &people.div_ceil(PEOPLE_PER_SOURCE).to_string()])
        .args(["--server-pid", &server.id().to_string()])
        .args(["--threads", "1"])
        .arg("--json")
        .arg(&file)
        .stdin(Stdio::null());
    match &server.api_key {
        Some(key) => command.env("CALLBOARD_API_KEY", key),
        None => command.arg("--bare"),
    };
    let output = command.output().map_err(|error| error.to_string())?;
    let report = read(&file).ok_or_else(|| {
        let said = String::from_utf8_lossy(&output.stderr);
        format!("the load tool ended with {}: {said}", output.status)
    })?;
    Ok(figures(&report, server, row))
}

fn read(file: &Path) -> Option<Value> {
    serde_json::from_str(&fs::read_to_string(file).ok()?).ok()
}

fn figures(report: &Value, server: &Server, row: &Row) -> Figures {
    let cpu_secs = number(report, "/server/cpuSecs");
    let cpu_percent = cpu_secs * 100.0 / number(report, "/windowSecs");
    let (part, done, due) = match row.unit {
        Unit::Delivery => ("deliveries", "/deliveries/seen", "/deliveries/expected"),
        Unit::Join | Unit::Connection | Unit::Quiet => ("joins", "/joins/done", "/joins/offered"),
        Unit::Request => ("commands", "/requests", "/requests"),
    };
    let (done, due) = (number(report, done), number(report, due));
    let cost = match row.unit {
        // Some of those that were due in the window come when it is over.
        Unit::Delivery => {
            cpu_secs * 1e6
                / (number(report, "/deliveries/perSecond") * number(report, "/windowSecs"))
        }
        Unit::Join => cpu_secs * 1e6 / done,
        Unit::Connection => {
            (number(report, "/server/rssEndKib") - server.idle_kib as f64)
                / f64::from(row.rooms * row.size)
        }
        Unit::Quiet => cpu_percent,
        Unit::Request => done / cpu_secs,
    };
    let violations = report.pointer("/violations").and_then(Value::as_array);
    Figures {
        cost,
        cpu_percent,
        p50_us: number(report, &format!("/{part}/latencyUs/p50")),
        p99_us: number(report, &format!("/{part}/latencyUs/p99")),
        share_done: if due > 0.0 { done / due } else { 1.0 },
        violations: violations.map_or(0, |list| list.len() as u64)
            + number(report, "/violationsBeyond") as u64,
        is_generator_bottleneck: report
            .pointer("/generator/isBottleneck")
            .and_then(Value::as_bool)
            .unwrap_or_default(),
        median_second_p99_us: median_second_p99_us(report),
        commit_p50_us: number(report, "/commits/p50Us"),
        commit_p99_us: number(report, "/commits/p99Us"),
    }
}

/// A number of the report; 0 where there is none.
fn number(report: &Value, pointer: &str) -> f64 {
    report
        .pointer(pointer)
        .and_then(Value::as_f64)
        .unwrap_or_default()
}

/// Each figure's median over the runs; what went wrong counts if it did in any of them.
pub fn median(runs: &[Figures]) -> Figures {
    let of = |figure: fn(&Figures) -> f64| middle(runs.iter().map(figure).collect());
    Figures {
        cost: of(|run| run.cost),
        cpu_percent: of(|run| run.cpu_percent),
        p50_us: of(|run| run.p50_us),
        p99_us: of(|run| run.p99_us),
        share_done: of(|run| run.share_done),
        violations: runs.iter().map(|run| run.violations).sum(),
        is_generator_bottleneck: runs.iter().any(|run| run.is_generator_bottleneck),
        median_second_p99_us: of(|run| run.median_second_p99_us),
        commit_p50_us: of(|run| run.commit_p50_us),
        commit_p99_us: of(|run| run.commit_p99_us),
    }
}

/// Of the seconds in which something was delivered; 0: there was none.
fn median_second_p99_us(report: &Value) -> f64 {
    let series = report.pointer("/series").and_then(Value::as_array);
    let seconds = series.into_iter().flatten();
    let busy = seconds.filter(|second| number(second, "/deliveries") > 0.0);
    middle(busy.map(|second| number(second, "/p99Us")).collect())
}

/// The value in the middle; 0: there is none.
fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
