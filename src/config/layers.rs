//! Merges the layers of the configuration: defaults, file, variables, flags. Later ones win, key by
//! key.

use std::{collections::BTreeMap, fs, path::PathBuf};

use toml::{Table, Value};

use super::Problem;

/// The compiled-in defaults: the file that users read.
pub(super) const DEFAULTS: &str = include_str!("../../config/default.toml");
/// Prefix of all variables.
const PREFIX: &str = "CALLBOARD_";
/// Names the configuration file when no flag does.
const FILE_VARIABLE: &str = "CALLBOARD_CONFIG";
/// Variables that are not keys: the name of the file, the secrets, and the key of `callboard load`.
const OTHER_VARIABLES: &[&str] = &[
    FILE_VARIABLE,
    "CALLBOARD_API_KEY",
    crate::secrets::SIGNING_KEY_VARIABLE,
    crate::secrets::BOOTSTRAP_API_KEY_VARIABLE,
];

/// Where the configuration comes from, besides the defaults.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file given by a flag.
    pub file: Option<PathBuf>,
    /// The process's variables. Those without the prefix are ignored.
    pub environment: Vec<(String, String)>,
    /// Key and value of each flag that was given.
    pub flags: Vec<(&'static str, String)>,
    /// Whether this process will serve. If so, what other nodes and clients need is checked too.
    pub is_node: bool,
    /// Whether a signing key comes from the environment.
    pub is_signing_key_given: bool,
}

/// Values by full key, such as `mirror.stall_ms`.
pub(super) type Values = BTreeMap<String, Given>;

/// A value of the topmost layer that has its key.
pub(super) struct Given {
    pub(super) value: Value,
    /// The variable that it comes from, if any.
    pub(super) variable: Option<String>,
}

pub(super) fn merge(sources: &Sources, problems: &mut Vec<Problem>) -> Values {
    let mut values = Values::new();
    let defaults = DEFAULTS.parse().expect("a test loads the defaults");
    flatten("", defaults, &mut values);
    if let Some(table) = read_file(sources, problems) {
        flatten("", table, &mut values);
    }
    for (variable, text) in key_variables(&sources.environment) {
        let key = variable[PREFIX.len()..].to_lowercase().replace("__", ".");
        let given = Given {
            value: Value::String(text.clone()),
            variable: Some(variable.clone()),
        };
        values.insert(key, given);
    }
    for (key, text) in &sources.flags {
        let given = Given {
            value: Value::String(text.clone()),
            variable: None,
        };
        values.insert((*key).to_owned(), given);
    }
    values
}

/// The content of the configuration file, if there is one and it is TOML.
fn read_file(sources: &Sources, problems: &mut Vec<Problem>) -> Option<Table> {
    let from_variable = || {
        sources
            .environment
            .iter()
            .find(|(name, value)| name == FILE_VARIABLE && !value.is_empty())
            .map(|(_, value)| PathBuf::from(value))
    };
    let path = sources.file.clone().or_else(from_variable)?;
    let parsed = match fs::read_to_string(&path) {
        Ok(text) => text
            .parse()
            .map_err(|error: toml::de::Error| without_excerpt(&error.to_string())),
        Err(error) => Err(error.to_string()),
    };
    parsed
        .map_err(|text| problems.push(Problem::new(path.display().to_string(), text)))
        .ok()
}

/// Removes the lines of the file that a parser's message shows: they may hold a password.
fn without_excerpt(message: &str) -> String {
    message
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.contains('|'))
        .collect::<Vec<_>>()
        .join(": ")
}

/// The variables that name keys. An empty one counts as absent.
fn key_variables(environment: &[(String, String)]) -> impl Iterator<Item = &(String, String)> {
    environment.iter().filter(|(name, value)| {
        name.strip_prefix(PREFIX).is_some_and(|rest| {
            // Kubernetes sets CALLBOARD_PORT, CALLBOARD_SERVICE_HOST and others like them when the
            // service is called callboard.
            let is_service_link =
                rest == "PORT" || rest.starts_with("PORT_") || rest.starts_with("SERVICE_");
            !value.is_empty() && !is_service_link && !OTHER_VARIABLES.contains(&name.as_str())
        })
    })
}

fn flatten(prefix: &str, table: Table, values: &mut Values) {
    for (name, value) in table {
        let key = format!("{prefix}{name}");
        match value {
            Value::Table(inner) => flatten(&format!("{key}."), inner, values),
            value => {
                let variable = None;
                values.insert(key, Given { value, variable });
            }
        }
    }
}
