//! Answers that several resources give alike, and work that must not end with its request.

use std::future::Future;

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
};
use serde::Serialize;
use tracing::Instrument;

use super::{
    etag::{Tag, Tagged},
    problem::{Problem, ProblemCode},
};
use crate::store::{Created, Update};

/// Attempts at a change without `If-Match` before the answer is that others change it too often.
pub(super) const CHANGE_ATTEMPTS_MAX: usize = 5;

/// Answers `GET`: the resource with its tag, or 304 when the caller has it.
pub(super) fn shown(request: &HttpRequest, view: &impl Tagged) -> HttpResponse {
    let tag = view.tag();
    if tag.is_known_to(request) {
        return HttpResponse::NotModified()
            .insert_header((header::ETAG, tag.header_value()))
            .finish();
    }
    with_tag(StatusCode::OK, &tag, view)
}

/// Answers `PATCH`: the resource as it is now, with its tag.
pub(super) fn changed(view: &impl Tagged) -> HttpResponse {
    with_tag(StatusCode::OK, &view.tag(), view)
}

/// Answers `POST`: the resource with `Location` and tag. 201 when it is new, 200 when the same
/// request had made it before.
pub(super) fn created(is_new: bool, location: String, view: &impl Tagged) -> HttpResponse {
    let status = if is_new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let mut response = with_tag(status, &view.tag(), view);
    let location = header::HeaderValue::from_str(&location).expect("paths are header text");
    response.headers_mut().insert(header::LOCATION, location);
    response
}

fn with_tag(status: StatusCode, tag: &Tag, view: &impl Serialize) -> HttpResponse {
    HttpResponse::build(status)
        .insert_header((header::ETAG, tag.header_value()))
        .json(view)
}

/// Returns a created row and whether it is new.
///
/// # Errors
/// `conflict`, `email_taken` or `user_not_found`.
pub(super) fn created_row<T>(created: Created<T>) -> Result<(bool, T), Problem> {
    match created {
        Created::New(row) => Ok((true, row)),
        Created::Same(row) => Ok((false, row)),
        Created::EmailTaken => Err(email_taken()),
        Created::HostMissing => Err(Problem::user_not_found()),
        Created::Conflict => Err(Problem::new(
            ProblemCode::Conflict,
            "the id exists with another body",
        )),
    }
}

/// 409.
pub(super) fn email_taken() -> Problem {
    Problem::new(
        ProblemCode::EmailTaken,
        "another user of the tenant has this email",
    )
}

/// Repeats a change (read the row, check `If-Match`, write) until no other change comes between the
/// read and the write.
///
/// # Errors
/// Those of an attempt, `missing` when there is no such row, and `conflict` after
/// [`CHANGE_ATTEMPTS_MAX`] attempts.
pub(super) async fn change<T>(
    missing: fn() -> Problem,
    mut attempt: impl AsyncFnMut() -> Result<Update<T>, Problem>,
) -> Result<T, Problem> {
    for _ in 0..CHANGE_ATTEMPTS_MAX {
        match attempt().await? {
            Update::Done(row) => return Ok(row),
            Update::Missing => return Err(missing()),
            Update::Stale => {}
        }
    }
    Err(Problem::kept_changing())
}

/// Runs work of several steps to its end, even if the caller hangs up. actix drops the handler
/// then, and a room deleted in SQL would stay live.
///
/// # Errors
/// Those of the work; `internal` when it panics.
pub(super) async fn to_the_end<T: 'static>(
    work: impl Future<Output = Result<T, Problem>> + 'static,
) -> Result<T, Problem> {
    actix_web::rt::spawn(work.in_current_span())
        .await
        .unwrap_or_else(|_| Err(Problem::bug("a handler's work panicked")))
}
