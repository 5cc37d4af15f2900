//! Structured logs on stderr.

use std::io::{self, IsTerminal};

use callboard::config::{LogConfig, LogFormat};
use tracing_subscriber::EnvFilter;

/// Starts logging for the rest of the process.
pub(super) fn start(config: &LogConfig) {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::try_new(&config.level).expect("the configuration checked log.level"),
        )
        .with_writer(io::stderr);
    match config.format {
        LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}
