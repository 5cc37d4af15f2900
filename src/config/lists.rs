//! The lists of the configuration, `[[sfu]]` and `[[ice_servers]]`. Every wrong field of every
//! entry is a problem of its own.

use std::{fmt, net::IpAddr};

use serde::Serialize;
use toml::{Table, Value};

use super::keys::is_label;

/// Longest list of media servers.
pub(super) const SFU_MAX: usize = 256;
/// Longest list of ICE servers.
pub(super) const ICE_SERVERS_MAX: usize = 32;
/// URLs of one ICE server.
const ICE_URLS_MAX: usize = 8;
/// Schemes of ICE servers (RFC 7064, RFC 7065).
const ICE_SCHEMES: [&str; 4] = ["stun:", "stuns:", "turn:", "turns:"];

/// The name of a wrong field, and what it must be. The name is empty when the whole entry is wrong.
pub(super) type WrongField = (&'static str, &'static str);

/// A media server, one `[[sfu]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SfuConfig {
    /// Region of the rooms that are told of it.
    pub region: String,
    /// Its address.
    pub ip: IpAddr,
    /// Its port.
    pub port: u16,
}

/// An ICE server as joiners are told of it, one `[[ice_servers]]`. As JSON it is an `RTCIceServer`
/// of WebRTC.
#[derive(Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct IceServer {
    /// `stun:` and `turn:` URLs.
    pub urls: Vec<String>,
    /// For TURN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// For TURN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

/// Without the credential.
impl fmt::Debug for IceServer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("IceServer")
            .field("urls", &self.urls)
            .finish_non_exhaustive()
    }
}

pub(super) fn sfu(entry: &Value) -> Result<SfuConfig, Vec<WrongField>> {
    let mut wrong = Vec::new();
    let entry = table(entry)?;
    let region = text(entry, "region").filter(|text| is_label(text));
    if region.is_none() {
        wrong.push(("region", "must have 1 to 64 characters"));
    }
    let ip = text(entry, "ip").and_then(|text| text.parse().ok());
    if ip.is_none() {
        wrong.push(("ip", "must be an IP address"));
    }
    let port = entry.get("port").and_then(Value::as_integer);
    let port = port
        .and_then(|port| u16::try_from(port).ok())
        .filter(|port| *port > 0);
    if port.is_none() {
        wrong.push(("port", "must be a whole number, 1 to 65535"));
    }
    if has_unknown(entry, &["region", "ip", "port"]) {
        wrong.push(("", "knows only region, ip and port"));
    }
    match (region, ip, port) {
        (Some(region), Some(ip), Some(port)) if wrong.is_empty() => Ok(SfuConfig {
            region: region.to_owned(),
            ip,
            port,
        }),
        _ => Err(wrong),
    }
}

pub(super) fn ice_server(entry: &Value) -> Result<IceServer, Vec<WrongField>> {
    let mut wrong = Vec::new();
    let entry = table(entry)?;
    let urls = entry.get("urls").and_then(ice_urls).unwrap_or_default();
    if !(1..=ICE_URLS_MAX).contains(&urls.len()) {
        wrong.push((
            "urls",
            "must be a list of 1 to 8 URLs, each stun:, stuns:, turn: or turns:",
        ));
    }
    let [username, credential] = ["username", "credential"].map(|field| text(entry, field));
    let is_given = |field| entry.contains_key(field);
    let are_texts = is_given("username") == username.is_some()
        && is_given("credential") == credential.is_some();
    if !are_texts || username.is_some() != credential.is_some() {
        wrong.push((
            "credential",
            "and username must be texts, given both or neither",
        ));
    }
    if has_unknown(entry, &["urls", "username", "credential"]) {
        wrong.push(("", "knows only urls, username and credential"));
    }
    if wrong.is_empty() {
        Ok(IceServer {
            urls,
            username: username.map(str::to_owned),
            credential: credential.map(str::to_owned),
        })
    } else {
        Err(wrong)
    }
}

fn table(entry: &Value) -> Result<&Table, Vec<WrongField>> {
    entry
        .as_table()
        .ok_or_else(|| vec![("", "must be a table")])
}

fn text<'e>(entry: &'e Table, field: &str) -> Option<&'e str> {
    entry.get(field).and_then(Value::as_str)
}

fn has_unknown(entry: &Table, known: &[&str]) -> bool {
    entry.keys().any(|field| !known.contains(&field.as_str()))
}

/// `None` if the value is not a list of ICE server URLs.
fn ice_urls(value: &Value) -> Option<Vec<String>> {
    let is_ice_url = |url: &&str| {
        ICE_SCHEMES
            .iter()
            .any(|scheme| url.len() > scheme.len() && url.starts_with(scheme))
    };
    value
        .as_array()?
        .iter()
        .map(|url| url.as_str().filter(is_ice_url).map(str::to_owned))
        .collect()
}
