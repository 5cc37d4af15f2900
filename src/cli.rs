//! The command line: the commands and their output.
//!
//! Results go to stdout, one per line, so that scripts can read them. Logs and errors go to stderr.
//! Exit codes: 0, 1 when something failed, 2 when the arguments or the configuration are wrong.

mod database;
mod keys;
mod load;
mod logging;
mod migrate;
mod output;
mod serve;
mod tenants;
mod token;

use std::{path::PathBuf, process::ExitCode};

use callboard::{
    config::{Config, Problem, Problems, Sources},
    secrets::GivenSecrets,
};
use clap::{Args, Parser, Subcommand};

/// Exit code for wrong arguments and a wrong configuration, the same as clap's.
const EXIT_USAGE: u8 = 2;

/// The control plane of a video-conferencing system.
#[derive(Parser)]
#[command(version, about, after_help = AFTER_HELP)]
struct Cli {
    #[command(flatten)]
    common: CommonArgs,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "Every key of config/default.toml can also be set by a variable: mirror.stall_ms is \
CALLBOARD_MIRROR__STALL_MS. Precedence, lowest first: defaults, --config file, variables, flags.";

/// Options of all commands.
#[derive(Args)]
struct CommonArgs {
    /// TOML file with settings [env: CALLBOARD_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory of the embedded databases and generated secrets [env: CALLBOARD_DATA] [default:
    /// ./data]
    #[arg(long, global = true, value_name = "DIRECTORY")]
    data: Option<String>,
    /// SQL database: postgres://… or sqlite:… [env: CALLBOARD_DATABASE] [default:
    /// sqlite:<data>/callboard.db]
    #[arg(long, global = true, value_name = "URL")]
    database: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Run a node
    Serve(serve::ServeArgs),
    /// Migrate the database to this release's schema and print the migrations that ran
    Migrate,
    /// Create and list tenants
    #[command(subcommand)]
    Tenants(tenants::TenantsCommand),
    /// Create, list and revoke API keys
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Load a running server with simulated rooms, measure it, and check its promises
    Load(Box<load::LoadArgs>),
    /// Print a join token, signed by the server's key, for experiments
    Token(token::TokenArgs),
}

/// Why a command failed.
enum Failure {
    /// Wrong arguments or configuration.
    Usage(String),
    /// Something failed.
    Runtime(anyhow::Error),
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::Usage(problems.to_string())
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Runtime(error)
    }
}

/// Loads the configuration and the given secrets and starts logging. Reports all their problems
/// together.
fn prepare(
    common: &CommonArgs,
    mut flags: Vec<(&'static str, String)>,
    is_node: bool,
) -> Result<(Config, GivenSecrets), Failure> {
    let mut problems = Vec::new();
    let environment = environment(&mut problems);
    let given = GivenSecrets::from_environment(&environment);
    let secret_problems = given.problems();
    let shared = [("data", &common.data), ("database", &common.database)];
    flags.extend(
        shared
            .into_iter()
            .filter_map(|(key, value)| value.clone().map(|value| (key, value))),
    );
    let loaded = Config::load(&Sources {
        file: common.config.clone(),
        environment,
        flags,
        is_node,
        is_signing_key_given: given.signing_key.is_some(),
    });
    let (config, more) = match loaded {
        Ok(config) => (Some(config), Vec::new()),
        Err(Problems(more)) => (None, more),
    };
    problems.extend(more);
    problems.extend(
        secret_problems
            .into_iter()
            .map(|(variable, text)| Problem::new(variable, text)),
    );
    match config {
        Some(config) if problems.is_empty() => {
            logging::start(&config.log);
            Ok((config, given))
        }
        _ => Err(Problems(problems).into()),
    }
}

/// The process's variables. One of ours that is not UTF-8 is a problem.
fn environment(problems: &mut Vec<Problem>) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    for (name, value) in std::env::vars_os() {
        let Ok(name) = name.into_string() else {
            continue;
        };
        match value.into_string() {
            Ok(value) => variables.push((name, value)),
            Err(_) if name.starts_with("CALLBOARD_") => {
                problems.push(Problem::new(name, "must be UTF-8"));
            }
            Err(_) => {}
        }
    }
    variables
}

/// Parses the arguments and runs the command.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Serve(args) => serve::run(&cli.common, &args),
        Command::Migrate => migrate::run(&cli.common),
        Command::Tenants(command) => tenants::run(&cli.common, &command),
        Command::Keys(command) => keys::run(&cli.common, &command),
        Command::Load(args) => load::run(*args),
        Command::Token(args) => token::run(&cli.common, &args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(text)) => {
            eprintln!("error: {text}");
            ExitCode::from(EXIT_USAGE)
        }
        Err(Failure::Runtime(error)) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
