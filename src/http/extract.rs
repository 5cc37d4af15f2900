//! Reads path ids, queries and JSON bodies strictly. What is wrong is answered with a problem.

use std::{
    future::{Ready, ready},
    str::FromStr,
    time::Duration,
};

use actix_web::{
    FromRequest, HttpMessage, HttpRequest,
    dev::Payload,
    http::header::{self, HeaderMap},
    web,
};
use futures_util::{StreamExt, future::LocalBoxFuture};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    problem::{Problem, ProblemCode},
    state::AppState,
};

/// Media type of JSON.
const JSON: &str = "application/json";
/// Media type of a JSON Merge Patch (RFC 7396).
pub const MERGE_PATCH_JSON: &str = "application/merge-patch+json";
/// Longest time to send a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads an id in the path. A text that is not an id names nothing.
///
/// # Errors
/// `not_found`.
pub fn path_id<T: FromStr>(request: &HttpRequest, name: &str) -> Result<T, Problem> {
    request
        .match_info()
        .get(name)
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Problem::new(ProblemCode::NotFound, "there is no such resource"))
}

/// The query, as a struct with all its fields.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequest for Query<T> {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(
            web::Query::<T>::from_query(request.query_string())
                .map(|query| Self(query.into_inner()))
                .map_err(|error| Problem::bad_request(format!("query: {}", in_short(&error)))),
        )
    }
}

/// A JSON body of a known shape.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest for Body<T> {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move {
            let value = read(&request, payload, &[JSON]).await?;
            shape(value).map(Self)
        })
    }
}

/// A JSON Merge Patch. `application/json` counts as one too.
pub struct Patch(Value);

impl FromRequest for Patch {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move {
            read(&request, payload, &[MERGE_PATCH_JSON, JSON])
                .await
                .map(Self)
        })
    }
}

/// A JSON Merge Patch that must name every change, for what is not a resource of its own.
pub struct Change<T>(pub T);

impl<T: DeserializeOwned> FromRequest for Change<T> {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let patch = Patch::from_request(request, payload);
        Box::pin(async move { shape(patch.await?.0).map(Self) })
    }
}

impl Patch {
    /// Returns `target` with the patch applied.
    ///
    /// # Errors
    /// `invalid` when the result does not have the target's shape.
    pub fn applied_to<T: DeserializeOwned + serde::Serialize>(
        &self,
        target: &T,
    ) -> Result<T, Problem> {
        let mut document = serde_json::to_value(target).expect("our documents are JSON");
        merge(&mut document, &self.0);
        shape(document)
    }
}

/// RFC 7396 section 2: members of objects are merged, `null` removes, anything else replaces. The
/// depth is bounded by that of the parser, 128.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let members = target.as_object_mut().expect("made an object above");
    for (name, change) in changes {
        if change.is_null() {
            members.remove(name);
        } else {
            merge(members.entry(name.as_str()).or_insert(Value::Null), change);
        }
    }
}

/// The value as a `T`.
fn shape<T: DeserializeOwned>(value: Value) -> Result<T, Problem> {
    serde_json::from_value(value).map_err(|error| Problem::invalid(in_short(&error)))
}

/// Reads and parses a body of one of `kinds`.
async fn read(
    request: &HttpRequest,
    payload: Payload,
    kinds: &[&'static str],
) -> Result<Value, Problem> {
    if !kinds.contains(&request.content_type().to_ascii_lowercase().as_str()) {
        return Err(Problem::new(
            ProblemCode::UnsupportedMediaType,
            format!("Content-Type must be {}", kinds.join(" or ")),
        ));
    }
    let state = request
        .app_data::<web::Data<AppState>>()
        .ok_or_else(|| Problem::bug("a route without the app state"))?;
    let bytes_max = state.options.body_bytes_max;
    let bytes = tokio::time::timeout(BODY_TIMEOUT, collect(request.headers(), payload, bytes_max))
        .await
        .map_err(|_| Problem::new(ProblemCode::Timeout, "the body took too long to arrive"))??;
    serde_json::from_slice(&bytes).map_err(|error| {
        Problem::bad_request(format!("the body is not JSON: {}", in_short(&error)))
    })
}

/// The bytes of a body, at most `bytes_max`.
async fn collect(
    headers: &HeaderMap,
    mut payload: Payload,
    bytes_max: usize,
) -> Result<web::BytesMut, Problem> {
    let too_large = || {
        Problem::new(
            ProblemCode::TooLarge,
            format!("the body must be at most {bytes_max} bytes"),
        )
    };
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > bytes_max as u64) {
        return Err(too_large());
    }
    let mut bytes = web::BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| Problem::bad_request("the body could not be read"))?;
        if bytes.len() + chunk.len() > bytes_max {
            return Err(too_large());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// A library's message about the caller's input, cut to a bounded length.
fn in_short(error: &impl std::fmt::Display) -> String {
    const CHARS_MAX: usize = 200;
    let text = error.to_string();
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn merged(mut target: Value, patch: &Value) -> Value {
        merge(&mut target, patch);
        target
    }

    #[test]
    fn merge_patch_does_what_appendix_a_of_rfc_7396_says() {
        for (target, patch, result) in [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (
                json!({"a":"b","b":"c"}),
                json!({"a":null}),
                json!({"b":"c"}),
            ),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
            (
                json!({"a":{"b":"c"}}),
                json!({"a":{"b":"d","c":null}}),
                json!({"a":{"b":"d"}}),
            ),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"a":"b"}), json!(["c"]), json!(["c"])),
            (json!({"a":"foo"}), json!(null), json!(null)),
            (json!({"a":"foo"}), json!("bar"), json!("bar")),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            (json!([1, 2]), json!({"a":"b","c":null}), json!({"a":"b"})),
            (
                json!({}),
                json!({"a":{"bb":{"ccc":null}}}),
                json!({"a":{"bb":{}}}),
            ),
        ] {
            assert_eq!(merged(target.clone(), &patch), result, "{target} + {patch}");
        }
    }

    proptest! {
        #[test]
        fn patch_of_any_json_text_is_a_document_or_a_problem(text in "[{}\\[\\]\":,a-z0-9null ]{0,60}") {
            if let Ok(value) = serde_json::from_str(&text) {
                let settings = crate::protocol::Settings::default();
                let _ = Patch(value).applied_to(&settings);
            }
        }
    }

    #[test]
    fn complaint_is_cut_at_a_character() {
        assert_eq!(in_short(&"é".repeat(300)).chars().count(), 201);
    }
}
