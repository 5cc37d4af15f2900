//! `POST /v1/rooms/{roomId}/messages`: messages of the system to everybody in a live room.

use actix_web::{HttpRequest, HttpResponse, http::Method, web::Data};
use serde::Deserialize;

use super::{
    auth::{Caller, with_key},
    extract::{Body, path_id},
    live,
    problem::{Problem, ProblemCode},
    rooms,
    routes::Endpoint,
    state::AppState,
};

/// The routes of this file.
pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![Endpoint::at("/v1/rooms/{roomId}/messages").on(Method::POST, with_key(say))]
}

/// A message from the system.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SystemMessage {
    /// At most 4 KiB of UTF-8.
    #[schema(min_length = 1, max_length = 4096)]
    pub text: String,
}

/// Sends a message from the system to all in the room
#[utoipa::path(post, path = "/v1/rooms/{roomId}/messages", tag = "messages",
    params(("roomId" = Uuid, Path)), request_body = SystemMessage, responses(
    (status = 204, description = "sent"),
    (status = 404, description = "`room_not_found`"),
    (status = 409, description = "`not_live`: nobody is in the room"),
))]
async fn say(
    state: Data<AppState>,
    caller: Caller,
    request: HttpRequest,
    Body(message): Body<SystemMessage>,
) -> Result<HttpResponse, Problem> {
    let room = path_id(&request, "roomId")?;
    let bytes_max = state.options.text_bytes_max;
    if message.text.is_empty() {
        return Err(Problem::invalid("text must not be empty"));
    }
    if message.text.len() > bytes_max {
        return Err(Problem::new(
            ProblemCode::TooLarge,
            format!("text must be at most {bytes_max} bytes"),
        ));
    }
    let room = rooms::find(&state, caller.tenant, room).await?;
    live::say(&state, room.id, message.text).await?;
    Ok(HttpResponse::NoContent().finish())
}
