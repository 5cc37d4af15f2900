//! A node without the mirror cannot read the registry. Nodes that have the mirror introduce
//! themselves to it, so that it can ask them when its lease expires.

use std::{sync::Arc, time::Duration};

use super::{ANSWER_PATIENCE, Registry};
use crate::{cluster::Neighbour, lease::MirrorAnswer};

/// Nodes that have introduced themselves since the last copy.
pub(super) const INTRODUCED_MAX: usize = 1_000;

impl Registry {
    /// Another node has introduced itself.
    pub fn introduced(&self, neighbour: Neighbour) {
        let mut state = self.state();
        if state.introduced.len() < INTRODUCED_MAX {
            state.introduced.insert(neighbour.node_id, neighbour.url);
        }
    }

    /// Introduces this node to nodes whose heartbeat has stopped. If they live, they have lost the
    /// mirror, and must learn before they expire that another node has it.
    pub async fn introduce(&self) {
        let silent: Vec<Neighbour> = {
            let state = self.state();
            let silent = state.nodes.iter().filter(|node| {
                !state.gone.contains_key(&node.node_id) && self.is_suspect(&state, node.node_id)
            });
            silent.filter_map(|node| self.as_neighbour(node)).collect()
        };
        let told = silent
            .iter()
            .map(|node| self.calls.introduce(node, &self.own.url, ANSWER_PATIENCE));
        futures_util::future::join_all(told).await;
    }

    /// Introduces this node repeatedly until it is dropped.
    pub async fn keep_introducing(self: Arc<Self>, interval: Duration) {
        loop {
            tokio::time::sleep(interval).await;
            self.introduce().await;
        }
    }

    /// Asks every other node whether it has the mirror: those that lived at the last copy of the
    /// registry, and those that have introduced themselves since.
    pub async fn ask_for_mirror(&self) -> Vec<MirrorAnswer> {
        let others: Vec<Neighbour> = {
            let state = self.state();
            let listed = state
                .nodes
                .iter()
                .filter(|node| !state.watch.is_expired(node.node_id))
                .filter(|node| !state.introduced.contains_key(&node.node_id))
                .filter_map(|node| self.as_neighbour(node));
            let introduced = state.introduced.iter().map(|(node_id, url)| Neighbour {
                node_id: *node_id,
                url: url.clone(),
            });
            listed.chain(introduced).collect()
        };
        let questions = others
            .iter()
            .map(|other| self.calls.mirror_of(other, ANSWER_PATIENCE));
        futures_util::future::join_all(questions).await
    }
}
