//! Checks the lists of tables, `[[sfu]]` and `[[ice_servers]]`: every wrong field of every entry.

use std::net::IpAddr;

use ::config::{Map, Value, ValueKind};

use super::check::{Wrong, is_label, text, whole, wrong};

/// Longest list of media servers.
const SFU_MAX: usize = 256;
/// Longest list of ICE servers.
const ICE_SERVERS_MAX: usize = 32;
/// URLs of one ICE server.
const ICE_URLS_MAX: usize = 8;
/// What the URL of an ICE server begins with (RFC 7064, RFC 7065).
const ICE_SCHEMES: [&str; 4] = ["stun:", "stuns:", "turn:", "turns:"];

/// One entry of a list.
type Entry = Map<String, Value>;
/// A wrong field of an entry (empty: the entry itself), and what it must be.
type WrongField = (&'static str, &'static str);

/// Checks `[[sfu]]`.
pub(super) fn sfu(value: Value) -> Result<Value, Vec<Wrong>> {
    entries(value, SFU_MAX, sfu_entry)
}

/// Checks `[[ice_servers]]`.
pub(super) fn ice_servers(value: Value) -> Result<Value, Vec<Wrong>> {
    entries(value, ICE_SERVERS_MAX, ice_server_entry)
}

fn entries(
    value: Value,
    entries_max: usize,
    check: fn(&Entry) -> Vec<WrongField>,
) -> Result<Value, Vec<Wrong>> {
    let ValueKind::Array(entries) = &value.kind else {
        return Err(wrong("must be a list of tables, in a configuration file"));
    };
    if entries.len() > entries_max {
        return Err(wrong(format!("must have at most {entries_max} entries")));
    }
    let mut problems = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let fields = match &entry.kind {
            ValueKind::Table(table) => check(table),
            _ => vec![("", "must be a table")],
        };
        problems.extend(fields.into_iter().map(|(field, text)| {
            let dot = if field.is_empty() { "" } else { "." };
            Wrong {
                part: format!("[{index}]{dot}{field}"),
                text: text.to_owned(),
            }
        }));
    }
    if problems.is_empty() {
        Ok(value)
    } else {
        Err(problems)
    }
}

fn field_text(entry: &Entry, field: &str) -> Option<String> {
    entry.get(field).and_then(|value| text(value).ok())
}

fn has_unknown(entry: &Entry, known: &[&str]) -> bool {
    entry.keys().any(|field| !known.contains(&field.as_str()))
}

fn sfu_entry(entry: &Entry) -> Vec<WrongField> {
    let mut problems = Vec::new();
    if field_text(entry, "region").is_none_or(|text| !is_label(&text)) {
        problems.push(("region", "must have 1 to 64 characters"));
    }
    if field_text(entry, "ip").is_none_or(|text| text.parse::<IpAddr>().is_err()) {
        problems.push(("ip", "must be an IP address"));
    }
    let is_port = |value: &Value| whole(value, 1, i64::from(u16::MAX)).is_ok();
    if entry.get("port").is_none_or(|value| !is_port(value)) {
        problems.push(("port", "must be a whole number, 1 to 65535"));
    }
    if has_unknown(entry, &["region", "ip", "port"]) {
        problems.push(("", "knows only region, ip and port"));
    }
    problems
}

fn ice_server_entry(entry: &Entry) -> Vec<WrongField> {
    let mut problems = Vec::new();
    let urls = entry.get("urls").and_then(ice_urls).unwrap_or_default();
    if !(1..=ICE_URLS_MAX).contains(&urls.len()) {
        problems.push((
            "urls",
            "must be a list of 1 to 8 URLs, each stun:, stuns:, turn: or turns:",
        ));
    }
    let is_text_or_absent =
        |field: &str| !entry.contains_key(field) || field_text(entry, field).is_some();
    let is_pair = entry.contains_key("username") == entry.contains_key("credential");
    if !is_pair || !is_text_or_absent("username") || !is_text_or_absent("credential") {
        problems.push((
            "credential",
            "and username must be texts, given both or neither",
        ));
    }
    if has_unknown(entry, &["urls", "username", "credential"]) {
        problems.push(("", "knows only urls, username and credential"));
    }
    problems
}

/// The URLs; none when one of them is not an ICE server's.
fn ice_urls(value: &Value) -> Option<Vec<String>> {
    let is_ice_url = |url: &String| {
        ICE_SCHEMES
            .iter()
            .any(|scheme| url.len() > scheme.len() && url.starts_with(scheme))
    };
    value
        .clone()
        .into_array()
        .ok()?
        .iter()
        .map(|url| text(url).ok().filter(is_ice_url))
        .collect()
}
