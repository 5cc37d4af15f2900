//! `/v1/nodes`: the nodes of the cluster, and how to drain one.

use actix_web::{
    HttpRequest, HttpResponse,
    http::Method,
    web::{Data, Json},
};
use serde::Serialize;
use url::Url;

use super::{
    auth::with_operator_key,
    extract::{Query, path_id},
    paging::{PageOf, PageQuery},
    problem::{Problem, ProblemCode},
    routes::Endpoint,
    state::AppState,
};
use crate::{
    cluster::{Neighbour, client::CallFault},
    ids::{NodeId, Timestamp},
    mirror::{MirrorFault, NodeRecord},
};

/// State of a node that hands its rooms off.
const DRAINING: &str = "draining";

/// The routes of this file.
pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::at("/v1/nodes").on(Method::GET, with_operator_key(list)),
        Endpoint::at("/v1/nodes/{nodeId}/drain").on(Method::POST, with_operator_key(drain)),
    ]
}

/// A node, as it last registered itself.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeResource {
    /// New at every start.
    #[schema(value_type = uuid::Uuid)]
    pub node_id: NodeId,
    /// URL under which nodes and clients reach it.
    pub url: String,
    /// Region, as configured.
    pub region: String,
    /// Version of the release.
    pub version: String,
    /// Live rooms.
    pub rooms: u64,
    /// Open WebSockets.
    pub connections: u64,
    /// `starting`, `ready` or `draining`.
    pub state: String,
    /// Time of its last heartbeat, by its own clock.
    #[schema(value_type = String, format = DateTime)]
    pub last_seen_at: Timestamp,
}

impl From<NodeRecord> for NodeResource {
    fn from(node: NodeRecord) -> Self {
        Self {
            node_id: node.node_id,
            url: node.url,
            region: node.region,
            version: node.version,
            rooms: node.rooms,
            connections: node.connections,
            state: node.state,
            last_seen_at: node.seen_at,
        }
    }
}

/// A node that was told to drain.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Draining {
    /// Which.
    #[schema(value_type = uuid::Uuid)]
    pub node_id: NodeId,
    /// Always `draining`.
    pub state: &'static str,
}

/// Lists the nodes, by id
#[utoipa::path(get, path = "/v1/nodes", tag = "nodes", params(PageQuery), responses(
    (status = 200, description = "a page", body = PageOf<NodeResource>),
    (status = 403, description = "`forbidden`: not an operator's key"),
    (status = 503, description = "`unavailable`: the mirror is away"),
))]
async fn list(
    state: Data<AppState>,
    Query(query): Query<PageQuery>,
) -> Result<Json<PageOf<NodeResource>>, Problem> {
    let page = query.page()?;
    let nodes = nodes(&state).await?.into_iter();
    // A node whose own entry has expired is listed only because of its rooms.
    let nodes = nodes
        .filter(|node| !node.url.is_empty())
        .map(NodeResource::from);
    // Not by time, which changes from page to page.
    let cursor = |node: &NodeResource| (Timestamp(0), node.node_id.0);
    Ok(Json(PageOf::cut(nodes.collect(), &page, cursor)))
}

/// Makes a node hand its rooms off and stop, as SIGTERM does. May be repeated
#[utoipa::path(post, path = "/v1/nodes/{nodeId}/drain", tag = "nodes", params(("nodeId" = uuid::Uuid, Path)), responses(
    (status = 202, description = "it has begun", body = Draining),
    (status = 403, description = "`forbidden`: not an operator's key"),
    (status = 404, description = "`node_not_found`"),
    (status = 503, description = "`unavailable`: the node does not answer, or the mirror is away"),
))]
async fn drain(state: Data<AppState>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let node_id: NodeId = path_id(&request, "nodeId")?;
    if node_id == state.rooms.node_id() {
        (state.drain)();
    } else {
        let neighbour = neighbour(&state, node_id).await?;
        state.rooms.drain(&neighbour).await.map_err(no_answer)?;
    }
    Ok(HttpResponse::Accepted().json(Draining {
        node_id,
        state: DRAINING,
    }))
}

async fn neighbour(state: &AppState, node_id: NodeId) -> Result<Neighbour, Problem> {
    let nodes = nodes(state).await?;
    let url = nodes
        .into_iter()
        .find(|node| node.node_id == node_id)
        .and_then(|node| Url::parse(&node.url).ok())
        .ok_or_else(|| Problem::new(ProblemCode::NodeNotFound, "there is no such node"))?;
    Ok(Neighbour { node_id, url })
}

async fn nodes(state: &AppState) -> Result<Vec<NodeRecord>, Problem> {
    state.rooms.nodes().await.map_err(|fault: MirrorFault| {
        tracing::warn!(%fault, "a request needed the mirror, which is away");
        Problem::new(ProblemCode::Unavailable, "the mirror is away: try again")
    })
}

fn no_answer(_: CallFault) -> Problem {
    Problem::new(ProblemCode::Unavailable, "the node does not answer")
}
