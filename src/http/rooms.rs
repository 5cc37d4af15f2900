//! `/v1/rooms`: the rooms of a tenant.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{Method, header},
    web::{Data, Json},
};
use futures_util::{StreamExt, future, stream};
use serde::Deserialize;
use uuid::Uuid;

use super::{
    auth::{Caller, with_key},
    extract::{Body, Patch, Query, path_id},
    live,
    paging::{PageOf, page},
    problem::Problem,
    reply,
    room_view::{
        CreatedRoom, EndResult, NewRoom, RoomContent, RoomResource, RoomStatusView, content_tag,
    },
    routes::Endpoint,
    state::AppState,
    users,
};
use crate::{
    ids::{RoomId, TenantId},
    protocol::{EndReason, Kind, Settings},
    store::{Created, Room, RoomStatus},
};

/// Most live rooms that are asked for their state at the same time.
const DESCRIBED_AT_ONCE: usize = 32;

/// The routes of this file.
pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::at("/v1/rooms")
            .on(Method::POST, with_key(create))
            .on(Method::GET, with_key(list)),
        Endpoint::at("/v1/rooms/{roomId}")
            .on(Method::GET, with_key(get))
            .on(Method::PATCH, with_key(change))
            .on(Method::DELETE, with_key(delete)),
        Endpoint::at("/v1/rooms/{roomId}/end").on(Method::POST, with_key(end)),
    ]
}

/// The query of the list of rooms.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RoomsQuery {
    /// Only rooms with this status in SQL.
    pub status: Option<RoomStatusView>,
    /// Items per page.
    #[param(minimum = 1, maximum = 500, default = 100)]
    pub limit: Option<usize>,
    /// `nextCursor` of the page before.
    #[param(min_length = 32, max_length = 32)]
    pub cursor: Option<String>,
}

/// Creates a room and a join token for its host
#[utoipa::path(post, path = "/v1/rooms", tag = "rooms", request_body = NewRoom, responses(
    (status = 201, description = "made", body = CreatedRoom),
    (status = 200, description = "the same id and body again", body = CreatedRoom),
    (status = 404, description = "`user_not_found`: the host is not a user of the tenant"),
    (status = 409, description = "`conflict`: the id exists with another body"),
))]
async fn create(
    state: Data<AppState>,
    caller: Caller,
    Body(new): Body<NewRoom>,
) -> Result<HttpResponse, Problem> {
    check(&new.settings)?;
    let room = Room {
        id: new.id.unwrap_or_else(|| RoomId(Uuid::now_v7())),
        tenant_id: caller.tenant,
        host_user_id: new.host_user_id,
        settings: new.settings,
        status: RoomStatus::Scheduled,
        version: 1,
        created_at: state.now(),
        deleted_at: None,
    };
    let (host, created) = future::join(
        users::find(&state, caller.tenant, new.host_user_id),
        state.store.create_room(room),
    )
    .await;
    let created = created?;
    let host = match host {
        // The room exists, so its host exists too: read it again instead of failing.
        Err(_) if matches!(created, Created::New(_)) => {
            users::find(&state, caller.tenant, new.host_user_id).await?
        }
        host => host?,
    };
    let (is_new, room) = reply::created_row(created)?;
    let (join_token, _) = state.mint(
        caller.tenant,
        room.id,
        host.id,
        Kind::Host,
        &host.display_name,
    );
    let live = if is_new {
        None
    } else {
        live::describe(&state, room.id).await?
    };
    let view = CreatedRoom {
        room: RoomResource::new(room, live),
        join_token,
    };
    let location = format!("/v1/rooms/{}", view.room.room_id);
    let mut response = reply::created(is_new, location, &view);
    response.headers_mut().insert(
        header::CACHE_CONTROL,
        header::HeaderValue::from_static("no-store"),
    );
    Ok(response)
}

/// Lists rooms, oldest first
///
/// `status` selects by the status in SQL, but an item shows the live status. An item whose status
/// has just changed is left out.
#[utoipa::path(get, path = "/v1/rooms", tag = "rooms", params(RoomsQuery), responses(
    (status = 200, description = "a page", body = PageOf<RoomResource>),
))]
async fn list(
    state: Data<AppState>,
    caller: Caller,
    Query(query): Query<RoomsQuery>,
) -> Result<Json<PageOf<RoomResource>>, Problem> {
    let page = page(query.limit, query.cursor.as_deref())?;
    let wanted = query.status.map(RoomStatus::from);
    let rooms = state.store.rooms(caller.tenant, wanted, page).await?;
    let rooms = PageOf::of(rooms, |room| room);
    let described = stream::iter(rooms.items).map(|room| {
        let state = state.clone();
        async move {
            // A room that cannot answer now must not fail the list: it is shown as SQL has it.
            let live = live::describe(&state, room.id).await.ok().flatten();
            RoomResource::new(room, live)
        }
    });
    let items = described
        .buffered(DESCRIBED_AT_ONCE)
        .filter(|room| {
            let fits = query.status.is_none_or(|status| status == room.status);
            std::future::ready(fits)
        })
        .collect()
        .await;
    Ok(Json(PageOf {
        items,
        next_cursor: rooms.next_cursor,
    }))
}

/// Shows a room, with `live` while the room is live
#[utoipa::path(get, path = "/v1/rooms/{roomId}", tag = "rooms", params(("roomId" = Uuid, Path)), responses(
    (status = 200, description = "the room, with `ETag`", body = RoomResource),
    (status = 304, description = "as `If-None-Match` says"),
    (status = 404, description = "`room_not_found`"),
))]
async fn get(
    state: Data<AppState>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let room = find(&state, caller.tenant, path_id(&request, "roomId")?).await?;
    let live = live::describe(&state, room.id).await?;
    let view = RoomResource::new(room, live);
    Ok(reply::shown(&request, &view))
}

/// Changes the settings of a room by a merge patch
///
/// `null` resets a setting to its default. A live room gets the settings at once. Lowering
/// `maxParticipants` removes nobody.
#[utoipa::path(patch, path = "/v1/rooms/{roomId}", tag = "rooms", params(("roomId" = Uuid, Path)),
    request_body(content((RoomContent = "application/merge-patch+json"), (RoomContent = "application/json"))),
    responses(
        (status = 200, description = "the room as it is now, with `ETag`", body = RoomResource),
        (status = 404, description = "`room_not_found`"),
        (status = 412, description = "`precondition_failed`: not as `If-Match` says"),
    ))]
async fn change(
    state: Data<AppState>,
    caller: Caller,
    request: HttpRequest,
    patch: Patch,
) -> Result<HttpResponse, Problem> {
    let id: RoomId = path_id(&request, "roomId")?;
    let room = reply::to_the_end(async move {
        let room = change_stored(&state, caller.tenant, id, &request, &patch).await?;
        let room = live::follow_settings(&state, room).await?;
        let live = live::describe(&state, room.id).await?;
        Ok(RoomResource::new(room, live))
    })
    .await?;
    Ok(reply::changed(&room))
}

/// Deletes a room: its meeting ends, its sessions stay readable
#[utoipa::path(delete, path = "/v1/rooms/{roomId}", tag = "rooms", params(("roomId" = Uuid, Path)), responses(
    (status = 204, description = "gone"),
    (status = 404, description = "`room_not_found`"),
    (status = 412, description = "`precondition_failed`: not as `If-Match` says"),
))]
async fn delete(
    state: Data<AppState>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let room = find(&state, caller.tenant, path_id(&request, "roomId")?).await?;
    content_tag(&room).check_if_match(&request)?;
    reply::to_the_end(async move {
        let now = state.now();
        if !state.store.delete_room(caller.tenant, room.id, now).await? {
            return Err(Problem::room_not_found());
        }
        live::end_deleted(&state, room.id).await
    })
    .await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Ends the meeting in a room
#[utoipa::path(post, path = "/v1/rooms/{roomId}/end", tag = "rooms", params(("roomId" = Uuid, Path)), responses(
    (status = 200, description = "whether there was one to end", body = EndResult),
    (status = 404, description = "`room_not_found`"),
))]
async fn end(
    state: Data<AppState>,
    caller: Caller,
    request: HttpRequest,
) -> Result<Json<EndResult>, Problem> {
    let room = find(&state, caller.tenant, path_id(&request, "roomId")?).await?;
    let ended = live::end(&state, room.id, EndReason::Ended).await?;
    Ok(Json(EndResult { ended }))
}

/// A room of the tenant.
pub(super) async fn find(state: &AppState, tenant: TenantId, id: RoomId) -> Result<Room, Problem> {
    let room = state.store.room(tenant, id).await?;
    room.ok_or_else(Problem::room_not_found)
}

/// Applies a patch to the settings in SQL.
async fn change_stored(
    state: &AppState,
    tenant: TenantId,
    id: RoomId,
    request: &HttpRequest,
    patch: &Patch,
) -> Result<Room, Problem> {
    reply::change(Problem::room_not_found, async || {
        let room = find(state, tenant, id).await?;
        content_tag(&room).check_if_match(request)?;
        let content = patch.applied_to(&RoomContent {
            settings: room.settings,
        })?;
        check(&content.settings)?;
        let store = &state.store;
        let update = store.update_room_settings(tenant, id, content.settings, Some(room.version));
        Ok(update.await?)
    })
    .await
}

/// Settings within their bounds.
fn check(settings: &Settings) -> Result<(), Problem> {
    let problems = settings.problems();
    if problems.is_empty() {
        Ok(())
    } else {
        Err(Problem::invalid(format!(
            "settings: {}",
            problems.join("; ")
        )))
    }
}
