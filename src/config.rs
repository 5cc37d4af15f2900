//! The configuration: defaults < file < environment < flags, validated once, with every problem named in one go.
//!
//! `config/default.toml` is compiled in and is the only place of the defaults; `config/schema.rs` is the only place of the bounds.
//! Whoever holds a [`Config`] may rely on both and on the order of the times.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
};

use url::Url;

mod check;
mod connection_url;
mod limits;
mod lists;
mod load;
mod raw;
mod schema;
mod sections;
#[cfg(test)]
mod tests;

pub use self::{
    connection_url::ConnectionUrl,
    limits::Limits,
    load::Sources,
    sections::{
        ClusterConfig, ConnectionConfig, HttpConfig, IceServer, LogConfig, LogFormat, MirrorConfig,
        RecorderConfig, RoomConfig, SfuConfig, SqliteSynchronous, StoreConfig, TokenConfig,
    },
};

/// The name of the embedded SQL database in the data directory.
const DATABASE_FILE: &str = "callboard.db";

/// Everything that an operator can set. `Debug` shows no password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Address of HTTP and WebSocket.
    pub listen: SocketAddr,
    /// Address that serves health and metrics without a key.
    pub admin_listen: Option<SocketAddr>,
    /// Directory of the embedded databases and of generated secrets.
    pub data: PathBuf,
    /// SQL database: `postgres://…` or `sqlite:<path>`.
    pub database: ConnectionUrl,
    /// Mirror; none: embedded.
    pub redis: Option<ConnectionUrl>,
    /// URL under which other nodes and clients reach this node. Without `redis`, when `listen` has port 0, known only after
    /// [`listening_on`](Self::listening_on).
    pub advertise: Url,
    /// Whether `advertise` was given rather than made from `listen`.
    pub is_advertise_given: bool,
    /// Region of this node.
    pub region: String,
    /// Logging.
    pub log: LogConfig,
    /// The HTTP server.
    pub http: HttpConfig,
    /// Times of connections.
    pub connection: ConnectionConfig,
    /// Times of rooms.
    pub room: RoomConfig,
    /// The mirror.
    pub mirror: MirrorConfig,
    /// Leases.
    pub cluster: ClusterConfig,
    /// The SQL store.
    pub store: StoreConfig,
    /// The session recorder.
    pub recorder: RecorderConfig,
    /// Join tokens.
    pub token: TokenConfig,
    /// Bounds.
    pub limits: Limits,
    /// Media servers.
    pub sfu: Vec<SfuConfig>,
    /// ICE servers told to joiners.
    pub ice_servers: Vec<IceServer>,
}

impl Config {
    /// Merges and validates all layers.
    ///
    /// # Errors
    ///
    /// Every problem of every layer.
    pub fn load(sources: &Sources) -> Result<Self, Problems> {
        load::load(sources).map(Self::from_raw)
    }

    fn from_raw(raw: raw::Raw) -> Self {
        let embedded = || {
            let path = raw.data.join(DATABASE_FILE);
            ConnectionUrl::new(format!(
                "{}{}",
                connection_url::SQLITE_PREFIX,
                path.display()
            ))
        };
        Self {
            database: raw.database.unwrap_or_else(embedded),
            is_advertise_given: raw.advertise.is_some(),
            advertise: raw.advertise.unwrap_or_else(|| url_of(raw.listen)),
            listen: raw.listen,
            admin_listen: raw.admin_listen,
            data: raw.data,
            redis: raw.redis,
            region: raw.region,
            log: raw.log,
            http: raw.http,
            connection: raw.connection,
            room: raw.room,
            mirror: raw.mirror,
            cluster: raw.cluster,
            store: raw.store,
            recorder: raw.recorder,
            token: raw.token,
            limits: raw.limits,
            sfu: raw.sfu,
            ice_servers: raw.ice_servers,
        }
    }

    /// Takes note of the address that was bound in the end: with port 0 the system chose one.
    pub fn listening_on(&mut self, bound: SocketAddr) {
        self.listen = bound;
        if !self.is_advertise_given {
            self.advertise = url_of(bound);
        }
    }
}

impl Default for Config {
    /// The configuration of a machine on which nothing is set.
    fn default() -> Self {
        Self::load(&Sources::default()).expect("config/default.toml is valid: a test loads it")
    }
}

/// The URL of an address; of an unspecified one, as seen from this machine.
fn url_of(address: SocketAddr) -> Url {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    Url::parse(&format!("http://{}", SocketAddr::new(ip, address.port())))
        .expect("an address makes a URL")
}

/// One thing that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key, or the variable or file.
    pub key: String,
    /// What is wrong; never a secret value.
    pub text: String,
}

impl Problem {
    /// A problem of `key`.
    #[must_use]
    pub fn new(key: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            text: text.into(),
        }
    }
}

/// Everything that is wrong with the configuration; not empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "the configuration has {} problem(s):", self.0.len())?;
        self.0
            .iter()
            .try_for_each(|problem| write!(out, "\n  {}: {}", problem.key, problem.text))
    }
}
