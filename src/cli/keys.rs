//! `callboard keys`: API keys.

use anyhow::{Context, anyhow};
use callboard::{
    ids::{ApiKeyId, TenantId},
    secrets::api_key::{ApiKeyText, seal},
    store::{ApiKey, Created, DEFAULT_TENANT, Page, Scope, Store},
};
use clap::{Args, Subcommand};
use serde_json::Value;

use super::{
    CommonArgs, Failure,
    database::{PAGE_ROWS, block_on, first_page, now, open},
    output, prepare,
    token::existing_signing_key,
};

/// Commands on API keys.
#[derive(Subcommand)]
pub(super) enum KeysCommand {
    /// Create a key and print it. It is shown only this once
    Create(CreateArgs),
    /// List keys: id, tenant, scope, name, creation time, revocation time
    List(ListArgs),
    /// Revoke a key
    Revoke(RevokeArgs),
}

/// Flags of `keys create`.
#[derive(Args)]
pub(super) struct CreateArgs {
    /// Purpose of the key, for people
    #[arg(long)]
    name: String,
    /// Tenant whose data the key opens [default: the default tenant]
    #[arg(long, value_name = "UUID")]
    tenant: Option<TenantId>,
    /// Allow the operator's routes too
    #[arg(long)]
    operator: bool,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Flags of `keys list`.
#[derive(Args)]
pub(super) struct ListArgs {
    /// Only the keys of this tenant
    #[arg(long, value_name = "UUID")]
    tenant: Option<TenantId>,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

/// Arguments of `keys revoke`.
#[derive(Args)]
pub(super) struct RevokeArgs {
    /// Id of the key, as listed or as in the key itself
    #[arg(value_name = "UUID")]
    id: ApiKeyId,
}

/// Runs the command.
pub(super) fn run(common: &CommonArgs, command: &KeysCommand) -> Result<(), Failure> {
    match command {
        KeysCommand::Create(args) => create(common, args),
        KeysCommand::List(args) => list(common, args),
        KeysCommand::Revoke(args) => revoke(common, args),
    }
}

fn create(common: &CommonArgs, args: &CreateArgs) -> Result<(), Failure> {
    let (config, given) = prepare(common, Vec::new(), false)?;
    let signing = existing_signing_key(&config, &given)?;
    let text = ApiKeyText::generate();
    let tenant_id = args.tenant.unwrap_or(DEFAULT_TENANT);
    let key = ApiKey {
        id: text.id,
        tenant_id,
        name: args.name.clone(),
        scope: if args.operator {
            Scope::Operator
        } else {
            Scope::Tenant
        },
        secret_hash: text.hash(),
        sealed_secret: seal(&text, &signing),
        created_at: now(),
        revoked_at: None,
    };
    block_on(async {
        let store = open(&config).await?;
        insert(&store, tenant_id, key).await
    })?;
    output::record(
        &[
            ("key", text.expose().into()),
            ("id", text.id.to_string().into()),
            ("tenantId", tenant_id.to_string().into()),
        ],
        args.json,
    )?;
    Ok(())
}

async fn insert(store: &Store, tenant_id: TenantId, key: ApiKey) -> Result<(), Failure> {
    let tenant = store.tenant(tenant_id).await;
    if tenant.context("looking up the tenant")?.is_none() {
        return Err(Failure::Usage(format!("there is no tenant {tenant_id}")));
    }
    match store
        .create_api_key(key)
        .await
        .context("creating the key")?
    {
        Created::New(_) | Created::Same(_) => Ok(()),
        Created::Conflict | Created::EmailTaken | Created::HostMissing => {
            Err(Failure::Runtime(anyhow!("the new key's id is taken")))
        }
    }
}

fn list(common: &CommonArgs, args: &ListArgs) -> Result<(), Failure> {
    let (config, _) = prepare(common, Vec::new(), false)?;
    block_on(async {
        let store = open(&config).await?;
        let mut page = first_page();
        loop {
            let keys = store
                .api_keys(args.tenant, page)
                .await
                .context("listing the keys")?;
            for key in &keys.items {
                output::row(&columns(key), args.json)?;
            }
            if keys.next.is_none() {
                return Ok(());
            }
            page = Page {
                after: keys.next,
                limit: PAGE_ROWS,
            };
        }
    })
}

fn columns(key: &ApiKey) -> [(&'static str, Value); 6] {
    let scope = match key.scope {
        Scope::Tenant => "tenant",
        Scope::Operator => "operator",
    };
    [
        ("id", key.id.to_string().into()),
        ("tenantId", key.tenant_id.to_string().into()),
        ("scope", scope.into()),
        ("name", key.name.clone().into()),
        ("createdAt", key.created_at.to_string().into()),
        ("revokedAt", key.revoked_at.map(|at| at.to_string()).into()),
    ]
}

fn revoke(common: &CommonArgs, args: &RevokeArgs) -> Result<(), Failure> {
    let (config, _) = prepare(common, Vec::new(), false)?;
    let is_revoked = block_on(async {
        let store = open(&config).await?;
        let revoked = store.revoke_api_key(args.id, now()).await;
        Ok(revoked.context("revoking the key")?)
    })?;
    if is_revoked {
        Ok(())
    } else {
        Err(Failure::Runtime(anyhow!(
            "there is no key {}, or it was revoked before",
            args.id
        )))
    }
}
