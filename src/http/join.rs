//! `POST /v1/rooms/{roomId}/join`: checks who asks and whether their kind may join, and answers
//! with a join token. The room decides the rest.

use std::net::{IpAddr, Ipv4Addr};

use actix_web::{
    Error, HttpMessage, HttpRequest, HttpResponse,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{Method, header},
    middleware::{Next, from_fn},
    web::{self, Data},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    auth::{self, Caller},
    extract::{Body, path_id},
    problem::{Problem, ProblemCode},
    rooms,
    routes::Endpoint,
    state::AppState,
    texts,
    throttle::bucket_of,
    users,
};
use crate::{
    config::IceServer,
    ids::{RoomId, Timestamp, UserId},
    protocol::Kind,
    store::Room,
};

/// The routes of this file.
pub(super) fn endpoints() -> Vec<Endpoint> {
    let join = web::route().to(join).wrap(from_fn(key_or_throttle));
    vec![Endpoint::at("/v1/rooms/{roomId}/join").on(Method::POST, join)]
}

/// The joiner.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(try_from = "JoinFields", untagged)]
pub enum JoinRequest {
    /// A user of the tenant. Needs a key.
    User(UserJoin),
    /// Anybody else, with a key or without.
    Guest(GuestJoin),
}

/// A user of the tenant.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UserJoin {
    /// Who.
    #[schema(value_type = Uuid)]
    pub user_id: UserId,
    /// By default `host` for the owner, else `guest`. The owner is always `host`.
    pub role: Option<Kind>,
}

/// A guest.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GuestJoin {
    /// Shown to the others. No control characters.
    #[schema(min_length = 1, max_length = 128)]
    pub display_name: String,
}

/// The members of both kinds of request, so that a wrong mixture gets a clear message.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct JoinFields {
    /// Of a user.
    user_id: Option<UserId>,
    /// Of a user.
    role: Option<Kind>,
    /// Of a guest.
    display_name: Option<String>,
}

impl TryFrom<JoinFields> for JoinRequest {
    type Error = &'static str;

    fn try_from(fields: JoinFields) -> Result<Self, Self::Error> {
        match (fields.user_id, fields.display_name) {
            (Some(user_id), None) => Ok(Self::User(UserJoin {
                user_id,
                role: fields.role,
            })),
            (None, Some(display_name)) if fields.role.is_none() => {
                Ok(Self::Guest(GuestJoin { display_name }))
            }
            _ => Err("the body must be {userId, role?} or {displayName}"),
        }
    }
}

/// What a client needs to join.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct JoinTicket {
    /// For `JoinRoom`.
    pub token: String,
    /// The joiner's id in the room.
    #[schema(value_type = Uuid)]
    pub user_id: UserId,
    /// URL of the room's WebSocket.
    pub signal_url: String,
    /// For `RTCPeerConnection`.
    pub ice_servers: Vec<IceServer>,
    /// Expiry of the token: join before it.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
}

/// A joiner who gets a token.
struct Joiner {
    /// Who.
    user_id: UserId,
    /// As what.
    kind: Kind,
    /// Shown to the others.
    name: String,
}

/// Makes a join token, for users with a key, for guests with or without
#[utoipa::path(post, path = "/v1/rooms/{roomId}/join", tag = "join",
    params(("roomId" = Uuid, Path)), request_body = JoinRequest,
    security(("apiKey" = []), ()), responses(
    (status = 200, description = "the token and where to go with it", body = JoinTicket),
    (status = 401, description = "`unauthorized`: a wrong key, or `{userId}` without a key"),
    (status = 403, description = "`role_not_allowed`"),
    (status = 404, description = "`room_not_found`, `user_not_found`"),
    (status = 429, description = "`rate_limited`: too many joins without a key from this address"),
))]
async fn join(
    state: Data<AppState>,
    request: HttpRequest,
    Body(body): Body<JoinRequest>,
) -> Result<HttpResponse, Problem> {
    let id: RoomId = path_id(&request, "roomId")?;
    let caller = request.extensions().get::<Caller>().copied();
    let (room, joiner) = match (body, caller) {
        (JoinRequest::User(_), None) => return Err(Problem::unauthorized()),
        (JoinRequest::User(join), Some(caller)) => {
            let room = rooms::find(&state, caller.tenant, id).await?;
            let joiner = known(&state, &room, join).await?;
            (room, joiner)
        }
        (JoinRequest::Guest(join), Some(caller)) => {
            let joiner = guest(&state, join)?;
            (rooms::find(&state, caller.tenant, id).await?, joiner)
        }
        (JoinRequest::Guest(join), None) => {
            let joiner = guest(&state, join)?;
            let room = state.store.any_room(id).await?;
            (room.ok_or_else(Problem::room_not_found)?, joiner)
        }
    };
    if !room.settings.allowed_roles.contains(&joiner.kind) {
        return Err(Problem::new(
            ProblemCode::RoleNotAllowed,
            "the room does not allow this kind of joiner",
        ));
    }
    let ticket = join_ticket(&state, &room, &joiner).await?;
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(ticket))
}

/// A user of the room's tenant.
async fn known(state: &AppState, room: &Room, join: UserJoin) -> Result<Joiner, Problem> {
    let user = users::find(state, room.tenant_id, join.user_id).await?;
    let kind = if user.id == room.host_user_id {
        Kind::Host
    } else {
        join.role.unwrap_or(Kind::Guest)
    };
    Ok(Joiner {
        user_id: user.id,
        kind,
        name: user.display_name,
    })
}

/// A guest with a new id.
fn guest(state: &AppState, join: GuestJoin) -> Result<Joiner, Problem> {
    Ok(Joiner {
        user_id: UserId(Uuid::now_v7()),
        kind: Kind::Guest,
        name: texts::display_name(&join.display_name, state.options.display_name_chars_max)?,
    })
}

/// What the joiner gets.
async fn join_ticket(
    state: &AppState,
    room: &Room,
    joiner: &Joiner,
) -> Result<JoinTicket, Problem> {
    let (token, expires_at) = state.mint(
        room.tenant_id,
        room.id,
        joiner.user_id,
        joiner.kind,
        &joiner.name,
    );
    Ok(JoinTicket {
        token,
        user_id: joiner.user_id,
        signal_url: state.signal_url(room.id).await?,
        ice_servers: state.options.ice_servers.clone(),
        expires_at,
    })
}

/// Checks the key of a request. Without a key, counts the join against the client's address.
async fn key_or_throttle(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let checked = if request.headers().contains_key(header::AUTHORIZATION) {
        auth::authenticate(&request).await.map(Some)
    } else {
        throttle(&request).map(|()| None)
    };
    match checked {
        Ok(caller) => auth::pass(request, next, caller).await,
        Err(problem) => Ok(auth::refuse(request, &problem)),
    }
}

/// Counts a join against the address of the TCP connection. Headers with another address could be
/// forged.
fn throttle(request: &ServiceRequest) -> Result<(), Problem> {
    let state = request
        .app_data::<Data<AppState>>()
        .ok_or_else(|| Problem::bug("a route without the app state"))?;
    let address = request
        .peer_addr()
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
    state
        .throttle
        .check(bucket_of(address))
        .map_err(|retry_after_secs| Problem {
            retry_after_secs: Some(retry_after_secs),
            ..Problem::new(
                ProblemCode::RateLimited,
                "too many joins without a key from this address",
            )
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn body_is_a_user_or_a_guest_and_nothing_between() {
        let id = Uuid::nil();
        for good in [
            json!({"userId": id}),
            json!({"userId": id, "role": "host"}),
            json!({"displayName": "Ada"}),
        ] {
            assert!(serde_json::from_value::<JoinRequest>(good).is_ok());
        }
        for bad in [
            json!({}),
            json!({"userId": id, "displayName": "Ada"}),
            json!({"displayName": "Ada", "role": "host"}),
            json!({"userId": "x"}),
            json!({"userId": id, "role": "attendee"}),
            json!({"userId": id, "isAdmin": true}),
            json!([]),
            json!(null),
        ] {
            assert!(
                serde_json::from_value::<JoinRequest>(bad.clone()).is_err(),
                "{bad}"
            );
        }
    }
}
