//! The OpenAPI document, generated from the handlers.

use std::sync::OnceLock;

use utoipa::{
    Modify, OpenApi,
    openapi::{
        ContentBuilder, OpenApi as Document, Ref, RefOr, ResponseBuilder,
        security::{Http, HttpAuthScheme, SecurityScheme},
    },
};

use super::{bans, join, machines, messages, nodes, participants, problem, rooms, sessions, users};

/// Name of the security scheme.
const API_KEY: &str = "apiKey";

/// The handlers, and what all of them have in common.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "callboard",
        description = "The control plane of a video-conferencing system: users, rooms, join tokens, live participants, sessions.\n\n\
            Errors are `application/problem+json` (RFC 9457) with a stable `code`: a body that is not JSON is 400 `bad_request`, \
            one with a value, type or member that is not allowed 422 `invalid`, one of another media type 415. What belongs to \
            another tenant is 404. `If-Match` compares what a caller may change: a meeting that begins does not make it fail. \
            The WebSocket of a room is at `GET /v1/rooms/{roomId}/signal`."
    ),
    paths(
        users::create, users::list, users::get, users::change, users::delete,
        rooms::create, rooms::list, rooms::get, rooms::change, rooms::delete, rooms::end,
        join::join,
        participants::list, participants::change, participants::remove,
        bans::list, bans::lift,
        messages::say,
        sessions::list, sessions::get, sessions::change, sessions::recordings,
        nodes::list, nodes::drain,
        machines::healthz, machines::readyz, machines::metrics, machines::document,
    ),
    components(schemas(problem::ProblemBody<'_>)),
    security(("apiKey" = [])),
    modifiers(&Common)
)]
struct Api;

/// What every operation answers when it is refused, and how keys are sent.
struct Common;

impl Modify for Common {
    fn modify(&self, document: &mut Document) {
        document
            .components
            .get_or_insert_default()
            .add_security_scheme(
                API_KEY,
                SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)),
            );
        for operation in operations(document) {
            let responses = &mut operation.responses.responses;
            responses.entry("default".to_owned()).or_insert_with(|| {
                RefOr::T(
                    ResponseBuilder::new()
                        .description("any other error")
                        .build(),
                )
            });
            for (status, response) in responses {
                let RefOr::T(response) = response else {
                    continue;
                };
                let is_error = status.starts_with(['4', '5']) || status == "default";
                if is_error && response.content.is_empty() {
                    let problem = ContentBuilder::new()
                        .schema(Some(Ref::from_schema_name("Problem")))
                        .build();
                    response
                        .content
                        .insert(problem::PROBLEM_JSON.to_owned(), problem.into());
                }
            }
        }
    }
}

/// All operations of a document.
fn operations(
    document: &mut Document,
) -> impl Iterator<Item = &mut utoipa::openapi::path::Operation> {
    document.paths.paths.values_mut().flat_map(|item| {
        [
            &mut item.get,
            &mut item.post,
            &mut item.patch,
            &mut item.delete,
        ]
        .into_iter()
        .filter_map(Option::as_mut)
    })
}

/// The document as text; made once.
#[must_use]
pub fn json() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        Api::openapi()
            .to_json()
            .expect("a document made of derived schemas is JSON")
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    #[test]
    fn document_lists_exactly_the_routes_that_are_registered() {
        let document: Value = serde_json::from_str(json()).unwrap();
        let mut described = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for method in item.as_object().unwrap().keys() {
                described.insert(format!("{} {path}", method.to_uppercase()));
            }
        }
        let registered: BTreeSet<String> = crate::http::endpoints()
            .iter()
            .flat_map(|endpoint| {
                endpoint
                    .methods()
                    .map(|method| format!("{method} {}", endpoint.path()))
                    .collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(described, registered);
    }

    #[test]
    fn every_reference_of_the_document_leads_somewhere() {
        let document: Value = serde_json::from_str(json()).unwrap();
        let mut references = BTreeSet::new();
        collect(&document, &mut references);
        assert!(!references.is_empty());
        for reference in references {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }

    #[test]
    fn every_path_parameter_is_described() {
        let document: Value = serde_json::from_str(json()).unwrap();
        for (path, item) in document["paths"].as_object().unwrap() {
            let wanted = path.matches('{').count();
            for (method, operation) in item.as_object().unwrap() {
                let described = operation["parameters"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter(|parameter| parameter["in"] == "path")
                    .count();
                assert_eq!(described, wanted, "{method} {path}");
            }
        }
    }

    fn collect(value: &Value, references: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(reference)) = members.get("$ref") {
                    references.insert(reference.clone());
                }
                members
                    .values()
                    .for_each(|value| collect(value, references));
            }
            Value::Array(items) => items.iter().for_each(|value| collect(value, references)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}
