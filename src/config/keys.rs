//! Reads the merged values into types, checks their bounds and collects every problem.

use std::{
    collections::BTreeMap, net::SocketAddr, ops::RangeInclusive, path::PathBuf, time::Duration,
};

use toml::Value;
use tracing_subscriber::filter::Targets;
use url::Url;

use super::{
    ConnectionUrl, IceServer, Problem, SfuConfig,
    connection_url::SQLITE_PREFIX,
    layers::{Given, Values},
    lists, order,
};

/// Longest name of a region, in characters.
const LABEL_CHARS_MAX: usize = 64;
/// Longest list of origins.
const ORIGINS_MAX: usize = 256;
/// Schemes of Redis URLs. The mirror's adapter reads the rest of the URL.
const REDIS_SCHEMES: &[&str] = &[
    "redis",
    "rediss",
    "redis+sentinel",
    "rediss+sentinel",
    "redis+cluster",
    "rediss+cluster",
];

/// The values that were not read yet, and the problems so far.
///
/// A reader returns an arbitrary value of its type when the value is wrong or absent: nobody sees
/// it, because a configuration with problems is not used. Texts never repeat a value: it may be
/// secret.
pub(super) struct Keys {
    unread: Values,
    /// Number of keys that were asked for, given or not.
    known: usize,
    /// The numbers that are within their bounds.
    numbers: BTreeMap<&'static str, i64>,
    problems: Vec<Problem>,
}

impl Keys {
    pub(super) fn new(values: Values, problems: Vec<Problem>) -> Self {
        Self {
            unread: values,
            known: 0,
            numbers: BTreeMap::new(),
            problems,
        }
    }

    pub(super) fn add_problem(&mut self, key: impl Into<String>, text: impl Into<String>) {
        self.problems.push(Problem::new(key, text));
    }

    /// Returns all problems: wrong values, numbers in the wrong order, and keys that nobody asked
    /// for.
    pub(super) fn finish(mut self) -> Vec<Problem> {
        self.problems.extend(order::problems(&self.numbers));
        let known = self.known;
        let unknown = self
            .unread
            .into_iter()
            .map(|(key, given)| match given.variable {
                Some(variable) => Problem::new(variable, "is not a key of the configuration"),
                None => Problem::new(
                    key,
                    format!("is not one of the {known} keys of the configuration"),
                ),
            });
        self.problems.extend(unknown);
        self.problems
    }

    pub(super) fn millis(&mut self, key: &'static str, bounds: RangeInclusive<i64>) -> Duration {
        Duration::from_millis(self.whole(key, bounds))
    }

    pub(super) fn secs(&mut self, key: &'static str, bounds: RangeInclusive<i64>) -> Duration {
        Duration::from_secs(self.whole(key, bounds))
    }

    pub(super) fn whole<N: TryFrom<i64>>(
        &mut self,
        key: &'static str,
        bounds: RangeInclusive<i64>,
    ) -> N {
        let (min, max) = (*bounds.start(), *bounds.end());
        let number = self.take(key).and_then(|value| whole_number(&value));
        let number = match number.filter(|number| bounds.contains(number)) {
            Some(number) => {
                self.numbers.insert(key, number);
                number
            }
            None => {
                self.add_problem(key, format!("must be a whole number, {min} to {max}"));
                min
            }
        };
        N::try_from(number)
            .ok()
            .expect("the bounds fit the field's type")
    }

    pub(super) fn choice<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> T {
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let rule = format!("must be one of: {}", names.join(", "));
        let chosen = self.text(key, &rule, |text| {
            let found = words.iter().find(|(word, _)| *word == text);
            found.map(|(_, value)| *value)
        });
        chosen.unwrap_or(words[0].1)
    }

    pub(super) fn address(&mut self, key: &'static str) -> Option<SocketAddr> {
        let rule = "must be an IP address and a port, such as 127.0.0.1:8080";
        self.text(key, rule, |text| text.parse().ok())
    }

    pub(super) fn path(&mut self, key: &'static str) -> PathBuf {
        let path = self.text(key, "must not be empty", |text| {
            (!text.is_empty()).then(|| PathBuf::from(text))
        });
        path.unwrap_or_default()
    }

    pub(super) fn label(&mut self, key: &'static str) -> String {
        let label = self.text(key, "must have 1 to 64 characters", |text| {
            is_label(text).then(|| text.to_owned())
        });
        label.unwrap_or_default()
    }

    pub(super) fn log_filter(&mut self, key: &'static str) -> String {
        let rule = "must be a level (error, warn, info, debug, trace) or filter directives";
        self.text(key, rule, log_filter).unwrap_or_default()
    }

    pub(super) fn base_url(&mut self, key: &'static str) -> Option<Url> {
        let rule =
            "must be http://host or https://host, with an optional port and nothing behind it";
        self.text(key, rule, base_url)
    }

    pub(super) fn database(&mut self, key: &'static str) -> Option<ConnectionUrl> {
        let rule = "must be postgres://user:password@host/name or sqlite:path";
        self.text(key, rule, |text| {
            is_database(text).then(|| ConnectionUrl::new(text))
        })
    }

    pub(super) fn redis(&mut self, key: &'static str) -> Option<ConnectionUrl> {
        let schemes = REDIS_SCHEMES.join(", ");
        let rule = format!("must begin with one of: {schemes}, and name a host");
        self.text(key, &rule, |text| {
            is_redis(text).then(|| ConnectionUrl::new(text))
        })
    }

    /// A list of texts, or one text with commas, as a variable has it.
    pub(super) fn origins(&mut self, key: &'static str) -> Vec<String> {
        match self.take(key).map_or_else(|| Ok(Vec::new()), origins) {
            Ok(origins) => origins,
            Err(text) => {
                self.add_problem(key, text);
                Vec::new()
            }
        }
    }

    pub(super) fn sfu(&mut self, key: &'static str) -> Vec<SfuConfig> {
        self.list(key, lists::SFU_MAX, lists::sfu)
    }

    pub(super) fn ice_servers(&mut self, key: &'static str) -> Vec<IceServer> {
        self.list(key, lists::ICE_SERVERS_MAX, lists::ice_server)
    }

    fn list<T>(
        &mut self,
        key: &'static str,
        entries_max: usize,
        read: fn(&Value) -> Result<T, Vec<lists::WrongField>>,
    ) -> Vec<T> {
        let entries = match self.take(key) {
            None => return Vec::new(),
            Some(Value::Array(entries)) => entries,
            Some(_) => {
                self.add_problem(key, "must be a list of tables, in a configuration file");
                return Vec::new();
            }
        };
        if entries.len() > entries_max {
            self.add_problem(key, format!("must have at most {entries_max} entries"));
            return Vec::new();
        }
        let mut list = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            match read(entry) {
                Ok(entry) => list.push(entry),
                Err(wrong) => self.problems.extend(wrong.into_iter().map(|(field, text)| {
                    let dot = if field.is_empty() { "" } else { "." };
                    Problem::new(format!("{key}[{index}]{dot}{field}"), text)
                })),
            }
        }
        list
    }

    /// Returns what `parse` makes of a text. `None` if the key is not given, or if it is wrong:
    /// then `rule` is the problem.
    fn text<T>(
        &mut self,
        key: &'static str,
        rule: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let value = self.take(key)?;
        let Some(text) = value.as_str() else {
            self.add_problem(key, "must be a text");
            return None;
        };
        let parsed = parse(text);
        if parsed.is_none() {
            self.add_problem(key, rule);
        }
        parsed
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known += 1;
        self.unread.remove(key).map(|Given { value, .. }| value)
    }
}

/// Variables and flags are texts.
fn whole_number(value: &Value) -> Option<i64> {
    match value {
        Value::Integer(number) => Some(*number),
        Value::String(text) => text.trim().parse().ok(),
        Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_)
        | Value::Array(_)
        | Value::Table(_) => None,
    }
}

/// Whether a text can name a region.
pub(super) fn is_label(text: &str) -> bool {
    (1..=LABEL_CHARS_MAX).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

/// Returns the directives without blanks between them. Span filters (`[span]`) are not supported.
fn log_filter(text: &str) -> Option<String> {
    let directives: Vec<&str> = text
        .split(',')
        .map(str::trim)
        .filter(|directive| !directive.is_empty())
        .collect();
    let text = directives.join(",");
    let is_right = !text.is_empty() && !text.contains('[') && text.parse::<Targets>().is_ok();
    is_right.then_some(text)
}

fn base_url(text: &str) -> Option<Url> {
    Url::parse(text).ok().filter(|url| {
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
        // In memory, each pooled connection would have a database of its own.
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
    text == "*" || (base_url(text).is_some() && !text.ends_with('/'))
}

fn origins(value: Value) -> Result<Vec<String>, String> {
    let origins: Option<Vec<String>> = match value {
        Value::String(text) => Some(text.split(',').map(|part| part.trim().to_owned()).collect()),
        Value::Array(items) => items
            .iter()
            .map(|item| item.as_str().map(str::to_owned))
            .collect(),
        _ => None,
    };
    let origins = origins.ok_or("must be a list of texts")?;
    if !(1..=ORIGINS_MAX).contains(&origins.len()) {
        return Err(format!("must name 1 to {ORIGINS_MAX} origins"));
    }
    if !origins.iter().all(|origin| is_origin(origin)) {
        return Err(
            "must be origins such as https://app.example.org, without path, or *".to_owned(),
        );
    }
    Ok(origins)
}
