//! `callboard serve`.

use callboard::{
    config::Config,
    node::{self, ServeOptions},
    secrets::{self, DataLock, GivenSecrets, Secrets},
};
use clap::Args;

use super::{CommonArgs, Failure, output, prepare};

/// Flags of `serve`. All but the last are keys of the configuration.
#[derive(Args)]
pub(super) struct ServeArgs {
    /// Address of HTTP and WebSocket [env: CALLBOARD_LISTEN] [default: 127.0.0.1:8080]
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<String>,
    /// Address that serves health and metrics without a key [env: CALLBOARD_ADMIN_LISTEN]
    #[arg(long, value_name = "IP:PORT")]
    admin_listen: Option<String>,
    /// Redis for the mirror of live rooms [env: CALLBOARD_REDIS] [default: embedded in the data
    /// directory]
    #[arg(long, value_name = "URL")]
    redis: Option<String>,
    /// URL under which other nodes and clients reach this node [env: CALLBOARD_ADVERTISE] [default:
    /// made from --listen]
    #[arg(long, value_name = "URL")]
    advertise: Option<String>,
    /// Region of this node [env: CALLBOARD_REGION] [default: local]
    #[arg(long, value_name = "NAME")]
    region: Option<String>,
    /// Refuse to start if the database has an older schema, instead of migrating it
    #[arg(long)]
    no_migrate: bool,
}

impl ServeArgs {
    fn flags(&self) -> Vec<(&'static str, String)> {
        [
            ("listen", &self.listen),
            ("admin_listen", &self.admin_listen),
            ("redis", &self.redis),
            ("advertise", &self.advertise),
            ("region", &self.region),
        ]
        .into_iter()
        .filter_map(|(key, value)| value.clone().map(|value| (key, value)))
        .collect()
    }
}

/// Serves until the process is told to stop.
pub(super) fn run(common: &CommonArgs, args: &ServeArgs) -> Result<(), Failure> {
    let (config, given) = prepare(common, args.flags(), true)?;
    // Held until the server has stopped.
    let (secrets, _lock) = secrets_of(&config, &given)?;
    if secrets.is_bootstrap_new {
        output::line(&format!(
            "first API key, shown this once and kept in {}: {}",
            config.data.join(secrets::API_KEY_FILE).display(),
            secrets.bootstrap.expose()
        ))?;
    }
    let options = ServeOptions {
        migrate: !args.no_migrate,
    };
    actix_web::rt::System::new().block_on(node::run(config, secrets, options))?;
    Ok(())
}

/// Returns the secrets, and the lock of the data directory if this node keeps anything there.
fn secrets_of(
    config: &Config,
    given: &GivenSecrets,
) -> Result<(Secrets, Option<DataLock>), anyhow::Error> {
    let is_embedded = config.redis.is_none() || config.database.is_sqlite();
    match given.complete() {
        Some(secrets) if !is_embedded => Ok((secrets, None)),
        Some(_) | None => {
            let lock = DataLock::acquire(&config.data)?;
            Ok((secrets::load_or_create(&lock, given)?, Some(lock)))
        }
    }
}
