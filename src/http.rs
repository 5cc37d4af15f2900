//! The HTTP admin API: routes, keys, problems, one file per resource.
//!
//! A request passes [`track`] (span, metrics, every error as a problem), CORS, its route's key check ([`auth`]), the strict
//! readers of [`extract`], and its handler. Handlers turn JSON into rows of the store and commands for live rooms, and back;
//! they decide nothing about seats. The table of [`endpoints`] is all there is: `/openapi.json` is compared with it by a test.

pub mod auth;
pub mod bans;
pub mod etag;
pub mod extract;
pub mod join;
mod live;
pub mod machines;
pub mod messages;
pub mod openapi;
pub mod origin;
pub mod paging;
pub mod participants;
pub mod problem;
pub mod reply;
pub mod room_view;
pub mod rooms;
pub mod routes;
pub mod sessions;
pub mod signal;
pub mod state;
pub mod texts;
pub mod throttle;
pub mod track;
pub mod users;

use actix_web::{
    Route,
    http::Method,
    middleware::from_fn,
    web::{self, ServiceConfig},
};

pub use self::{
    origin::is_origin_allowed,
    problem::{Problem, ProblemCode},
    routes::{Endpoint, SIGNAL_PATH},
    state::{
        AppState, Clock, ComponentState, HttpOptions, Parts, Readiness, ReadinessSource,
        ReadinessStatus,
    },
};

/// Everything that clients reach. `signal` upgrades `GET` on [`SIGNAL_PATH`] to a WebSocket; it gets no key check and no
/// Origin check from here (see [`is_origin_allowed`]).
pub fn configure(config: &mut ServiceConfig, state: web::Data<AppState>, signal: Route) {
    let cors = origin::cors(&state.options.allowed_origins);
    let mut all = web::scope("");
    for endpoint in endpoints() {
        all = all.service(endpoint.into_resource());
    }
    let signal = Endpoint::at(SIGNAL_PATH).on(Method::GET, signal);
    let all = all
        .service(signal.into_resource())
        .default_service(web::to(routes::unknown_path))
        .wrap(cors)
        .wrap(from_fn(track::track));
    // What no path can match, such as `GET *`, passes the scope by.
    config
        .app_data(state)
        .service(all)
        .default_service(web::to(routes::unknown_path));
}

/// What the separate listener of `--admin-listen` serves: the machine routes, `/metrics` without a key.
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
        machines::endpoints(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
