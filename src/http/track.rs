//! The outermost layer: opens a span for each request, measures it, and turns every error into a
//! problem.

use std::time::Instant;

use actix_web::{
    Error,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{StatusCode, header},
    middleware::Next,
    web,
};
use tracing::Instrument;

use super::{
    problem::{PROBLEM_JSON, Problem, ProblemCode},
    state::AppState,
};
use crate::fd_budget::FdBudget;

/// Route label of unknown paths: callers' paths must not become labels.
const UNMATCHED: &str = "unmatched";

/// Measures a request by its route's template.
///
/// # Errors
/// Those of inner layers, which actix turns into responses.
pub(super) async fn track(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let started = Instant::now();
    let route = request.match_pattern();
    let route = route.as_deref().unwrap_or(UNMATCHED);
    let method = request.method().clone();
    let metrics = request
        .app_data::<web::Data<AppState>>()
        .map(|state| state.metrics.clone());
    // A connection that uses the reserve gets one answer and is then closed.
    let budget = request.app_data::<FdBudget>();
    let is_last = budget.is_some_and(|budget| !budget.has_reserve());
    let span = tracing::info_span!("http", %method, route, status = tracing::field::Empty);
    let answer = next.call(request).instrument(span.clone()).await;
    let status = match &answer {
        Ok(response) => response.status(),
        Err(error) => error.as_response_error().status_code(),
    };
    span.record("status", status.as_u16());
    span.in_scope(|| tracing::debug!("answered"));
    if let Some(metrics) = metrics {
        metrics.observe_http(route, method.as_str(), status.as_u16(), started.elapsed());
    }
    let mut response = answer.map(as_problem)?;
    if is_last && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let head = response.response_mut().head_mut();
        head.set_connection_type(actix_http::ConnectionType::Close);
    }
    Ok(response)
}

/// Returns the response, or a problem in place of a library's error.
fn as_problem(response: ServiceResponse<impl MessageBody + 'static>) -> ServiceResponse<BoxBody> {
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    let is_problem = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(PROBLEM_JSON.as_bytes()));
    // `/readyz` answers 503 with its own JSON, which is a state and not an error.
    let is_json = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes() == b"application/json");
    if !is_error || is_problem || is_json {
        return response.map_into_boxed_body();
    }
    let (request, theirs) = response.into_parts();
    let mut ours =
        Problem::new(ProblemCode::of_status(status), detail(status)).response_with(status);
    for (name, value) in theirs.headers() {
        if name != header::CONTENT_TYPE && name != header::CONTENT_LENGTH {
            ours.headers_mut().append(name.clone(), value.clone());
        }
    }
    ServiceResponse::new(request, ours)
}

/// What may be told about an error of a library.
fn detail(status: StatusCode) -> &'static str {
    if status.is_server_error() {
        "internal error"
    } else {
        "the request was refused"
    }
}
