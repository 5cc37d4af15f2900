//! Checks one value against the shape of its key.

use std::net::SocketAddr;

use ::config::{Value, ValueKind};
use tracing_subscriber::EnvFilter;
use url::Url;

use super::{
    connection_url::SQLITE_PREFIX,
    lists,
    schema::{Key, Shape},
};

/// Longest name of a region, in characters.
const LABEL_CHARS_MAX: usize = 64;
/// Longest list of origins.
const ORIGINS_MAX: usize = 256;
/// What a Redis URL may begin with; the mirror's adapter reads the rest.
const REDIS_SCHEMES: &[&str] = &[
    "redis",
    "rediss",
    "redis+sentinel",
    "rediss+sentinel",
    "redis+cluster",
    "rediss+cluster",
];

/// A value that is wrong: what is wrong, and which part of the value (`[0].port`; empty: all of it).
pub(super) struct Wrong {
    /// Behind the name of the key.
    pub(super) part: String,
    /// What it must be.
    pub(super) text: String,
}

/// All of the value is wrong.
pub(super) fn wrong(text: impl Into<String>) -> Vec<Wrong> {
    vec![Wrong {
        part: String::new(),
        text: text.into(),
    }]
}

/// The value in the form that the typed configuration reads, or everything that is wrong with it. Texts never repeat a
/// value that could be secret.
pub(super) fn check(key: &Key, value: Value) -> Result<Value, Vec<Wrong>> {
    match key.shape {
        Shape::Whole { min, max } => whole(&value, min, max).map(Value::from),
        Shape::Choice(words) => {
            let text = text(&value)?;
            if words.contains(&text.as_str()) {
                Ok(text.into())
            } else {
                Err(wrong(format!("must be one of: {}", words.join(", "))))
            }
        }
        Shape::Address => checked(
            &value,
            "must be an IP address and a port, such as 127.0.0.1:8080",
            |text| text.parse::<SocketAddr>().is_ok(),
        ),
        Shape::Path => checked(&value, "must not be empty", |text| !text.is_empty()),
        Shape::Label => checked(&value, "must have 1 to 64 characters", is_label),
        Shape::Filter => checked(
            &value,
            "must be a level (error, warn, info, debug, trace) or filter directives",
            |text| !text.trim().is_empty() && EnvFilter::try_new(text).is_ok(),
        ),
        Shape::BaseUrl => checked(
            &value,
            "must be http://host or https://host, with an optional port and nothing behind it",
            is_base_url,
        ),
        Shape::Database => checked(
            &value,
            "must be postgres://user:password@host/name or sqlite:path",
            is_database,
        ),
        Shape::Redis => checked(
            &value,
            &format!(
                "must begin with one of: {}, and name a host",
                REDIS_SCHEMES.join(", ")
            ),
            is_redis,
        ),
        Shape::Origins => origins(value),
        Shape::SfuList => lists::sfu(value),
        Shape::IceList => lists::ice_servers(value),
    }
}

/// A whole number within bounds.
pub(super) fn whole(value: &Value, min: i64, max: i64) -> Result<i64, Vec<Wrong>> {
    let number = match &value.kind {
        ValueKind::I64(number) => Some(*number),
        // Variables and flags are texts.
        ValueKind::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number
        .filter(|number| (min..=max).contains(number))
        .ok_or_else(|| wrong(format!("must be a whole number, {min} to {max}")))
}

/// A text.
pub(super) fn text(value: &Value) -> Result<String, Vec<Wrong>> {
    match &value.kind {
        ValueKind::String(text) => Ok(text.clone()),
        _ => Err(wrong("must be a text")),
    }
}

fn checked(
    value: &Value,
    rule: &str,
    is_right: impl Fn(&str) -> bool,
) -> Result<Value, Vec<Wrong>> {
    let text = text(value)?;
    if is_right(&text) {
        Ok(text.into())
    } else {
        Err(wrong(rule))
    }
}

/// Whether a text can name a region.
pub(super) fn is_label(text: &str) -> bool {
    (1..=LABEL_CHARS_MAX).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

fn is_base_url(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.path() == "/"
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    })
}

fn is_database(text: &str) -> bool {
    match text.strip_prefix(SQLITE_PREFIX) {
        // In memory every pooled connection would see a database of its own.
        Some(path) => !path.is_empty() && !path.contains(":memory:"),
        None => Url::parse(text).is_ok_and(|url| {
            matches!(url.scheme(), "postgres" | "postgresql") && !url.cannot_be_a_base()
        }),
    }
}

fn is_redis(text: &str) -> bool {
    text.split_once("://")
        .is_some_and(|(scheme, rest)| REDIS_SCHEMES.contains(&scheme) && !rest.is_empty())
}

fn is_origin(text: &str) -> bool {
    text == "*" || (is_base_url(text) && !text.ends_with('/'))
}

fn origins(value: Value) -> Result<Value, Vec<Wrong>> {
    let texts: Vec<String> = match value.kind {
        ValueKind::String(text) => text.split(',').map(|part| part.trim().to_owned()).collect(),
        _ => value
            .into_array()
            .ok()
            .and_then(|items| items.into_iter().map(|item| text(&item).ok()).collect())
            .ok_or_else(|| wrong("must be a list of texts"))?,
    };
    if !(1..=ORIGINS_MAX).contains(&texts.len()) {
        return Err(wrong(format!("must name 1 to {ORIGINS_MAX} origins")));
    }
    if texts.iter().all(|text| is_origin(text)) {
        Ok(texts.into())
    } else {
        Err(wrong(
            "must be origins such as https://app.example.org, without path, or *",
        ))
    }
}
