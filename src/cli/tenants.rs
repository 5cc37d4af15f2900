//! `callboard tenants`: tenants, the customers of this installation.

use anyhow::Context;
use callboard::{
    ids::TenantId,
    store::{Created, Page, Tenant},
};
use clap::{Args, Subcommand};
use uuid::Uuid;

use super::{
    CommonArgs, Failure,
    database::{PAGE_ROWS, block_on, first_page, now, open},
    output, prepare,
};

/// Commands on tenants.
#[derive(Subcommand)]
pub(super) enum TenantsCommand {
    /// Create a tenant and print its id
    Create(CreateArgs),
    /// List tenants: id, name, creation time
    List(ListArgs),
}

/// Flags of `tenants create`.
#[derive(Args)]
pub(super) struct CreateArgs {
    /// Name of the tenant
    #[arg(long)]
    name: String,
    /// Id of the tenant. Repeating the same id and name changes nothing [default: a new id]
    #[arg(long, value_name = "UUID")]
    id: Option<TenantId>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Flags of `tenants list`.
#[derive(Args)]
pub(super) struct ListArgs {
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(common: &CommonArgs, command: &TenantsCommand) -> Result<(), Failure> {
    match command {
        TenantsCommand::Create(args) => create(common, args),
        TenantsCommand::List(args) => list(common, args),
    }
}

fn create(common: &CommonArgs, args: &CreateArgs) -> Result<(), Failure> {
    let (config, _) = prepare(common, Vec::new(), false)?;
    let tenant = Tenant {
        id: args.id.unwrap_or_else(|| TenantId(Uuid::now_v7())),
        name: args.name.clone(),
        created_at: now(),
    };
    let created = block_on(async {
        let store = open(&config).await?;
        let created = store.create_tenant(tenant).await;
        Ok(created.context("creating the tenant")?)
    })?;
    match created {
        Created::New(tenant) | Created::Same(tenant) => Ok(show(&tenant, args.json, false)?),
        Created::Conflict | Created::EmailTaken | Created::HostMissing => Err(Failure::Usage(
            "the id belongs to a tenant of another name".to_owned(),
        )),
    }
}

fn list(common: &CommonArgs, args: &ListArgs) -> Result<(), Failure> {
    let (config, _) = prepare(common, Vec::new(), false)?;
    block_on(async {
        let store = open(&config).await?;
        let mut page = first_page();
        loop {
            let tenants = store
                .list_tenants(page)
                .await
                .context("listing the tenants")?;
            for tenant in &tenants.items {
                show(tenant, args.json, true)?;
            }
            if tenants.next.is_none() {
                return Ok(());
            }
            page = Page {
                after: tenants.next,
                limit: PAGE_ROWS,
            };
        }
    })
}

fn show(tenant: &Tenant, is_json: bool, is_list: bool) -> anyhow::Result<()> {
    let columns = [
        ("id", tenant.id.to_string().into()),
        ("name", tenant.name.clone().into()),
        ("createdAt", tenant.created_at.to_string().into()),
    ];
    if is_list {
        output::row(&columns, is_json)
    } else {
        output::record(&columns, is_json)
    }
}
