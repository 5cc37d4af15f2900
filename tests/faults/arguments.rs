//! The command line: what a campaign needs, and what runners of ordinary tests pass to every test
//! binary.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Kills, freezes and cuts off real nodes under traffic and checks every promise from the clients'
/// side.
#[derive(Debug, Parser)]
#[command(name = "faults")]
pub struct Arguments {
    /// Faults of the campaign.
    #[arg(long, default_value_t = 15)]
    pub faults: usize,
    /// Where chance begins; by default another one each time.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Nodes.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    pub nodes: u8,
    /// Rooms.
    #[arg(long, default_value_t = 12)]
    pub rooms: usize,
    /// People in each room.
    #[arg(long, default_value_t = 4)]
    pub people: usize,
    /// Mean time between two commands of a person, in milliseconds.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(2..))]
    pub pace_ms: u64,
    /// One kind of fault, measured, instead of a campaign.
    #[arg(long)]
    pub scenario: Option<Scenario>,
    /// Only faults whose kind contains one of these texts, separated by commas.
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<String>,
    /// Of all faults, those that overlap with another one: 0 to 1.
    #[arg(long, default_value_t = 0.15, value_parser = share)]
    pub two: f64,
    /// Writes the tables to this file too.
    #[arg(long)]
    pub md: Option<PathBuf>,
    /// Lists this test as `cargo test -- --list` wants it.
    #[arg(long, hide = true)]
    list: bool,
    /// Of ordinary runners: no test here is ignored, so nothing is to be done.
    #[arg(long, hide = true)]
    ignored: bool,
    /// Of ordinary runners.
    #[arg(long, hide = true)]
    skip: Vec<String>,
    /// Of ordinary runners: a name must match wholly.
    #[arg(long, hide = true)]
    exact: bool,
    #[command(flatten)]
    _without_effect: WithoutEffect,
    /// Of ordinary runners: names of tests.
    #[arg(hide = true)]
    filters: Vec<String>,
}

/// What ordinary runners pass and what changes nothing here.
#[derive(Debug, clap::Args)]
struct WithoutEffect {
    #[arg(long, hide = true)]
    nocapture: bool,
    #[arg(long, hide = true)]
    no_capture: bool,
    #[arg(long, hide = true)]
    show_output: bool,
    #[arg(long, hide = true)]
    include_ignored: bool,
    #[arg(long, short, hide = true)]
    quiet: bool,
    #[arg(long, hide = true)]
    test_threads: Option<String>,
    #[arg(long, hide = true)]
    color: Option<String>,
    #[arg(long, hide = true)]
    format: Option<String>,
    #[arg(long, hide = true)]
    report_time: bool,
    #[arg(short = 'Z', hide = true)]
    unstable: Vec<String>,
}

/// One kind of fault in a steady state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// `kill -9` of one node.
    Kill,
    /// SIGSTOP of one node, and SIGCONT when the others have its rooms.
    Freeze,
    /// SIGTERM and start again, one node after the other.
    RollingRestart,
}

/// What a runner wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The run.
    Run,
    /// The name.
    List,
    /// Nothing: it asked for other tests.
    Nothing,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        Ok(_) | Err(_) => Err("a number from 0 to 1 is needed".to_owned()),
    }
}

/// The name of this test for runners.
const NAME: &str = "faults";

impl Arguments {
    /// What to do.
    pub fn wanted(&self) -> Wanted {
        let fits = |filter: &String| match self.exact {
            true => filter == NAME,
            false => NAME.contains(filter.as_str()),
        };
        let is_named = self.filters.is_empty() || self.filters.iter().any(fits);
        if self.ignored || !is_named || self.skip.iter().any(fits) {
            return Wanted::Nothing;
        }
        if self.list {
            return Wanted::List;
        }
        Wanted::Run
    }
}
