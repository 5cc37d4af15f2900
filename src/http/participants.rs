//! `/v1/rooms/{roomId}/participants`: the participants of a live room, for admins.

use actix_web::{
    HttpRequest, HttpResponse,
    http::Method,
    web::{Data, Json},
};
use serde::Deserialize;

use super::{
    auth::{Caller, with_key},
    extract::{Change, Query, path_id},
    live,
    paging::{PageOf, PageQuery},
    problem::Problem,
    reply, rooms,
    routes::Endpoint,
    state::AppState,
};
use crate::{
    ids::{RoomId, UserId},
    protocol::{ParticipantView, Role},
};

/// The routes of this file.
pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::at("/v1/rooms/{roomId}/participants").on(Method::GET, with_key(list)),
        Endpoint::at("/v1/rooms/{roomId}/participants/{userId}")
            .on(Method::PATCH, with_key(change))
            .on(Method::DELETE, with_key(remove)),
    ]
}

/// Changes of a participant. At least one member is needed.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ParticipantChange {
    /// Only `true`: only the participant can unmute.
    pub is_muted: Option<bool>,
    /// The owner of the room is always host.
    pub role: Option<Role>,
}

/// The query of a removal.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RemovalQuery {
    /// Also ban the user.
    #[serde(default)]
    pub ban: bool,
}

/// Lists who is in the room, by join
#[utoipa::path(get, path = "/v1/rooms/{roomId}/participants", tag = "participants",
    params(("roomId" = Uuid, Path), PageQuery), responses(
    (status = 200, description = "a page; empty when nobody is there", body = PageOf<ParticipantView>),
    (status = 404, description = "`room_not_found`"),
))]
async fn list(
    state: Data<AppState>,
    caller: Caller,
    request: HttpRequest,
    Query(query): Query<PageQuery>,
) -> Result<Json<PageOf<ParticipantView>>, Problem> {
    let page = query.page()?;
    let room = rooms::find(&state, caller.tenant, path_id(&request, "roomId")?).await?;
    let participants = live::participants(&state, room.id).await?;
    Ok(Json(PageOf::cut(participants, &page, |participant| {
        (participant.joined_at, participant.user_id.0)
    })))
}

/// Mutes a participant, changes the role, or both
#[utoipa::path(patch, path = "/v1/rooms/{roomId}/participants/{userId}", tag = "participants",
    params(("roomId" = Uuid, Path), ("userId" = Uuid, Path)), request_body = ParticipantChange, responses(
    (status = 200, description = "the participant as they are now", body = ParticipantView),
    (status = 403, description = "`forbidden`: the owner stays host"),
    (status = 404, description = "`room_not_found`, `target_not_found`"),
))]
async fn change(
    state: Data<AppState>,
    caller: Caller,
    request: HttpRequest,
    Change(change): Change<ParticipantChange>,
) -> Result<Json<ParticipantView>, Problem> {
    let (room, user) = (path_id(&request, "roomId")?, path_id(&request, "userId")?);
    let mute = match change.is_muted {
        Some(true) => true,
        Some(false) => {
            return Err(Problem::invalid(
                "isMuted can only be set to true: people unmute themselves",
            ));
        }
        None if change.role.is_none() => {
            return Err(Problem::invalid("isMuted or role must be given"));
        }
        None => false,
    };
    let room = rooms::find(&state, caller.tenant, room).await?;
    let participant = live::change_participant(&state, room.id, user, mute, change.role).await?;
    Ok(Json(participant))
}

/// Removes a participant, and with `ban` bans the user
///
/// A ban works for users who are not in the room too.
#[utoipa::path(delete, path = "/v1/rooms/{roomId}/participants/{userId}", tag = "participants",
    params(("roomId" = Uuid, Path), ("userId" = Uuid, Path), RemovalQuery), responses(
    (status = 204, description = "done"),
    (status = 404, description = "`room_not_found`; `target_not_found`, without `ban` only"),
))]
async fn remove(
    state: Data<AppState>,
    caller: Caller,
    request: HttpRequest,
    Query(query): Query<RemovalQuery>,
) -> Result<HttpResponse, Problem> {
    let user: UserId = path_id(&request, "userId")?;
    let room = rooms::find(&state, caller.tenant, path_id(&request, "roomId")?).await?;
    if query.ban {
        reply::to_the_end(async move { ban(&state, room.id, user).await }).await?;
    } else if !live::remove(&state, room.id, user, false).await? {
        return Err(Problem::target_not_found());
    }
    Ok(HttpResponse::NoContent().finish())
}

/// Bans in the live room and in SQL.
async fn ban(state: &AppState, room: RoomId, user: UserId) -> Result<(), Problem> {
    let is_live = live::remove(state, room, user, true).await?;
    match state.store.add_ban(room, user, state.now()).await {
        Ok(()) => Ok(()),
        // The mirror has it. SQL gets it with the session's record.
        Err(fault) if is_live && fault.is_unavailable() => {
            tracing::warn!(cause = %fault, %room, "a ban waits for the record of the session");
            Ok(())
        }
        Err(fault) => Err(fault.into()),
    }
}
