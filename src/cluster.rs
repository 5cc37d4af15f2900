//! The other nodes on the same mirror: which there are and whether they live ([`Registry`]), and
//! how this node calls them ([`NodeClient`]).

pub mod client;
mod ports;
mod probe;
mod registry;
pub mod socket;

use url::Url;

pub use self::{
    client::{CallFault, NodeClient},
    ports::{Calls, Probe},
    registry::{Identity, Registry},
};
use crate::ids::{NodeId, RoomId};

/// Another node, as the registry shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The process.
    pub node_id: NodeId,
    /// Under which nodes and clients reach it.
    pub url: Url,
}

/// Where the signalling of a room is on a node: `ws(s)://…/v1/rooms/{roomId}/signal`; none for an
/// URL of another scheme.
#[must_use]
pub fn signal_url(base: &Url, room_id: RoomId) -> Option<Url> {
    let mut url = base.clone();
    let scheme = match url.scheme() {
        "https" => "wss",
        "http" => "ws",
        _ => return None,
    };
    url.set_scheme(scheme).ok()?;
    let path = url.path().trim_end_matches('/');
    let path = format!("{path}/v1/rooms/{room_id}/signal");
    url.set_path(&path);
    url.set_query(None);
    Some(url)
}
