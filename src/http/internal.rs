//! What nodes ask of each other, under `/internal/`. Not part of the API and of its description: both ends are the same release or its
//! neighbour.
//!
//! Nothing is accepted here but a node token for this node and this very question; API keys are nobody's here, and node tokens are
//! nobody's under `/v1`. **One hop**: whatever comes in here is done here or answered `moved`. The handlers have no way to pass it on:
//! they ask [`Rooms::ask_here`](crate::actor::Rooms::ask_here) and open doors with `JoinService::enter_here`.

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

/// Begins every path of this file.
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

/// The node that asks, and what for.
struct Node(NodeClaims);

impl FromRequest for Node {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let claims = request.extensions().get::<NodeClaims>().cloned();
        ready(claims.map(Self).ok_or_else(Problem::not_a_node))
    }
}

/// Lets nodes through that have a token for this one and this question; before anything else of the request is looked at.
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

/// Each grant is for one path.
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

/// An admin's command for a room of this node.
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

/// A room is handed over to this node by its owner.
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

/// Whether this node has the mirror.
async fn mirror(state: Data<AppState>) -> Json<MirrorState> {
    Json(MirrorState {
        has_for_ms: (state.has_mirror_for)(),
    })
}

/// Another node is there.
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

/// Ends this node as SIGTERM does.
async fn drain(state: Data<AppState>) -> HttpResponse {
    (state.drain)();
    HttpResponse::Accepted().finish()
}

/// The WebSocket of somebody who is connected to another node and verified there.
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
