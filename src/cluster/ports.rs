//! What the registry asks of other nodes: over HTTP, or simulated.

use std::time::Duration;

use async_trait::async_trait;
use url::Url;

use super::Neighbour;
use crate::lease::MirrorAnswer;

/// What a node's address says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Nobody is there, or another process.
    Gone,
    /// The process is there.
    Here,
    /// Nothing.
    Silent,
}

/// Calls of one node to another.
#[async_trait]
pub trait Calls: Send + Sync + 'static {
    /// Whether the process is still where it listened.
    async fn probe(&self, neighbour: &Neighbour) -> Probe;

    /// Whether it has the mirror.
    async fn mirror_of(&self, neighbour: &Neighbour, patience: Duration) -> MirrorAnswer;

    /// Tells it of this node, which listens at `own`. It may not hear it.
    async fn introduce(&self, neighbour: &Neighbour, own: &Url, patience: Duration);
}
