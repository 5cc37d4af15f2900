//! The command `callboard`: arguments → configuration → logging → a command.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
