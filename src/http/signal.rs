//! `GET /v1/rooms/{roomId}/signal`: the upgrade to a WebSocket. The token in `JoinRoom` is checked
//! later.

use std::sync::Arc;

use actix_web::{
    HttpRequest, HttpResponse, Route,
    http::{
        StatusCode,
        header::{
            self, HeaderMap, HeaderValue, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
            SEC_WEBSOCKET_VERSION,
        },
    },
    rt, web,
};
use actix_web_actors::ws::handshake_with_protocols;
use base64::{Engine, prelude::BASE64_STANDARD};

use super::{
    is_origin_allowed,
    problem::{Problem, ProblemCode},
    state::AppState,
};
use crate::{
    actor::{Connection, JoinService, Origin},
    ids::RoomId,
    metrics::RefusedConnection,
    protocol::SUB_PROTOCOL,
    ws::{self, OnUpgrade},
};

/// The version of RFC 6455.
const VERSION: HeaderValue = HeaderValue::from_static("13");
/// Bytes of a decoded `Sec-WebSocket-Key` (RFC 6455 section 4.1).
const KEY_BYTES: usize = 16;

/// The route, for all connections that pass `joins`.
#[must_use]
pub fn route(joins: Arc<JoinService>) -> Route {
    web::get().to(
        move |request: HttpRequest,
              payload: web::Payload,
              path: web::Path<String>,
              state: web::Data<AppState>| {
            let joins = Arc::clone(&joins);
            async move {
                let room_id = path.parse().map_err(|_| Problem::room_not_found())?;
                upgrade(&request, payload, room_id, &state, joins, Origin::Client)
            }
        },
    )
}

/// Upgrades a request of a client or of another node.
pub(super) fn upgrade(
    request: &HttpRequest,
    payload: web::Payload,
    room_id: RoomId,
    state: &AppState,
    joins: Arc<JoinService>,
    origin: Origin,
) -> actix_web::Result<HttpResponse> {
    let refused = |reason: RefusedConnection, problem: Problem| {
        state.metrics.refused_connection(reason);
        problem
    };
    if !is_origin_allowed(&state.options.allowed_origins, request.headers()) {
        let problem = Problem::new(ProblemCode::Forbidden, "this origin may not connect");
        return Err(refused(RefusedConnection::Origin, problem).into());
    }
    if request
        .headers()
        .get(SEC_WEBSOCKET_VERSION)
        .is_some_and(|version| version != VERSION)
    {
        return Ok(other_version());
    }
    if !has_no_broken_key(request.headers()) {
        return Err(Problem::bad_request("Sec-WebSocket-Key must be 16 bytes in base64").into());
    }
    if !speaks_our_protocol(request.headers()) {
        let problem = Problem::bad_request("none of the offered sub-protocols is spoken here");
        return Err(refused(RefusedConnection::Subprotocol, problem).into());
    }
    if !state.is_open() {
        let problem = Problem::new(ProblemCode::Unavailable, "this node starts or stops");
        return Err(refused(RefusedConnection::NotReady, problem).into());
    }
    let Some(permit) = joins.take_permit() else {
        let problem = Problem::new(ProblemCode::Unavailable, "too many connections");
        return Err(refused(RefusedConnection::Full, problem).into());
    };
    let Some(on_upgrade) = OnUpgrade::of_request(request) else {
        return Err(Problem::bug("a connection that does not give its socket away").into());
    };
    let response = handshake_with_protocols(request, &[SUB_PROTOCOL])?.finish();
    let socket = on_upgrade.socket();
    rt::spawn(async move {
        // Otherwise the client was gone before the answer, or does not read it.
        if let Ok(Ok(stream)) = rt::time::timeout(joins.join_timeout(), socket).await {
            Connection::start(stream, ws::early(payload), room_id, joins, permit, origin);
        }
    });
    Ok(response)
}

/// RFC 6455 section 4.4: earlier drafts close differently and are no longer in use.
fn other_version() -> HttpResponse {
    let problem = Problem::bad_request("the version of the WebSocket protocol must be 13");
    let mut response = problem.response_with(StatusCode::UPGRADE_REQUIRED);
    let headers = response.headers_mut();
    headers.insert(SEC_WEBSOCKET_VERSION, VERSION);
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    response
}

/// Whether `Sec-WebSocket-Key` is valid or missing. The upgrade itself refuses a missing one.
fn has_no_broken_key(headers: &HeaderMap) -> bool {
    headers.get(SEC_WEBSOCKET_KEY).is_none_or(|key| {
        BASE64_STANDARD
            .decode(key.as_bytes())
            .is_ok_and(|bytes| bytes.len() == KEY_BYTES)
    })
}

/// A request without sub-protocol means ours. A request with others only is refused.
fn speaks_our_protocol(headers: &HeaderMap) -> bool {
    let mut offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL).peekable();
    offered.peek().is_none()
        || offered.any(|line| {
            line.to_str()
                .is_ok_and(|line| line.split(',').any(|name| name.trim() == SUB_PROTOCOL))
        })
}
