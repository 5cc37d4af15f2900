//! The registry's calls to other nodes, over HTTP or simulated.

use std::time::Duration;

use async_trait::async_trait;
use url::Url;

use super::Neighbour;
use crate::lease::MirrorAnswer;

/// The result of probing a node's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Nobody listens there, or another process does.
    Gone,
    /// The node listens there.
    Here,
    /// No answer.
    Silent,
}

/// Calls of one node to another.
#[async_trait]
pub trait Calls: Send + Sync + 'static {
    /// Whether the node still listens at its address.
    async fn probe(&self, neighbour: &Neighbour) -> Probe;

    /// Whether it has the mirror.
    async fn mirror_of(&self, neighbour: &Neighbour, patience: Duration) -> MirrorAnswer;

    /// Introduces this node, which listens at `own`. The call may get lost.
    async fn introduce(&self, neighbour: &Neighbour, own: &Url, patience: Duration);
}
