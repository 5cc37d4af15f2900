//! The HTTP admin API: routes, keys, problems, one file per resource.
//!
//! A request passes [`track`] (span, metrics, every error as a problem), CORS, its route's key
//! check ([`auth`]), the strict readers of [`extract`], and its handler. Handlers turn JSON into
//! rows of the store and commands for live rooms, and back. They decide nothing about seats.
//! [`endpoints`] lists all routes for callers, and a test compares it with `/openapi.json`. The
//! routes between nodes are in [`internal`] and not described there.

pub mod auth;
pub mod bans;
pub mod etag;
pub mod extract;
pub mod internal;
pub mod join;
mod live;
pub mod machines;
pub mod messages;
pub mod nodes;
pub mod openapi;
pub mod origin;
pub mod paging;
pub mod participants;
pub mod problem;
pub mod reply;
pub mod room_view;
pub mod rooms;
pub mod routes;
mod schemas;
pub mod sessions;
pub mod signal;
pub mod state;
pub mod texts;
pub mod throttle;
pub mod track;
pub mod users;

use std::sync::Arc;

use actix_web::{
    http::Method,
    middleware::from_fn,
    web::{self, ServiceConfig},
};

use crate::actor::JoinService;

pub use self::{
    origin::is_origin_allowed,
    problem::{Problem, ProblemCode},
    routes::{Endpoint, SIGNAL_PATH},
    state::{
        AppServices, AppState, Clock, ComponentState, DrainSwitch, HttpOptions, MirrorSource,
        Readiness, ReadinessSource, ReadinessStatus,
    },
};

/// Configures everything that clients and other nodes reach. `GET` on [`SIGNAL_PATH`] becomes a
/// WebSocket that joins through `joins`. It has no key check, and its Origin is checked at the
/// upgrade.
pub fn configure(config: &mut ServiceConfig, state: web::Data<AppState>, joins: &Arc<JoinService>) {
    let cors = origin::cors(&state.options.allowed_origins);
    let signal = Endpoint::at(SIGNAL_PATH).on(Method::GET, signal::route(Arc::clone(joins)));
    // First, because actix tries paths one after the other and this one is called most.
    let mut all = web::scope("").service(signal.into_resource());
    for endpoint in endpoints() {
        all = all.service(endpoint.into_resource());
    }
    for endpoint in internal::endpoints(joins) {
        debug_assert!(
            endpoint.path().starts_with(internal::PREFIX),
            "paths outside the prefix must be in the OpenAPI document"
        );
        all = all.service(endpoint.into_resource());
    }
    let all = all
        .default_service(web::to(routes::unknown_path))
        .wrap(cors)
        .wrap(from_fn(track::track));
    // A request that no path can match, such as `GET *`, does not enter the scope.
    config
        .app_data(state)
        .service(all)
        .default_service(web::to(routes::unknown_path));
}

/// Configures the listener of `--admin-listen`: the routes for machines, `/metrics` without a key.
pub fn configure_admin(config: &mut ServiceConfig, state: web::Data<AppState>) {
    let mut all = web::scope("");
    for endpoint in machines::admin_endpoints() {
        all = all.service(endpoint.into_resource());
    }
    let all = all
        .default_service(web::to(routes::unknown_path))
        .wrap(from_fn(track::track));
    config.app_data(state).service(all);
}

/// Every route with a handler of this module.
#[must_use]
pub fn endpoints() -> Vec<Endpoint> {
    [
        users::endpoints(),
        rooms::endpoints(),
        join::endpoints(),
        participants::endpoints(),
        bans::endpoints(),
        messages::endpoints(),
        sessions::endpoints(),
        nodes::endpoints(),
        machines::endpoints(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
