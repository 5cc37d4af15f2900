//! Sessions: the history of a room, its attendances and recordings.

use actix_web::{
    HttpRequest, HttpResponse,
    http::Method,
    web::{Data, Json},
};
use serde::{Deserialize, Serialize};

use super::{
    auth::{Caller, with_key},
    etag::{Tag, Tagged},
    extract::{Patch, Query, path_id},
    paging::{PageOf, PageQuery},
    problem::Problem,
    reply,
    routes::Endpoint,
    state::AppState,
    texts,
};
use crate::{
    ids::{RoomId, SessionId, TenantId, Timestamp, UserId},
    protocol::{EndReason, LeaveReason, Role},
    room::record::Attendance,
    store::{Session, Update},
};

/// The routes of this file.
pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::at("/v1/rooms/{roomId}/sessions").on(Method::GET, with_key(list)),
        Endpoint::at("/v1/rooms/{roomId}/recordings").on(Method::GET, with_key(recordings)),
        Endpoint::at("/v1/sessions/{sessionId}")
            .on(Method::GET, with_key(get))
            .on(Method::PATCH, with_key(change)),
    ]
}

/// One life of a room.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Session)]
pub struct SessionResource {
    /// Which session.
    #[schema(value_type = Uuid)]
    pub id: SessionId,
    /// Of which room.
    #[schema(value_type = Uuid)]
    pub room_id: RoomId,
    /// First admitted join.
    #[schema(value_type = String, format = DateTime)]
    pub start_time: Timestamp,
    /// When the last participant left. Null while the session is open.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub end_time: Option<Timestamp>,
    /// Why it ended. Null while the session is open.
    pub end_reason: Option<EndReason>,
    /// URL of its recording, once it is set.
    pub recording_url: Option<String>,
}

impl From<&Session> for SessionResource {
    fn from(session: &Session) -> Self {
        Self {
            id: session.id,
            room_id: session.room_id,
            start_time: session.start_time,
            end_time: session.end_time,
            end_reason: session.end_reason,
            recording_url: session.recording_url.clone(),
        }
    }
}

/// A stay in a session.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Attendance)]
pub struct AttendanceResource {
    /// Who.
    #[schema(value_type = Uuid)]
    pub user_id: UserId,
    /// Name at that time. Empty once the user is deleted.
    pub display_name: String,
    /// Role at the end.
    pub role: Role,
    /// When the stay began.
    #[schema(value_type = String, format = DateTime)]
    pub joined_at: Timestamp,
    /// When the connection was lost or the leave was decided.
    #[schema(value_type = String, format = DateTime)]
    pub left_at: Timestamp,
    /// Why.
    pub leave_reason: LeaveReason,
}

impl From<Attendance> for AttendanceResource {
    fn from(attendance: Attendance) -> Self {
        Self {
            user_id: attendance.user_id,
            display_name: attendance.display_name,
            role: attendance.role,
            joined_at: attendance.joined_at,
            left_at: attendance.left_at,
            leave_reason: attendance.leave_reason,
        }
    }
}

/// A session and who attended.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SessionDetails {
    /// The session.
    #[serde(flatten)]
    pub session: SessionResource,
    /// Every stay, once the session is over.
    pub attendances: Vec<AttendanceResource>,
}

impl SessionDetails {
    /// A row and the rows of its stays.
    fn new(session: &Session, attendances: Vec<Attendance>) -> Self {
        Self {
            session: session.into(),
            attendances: attendances.into_iter().map(Into::into).collect(),
        }
    }
}

impl Tagged for SessionDetails {
    /// Only `recordingUrl` can be changed. The end of the session changes the view.
    fn tag(&self) -> Tag {
        Tag::new(&(self.session.id, &self.session.recording_url), self)
    }
}

/// The members of a session that a merge patch may change.
#[derive(Debug, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SessionContent {
    /// `http` or `https`. Null removes it.
    #[schema(max_length = 2048)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recording_url: Option<String>,
}

/// A recording of a session.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Recording {
    /// Where it is.
    pub url: String,
    /// Duration of the session so far, in seconds.
    pub duration: u64,
}

/// Lists the sessions of a room, newest first, also of a deleted room
#[utoipa::path(get, path = "/v1/rooms/{roomId}/sessions", tag = "sessions",
    params(("roomId" = Uuid, Path), PageQuery), responses(
    (status = 200, description = "a page", body = PageOf<SessionResource>),
    (status = 404, description = "`room_not_found`"),
))]
async fn list(
    state: Data<AppState>,
    caller: Caller,
    request: HttpRequest,
    Query(query): Query<PageQuery>,
) -> Result<Json<PageOf<SessionResource>>, Problem> {
    let page = query.page()?;
    let room: RoomId = path_id(&request, "roomId")?;
    let sessions = state.store.sessions(caller.tenant, room, page).await?;
    let sessions = sessions.ok_or_else(Problem::room_not_found)?;
    Ok(Json(PageOf::of(sessions, |session| (&session).into())))
}

/// Shows a session with its attendances
#[utoipa::path(get, path = "/v1/sessions/{sessionId}", tag = "sessions",
    params(("sessionId" = Uuid, Path)), responses(
    (status = 200, description = "the session, with `ETag`", body = SessionDetails),
    (status = 304, description = "as `If-None-Match` says"),
    (status = 404, description = "`session_not_found`"),
))]
async fn get(
    state: Data<AppState>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let id = path_id(&request, "sessionId")?;
    let (session, attendances) = find(&state, caller.tenant, id).await?;
    let view = SessionDetails::new(&session, attendances);
    Ok(reply::shown(&request, &view))
}

/// Sets the recording URL of a session by a merge patch
#[utoipa::path(patch, path = "/v1/sessions/{sessionId}", tag = "sessions",
    params(("sessionId" = Uuid, Path)),
    request_body(content((SessionContent = "application/merge-patch+json"), (SessionContent = "application/json"))),
    responses(
        (status = 200, description = "the session as it is now, with `ETag`", body = SessionDetails),
        (status = 404, description = "`session_not_found`"),
        (status = 412, description = "`precondition_failed`: not as `If-Match` says"),
    ))]
async fn change(
    state: Data<AppState>,
    caller: Caller,
    request: HttpRequest,
    patch: Patch,
) -> Result<HttpResponse, Problem> {
    let id: SessionId = path_id(&request, "sessionId")?;
    let view = reply::change(Problem::session_not_found, async || {
        let (session, attendances) = find(&state, caller.tenant, id).await?;
        let mut view = SessionDetails::new(&session, attendances);
        view.tag().check_if_match(&request)?;
        let content = patch.applied_to(&SessionContent {
            recording_url: session.recording_url.clone(),
        })?;
        if let Some(url) = &content.recording_url {
            texts::recording_url(url)?;
        }
        let update =
            state
                .store
                .set_recording_url(caller.tenant, id, content.recording_url, Some(&session));
        Ok(match update.await? {
            Update::Done(session) => {
                view.session = (&session).into();
                Update::Done(view)
            }
            Update::Missing => Update::Missing,
            Update::Stale => Update::Stale,
        })
    })
    .await?;
    Ok(reply::changed(&view))
}

/// Lists the recordings of a room's sessions, newest first, also of a deleted room
#[utoipa::path(get, path = "/v1/rooms/{roomId}/recordings", tag = "sessions",
    params(("roomId" = Uuid, Path)), responses(
    (status = 200, description = "at most the newest 500", body = Vec<Recording>),
    (status = 404, description = "`room_not_found`"),
))]
async fn recordings(
    state: Data<AppState>,
    caller: Caller,
    request: HttpRequest,
) -> Result<Json<Vec<Recording>>, Problem> {
    let room: RoomId = path_id(&request, "roomId")?;
    let sessions = state.store.recordings(caller.tenant, room).await?;
    let sessions = sessions.ok_or_else(Problem::room_not_found)?;
    let now = state.now();
    let recordings = sessions.into_iter().filter_map(|session| {
        let duration_ms = session.end_time.unwrap_or(now).ms_since(session.start_time);
        session.recording_url.map(|url| Recording {
            url,
            duration: duration_ms / 1000,
        })
    });
    Ok(Json(recordings.collect()))
}

/// A session of the tenant, with its stays.
async fn find(
    state: &AppState,
    tenant: TenantId,
    id: SessionId,
) -> Result<(Session, Vec<Attendance>), Problem> {
    let session = state.store.session(tenant, id).await?;
    session.ok_or_else(Problem::session_not_found)
}
