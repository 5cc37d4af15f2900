//! Puts the layers of the configuration on top of each other and names every problem of the result in one go.

use std::{collections::BTreeMap, fs, net::SocketAddr, path::PathBuf};

use ::config::{Environment, File, FileFormat, Map, Source, Value, ValueKind};

use super::{
    Problem, Problems, check,
    raw::Raw,
    schema::{self, KEYS, ORDER, Relation},
};

/// The compiled-in defaults: the file that users read.
pub(super) const DEFAULTS: &str = include_str!("../../config/default.toml");
/// What every variable begins with.
const PREFIX: &str = "CALLBOARD_";
/// Variables that are not keys: the file itself, and the secrets, which are not configuration.
const OTHER_VARIABLES: &[&str] = &[
    FILE_VARIABLE,
    crate::secrets::SIGNING_KEY_VARIABLE,
    crate::secrets::BOOTSTRAP_API_KEY_VARIABLE,
];
/// Names the configuration file when no flag does.
const FILE_VARIABLE: &str = "CALLBOARD_CONFIG";

/// Where the configuration comes from, besides the defaults.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file given by a flag.
    pub file: Option<PathBuf>,
    /// The process's variables; those without the prefix are ignored.
    pub environment: Vec<(String, String)>,
    /// Key and value of each flag that was given.
    pub flags: Vec<(&'static str, String)>,
    /// Whether this process will serve: then what other nodes and clients need is checked, too.
    pub is_node: bool,
    /// Whether a signing key comes from the environment.
    pub is_signing_key_given: bool,
}

/// Values by full key.
type Flat = BTreeMap<String, Value>;

/// Merges, checks, and reads the result into its types.
pub(super) fn load(sources: &Sources) -> Result<Raw, Problems> {
    let mut problems = Vec::new();
    let merged = merge(sources, &mut problems);
    let clean = check_values(merged, &mut problems);
    check_order(&clean, &mut problems);
    if sources.is_node {
        check_node(&clean, sources, &mut problems);
    }
    if !problems.is_empty() {
        return Err(Problems(problems));
    }
    let mut builder = ::config::Config::builder();
    for (key, value) in clean {
        builder = builder
            .set_default(key, value)
            .expect("a checked key is a path");
    }
    builder
        .build()
        .and_then(::config::Config::try_deserialize)
        .map_err(|error| Problems(vec![Problem::new("configuration", error.to_string())]))
}

fn merge(sources: &Sources, problems: &mut Vec<Problem>) -> Flat {
    let mut builder =
        ::config::Config::builder().add_source(File::from_str(DEFAULTS, FileFormat::Toml));
    if let Some(text) = read_file(sources, problems) {
        builder = builder.add_source(File::from_str(&text, FileFormat::Toml));
    }
    let environment = Environment::with_prefix(PREFIX.trim_end_matches('_'))
        .prefix_separator("_")
        .separator("__")
        .source(Some(known_variables(&sources.environment, problems)));
    builder = builder.add_source(environment);
    for (key, value) in &sources.flags {
        builder = builder
            .set_override(key, value.as_str())
            .expect("a flag's key is a path");
    }
    let mut flat = Flat::new();
    match builder.build().and_then(|merged| merged.collect()) {
        Ok(table) => flatten("", table, &mut flat),
        Err(error) => problems.push(Problem::new("configuration", error.to_string())),
    }
    flat
}

/// The text of the configuration file, if there is one and it is TOML.
fn read_file(sources: &Sources, problems: &mut Vec<Problem>) -> Option<String> {
    let from_variable = || {
        sources
            .environment
            .iter()
            .find(|(name, value)| name == FILE_VARIABLE && !value.is_empty())
            .map(|(_, value)| PathBuf::from(value))
    };
    let path = sources.file.clone().or_else(from_variable)?;
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => {
            problems.push(Problem::new(path.display().to_string(), error.to_string()));
            return None;
        }
    };
    let parsed = ::config::Config::builder()
        .add_source(File::from_str(&text, FileFormat::Toml))
        .build();
    match parsed {
        Ok(_) => Some(text),
        Err(error) => {
            problems.push(Problem::new(
                path.display().to_string(),
                without_excerpt(&error.to_string()),
            ));
            None
        }
    }
}

/// A parser's message without the lines of the file that it shows: they may hold a password.
fn without_excerpt(message: &str) -> String {
    message
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.contains('|'))
        .collect::<Vec<_>>()
        .join(": ")
}

/// The variables that are keys; those that look like keys and are none become problems.
fn known_variables(
    environment: &[(String, String)],
    problems: &mut Vec<Problem>,
) -> Map<String, String> {
    let mut known = Map::new();
    for (name, value) in environment {
        let Some(rest) = name.strip_prefix(PREFIX) else {
            continue;
        };
        // An orchestrator sets CALLBOARD_PORT, CALLBOARD_SERVICE_HOST and their like when the service is called callboard.
        let is_service_link =
            rest == "PORT" || rest.starts_with("PORT_") || rest.starts_with("SERVICE_");
        if value.is_empty() || is_service_link || OTHER_VARIABLES.contains(&name.as_str()) {
            continue;
        }
        if schema::find(&rest.to_lowercase().replace("__", ".")).is_some() {
            known.insert(name.clone(), value.clone());
        } else {
            problems.push(Problem::new(name, "is not a key of the configuration"));
        }
    }
    known
}

fn flatten(prefix: &str, table: Map<String, Value>, flat: &mut Flat) {
    for (name, value) in table {
        let key = if prefix.is_empty() {
            name
        } else {
            format!("{prefix}.{name}")
        };
        match value.kind {
            ValueKind::Table(inner) => flatten(&key, inner, flat),
            _ => {
                flat.insert(key, value);
            }
        }
    }
}

/// The values that are right, in their final form.
fn check_values(merged: Flat, problems: &mut Vec<Problem>) -> Flat {
    let mut clean = Flat::new();
    for (name, value) in merged {
        let Some(key) = schema::find(&name) else {
            problems.push(Problem::new(name, unknown_text()));
            continue;
        };
        match check::check(key, value) {
            Ok(value) => {
                clean.insert(name, value);
            }
            Err(wrongs) => problems.extend(
                wrongs
                    .into_iter()
                    .map(|wrong| Problem::new(format!("{name}{}", wrong.part), wrong.text)),
            ),
        }
    }
    clean
}

fn unknown_text() -> String {
    format!("is not one of the {} keys of the configuration", KEYS.len())
}

fn number(clean: &Flat, key: &str) -> Option<i64> {
    clean
        .get(key)
        .and_then(|value| value.clone().into_int().ok())
}

fn check_order(clean: &Flat, problems: &mut Vec<Problem>) {
    for (low, relation, high) in ORDER {
        // A number that is wrong by itself is a problem already.
        let (Some(low_number), Some(high_number)) = (number(clean, low), number(clean, high))
        else {
            continue;
        };
        let (is_right, word) = match relation {
            Relation::Below => (low_number < high_number, "smaller than"),
            Relation::AtMost => (low_number <= high_number, "at most"),
        };
        if !is_right {
            problems.push(Problem::new(
                *low,
                format!("is {low_number} but must be {word} {high}, which is {high_number}"),
            ));
        }
    }
}

/// What a node of a cluster needs so that the others find and trust it.
fn check_node(clean: &Flat, sources: &Sources, problems: &mut Vec<Problem>) {
    if !clean.contains_key("redis") {
        return;
    }
    let listen = clean
        .get("listen")
        .and_then(|value| value.clone().into_string().ok())
        .and_then(|text| text.parse::<SocketAddr>().ok());
    let is_reachable = listen.is_none_or(|address| {
        !address.ip().is_loopback() && !address.ip().is_unspecified() && address.port() != 0
    });
    if !clean.contains_key("advertise") && !is_reachable {
        problems.push(Problem::new(
            "advertise",
            "must be given with redis when listen is a loopback or unspecified address or has port 0",
        ));
    }
    if !sources.is_signing_key_given {
        problems.push(Problem::new(
            crate::secrets::SIGNING_KEY_VARIABLE,
            "must be given with redis: all nodes share it",
        ));
    }
}
