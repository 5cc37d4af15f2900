//! Structured logs on stderr.

use std::io::{self, IsTerminal};

use callboard::config::{LogConfig, LogFormat};
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

/// A client's broken request is no error of the server. Without this directive, anybody who reaches
/// the port can fill the log with one line per request. `log.level` may override it.
const QUIET: &str = "actix_http::h1::dispatcher=off";

/// Starts logging for the rest of the process.
pub(super) fn start(config: &LogConfig) {
    let filter: Targets = format!("{QUIET},{}", config.level)
        .parse()
        .expect("the configuration checked log.level");
    let builder = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_writer(io::stderr);
    match config.format {
        LogFormat::Text => builder
            .with_ansi(io::stderr().is_terminal())
            .finish()
            .with(filter)
            .init(),
        LogFormat::Json => builder
            .json()
            .flatten_event(true)
            .finish()
            .with(filter)
            .init(),
    }
}
