//! `/v1/rooms/{roomId}/bans`: users who may not return until the ban is lifted.

use actix_web::{
    HttpRequest, HttpResponse,
    http::Method,
    web::{Data, Json},
};
use serde::Serialize;

use super::{
    auth::{Caller, with_key},
    extract::{Query, path_id},
    live,
    paging::{PageOf, PageQuery},
    problem::{Problem, ProblemCode},
    reply, rooms,
    routes::Endpoint,
    state::AppState,
};
use crate::ids::{Timestamp, UserId};

/// The routes of this file.
pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::at("/v1/rooms/{roomId}/bans").on(Method::GET, with_key(list)),
        Endpoint::at("/v1/rooms/{roomId}/bans/{userId}").on(Method::DELETE, with_key(lift)),
    ]
}

/// A ban.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ban {
    /// The banned user.
    #[schema(value_type = Uuid)]
    pub user_id: UserId,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

/// Lists the bans of a room, oldest first
#[utoipa::path(get, path = "/v1/rooms/{roomId}/bans", tag = "bans",
    params(("roomId" = Uuid, Path), PageQuery), responses(
    (status = 200, description = "a page", body = PageOf<Ban>),
    (status = 404, description = "`room_not_found`"),
))]
async fn list(
    state: Data<AppState>,
    caller: Caller,
    request: HttpRequest,
    Query(query): Query<PageQuery>,
) -> Result<Json<PageOf<Ban>>, Problem> {
    let page = query.page()?;
    let room = rooms::find(&state, caller.tenant, path_id(&request, "roomId")?).await?;
    let bans: Vec<(UserId, Timestamp)> = match live::bans(&state, room.id).await? {
        Some(bans) => bans
            .into_iter()
            .map(|(user, ban)| (user, ban.created_at))
            .collect(),
        None => state.store.bans(room.id).await?,
    };
    let bans = bans
        .into_iter()
        .map(|(user_id, created_at)| Ban {
            user_id,
            created_at,
        })
        .collect();
    Ok(Json(PageOf::cut(bans, &page, |ban: &Ban| {
        (ban.created_at, ban.user_id.0)
    })))
}

/// Lifts a ban
#[utoipa::path(delete, path = "/v1/rooms/{roomId}/bans/{userId}", tag = "bans",
    params(("roomId" = Uuid, Path), ("userId" = Uuid, Path)), responses(
    (status = 204, description = "lifted"),
    (status = 404, description = "`room_not_found`, `ban_not_found`"),
))]
async fn lift(
    state: Data<AppState>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let user: UserId = path_id(&request, "userId")?;
    let room = rooms::find(&state, caller.tenant, path_id(&request, "roomId")?).await?;
    let was_banned = reply::to_the_end(async move {
        // The live room first: otherwise it would write the ban to SQL again when its session
        // closes.
        let in_room = live::lift_ban(&state, room.id, user).await?;
        let in_store = state.store.remove_ban(room.id, user).await?;
        Ok(in_room || in_store)
    })
    .await?;
    if was_banned {
        Ok(HttpResponse::NoContent().finish())
    } else {
        Err(Problem::new(
            ProblemCode::BanNotFound,
            "the user is not banned from the room",
        ))
    }
}
