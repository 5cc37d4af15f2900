//! URLs of databases. They may hold a password, which is not shown.

use std::{fmt, path::Path};

/// The URL of a database. `Debug` and `Display` leave out everything that may be secret.
/// [`expose`](Self::expose) is for connecting.
#[derive(Clone, PartialEq, Eq)]
pub struct ConnectionUrl(String);

impl ConnectionUrl {
    /// Takes the text as it is.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The URL of an embedded database in this file.
    pub(super) fn sqlite(path: &Path) -> Self {
        Self(format!("{SQLITE_PREFIX}{}", path.display()))
    }

    /// The whole URL, password included.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether this is an embedded SQLite database.
    #[must_use]
    pub fn is_sqlite(&self) -> bool {
        self.0.starts_with(SQLITE_PREFIX)
    }
}

/// Prefix of the URL of an embedded database. Its path follows.
pub(super) const SQLITE_PREFIX: &str = "sqlite:";

impl fmt::Display for ConnectionUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_sqlite() {
            return out.write_str(&self.0);
        }
        let Some((scheme, rest)) = self.0.split_once("://") else {
            return out.write_str("***");
        };
        // The last `@` of the whole text, not of the authority: a password with an unescaped `/`
        // must not show either.
        let (secret, shown) = match rest.rsplit_once('@') {
            Some((_, shown)) => ("***@", shown),
            None => ("", rest),
        };
        // Parameters may hold a password as well.
        let (shown, parameters) = match shown.split_once('?') {
            Some((shown, _)) => (shown, "?***"),
            None => (shown, ""),
        };
        write!(out, "{scheme}://{secret}{shown}{parameters}")
    }
}

impl fmt::Debug for ConnectionUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_shows_everything_but_its_secrets() {
        for (url, shown) in [
            (
                "postgres://app:pass@db:5432/call",
                "postgres://***@db:5432/call",
            ),
            ("postgres://app:pa/ss@db/call", "postgres://***@db/call"),
            (
                "postgres://db/call?user=app&password=pass",
                "postgres://db/call?***",
            ),
            ("rediss://:p@ss@cache:6380/0", "rediss://***@cache:6380/0"),
            ("redis://cache", "redis://cache"),
            ("sqlite:./data/callboard.db", "sqlite:./data/callboard.db"),
            ("host=db password=pass", "***"),
        ] {
            assert_eq!(ConnectionUrl::new(url).to_string(), shown);
            assert_eq!(format!("{:?}", ConnectionUrl::new(url)), shown);
        }
    }
}
