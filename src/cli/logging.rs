//! Structured logs on stderr.

use std::io::{self, IsTerminal};

use callboard::config::{LogConfig, LogFormat};
use tracing_subscriber::EnvFilter;

/// Of what the configuration does not name: a client's broken request is no error of the server. Without this, anybody who
/// reaches the port fills the log, a line for every request.
const QUIET: &str = "actix_http::h1::dispatcher=off";

/// Starts logging for the rest of the process.
pub(super) fn start(config: &LogConfig) {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::try_new(format!("{QUIET},{}", config.level))
                .expect("the configuration checked log.level"),
        )
        .with_writer(io::stderr);
    match config.format {
        LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}
