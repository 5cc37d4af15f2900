//! Answers that several resources give alike, and work that must not end with its request.

use std::future::Future;

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
};
use serde::Serialize;
use tracing::Instrument;

use super::{etag::Tag, problem::Problem};

/// Attempts at a change without `If-Match` before others are said to be too quick.
pub const CHANGE_ATTEMPTS_MAX: usize = 5;

/// A resource with its tag.
pub fn tagged(status: StatusCode, tag: &Tag, view: &impl Serialize) -> HttpResponse {
    HttpResponse::build(status)
        .insert_header((header::ETAG, tag.header_value()))
        .json(view)
}

/// A resource with its tag, or 304 when the caller has it.
pub fn tagged_unless_known(
    request: &HttpRequest,
    tag: &Tag,
    view: &impl Serialize,
) -> HttpResponse {
    if tag.is_known_to(request) {
        return HttpResponse::NotModified()
            .insert_header((header::ETAG, tag.header_value()))
            .finish();
    }
    tagged(StatusCode::OK, tag, view)
}

/// A resource just made (201) or found as asked for (200), with `Location` and tag.
pub fn created(is_new: bool, location: String, tag: &Tag, view: &impl Serialize) -> HttpResponse {
    let status = if is_new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    HttpResponse::build(status)
        .insert_header((header::LOCATION, location))
        .insert_header((header::ETAG, tag.header_value()))
        .json(view)
}

/// Runs work of several steps to its end, also when the caller hangs up: actix drops the handler then, and a room deleted in
/// SQL would go on live.
///
/// # Errors
/// Those of the work; `internal` when it panics.
pub async fn to_the_end<T: 'static>(
    work: impl Future<Output = Result<T, Problem>> + 'static,
) -> Result<T, Problem> {
    actix_web::rt::spawn(work.in_current_span())
        .await
        .unwrap_or_else(|_| Err(Problem::bug("a handler's work panicked")))
}
