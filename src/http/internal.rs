//! The API between nodes, under `/internal/`. It is not described in the OpenAPI document: both
//! ends are the same release or neighbouring ones.
//!
//! Only a node token for this node and this request is accepted. API keys are refused here, and
//! node tokens are refused under `/v1`. **One hop**: a request is handled here or answered `moved`.
//! The handlers have no way to forward it: they call
//! [`Rooms::ask_here`](crate::actor::Rooms::ask_here) and join people with
//! `JoinService::enter_here`.

use std::{
    future::{Ready, ready},
    sync::Arc,
};

use actix_web::{
    FromRequest, HttpMessage, HttpRequest, HttpResponse,
    body::{BoxBody, MessageBody},
    dev::{Payload, ServiceRequest, ServiceResponse},
    http::Method,
    middleware::{Next, from_fn},
    web::{self, Data, Json},
};

use super::{
    auth,
    extract::{Body, path_id},
    problem::{Problem, ProblemCode},
    routes::Endpoint,
    signal,
    state::AppState,
};
use crate::{
    actor::{AdminError, JoinService, Origin, Person},
    claims::StartError,
    cluster::{
        Neighbour,
        client::{AskAnswer, HandOffRequest, MirrorState},
    },
    ids::RoomId,
    mirror::Ownership,
    room::admin::AdminCommand,
    secrets::node_token::{Grant, NodeClaims},
};

/// Prefix of every path of this file.
pub(super) const PREFIX: &str = "/internal/";

/// The routes of this file.
pub(super) fn endpoints(joins: &Arc<JoinService>) -> Vec<Endpoint> {
    let only_nodes = || from_fn(require_node);
    let joins = Arc::clone(joins);
    let signal = web::route().to(
        move |request: HttpRequest, payload: web::Payload, node: Node, state: Data<AppState>| {
            let joins = Arc::clone(&joins);
            async move { signal(&request, payload, &node, &state, joins) }
        },
    );
    vec![
        Endpoint::at("/internal/rooms/{roomId}/ask")
            .on(Method::POST, web::route().to(ask).wrap(only_nodes())),
        Endpoint::at("/internal/rooms/{roomId}/take")
            .on(Method::POST, web::route().to(take).wrap(only_nodes())),
        Endpoint::at("/internal/rooms/{roomId}/signal").on(Method::GET, signal.wrap(only_nodes())),
        Endpoint::at("/internal/mirror")
            .on(Method::GET, web::route().to(mirror).wrap(only_nodes())),
        Endpoint::at("/internal/introduction").on(
            Method::POST,
            web::route().to(introduction).wrap(only_nodes()),
        ),
        Endpoint::at("/internal/drain").on(Method::POST, web::route().to(drain).wrap(only_nodes())),
    ]
}

/// The calling node and what it asks for.
struct Node(NodeClaims);

impl FromRequest for Node {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let claims = request.extensions().get::<NodeClaims>().cloned();
        ready(claims.map(Self).ok_or_else(Problem::not_a_node))
    }
}

/// Accepts requests with a token for this node and this path. Runs before anything else of the
/// request is read.
async fn require_node(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    match claims(&request) {
        Ok(claims) => {
            request.extensions_mut().insert(claims);
            Ok(next.call(request).await?.map_into_boxed_body())
        }
        Err(problem) => Ok(auth::refuse(request, &problem)),
    }
}

fn claims(request: &ServiceRequest) -> Result<NodeClaims, Problem> {
    let token = auth::bearer_of(request.headers()).ok_or_else(Problem::not_a_node)?;
    let state = request
        .app_data::<Data<AppState>>()
        .ok_or_else(|| Problem::bug("a route without the app state"))?;
    let claims = state.node_claims(token)?;
    if opens(&claims.grant, request.path()) {
        Ok(claims)
    } else {
        Err(Problem::not_a_node())
    }
}

/// The path that a grant is for.
fn opens(grant: &Grant, path: &str) -> bool {
    match grant {
        Grant::Join { room, .. } => path == format!("/internal/rooms/{room}/signal"),
        Grant::Ask { room } => path == format!("/internal/rooms/{room}/ask"),
        Grant::Take { room } => path == format!("/internal/rooms/{room}/take"),
        Grant::Mirror => path == "/internal/mirror",
        Grant::Introduce { .. } => path == "/internal/introduction",
        Grant::Drain => path == "/internal/drain",
    }
}

/// Runs an admin's command in a room of this node.
async fn ask(
    state: Data<AppState>,
    request: HttpRequest,
    Body(command): Body<AdminCommand>,
) -> Result<Json<AskAnswer>, Problem> {
    let room: RoomId = path_id(&request, "roomId")?;
    let answer = state.rooms.ask_here(room, command).await;
    match answer.ok_or_else(Problem::moved)? {
        Ok(reply) => Ok(Json(AskAnswer::Reply(reply))),
        Err(AdminError::Rejected(rejection)) => Ok(Json(AskAnswer::Rejection(rejection))),
        Err(error @ (AdminError::NotLive | AdminError::Unavailable)) => Err(error.into()),
    }
}

/// Takes a room that its owner hands off to this node.
async fn take(
    state: Data<AppState>,
    request: HttpRequest,
    node: Node,
    Body(former): Body<HandOffRequest>,
) -> Result<HttpResponse, Problem> {
    let room: RoomId = path_id(&request, "roomId")?;
    if former.owner != Some(node.0.issuer) {
        return Err(Problem::not_a_node());
    }
    if !state.is_open() {
        return Err(Problem::new(
            ProblemCode::Unavailable,
            "this node starts or stops",
        ));
    }
    let former = Ownership {
        owner: former.owner,
        epoch: former.epoch,
    };
    match state.rooms.take_over_from(room, former).await {
        Ok(()) => Ok(HttpResponse::NoContent().finish()),
        Err(StartError::Elsewhere(_) | StartError::RoomNotFound) => Err(Problem::moved()),
        Err(StartError::ForeignTenant | StartError::Unavailable) => Err(Problem::new(
            ProblemCode::Unavailable,
            "the room cannot be had now",
        )),
    }
}

/// Tells whether this node reaches the mirror.
async fn mirror(state: Data<AppState>) -> Json<MirrorState> {
    Json(MirrorState {
        has_for_ms: (state.has_mirror_for)(),
    })
}

/// Introduces another node.
async fn introduction(state: Data<AppState>, node: Node) -> Result<HttpResponse, Problem> {
    let Grant::Introduce { url } = node.0.grant else {
        return Err(Problem::not_a_node());
    };
    (state.introduced)(Neighbour {
        node_id: node.0.issuer,
        url,
    });
    Ok(HttpResponse::NoContent().finish())
}

/// Stops this node as SIGTERM does.
async fn drain(state: Data<AppState>) -> HttpResponse {
    (state.drain)();
    HttpResponse::Accepted().finish()
}

/// The forwarded WebSocket of a client that is connected to another node and verified there.
fn signal(
    request: &HttpRequest,
    payload: web::Payload,
    node: &Node,
    state: &AppState,
    joins: Arc<JoinService>,
) -> actix_web::Result<HttpResponse> {
    let room_id: RoomId = path_id(request, "roomId")?;
    let person = Person::of_grant(&node.0.grant).ok_or_else(Problem::not_a_node)?;
    let origin = Origin::Node(person);
    signal::upgrade(request, payload, room_id, state, joins, origin)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_grant_opens_its_own_path_of_its_own_room_and_no_other() {
        let (room, other) = (RoomId(Uuid::from_u128(1)), RoomId(Uuid::from_u128(2)));
        let paths = |room| {
            [
                format!("/internal/rooms/{room}/ask"),
                format!("/internal/rooms/{room}/take"),
                "/internal/mirror".to_owned(),
                "/internal/drain".to_owned(),
                "/internal/introduction".to_owned(),
            ]
        };
        for (grant, opened) in [
            (Grant::Ask { room }, vec![0]),
            (Grant::Take { room }, vec![1]),
            (Grant::Mirror, vec![2]),
            (Grant::Drain, vec![3]),
            (
                Grant::Introduce {
                    url: "http://node:8080".parse().unwrap(),
                },
                vec![4],
            ),
        ] {
            for (index, path) in paths(room).iter().enumerate() {
                assert_eq!(opens(&grant, path), opened.contains(&index), "{path}");
            }
            assert!(paths(other)[..2].iter().all(|path| !opens(&grant, path)));
        }
    }
}
