//! `/v1/users`: the people a tenant knows.

use actix_web::{
    HttpRequest, HttpResponse,
    http::Method,
    web::{Data, Json},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    auth::{Caller, with_key},
    etag::{Tag, Tagged, has_if_match},
    extract::{Body, Patch, Query, path_id},
    paging::{PageOf, PageQuery},
    problem::{Problem, ProblemCode},
    reply,
    routes::Endpoint,
    state::AppState,
    texts,
};
use crate::{
    ids::{TenantId, Timestamp, UserId},
    store::{DeleteUser, Update, UpdateUser, User, UserPatch},
};

/// The routes of this file.
pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::at("/v1/users")
            .on(Method::POST, with_key(create))
            .on(Method::GET, with_key(list)),
        Endpoint::at("/v1/users/{userId}")
            .on(Method::GET, with_key(get))
            .on(Method::PATCH, with_key(change))
            .on(Method::DELETE, with_key(delete)),
    ]
}

/// A user as callers see them.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = User)]
pub struct UserResource {
    /// Who.
    #[schema(value_type = Uuid)]
    pub id: UserId,
    /// Unique in the tenant, in lower case.
    pub email: String,
    /// At most 128 characters.
    pub display_name: String,
    /// Time of creation.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

impl From<User> for UserResource {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            email: user.email,
            display_name: user.display_name,
            created_at: user.created_at,
        }
    }
}

impl Tagged for UserResource {
    /// Nothing here changes by itself, so content and view are the same.
    fn tag(&self) -> Tag {
        Tag::new(self, self)
    }
}

/// A user to be created.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewUser {
    /// Makes the call repeatable. By default a new id.
    #[schema(value_type = Option<Uuid>)]
    pub id: Option<UserId>,
    /// Unique in the tenant without regard to case.
    #[schema(min_length = 3, max_length = 254)]
    pub email: String,
    /// No control characters.
    #[schema(min_length = 1, max_length = 128)]
    pub display_name: String,
}

/// The members of a user that a merge patch may change; neither may be removed.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UserContent {
    /// Unique in the tenant without regard to case.
    #[schema(required = false, min_length = 3, max_length = 254)]
    pub email: String,
    /// No control characters.
    #[schema(required = false, min_length = 1, max_length = 128)]
    pub display_name: String,
}

/// Creates a user
#[utoipa::path(post, path = "/v1/users", tag = "users", request_body = NewUser, responses(
    (status = 201, description = "made", body = UserResource),
    (status = 200, description = "the same id and body again", body = UserResource),
    (status = 409, description = "`conflict`: the id exists with another body; `email_taken`"),
))]
async fn create(
    state: Data<AppState>,
    caller: Caller,
    Body(new): Body<NewUser>,
) -> Result<HttpResponse, Problem> {
    let user = User {
        id: new.id.unwrap_or_else(|| UserId(Uuid::now_v7())),
        tenant_id: caller.tenant,
        email: texts::email(&new.email)?,
        display_name: texts::display_name(&new.display_name, state.options.display_name_chars_max)?,
        created_at: state.now(),
    };
    let (is_new, user) = reply::created_row(state.store.create_user(user).await?)?;
    let view = UserResource::from(user);
    let location = format!("/v1/users/{}", view.id);
    Ok(reply::created(is_new, location, &view))
}

/// Lists users, oldest first
#[utoipa::path(get, path = "/v1/users", tag = "users", params(PageQuery), responses(
    (status = 200, description = "a page", body = PageOf<UserResource>),
))]
async fn list(
    state: Data<AppState>,
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> Result<Json<PageOf<UserResource>>, Problem> {
    let users = state.store.users(caller.tenant, query.page()?).await?;
    Ok(Json(PageOf::of(users, UserResource::from)))
}

/// Shows a user
#[utoipa::path(get, path = "/v1/users/{userId}", tag = "users", params(("userId" = Uuid, Path)), responses(
    (status = 200, description = "the user, with `ETag`", body = UserResource),
    (status = 304, description = "as `If-None-Match` says"),
    (status = 404, description = "`user_not_found`"),
))]
async fn get(
    state: Data<AppState>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let view = UserResource::from(find(&state, caller.tenant, path_id(&request, "userId")?).await?);
    Ok(reply::shown(&request, &view))
}

/// Changes a user by a merge patch
#[utoipa::path(patch, path = "/v1/users/{userId}", tag = "users", params(("userId" = Uuid, Path)),
    request_body(content((UserContent = "application/merge-patch+json"), (UserContent = "application/json"))),
    responses(
        (status = 200, description = "the user as it is now, with `ETag`", body = UserResource),
        (status = 404, description = "`user_not_found`"),
        (status = 409, description = "`email_taken`"),
        (status = 412, description = "`precondition_failed`: not as `If-Match` says"),
    ))]
async fn change(
    state: Data<AppState>,
    caller: Caller,
    request: HttpRequest,
    patch: Patch,
) -> Result<HttpResponse, Problem> {
    let id: UserId = path_id(&request, "userId")?;
    let user = reply::change(Problem::user_not_found, async || {
        let user = find_unchanged(&state, caller.tenant, id, &request).await?;
        let content = patch.applied_to(&UserContent {
            email: user.email.clone(),
            display_name: user.display_name.clone(),
        })?;
        let name_chars_max = state.options.display_name_chars_max;
        let changes = UserPatch {
            email: Some(texts::email(&content.email)?),
            display_name: Some(texts::display_name(&content.display_name, name_chars_max)?),
        };
        let update = state
            .store
            .update_user(caller.tenant, id, changes, Some(&user));
        match update.await? {
            UpdateUser::Done(user) => Ok(Update::Done(user)),
            UpdateUser::Missing => Ok(Update::Missing),
            UpdateUser::Stale => Ok(Update::Stale),
            UpdateUser::EmailTaken => Err(reply::email_taken()),
        }
    })
    .await?;
    Ok(reply::changed(&UserResource::from(user)))
}

/// Deletes a user and erases their personal data, also in past sessions
#[utoipa::path(delete, path = "/v1/users/{userId}", tag = "users", params(("userId" = Uuid, Path)), responses(
    (status = 204, description = "gone"),
    (status = 404, description = "`user_not_found`"),
    (status = 409, description = "`owns_rooms`"),
    (status = 412, description = "`precondition_failed`: not as `If-Match` says"),
))]
async fn delete(
    state: Data<AppState>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let id: UserId = path_id(&request, "userId")?;
    let expected = if has_if_match(&request) {
        Some(find_unchanged(&state, caller.tenant, id, &request).await?)
    } else {
        None
    };
    let deletion = state
        .store
        .delete_user(caller.tenant, id, expected.as_ref());
    match deletion.await? {
        DeleteUser::Deleted => Ok(HttpResponse::NoContent().finish()),
        DeleteUser::Missing => Err(Problem::user_not_found()),
        DeleteUser::Stale => Err(Problem::precondition_failed()),
        DeleteUser::OwnsRooms => Err(Problem::new(
            ProblemCode::OwnsRooms,
            "the user owns rooms: delete those first",
        )),
    }
}

/// A user of the tenant.
pub(super) async fn find(state: &AppState, tenant: TenantId, id: UserId) -> Result<User, Problem> {
    let user = state.store.user(tenant, id).await?;
    user.ok_or_else(Problem::user_not_found)
}

/// A user of the tenant that is still as `If-Match` says.
async fn find_unchanged(
    state: &AppState,
    tenant: TenantId,
    id: UserId,
    request: &HttpRequest,
) -> Result<User, Problem> {
    let user = find(state, tenant, id).await?;
    let tag = UserResource::from(user.clone()).tag();
    tag.check_if_match(request)?;
    Ok(user)
}
