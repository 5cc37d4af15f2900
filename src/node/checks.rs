//! Checks at a node's start: its address must lead to itself, and all nodes on its mirror must use
//! one database.

use std::sync::Arc;

use anyhow::{Context, bail};
use tracing::{info, warn};
use url::Url;

use crate::{
    actor::NodeContext,
    mirror::{NodeRecord, RoomMirror},
};

/// The node's listener must answer already.
///
/// # Errors
/// Fails when another node answers at `own_url`, or when a living node of the mirror uses another
/// database.
pub async fn check(
    node: Arc<NodeContext>,
    own_url: Url,
    database_id: String,
) -> anyhow::Result<()> {
    check_address(&node, &own_url).await?;
    if node.registry.is_some() {
        check_database(&node, &database_id).await?;
    }
    Ok(())
}

/// Clients and nodes that follow the advertised URL must come here.
async fn check_address(node: &NodeContext, own_url: &Url) -> anyhow::Result<()> {
    match node.client.identity(own_url).await {
        Ok(Some(found)) if found == node.node_id => {}
        Ok(Some(found)) => bail!(
            "another node ({found}) answers at {own_url}, which this node advertises: give each node its own --advertise"
        ),
        Ok(None) => {
            warn!(url = %own_url, "something that is no callboard node answers at the advertised URL")
        }
        // A proxy or a name that is not ready yet does not stop the start.
        Err(fault) => {
            warn!(url = %own_url, %fault, "the advertised URL does not lead to this node, as far as it can tell")
        }
    }
    Ok(())
}

/// A node with another database would record the sessions of rooms that it takes over there.
async fn check_database(node: &NodeContext, database_id: &str) -> anyhow::Result<()> {
    let mirror: &dyn RoomMirror = node.mirror.as_ref();
    let nodes = mirror
        .nodes()
        .await
        .context("cannot read the registry of nodes")?;
    for other in nodes {
        if other.database_id != database_id && lives(node, &other).await {
            bail!(
                "node {} at {} is on the same Redis with another database: nodes with different databases refuse each other",
                other.node_id,
                other.url
            );
        }
    }
    info!("no other database on this mirror");
    Ok(())
}

async fn lives(node: &NodeContext, other: &NodeRecord) -> bool {
    let Ok(url) = Url::parse(&other.url) else {
        return false;
    };
    node.client.identity(&url).await == Ok(Some(other.node_id))
}
