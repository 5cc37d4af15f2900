//! What callboard costs above the least that its own stack can do: the same load on both, in one
//! run.
//!
//! `cargo bench --bench compare -- --md table.md` starts a redis-server, and for each row callboard
//! and the baseline (this program again: a bare fan-out over actix-web-actors) in turn, the servers
//! on one core and `callboard load` on another. Redis runs where the kernel puts it. CPU time is
//! that of the server's process alone. Each run has fresh processes, the figures are medians.
//! `--growth` compares few rooms with many, `--peak` looks for the highest rates in addition.

#[path = "baseline/measure.rs"]
mod measure;
#[path = "baseline/peak.rs"]
mod peak;
#[path = "../tests/common/postgres.rs"]
mod postgres;
#[path = "baseline/processes.rs"]
mod processes;
#[path = "../tests/common/redis.rs"]
mod redis_server;
#[path = "baseline/rows.rs"]
mod rows;
#[path = "baseline/server.rs"]
mod server;
#[path = "baseline/table.rs"]
mod table;

use std::{fmt, path::PathBuf, time::Duration};

use clap::Parser;

use self::{
    measure::Figures,
    postgres::Postgres,
    processes::{Ground, Pinning, Server},
    redis_server::RedisServer,
    rows::{ROWS, Row},
    table::Table,
};

/// A server's name, and how it is started.
type Contender = (&'static str, fn(&Ground) -> Server);

const BASELINE: Contender = ("baseline", Server::baseline);
const CALLBOARD: Contender = ("callboard", Server::callboard);

/// What callboard costs above a bare fan-out.
#[derive(Parser)]
struct Arguments {
    /// Rows to measure, separated by commas; all by default.
    #[arg(long, value_delimiter = ',', value_parser = row_name)]
    rows: Vec<String>,
    /// How long each run lasts; idle-cpu 30 s at least.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// Runs of each row; figures are medians.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=99))]
    runs: u64,
    /// Compare few rooms with many, too.
    #[arg(long)]
    growth: bool,
    /// Look for the highest rates that keep their latency, too.
    #[arg(long)]
    peak: bool,
    /// Write the table to this file as well.
    #[arg(long, value_name = "FILE")]
    md: Option<PathBuf>,
    /// Another callboard binary: server and load tool.
    #[arg(long, value_name = "FILE", default_value = env!("CARGO_BIN_EXE_callboard"))]
    callboard: PathBuf,
    /// Be the baseline, on this port.
    #[arg(long, hide = true)]
    baseline_port: Option<u16>,
    /// Measure. `cargo bench` says so, `cargo test --benches` does not.
    #[arg(long)]
    bench: bool,
    /// Measure nothing, only show that it works.
    #[arg(long)]
    test: bool,
}

fn row_name(name: &str) -> Result<String, String> {
    let mut names = ROWS.iter().map(|row| row.name);
    if names.any(|known| known == name) {
        return Ok(name.to_owned());
    }
    let names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
    Err(format!("the rows are {}", names.join(", ")))
}

fn main() {
    let arguments = Arguments::parse();
    if let Some(port) = arguments.baseline_port {
        server::serve(port).expect("the baseline can listen");
        return;
    }
    if arguments.test || !arguments.bench {
        return show_that_it_works(&arguments);
    }
    let postgres = arguments.wants("churn").then(Postgres::start);
    let ground = Ground {
        pinning: Pinning::of_this_machine(),
        callboard: &arguments.callboard,
        redis: &RedisServer::start(),
        database: None,
    };
    let mut table = Table::new(&arguments.method(ground.pinning));
    for row in ROWS.iter().filter(|row| arguments.wants(row.name)) {
        compare(row, &arguments, &ground, postgres.as_ref(), &mut table);
    }
    if arguments.growth {
        compare_growth(&arguments, &ground, &mut table);
    }
    if arguments.peak {
        compare_peaks(&arguments, &ground, &mut table);
    }
    println!("\n{}", table.text());
    if let Some(file) = &arguments.md {
        std::fs::write(file, table.text()).expect("the table can be written");
    }
}

impl Arguments {
    fn wants(&self, name: &str) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|wanted| wanted == name)
    }

    fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    fn method(&self, pinning: Pinning) -> String {
        let cores = match pinning {
            Pinning::Pinned => {
                "Servers on one core, the load on another, Redis and PostgreSQL where the kernel puts them."
            }
            Pinning::Free => "Nothing is pinned to a core: latencies and rates say little.",
        };
        format!(
            "Medians of {} runs of {} s (idle-cpu 30 s at least), baseline and callboard in turn. {cores}",
            self.runs, self.seconds
        )
    }
}

/// Both in turn, as often as asked for.
fn compare(
    row: &Row,
    arguments: &Arguments,
    ground: &Ground,
    postgres: Option<&Postgres>,
    table: &mut Table,
) {
    let (mut baseline, mut callboard) = (Vec::new(), Vec::new());
    for number in 1..=arguments.runs {
        // Where sessions are recorded while it is measured, into what a cluster would have.
        let ground = Ground {
            database: postgres
                .filter(|_| !row.has_baseline())
                .map(|postgres| postgres.url(&postgres.create_database())),
            ..*ground
        };
        let measured = if row.has_baseline() {
            run(row, arguments, &ground, BASELINE, &mut baseline)
        } else {
            Ok(())
        };
        let measured =
            measured.and_then(|()| run(row, arguments, &ground, CALLBOARD, &mut callboard));
        if let Err(why) = measured {
            eprintln!("{} run {number}: {why}", row.name);
            return table.failure(row, &why);
        }
    }
    let baseline = row.has_baseline().then(|| measure::median(&baseline));
    table.row(row, baseline.as_ref(), &measure::median(&callboard));
}

/// One run against one server.
fn run(
    row: &Row,
    arguments: &Arguments,
    ground: &Ground,
    (name, start): Contender,
    runs: &mut Vec<Figures>,
) -> Result<(), String> {
    let server = start(ground);
    let duration = arguments.duration().max(row.window_min());
    let figures = measure::run(ground, &server, row, duration)?;
    eprintln!("{} {name}: {}", row.name, Line(row, &figures));
    runs.push(figures);
    Ok(())
}

/// The progress line of one run.
struct Line<'a>(&'a Row, &'a Figures);

impl fmt::Display for Line<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(row, figures) = self;
        write!(
            formatter,
            "{} {:.1}, p50 {:.0} µs, p99 {:.0} µs, CPU {:.0} %, {:.1} % done, {} violations",
            row.unit.name(),
            figures.cost,
            figures.p50_us,
            figures.p99_us,
            figures.cpu_percent,
            figures.share_done * 100.0,
            figures.violations
        )
    }
}

/// Few rooms and many in turn, on both.
fn compare_growth(arguments: &Arguments, ground: &Ground, table: &mut Table) {
    let mut runs: [[Vec<Figures>; 2]; 2] = Default::default();
    for _ in 0..arguments.runs {
        for (at, row) in rows::GROWTH.iter().enumerate() {
            for (server, runs) in [BASELINE, CALLBOARD].into_iter().zip(&mut runs) {
                if let Err(why) = run(row, arguments, ground, server, &mut runs[at]) {
                    return table.failure(row, &why);
                }
            }
        }
    }
    let [baseline, callboard] = runs.map(|pair| pair.map(|runs| measure::median(&runs)));
    table.growth(&baseline, &callboard);
}

fn compare_peaks(arguments: &Arguments, ground: &Ground, table: &mut Table) {
    let mut rates = Vec::new();
    for (name, start) in [BASELINE, CALLBOARD] {
        eprintln!("highest rate of {name}:");
        match peak::search(ground, start, arguments.duration()) {
            Ok(peak) => rates.push(peak),
            Err(why) => return table.failure(&rows::PEAK, &why),
        }
    }
    let [baseline, callboard] = rates[..] else {
        return;
    };
    let note = match (baseline.is_of_generator, callboard.is_of_generator) {
        (false, false) => "",
        (true, false) => "the baseline could do more than the load tool",
        (false, true) => "callboard could do more than the load tool",
        (true, true) => "both could do more than the load tool",
    };
    table.peak(baseline.rate, callboard.rate, note);
}

/// One short run of each server at next to no load, both at once.
fn show_that_it_works(arguments: &Arguments) {
    let ground = &Ground {
        pinning: Pinning::Free,
        callboard: &arguments.callboard,
        redis: &RedisServer::start(),
        database: None,
    };
    std::thread::scope(|scope| {
        for (_, start) in [BASELINE, CALLBOARD] {
            scope.spawn(move || try_out(ground, &start(ground)));
        }
    });
}

fn try_out(ground: &Ground, server: &Server) {
    let row = ROWS[0].tiny();
    let figures = measure::run(ground, server, &row, Duration::from_secs(1));
    let figures = figures.expect("a report");
    assert!(figures.share_done > 0.0, "{figures:?}");
    // The baseline promises nothing.
    let is_callboard = server.api_key.is_some();
    assert!(!is_callboard || figures.violations == 0, "{figures:?}");
}
