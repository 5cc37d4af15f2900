//! Which web pages may call: `http.allowed_origins` applies to CORS and to the Origin of a
//! WebSocket.

use actix_cors::Cors;
use actix_web::http::{
    Method,
    header::{self, HeaderMap},
};

/// How long a browser may keep the answer to a preflight.
const PREFLIGHT_MAX_AGE_SECS: usize = 3_600;

/// CORS for the configured origins, without credentials: scripts set `Authorization` themselves.
pub(super) fn cors(allowed: &[String]) -> Cors {
    let cors = Cors::default()
        .allowed_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
        .allowed_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::IF_MATCH,
            header::IF_NONE_MATCH,
        ])
        .expose_headers([
            header::ETAG,
            header::LOCATION,
            header::RETRY_AFTER,
            header::WWW_AUTHENTICATE,
        ])
        .max_age(PREFLIGHT_MAX_AGE_SECS);
    if allows_all(allowed) {
        return cors.allow_any_origin().send_wildcard();
    }
    allowed
        .iter()
        .fold(cors, |cors, origin| cors.allowed_origin(origin))
}

/// Whether the page that the request comes from may open a WebSocket. A request without `Origin` is
/// not from a browser and is allowed.
#[must_use]
pub fn is_origin_allowed(allowed: &[String], headers: &HeaderMap) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).peekable();
    if allows_all(allowed) || origins.peek().is_none() {
        return true;
    }
    // Browsers send scheme and host in lower case. The configuration may not.
    origins.all(|origin| {
        origin
            .to_str()
            .is_ok_and(|origin| allowed.iter().any(|one| one.eq_ignore_ascii_case(origin)))
    })
}

/// Whether `*` is among them.
fn allows_all(allowed: &[String]) -> bool {
    allowed.iter().any(|origin| origin == "*")
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn only_configured_pages_and_programs_may_open_a_websocket() {
        let some = ["https://meet.example".to_owned()];
        let from = |origin: Option<&str>| {
            let mut request = TestRequest::default();
            if let Some(origin) = origin {
                request = request.insert_header((header::ORIGIN, origin));
            }
            request.to_http_request().headers().clone()
        };
        assert!(is_origin_allowed(&some, &from(None)));
        assert!(is_origin_allowed(
            &some,
            &from(Some("https://meet.example"))
        ));
        for other in [
            "https://evil.example",
            "null",
            "https://meet.example.evil",
            "http://meet.example",
        ] {
            assert!(!is_origin_allowed(&some, &from(Some(other))), "{other}");
            assert!(is_origin_allowed(&["*".to_owned()], &from(Some(other))));
        }
    }
}
