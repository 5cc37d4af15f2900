//! Wiring and lifetime of the server.

use crate::{config::Config, secrets::Secrets};

/// How to start.
#[derive(Clone, Copy, Debug)]
pub struct ServeOptions {
    /// Bring the database to this release's schema; else refuse to start on an older one.
    pub migrate: bool,
}

/// Serves until SIGTERM or SIGINT. Must be called inside an actix `System`.
///
/// # Errors
///
/// When the server cannot start.
pub async fn run(config: Config, secrets: Secrets, options: ServeOptions) -> anyhow::Result<()> {
    tracing::debug!(?config, ?secrets, ?options, "starting");
    anyhow::bail!("this build has no server")
}
