//! Readers of command parameters: each reads one field, or says what is wrong with it.

use serde_json::value::{RawValue, Value};

use super::{
    fields::{Field, Fields, bad_request, missing, too_large},
    refusal::Rejection,
    view::Role,
};
use crate::ids::UserId;

/// Deepest nesting of an `sdp` or `candidate`: half of what common JSON parsers accept, because the
/// receiver sees it inside another object.
pub(super) const NESTING_MAX: usize = 64;

pub(super) const A_UUID: &str = "a UUID";
pub(super) const A_STRING: &str = "a string";
const A_BOOLEAN: &str = "true or false";

pub(super) fn user(fields: &Fields<'_>, field: Field) -> Result<UserId, Rejection> {
    fields.required(field, A_UUID)
}

pub(super) fn has_target(fields: &Fields<'_>) -> bool {
    fields.has(Field::TargetUserId)
}

pub(super) fn role(fields: &Fields<'_>, field: Field) -> Result<Role, Rejection> {
    fields.required(field, "host or attendee")
}

pub(super) fn boolean(fields: &Fields<'_>, field: Field) -> Result<bool, Rejection> {
    fields.required(field, A_BOOLEAN)
}

pub(super) fn optional_boolean(
    fields: &Fields<'_>,
    field: Field,
) -> Result<Option<bool>, Rejection> {
    fields.optional(field, A_BOOLEAN)
}

pub(super) fn false_if_absent(fields: &Fields<'_>, field: Field) -> Result<bool, Rejection> {
    Ok(optional_boolean(fields, field)?.unwrap_or(false))
}

/// Reads the text of a chat message: not empty, within the configured bound.
pub(super) fn chat_text(fields: &Fields<'_>, field: Field) -> Result<String, Rejection> {
    let text: String = fields.required(field, A_STRING)?;
    if text.is_empty() {
        return Err(bad_request(field, "must not be empty"));
    }
    let bytes_max = fields.text_bytes_max;
    if text.len() > bytes_max {
        return Err(too_large(
            field,
            &format!("must be at most {bytes_max} bytes"),
        ));
    }
    Ok(text)
}

/// Reads an `sdp`: a string or an object.
pub(super) fn session_description(
    fields: &Fields<'_>,
    field: Field,
) -> Result<Box<RawValue>, Rejection> {
    opaque(fields, field, b"\"{", "must be a string or an object")
}

/// Reads a `candidate`: a string, an object, or null for the end of candidates.
pub(super) fn candidate(fields: &Fields<'_>, field: Field) -> Result<Box<RawValue>, Rejection> {
    opaque(
        fields,
        field,
        b"\"{n",
        "must be a string, an object or null",
    )
}

/// Reads JSON that is relayed unchanged; `starts` are the first bytes of the allowed kinds.
///
/// Refuses what only some parsers accept (RFC 8259 sections 6 and 8.2): the receiver could not read
/// the frame, and would blame the server.
fn opaque(
    fields: &Fields<'_>,
    field: Field,
    starts: &[u8],
    problem: &str,
) -> Result<Box<RawValue>, Rejection> {
    let raw = fields.get(field).ok_or_else(|| missing(field))?;
    let is_allowed = raw
        .get()
        .bytes()
        .next()
        .is_some_and(|first| starts.contains(&first));
    if !is_allowed {
        return Err(bad_request(field, problem));
    }
    if is_nested_deeper_than(NESTING_MAX, raw.get()) {
        return Err(bad_request(field, "is nested too deep"));
    }
    if serde_json::from_str::<Value>(raw.get()).is_err() {
        return Err(bad_request(
            field,
            "has a lone surrogate or a number out of range",
        ));
    }
    Ok(raw.to_owned())
}

/// Returns whether valid JSON has more than `depth_max` objects and arrays open at once. Raw JSON
/// is skipped without a limit, so a deep one would exhaust the receiver's parser.
fn is_nested_deeper_than(depth_max: usize, json: &str) -> bool {
    let mut depth = 0_usize;
    let mut is_in_string = false;
    let mut is_escaped = false;
    for byte in json.bytes() {
        if is_escaped {
            is_escaped = false;
            continue;
        }
        match (byte, is_in_string) {
            (b'\\', true) => is_escaped = true,
            (b'"', _) => is_in_string = !is_in_string,
            (b'{' | b'[', false) => depth += 1,
            (b'}' | b']', false) => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > depth_max {
            return true;
        }
    }
    false
}
