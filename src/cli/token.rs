//! `callboard token`: a join token for trying things.

use callboard::{
    config::Config,
    ids::{RoomId, TenantId, Timestamp, UserId},
    protocol::Kind,
    secrets::{
        self, GivenSecrets, SIGNING_KEY_VARIABLE, SigningKey,
        token::{Claims, NAME_CHARS_MAX, TOKEN_LIFETIME_SECS_MAX, is_display_name, mint},
    },
    store::DEFAULT_TENANT,
};
use clap::Args;
use uuid::Uuid;

use super::{CommonArgs, Failure, output, prepare};

/// Flags of `token`.
#[derive(Args)]
pub(super) struct TokenArgs {
    /// Room to join
    #[arg(long, value_name = "UUID")]
    room: RoomId,
    /// User who joins
    #[arg(long, value_name = "UUID")]
    user: UserId,
    /// Kind of joiner: host or guest
    #[arg(long, value_parser = kind)]
    role: Kind,
    /// Display name, at most 128 characters
    #[arg(long, value_parser = display_name)]
    name: String,
    /// Tenant of the room [default: the default tenant]
    #[arg(long, value_name = "UUID")]
    tenant: Option<TenantId>,
    /// Life of the token in seconds, at most 86400 [default: token.lifetime_secs]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=TOKEN_LIFETIME_SECS_MAX))]
    ttl_secs: Option<u64>,
    /// Print a JSON object with token and expiresAt
    #[arg(long)]
    json: bool,
}

fn kind(text: &str) -> Result<Kind, String> {
    match text {
        "host" => Ok(Kind::Host),
        "guest" => Ok(Kind::Guest),
        _ => Err("must be host or guest".to_owned()),
    }
}

fn display_name(text: &str) -> Result<String, String> {
    if is_display_name(text) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "must have 1 to {NAME_CHARS_MAX} characters, none of them a control character"
        ))
    }
}

/// Prints the token.
pub(super) fn run(common: &CommonArgs, args: &TokenArgs) -> Result<(), Failure> {
    let (config, given) = prepare(common, Vec::new(), false)?;
    let signing = existing_signing_key(&config, &given)?;
    let ttl_secs = args.ttl_secs.unwrap_or(config.token.lifetime.as_secs());
    let now = Timestamp::from(chrono::Utc::now());
    let expires_at = Timestamp(now.0 / 1000 * 1000).plus_ms(ttl_secs * 1000);
    let claims = Claims {
        sub: args.user,
        room: args.room,
        tenant: args.tenant.unwrap_or(DEFAULT_TENANT),
        role: args.role,
        name: args.name.clone(),
        exp: u64::try_from(expires_at.0 / 1000).expect("now is after 1970"),
        jti: Uuid::new_v4().to_string(),
    };
    output::record(
        &[
            ("token", mint(&claims, &signing).into()),
            ("expiresAt", expires_at.to_string().into()),
        ],
        args.json,
    )?;
    Ok(())
}

/// Returns the server's signing key. A missing key is not created: no server would verify with it.
pub(super) fn existing_signing_key(
    config: &Config,
    given: &GivenSecrets,
) -> Result<SigningKey, Failure> {
    if config.redis.is_some() && given.signing_key.is_none() {
        return Err(Failure::Usage(format!(
            "{SIGNING_KEY_VARIABLE} must be given with redis: all nodes share it"
        )));
    }
    secrets::load_signing_key(&config.data, given)
        .map_err(anyhow::Error::from)?
        .ok_or_else(|| {
            Failure::Runtime(anyhow::anyhow!(
                "{} has no signing key: start `callboard serve` there once, or set {SIGNING_KEY_VARIABLE}",
                config.data.display()
            ))
        })
}
