//! The configuration as its keys are written, before what depends on other keys is filled in.

use std::{net::SocketAddr, path::PathBuf};

use serde::Deserialize;
use url::Url;

use super::{
    ConnectionUrl, IceServer, SfuConfig,
    limits::Limits,
    sections::{
        ClusterConfig, ConnectionConfig, HttpConfig, LogConfig, MirrorConfig, RecorderConfig,
        RoomConfig, StoreConfig, TokenConfig,
    },
};

/// One field per key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    pub(super) listen: SocketAddr,
    pub(super) admin_listen: Option<SocketAddr>,
    pub(super) data: PathBuf,
    pub(super) database: Option<ConnectionUrl>,
    pub(super) redis: Option<ConnectionUrl>,
    pub(super) advertise: Option<Url>,
    pub(super) region: String,
    pub(super) log: LogConfig,
    pub(super) http: HttpConfig,
    pub(super) connection: ConnectionConfig,
    pub(super) room: RoomConfig,
    pub(super) mirror: MirrorConfig,
    pub(super) cluster: ClusterConfig,
    pub(super) store: StoreConfig,
    pub(super) recorder: RecorderConfig,
    pub(super) token: TokenConfig,
    pub(super) limits: Limits,
    #[serde(default)]
    pub(super) sfu: Vec<SfuConfig>,
    #[serde(default)]
    pub(super) ice_servers: Vec<IceServer>,
}
