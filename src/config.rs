//! The configuration: defaults < file < variables < flags.
//!
//! `config/default.toml` is compiled in and is the only place of the defaults. `sections.rs` is the
//! only place of keys and bounds. A loaded [`Config`] keeps all bounds and the order of the times.
//! Otherwise [`Problems`] names everything that is wrong.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
};

use url::Url;

mod connection_url;
mod keys;
mod layers;
mod lists;
mod order;
mod sections;
#[cfg(test)]
mod tests;

use self::keys::Keys;
pub use self::{
    connection_url::ConnectionUrl,
    layers::Sources,
    lists::{IceServer, SfuConfig},
    sections::{
        ClusterConfig, ConnectionConfig, HttpConfig, Limits, LogConfig, LogFormat, MirrorConfig,
        RecorderConfig, RoomConfig, SqliteSynchronous, StoreConfig, TokenConfig,
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
    /// Redis, which holds the mirror. `None` means the embedded mirror.
    pub redis: Option<ConnectionUrl>,
    /// URL under which other nodes and clients reach this node. If `listen` has port 0, it is known
    /// only after [`listening_on`](Self::listening_on).
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
        let mut problems = Vec::new();
        let values = layers::merge(sources, &mut problems);
        let mut keys = Keys::new(values, problems);
        let config = Self::read(&mut keys, sources);
        let problems = keys.finish();
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(Problems(problems))
        }
    }

    fn read(keys: &mut Keys, sources: &Sources) -> Self {
        let listen = keys.address("listen");
        let data = keys.path("data");
        let redis = keys.redis("redis");
        let advertise = keys.base_url("advertise");
        if sources.is_node && redis.is_some() {
            check_node(keys, listen, advertise.as_ref(), sources);
        }
        let listen = listen.unwrap_or((Ipv4Addr::LOCALHOST, 0).into());
        Self {
            listen,
            admin_listen: keys.address("admin_listen"),
            database: keys
                .database("database")
                .unwrap_or_else(|| ConnectionUrl::sqlite(&data.join(DATABASE_FILE))),
            data,
            redis,
            is_advertise_given: advertise.is_some(),
            advertise: advertise.unwrap_or_else(|| url_of(listen)),
            region: keys.label("region"),
            log: LogConfig::read(keys),
            http: HttpConfig::read(keys),
            connection: ConnectionConfig::read(keys),
            room: RoomConfig::read(keys),
            mirror: MirrorConfig::read(keys),
            cluster: ClusterConfig::read(keys),
            store: StoreConfig::read(keys),
            recorder: RecorderConfig::read(keys),
            token: TokenConfig::read(keys),
            limits: Limits::read(keys),
            sfu: keys.sfu("sfu"),
            ice_servers: keys.ice_servers("ice_servers"),
        }
    }

    /// Replaces the configured address by the bound one: with port 0 the system chooses the port.
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

/// What other nodes need to find and trust this one.
fn check_node(
    keys: &mut Keys,
    listen: Option<SocketAddr>,
    advertise: Option<&Url>,
    sources: &Sources,
) {
    let is_reachable = listen.is_none_or(|address| {
        !address.ip().is_loopback() && !address.ip().is_unspecified() && address.port() != 0
    });
    if advertise.is_none() && !is_reachable {
        keys.add_problem(
            "advertise",
            "must be given with redis when listen is a loopback or unspecified address or has port 0",
        );
    }
    if !sources.is_signing_key_given {
        keys.add_problem(
            crate::secrets::SIGNING_KEY_VARIABLE,
            "must be given with redis: all nodes share it",
        );
    }
}

/// The URL of an address. An unspecified address becomes the loopback address.
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
