//! `callboard load`: measures a running server.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::Context;
use callboard::load::{self, LoadError, Options, Profile, Report};
use clap::Args;
use std::io::{self, IsTerminal};
use url::Url;

use super::{Failure, output};

/// Replaces a secret in the command line that the report shows.
const HIDDEN: &str = "…";

/// Flags of `load`.
#[derive(Args)]
pub(super) struct LoadArgs {
    /// Load profile: meeting, join-storm, broadcast, idle, churn or reconnect
    #[arg(value_name = "PROFILE")]
    profile: Profile,
    /// URL of a node. Repeat it for a cluster
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    url: Vec<Url>,
    /// API key of the server
    #[arg(
        long,
        value_name = "KEY",
        env = "CALLBOARD_API_KEY",
        hide_env_values = true
    )]
    key: Option<String>,
    /// Number of rooms. churn makes its own
    #[arg(long, value_name = "N", default_value_t = 100)]
    rooms: usize,
    /// People per room. churn always has 2
    #[arg(long, value_name = "N", default_value_t = 10)]
    size: usize,
    /// Rate per second: deliveries (broadcast), joins (join-storm), calls (churn). For meeting, how
    /// many times as busy as real people
    #[arg(long, value_name = "R", default_value_t = 1.0)]
    rate: f64,
    /// Seconds to measure
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    duration: Duration,
    /// Seconds before that in which people join. Not for join-storm and churn
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    ramp: Duration,
    /// Seed of all random choices
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Write the report as JSON to a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the report as an HTML page with plots
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Measure CPU time and memory of the server process too (Linux, same machine)
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
    /// Number of source addresses, 127.0.0.1 to 127.0.0.N, each with its own 28,000 ports
    #[arg(long, value_name = "N", default_value_t = 1)]
    sources: u8,
    /// Number of worker threads [default: one per core]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// The target is a plain fan-out without rules
    #[arg(long, hide = true)]
    bare: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "must be a number of seconds")?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// Runs the load, prints a table and writes the files.
pub(super) fn run(args: LoadArgs) -> Result<(), Failure> {
    let report = load::run(Options {
        profile: args.profile,
        urls: args.url,
        key: args.key,
        rooms: args.rooms,
        size: args.size,
        rate: args.rate,
        duration: args.duration,
        ramp: args.ramp,
        seed: args.seed,
        server_pid: args.server_pid,
        sources: args.sources,
        threads: args.threads.unwrap_or_else(cores),
        is_bare: args.bare,
        has_progress: io::stderr().is_terminal(),
    })
    .map_err(|error| match error {
        LoadError::Options(_) => Failure::Usage(error.to_string()),
        LoadError::Setup(_) | LoadError::Machine(_) => Failure::Runtime(error.into()),
    })?;
    output::line(load::table(&report).trim_end())?;
    if let Some(path) = &args.json {
        let json = serde_json::to_string_pretty(&report).context("writing the report")?;
        write(path, &json)?;
    }
    if let Some(path) = &args.html {
        write(path, &load::page(&report, &command_line()))?;
    }
    verdict(&report)
}

/// Fails the command when the server broke a promise.
fn verdict(report: &Report) -> Result<(), Failure> {
    if report.is_clean() {
        return Ok(());
    }
    let beyond = usize::try_from(report.violations_beyond).unwrap_or(usize::MAX);
    let count = report.violations.len().saturating_add(beyond);
    Err(Failure::Runtime(anyhow::anyhow!(
        "{count} violations: the server broke a promise"
    )))
}

fn write(path: &PathBuf, text: &str) -> Result<(), Failure> {
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    Ok(())
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The command line with the key hidden.
fn command_line() -> String {
    let mut words: Vec<String> = std::env::args().collect();
    for at in 1..words.len() {
        if words[at - 1] == "--key" {
            HIDDEN.clone_into(&mut words[at]);
        } else if words[at].starts_with("--key=") {
            words[at] = format!("--key={HIDDEN}");
        }
    }
    words.join(" ")
}
