//! Errors as callers see them: `application/problem+json` (RFC 9457) with a stable `code`.
//!
//! Which one to use: a rejection names its code and says in `detail` what the caller can change. A
//! fault of the store or the mirror becomes `unavailable` or `internal` through `From`, which logs
//! its cause and does not show it.

use std::{borrow::Cow, fmt};

use actix_web::{
    HttpResponse, ResponseError,
    http::{
        StatusCode,
        header::{self, HeaderValue},
    },
};
use serde::Serialize;

use crate::{
    actor::AdminError,
    protocol::{Code, Rejection},
    store::StoreFault,
};

/// Media type of every error body.
pub const PROBLEM_JSON: &str = "application/problem+json";
/// `Retry-After` when the store or the mirror is away, in seconds.
const UNAVAILABLE_RETRY_SECS: u64 = 1;

/// Stable codes of HTTP errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProblemCode {
    /// 400: unreadable JSON, a bad query or header.
    BadRequest,
    /// 400: the cursor is not one of ours.
    BadCursor,
    /// 401: no key, or a wrong or revoked one.
    Unauthorized,
    /// 403: the key's scope or the room's rules do not allow it.
    Forbidden,
    /// 403: the kind of joiner is not among `allowedRoles`.
    RoleNotAllowed,
    /// 404: no such path, or an id that is not a UUID.
    NotFound,
    /// 404: no such user in this tenant.
    UserNotFound,
    /// 404: no such room in this tenant.
    RoomNotFound,
    /// 404: no such session in this tenant.
    SessionNotFound,
    /// 404: no such node.
    NodeNotFound,
    /// 404: the user is not in the room.
    TargetNotFound,
    /// 404: the user is not banned from the room.
    BanNotFound,
    /// 405: the path has other methods, see `Allow`.
    MethodNotAllowed,
    /// 408: the request or its room took too long.
    Timeout,
    /// 409: the id exists with other content, or others kept changing the resource.
    Conflict,
    /// 409: another user of the tenant has this email.
    EmailTaken,
    /// 409: the user owns rooms.
    OwnsRooms,
    /// 409: nobody is in the room.
    NotLive,
    /// 412: the resource is not as `If-Match` says.
    PreconditionFailed,
    /// 413: the body or a text in it is too large.
    TooLarge,
    /// 421, between nodes only: the room is not on this one.
    Moved,
    /// 415: the body is not JSON.
    UnsupportedMediaType,
    /// 422: readable JSON with a value, type or field that is not allowed.
    Invalid,
    /// 429: too many requests of this address, see `Retry-After`.
    RateLimited,
    /// 500: our fault.
    Internal,
    /// 503: the store, the mirror or this node is away, see `Retry-After`.
    Unavailable,
}

impl ProblemCode {
    /// The HTTP status that goes with the code.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::BadRequest | Self::BadCursor => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden | Self::RoleNotAllowed => StatusCode::FORBIDDEN,
            Self::NotFound
            | Self::UserNotFound
            | Self::RoomNotFound
            | Self::SessionNotFound
            | Self::NodeNotFound
            | Self::TargetNotFound
            | Self::BanNotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Timeout => StatusCode::REQUEST_TIMEOUT,
            Self::Conflict | Self::EmailTaken | Self::OwnsRooms | Self::NotLive => {
                StatusCode::CONFLICT
            }
            Self::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Moved => StatusCode::MISDIRECTED_REQUEST,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The code for an error of a library that has only a status.
    #[must_use]
    pub fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::UNAUTHORIZED => Self::Unauthorized,
            StatusCode::FORBIDDEN => Self::Forbidden,
            StatusCode::NOT_FOUND => Self::NotFound,
            StatusCode::METHOD_NOT_ALLOWED => Self::MethodNotAllowed,
            StatusCode::REQUEST_TIMEOUT => Self::Timeout,
            StatusCode::PAYLOAD_TOO_LARGE => Self::TooLarge,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::UnsupportedMediaType,
            StatusCode::TOO_MANY_REQUESTS => Self::RateLimited,
            StatusCode::SERVICE_UNAVAILABLE => Self::Unavailable,
            status if status.is_client_error() => Self::BadRequest,
            _ => Self::Internal,
        }
    }
}

/// One error.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Stable. Decides the status.
    pub code: ProblemCode,
    /// For people, without secrets or internals.
    pub detail: Cow<'static, str>,
    /// `Retry-After`, in seconds.
    pub retry_after_secs: Option<u64>,
}

/// The JSON object of an error (RFC 9457).
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody<'a> {
    /// Always `about:blank`: `code` tells problems apart.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The reason phrase of the status.
    pub title: &'static str,
    /// The status again.
    pub status: u16,
    /// Stable.
    pub code: ProblemCode,
    /// For people.
    pub detail: &'a str,
}

impl Problem {
    /// An error with a text for the caller.
    #[must_use]
    pub fn new(code: ProblemCode, detail: impl Into<Cow<'static, str>>) -> Self {
        let retry_after_secs = (code == ProblemCode::Unavailable).then_some(UNAVAILABLE_RETRY_SECS);
        Self {
            code,
            detail: detail.into(),
            retry_after_secs,
        }
    }

    /// 422: readable, not allowed.
    #[must_use]
    pub fn invalid(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ProblemCode::Invalid, detail)
    }

    /// 400: not readable.
    #[must_use]
    pub fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ProblemCode::BadRequest, detail)
    }

    /// 401, without telling which part was wrong.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new(
            ProblemCode::Unauthorized,
            "a valid API key is needed: Authorization: Bearer cb_<id>_<secret>",
        )
    }

    /// 401 for a caller that is not a node of this cluster, or has no token for this request.
    #[must_use]
    pub fn not_a_node() -> Self {
        Self::new(
            ProblemCode::Unauthorized,
            "this is for nodes of the cluster only",
        )
    }

    /// 421: this node does not own the room, and a forwarded request is not forwarded again.
    #[must_use]
    pub fn moved() -> Self {
        Self::new(ProblemCode::Moved, "the room is not on this node")
    }

    /// 404 for a user.
    #[must_use]
    pub fn user_not_found() -> Self {
        Self::new(ProblemCode::UserNotFound, "there is no such user")
    }

    /// 404 for a room.
    #[must_use]
    pub fn room_not_found() -> Self {
        Self::new(ProblemCode::RoomNotFound, "there is no such room")
    }

    /// 404 for a session.
    #[must_use]
    pub fn session_not_found() -> Self {
        Self::new(ProblemCode::SessionNotFound, "there is no such session")
    }

    /// 404 for a user who is not in the room.
    #[must_use]
    pub fn target_not_found() -> Self {
        Self::new(ProblemCode::TargetNotFound, "the user is not in the room")
    }

    /// 412.
    #[must_use]
    pub fn precondition_failed() -> Self {
        Self::new(
            ProblemCode::PreconditionFailed,
            "the resource is not as If-Match says: read it again",
        )
    }

    /// 409 after bounded attempts at a change without `If-Match`.
    #[must_use]
    pub fn kept_changing() -> Self {
        Self::new(
            ProblemCode::Conflict,
            "the resource kept changing: try again",
        )
    }

    /// 500 for an impossible reply. Logs the bug.
    #[must_use]
    pub fn bug(what: &'static str) -> Self {
        tracing::error!(what, "broken invariant in an HTTP handler");
        Self::new(ProblemCode::Internal, "internal error")
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.detail)
    }
}

impl std::error::Error for Problem {}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.code.status()
    }

    fn error_response(&self) -> HttpResponse {
        self.response_with(self.code.status())
    }
}

impl Problem {
    /// The response with a status that a library has chosen.
    #[must_use]
    pub fn response_with(&self, status: StatusCode) -> HttpResponse {
        let mut response = HttpResponse::build(status);
        response
            .content_type(PROBLEM_JSON)
            .insert_header((header::CACHE_CONTROL, "no-store"));
        if self.code == ProblemCode::Unauthorized {
            response.insert_header((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
        }
        if let Some(secs) = self.retry_after_secs {
            response.insert_header((header::RETRY_AFTER, secs));
        }
        let body = ProblemBody {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            code: self.code,
            detail: &self.detail,
        };
        response.body(serde_json::to_string(&body).expect("an object of texts and numbers is JSON"))
    }
}

impl From<StoreFault> for Problem {
    fn from(fault: StoreFault) -> Self {
        if fault.is_unavailable() {
            tracing::warn!(cause = %fault, "a request needed the store, which is away");
            Self::new(ProblemCode::Unavailable, "the store is away: try again")
        } else {
            tracing::error!(cause = %fault, "the store failed a request");
            Self::new(ProblemCode::Internal, "internal error")
        }
    }
}

impl From<AdminError> for Problem {
    fn from(error: AdminError) -> Self {
        match error {
            AdminError::NotLive => Self::new(ProblemCode::NotLive, "nobody is in the room"),
            AdminError::Unavailable => Self::new(
                ProblemCode::Unavailable,
                "the room cannot answer now: try again",
            ),
            AdminError::Rejected(rejection) => rejection.into(),
        }
    }
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        let code = match rejection.code {
            Code::BadRequest => ProblemCode::Invalid,
            Code::Unauthorized => ProblemCode::Unauthorized,
            Code::Forbidden | Code::Banned | Code::Superseded => ProblemCode::Forbidden,
            Code::RoleNotAllowed => ProblemCode::RoleNotAllowed,
            Code::RoomFull | Code::RoomLocked | Code::Duplicate => ProblemCode::Conflict,
            Code::RoomNotFound => ProblemCode::RoomNotFound,
            Code::NotInRoom | Code::TargetNotFound => ProblemCode::TargetNotFound,
            Code::TooLarge => ProblemCode::TooLarge,
            Code::RateLimited => ProblemCode::RateLimited,
            Code::Unavailable | Code::Timeout => ProblemCode::Unavailable,
            Code::Internal => ProblemCode::Internal,
        };
        Self::new(code, rejection.message)
    }
}

#[cfg(test)]
mod tests {
    use actix_web::body::to_bytes;

    use super::*;

    #[actix_web::test]
    async fn problem_is_problem_json_with_status_title_and_code() {
        let response = Problem::new(ProblemCode::Unavailable, "away").error_response();
        assert_eq!(response.status(), 503);
        let headers = response.headers();
        assert_eq!(headers.get("content-type").unwrap(), PROBLEM_JSON);
        assert_eq!(headers.get("retry-after").unwrap(), "1");
        let bytes = to_bytes(response.into_body()).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(
            body,
            serde_json::json!({
                "type": "about:blank", "title": "Service Unavailable", "status": 503,
                "code": "unavailable", "detail": "away"
            })
        );
    }

    #[actix_web::test]
    async fn wrong_key_is_told_the_scheme() {
        let response = Problem::unauthorized().error_response();
        assert_eq!(
            response.headers().get("www-authenticate").unwrap(),
            "Bearer"
        );
    }

    #[test]
    fn fault_of_the_store_never_shows_its_cause() {
        let problem = Problem::from(StoreFault::Broken("secret table".into()));
        assert_eq!(problem.code, ProblemCode::Internal);
        assert!(!problem.detail.contains("table"));
    }
}
