//! The `--redis` URL: which kind of deployment it names and how to reach it.

use redis::{
    Client, ConnectionInfo, IntoConnectionInfo, TlsMode,
    cluster::{ClusterClient, ClusterClientBuilder},
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};

use super::{ConnectError, RedisOptions};

/// A deployment, not yet connected.
pub(super) enum Deployment {
    /// One server.
    Single(Box<Client>),
    /// Sentinels that name the primary.
    Sentinel(Box<SentinelClient>),
    /// A Redis Cluster.
    Cluster(Box<ClusterClient>),
}

/// The parts of a URL. The `url` crate reads only one host, and these URLs name several.
struct UrlParts<'a> {
    is_tls: bool,
    kind: Kind,
    /// With the `@`, or empty.
    credentials: &'a str,
    hosts: Vec<&'a str>,
    /// After the first `/`.
    path: &'a str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Single,
    Sentinel,
    Cluster,
}

impl Deployment {
    /// Reads the URL; see [`RedisOptions::url`] for its forms.
    pub(super) fn parse(options: &RedisOptions) -> Result<Self, ConnectError> {
        let parts = UrlParts::split(&options.url)?;
        if parts.is_tls {
            // Fails if the process has a provider already, which is fine.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let infos = parts.connection_infos()?;
        let first = infos
            .first()
            .ok_or_else(|| problem("it names no host"))?
            .clone();
        match parts.kind {
            Kind::Single if infos.len() > 1 => Err(problem(
                "several hosts need redis+sentinel:// or redis+cluster://",
            )),
            Kind::Single => Ok(Self::Single(Box::new(
                Client::open(first).map_err(refused)?,
            ))),
            Kind::Cluster => {
                let builder = ClusterClientBuilder::new(infos)
                    .connection_timeout(options.connect_timeout)
                    .response_timeout(options.timeout);
                Ok(Self::Cluster(Box::new(builder.build().map_err(refused)?)))
            }
            Kind::Sentinel => sentinel(&parts, infos),
        }
    }
}

fn sentinel(parts: &UrlParts<'_>, infos: Vec<ConnectionInfo>) -> Result<Deployment, ConnectError> {
    let (name, _) = parts.path.split_once('/').unwrap_or((parts.path, ""));
    if name.is_empty() {
        return Err(problem(
            "redis+sentinel:// needs the primary's name as path",
        ));
    }
    let settings = infos[0].redis_settings().clone();
    let addresses = infos.into_iter().map(|info| info.addr().clone());
    let mut builder = SentinelClientBuilder::new(addresses, name, SentinelServerType::Master)
        .map_err(refused)?
        .set_client_to_redis_db(settings.db());
    if let Some(username) = settings.username() {
        builder = builder.set_client_to_redis_username(username);
    }
    if let Some(password) = settings.password() {
        builder = builder.set_client_to_redis_password(password);
    }
    if parts.is_tls {
        builder = builder
            .set_client_to_redis_tls_mode(TlsMode::Secure)
            .set_client_to_sentinel_tls_mode(TlsMode::Secure);
    }
    Ok(Deployment::Sentinel(Box::new(
        builder.build().map_err(refused)?,
    )))
}

impl<'a> UrlParts<'a> {
    fn split(url: &'a str) -> Result<Self, ConnectError> {
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| problem("it has no scheme"))?;
        let (is_tls, mut kind) = match scheme {
            "redis" => (false, Kind::Single),
            "rediss" => (true, Kind::Single),
            "redis+sentinel" => (false, Kind::Sentinel),
            "rediss+sentinel" => (true, Kind::Sentinel),
            "redis+cluster" => (false, Kind::Cluster),
            "rediss+cluster" => (true, Kind::Cluster),
            _ => return Err(problem("unknown scheme")),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match (pair, kind) {
                ("cluster=true", Kind::Single | Kind::Cluster) => kind = Kind::Cluster,
                ("cluster=false", Kind::Single) => {}
                _ => return Err(problem("unknown parameter after `?`")),
            }
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let hosts_at = authority.rfind('@').map_or(0, |at| at + 1);
        let (credentials, hosts) = authority.split_at(hosts_at);
        Ok(Self {
            is_tls,
            kind,
            credentials,
            hosts: hosts.split(',').filter(|host| !host.is_empty()).collect(),
            path,
        })
    }

    /// One for each host, with credentials and database.
    fn connection_infos(&self) -> Result<Vec<ConnectionInfo>, ConnectError> {
        let scheme = if self.is_tls { "rediss" } else { "redis" };
        let database = match self.kind {
            Kind::Single | Kind::Cluster => self.path,
            Kind::Sentinel => self.path.split_once('/').map_or("", |(_, number)| number),
        };
        self.hosts
            .iter()
            .map(|host| {
                let has_port = host
                    .rsplit_once(':')
                    .is_some_and(|(_, port)| !port.contains(']'));
                let port = match self.kind {
                    Kind::Sentinel if !has_port => ":26379",
                    Kind::Sentinel | Kind::Single | Kind::Cluster => "",
                };
                format!("{scheme}://{}{host}{port}/{database}", self.credentials)
                    .into_connection_info()
                    .map_err(refused)
            })
            .collect()
    }
}

/// The URL itself is not repeated: it may hold a password.
fn problem(text: &str) -> ConnectError {
    ConnectError::Url(text.to_owned())
}

fn refused(error: redis::RedisError) -> ConnectError {
    ConnectError::Url(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Deployment, ConnectError> {
        Deployment::parse(&RedisOptions::new(url))
    }

    #[test]
    fn url_decides_the_kind_of_deployment() {
        for url in [
            "redis://localhost",
            "redis://:secret@localhost:6380/2",
            "redis://user:p%40ss@[::1]:6379/",
        ] {
            assert!(matches!(parse(url), Ok(Deployment::Single(_))), "{url}");
        }
        for url in [
            "redis+sentinel://a:26379,b:26379,c/main",
            "redis+sentinel://user:secret@a/main/3",
        ] {
            assert!(matches!(parse(url), Ok(Deployment::Sentinel(_))), "{url}");
        }
        for url in [
            "redis+cluster://a:7000,b:7001",
            "redis://:secret@a:7000?cluster=true",
        ] {
            assert!(matches!(parse(url), Ok(Deployment::Cluster(_))), "{url}");
        }
    }

    #[test]
    fn wrong_url_is_refused_without_repeating_its_password() {
        for url in [
            "localhost:6379",
            "http://:hunter2@localhost",
            "redis://a:hunter2@a,b",
            "redis+sentinel://:hunter2@a:26379",
            "redis://:hunter2@localhost?wat=1",
            "redis://",
        ] {
            let error = parse(url).err().unwrap_or_else(|| panic!("{url}"));
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn credentials_reach_every_host() {
        let parts =
            UrlParts::split("redis+cluster://user:p%40ss@a:7000,b:7001").expect("a right URL");
        for info in parts.connection_infos().expect("right hosts") {
            assert_eq!(info.redis_settings().username(), Some("user"));
            assert_eq!(info.redis_settings().password(), Some("p@ss"));
        }
    }
}
