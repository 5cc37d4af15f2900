//! Routes for machines: health, readiness, metrics, OpenAPI.

use actix_web::{
    HttpResponse,
    http::{Method, header},
    web::{self, Data},
};
use serde::Serialize;

use super::{
    auth::with_operator_key,
    openapi,
    routes::Endpoint,
    state::{AppState, Readiness, ReadinessStatus},
};
use crate::{ids::NodeId, metrics::METRICS_CONTENT_TYPE};

/// The routes of this file.
pub(super) fn endpoints() -> Vec<Endpoint> {
    let mut endpoints = open_endpoints();
    endpoints.push(Endpoint::at("/metrics").on(Method::GET, with_operator_key(metrics)));
    endpoints
}

/// The routes of the listener that only operators reach.
pub(super) fn admin_endpoints() -> Vec<Endpoint> {
    let mut endpoints = open_endpoints();
    endpoints.push(Endpoint::at("/metrics").on(Method::GET, web::route().to(metrics)));
    endpoints
}

/// The routes that need no key.
fn open_endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::at("/healthz").on(Method::GET, web::route().to(healthz)),
        Endpoint::at("/readyz").on(Method::GET, web::route().to(readyz)),
        Endpoint::at("/openapi.json").on(Method::GET, web::route().to(document)),
    ]
}

/// The answer of a live process.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// Always `ok`.
    pub status: &'static str,
    /// New at every start.
    #[schema(value_type = uuid::Uuid)]
    pub node_id: NodeId,
}

/// Tells that the process is alive
#[utoipa::path(get, path = "/healthz", tag = "machines", security(()), responses(
    (status = 200, description = "alive", body = Health),
))]
async fn healthz(state: Data<AppState>) -> web::Json<Health> {
    web::Json(Health {
        status: "ok",
        node_id: state.rooms.node_id(),
    })
}

/// Tells whether the node can serve rooms, and which components are away
#[utoipa::path(get, path = "/readyz", tag = "machines", security(()), responses(
    (status = 200, description = "`ready`, or `degraded`: it serves, but a component is away", body = Readiness),
    (status = 503, description = "`starting` or `draining`", body = Readiness),
))]
async fn readyz(state: Data<AppState>) -> HttpResponse {
    let readiness = (state.readiness)();
    let mut response = match readiness.status {
        ReadinessStatus::Ready | ReadinessStatus::Degraded => HttpResponse::Ok(),
        ReadinessStatus::Starting | ReadinessStatus::Draining => HttpResponse::ServiceUnavailable(),
    };
    response
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(readiness)
}

/// Counters and gauges for Prometheus
#[utoipa::path(get, path = "/metrics", tag = "machines", responses(
    (status = 200, description = "text format 0.0.4", body = String, content_type = "text/plain"),
    (status = 403, description = "`forbidden`: not an operator's key"),
))]
async fn metrics(state: Data<AppState>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(METRICS_CONTENT_TYPE)
        .body(state.metrics.render())
}

/// Describes this API
#[utoipa::path(get, path = "/openapi.json", tag = "machines", security(()), responses(
    (status = 200, description = "OpenAPI 3.1"),
))]
async fn document() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("application/json")
        .body(openapi::json())
}
