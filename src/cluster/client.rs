//! Calls other nodes: the client of the internal HTTP API. Every call has a deadline and a bound on
//! its answer, and carries a token for that node and that call alone.

use std::{error::Error, io, sync::Arc, time::Duration};

use async_trait::async_trait;
use reqwest::{
    Client, Method, RequestBuilder, StatusCode,
    header::{CONTENT_TYPE, HeaderValue},
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error as ThisError;
use tracing::debug;
use url::Url;

use super::{Calls, Neighbour, Probe, probe::refuses_twice};
use crate::{
    clock::wall_time,
    ids::{Epoch, NodeId, RoomId},
    lease::MirrorAnswer,
    metrics::ForwardOutcome,
    mirror::Ownership,
    protocol::Rejection,
    room::admin::{AdminCommand, AdminReply},
    secrets::{
        SigningKey,
        node_token::{self, Grant},
    },
};

/// Longest wait for a TCP connection to a neighbour.
const CONNECT_PATIENCE: Duration = Duration::from_millis(700);
/// Longest wait for the answer to an admin's command. It is below the admin's own time-out.
const ASK_PATIENCE: Duration = Duration::from_secs(9);
/// Longest wait for a successor's claim.
const TAKE_PATIENCE: Duration = Duration::from_secs(5);
/// Longest wait until a neighbour confirms that it drains.
const DRAIN_PATIENCE: Duration = Duration::from_secs(3);
/// Longest wait for a sign of life.
const PROBE_PATIENCE: Duration = Duration::from_millis(500);
/// Longest wait for the answer of `/healthz`.
const IDENTITY_PATIENCE: Duration = Duration::from_secs(2);
/// Largest answer: the participants of a room of 10,000.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long an idle connection is kept. The other side keeps it longer, so that no call meets its
/// close.
const IDLE: Duration = Duration::from_secs(3);

/// Why a call to a neighbour failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
pub enum CallFault {
    /// The neighbour does not run the room. Nothing was done.
    #[error("the room is not there")]
    Moved,
    /// Nobody listens at its address. Nothing was done.
    #[error("the connection was refused")]
    Refused,
    /// No answer came in time, or the network failed. The call may have been carried out.
    #[error("no answer")]
    Silent,
    /// The answer is not understood.
    #[error("an answer that is not understood")]
    Failed,
}

/// The metric's label of a call's result.
#[must_use]
pub const fn outcome<T>(called: &Result<T, CallFault>) -> ForwardOutcome {
    match called {
        Ok(_) => ForwardOutcome::Answered,
        Err(CallFault::Moved) => ForwardOutcome::Moved,
        Err(CallFault::Refused) => ForwardOutcome::Refused,
        Err(CallFault::Silent) => ForwardOutcome::Silent,
        Err(CallFault::Failed) => ForwardOutcome::Failed,
    }
}

/// Asks a node to claim a room that its owner hands off, as sent between nodes.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HandOffRequest {
    /// The owner that hands it off.
    pub owner: Option<NodeId>,
    /// Its epoch.
    pub epoch: Epoch,
}

/// The result of an admin's command, as sent between nodes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AskAnswer {
    /// The room ran it.
    Reply(AdminReply),
    /// The room refused it.
    Rejection(Rejection),
}

/// Whether a node has the mirror, as sent between nodes.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MirrorState {
    /// Milliseconds without interruption. None if the node does not have the mirror.
    pub has_for_ms: Option<u64>,
}

/// The part of `/healthz` that says who answers.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Identity {
    node_id: Option<NodeId>,
}

/// Calls neighbours in this node's name. Clones share the connections.
#[derive(Clone)]
pub struct NodeClient {
    node_id: NodeId,
    signing: SigningKey,
    http: Client,
    /// For WebSockets, which do not go through `http`.
    pub(super) tls: Arc<ClientConfig>,
}

impl NodeClient {
    /// The client of a node.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(node_id: NodeId, signing: SigningKey) -> anyhow::Result<Self> {
        let tls = Arc::new(tls()?);
        let http = Client::builder()
            .tls_backend_preconfigured(ClientConfig::clone(&tls))
            .connect_timeout(CONNECT_PATIENCE)
            .pool_idle_timeout(IDLE)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .tcp_nodelay(true)
            .build()?;
        Ok(Self {
            node_id,
            signing,
            http,
            tls,
        })
    }

    /// Runs an admin's command in a room of a neighbour.
    ///
    /// # Errors
    /// See [`CallFault`]. The inner error is the room's refusal.
    pub async fn ask(
        &self,
        neighbour: &Neighbour,
        room: RoomId,
        command: &AdminCommand,
    ) -> Result<Result<AdminReply, Rejection>, CallFault> {
        let path = format!("/internal/rooms/{room}/ask");
        let request = self
            .request(Method::POST, neighbour, &path, Grant::Ask { room })
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(encode(command)?)
            .timeout(ASK_PATIENCE);
        Ok(match decode(&answer(request).await?)? {
            AskAnswer::Reply(reply) => Ok(reply),
            AskAnswer::Rejection(rejection) => Err(rejection),
        })
    }

    /// Asks a successor to claim a room that this node hands off.
    ///
    /// # Errors
    /// See [`CallFault`].
    pub async fn take(
        &self,
        neighbour: &Neighbour,
        room: RoomId,
        previous: Ownership,
    ) -> Result<(), CallFault> {
        let path = format!("/internal/rooms/{room}/take");
        let body = HandOffRequest {
            owner: previous.owner,
            epoch: previous.epoch,
        };
        let request = self
            .request(Method::POST, neighbour, &path, Grant::Take { room })
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(encode(&body)?)
            .timeout(TAKE_PATIENCE);
        answer(request).await.map(|_| ())
    }

    /// Asks a neighbour to drain.
    ///
    /// # Errors
    /// See [`CallFault`].
    pub async fn drain(&self, neighbour: &Neighbour) -> Result<(), CallFault> {
        let request = self
            .request(Method::POST, neighbour, "/internal/drain", Grant::Drain)
            .timeout(DRAIN_PATIENCE);
        answer(request).await.map(|_| ())
    }

    /// The node that answers at a URL. None if something else answers there.
    ///
    /// # Errors
    /// See [`CallFault`].
    pub async fn identity(&self, url: &Url) -> Result<Option<NodeId>, CallFault> {
        let request = self
            .http
            .get(under(url, "/healthz"))
            .timeout(IDENTITY_PATIENCE);
        match answer(request).await {
            Ok(body) => Ok(decode::<Identity>(&body)
                .ok()
                .and_then(|identity| identity.node_id)),
            Err(CallFault::Failed | CallFault::Moved) => Ok(None),
            Err(fault @ (CallFault::Refused | CallFault::Silent)) => Err(fault),
        }
    }

    async fn is_another(&self, neighbour: &Neighbour) -> bool {
        self.identity(&neighbour.url)
            .await
            .is_ok_and(|found| found.is_some_and(|node_id| node_id != neighbour.node_id))
    }

    fn request(
        &self,
        method: Method,
        neighbour: &Neighbour,
        path: &str,
        grant: Grant,
    ) -> RequestBuilder {
        self.http
            .request(method, under(&neighbour.url, path))
            .bearer_auth(self.token(neighbour.node_id, grant))
    }

    /// A token that `audience` accepts.
    pub(super) fn token(&self, audience: NodeId, grant: Grant) -> String {
        node_token::mint(grant, self.node_id, audience, &self.signing, wall_time())
    }
}

#[async_trait]
impl Calls for NodeClient {
    async fn probe(&self, neighbour: &Neighbour) -> Probe {
        if refuses_twice(&neighbour.url).await {
            return Probe::Gone;
        }
        let identity = tokio::time::timeout(PROBE_PATIENCE, self.identity(&neighbour.url)).await;
        match identity {
            Ok(Ok(Some(node_id))) if node_id != neighbour.node_id => Probe::Gone,
            Ok(Ok(Some(_))) => Probe::Here,
            Ok(Ok(None) | Err(_)) | Err(_) => Probe::Silent,
        }
    }

    async fn mirror_of(&self, neighbour: &Neighbour, patience: Duration) -> MirrorAnswer {
        let asked = async {
            let request = self
                .request(Method::GET, neighbour, "/internal/mirror", Grant::Mirror)
                .timeout(patience);
            match answer(request).await.and_then(|body| decode(&body)) {
                Ok(MirrorState {
                    has_for_ms: Some(for_ms),
                }) => MirrorAnswer::Has { for_ms },
                Ok(MirrorState { has_for_ms: None }) => MirrorAnswer::HasNot,
                Err(CallFault::Refused) => MirrorAnswer::Refused,
                Err(CallFault::Failed) if self.is_another(neighbour).await => MirrorAnswer::Refused,
                Err(CallFault::Moved | CallFault::Silent | CallFault::Failed) => {
                    MirrorAnswer::Silent
                }
            }
        };
        tokio::time::timeout(patience, asked)
            .await
            .unwrap_or(MirrorAnswer::Silent)
    }

    async fn introduce(&self, neighbour: &Neighbour, own: &Url, patience: Duration) {
        let grant = Grant::Introduce { url: own.clone() };
        let request = self
            .request(Method::POST, neighbour, "/internal/introduction", grant)
            .timeout(patience);
        if let Err(fault) = answer(request).await {
            debug!(node = %neighbour.node_id, %fault, "a silent node was not told of this one");
        }
    }
}

/// TLS with the root certificates of this machine. Roots that cannot be read are skipped.
fn tls() -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        debug!(%error, "a root certificate cannot be read");
    }
    roots.add_parsable_certificates(found.certs);
    Ok(
        ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth(),
    )
}

/// A path below an advertised URL.
pub(super) fn under(url: &Url, path: &str) -> Url {
    let mut target = url.clone();
    target.set_path(&format!("{}{path}", url.path().trim_end_matches('/')));
    target.set_query(None);
    target
}

/// The body of a successful answer.
async fn answer(request: RequestBuilder) -> Result<Vec<u8>, CallFault> {
    let mut response = request.send().await.map_err(|error| fault(&error))?;
    let status = response.status();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|_| CallFault::Silent)? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(CallFault::Failed);
        }
        body.extend_from_slice(&chunk);
    }
    match status {
        status if status.is_success() => Ok(body),
        StatusCode::MISDIRECTED_REQUEST => Err(CallFault::Moved),
        StatusCode::SERVICE_UNAVAILABLE => Err(CallFault::Silent),
        _ => Err(CallFault::Failed),
    }
}

/// A refused connection means that nothing was done. After other faults this is not known.
fn fault(error: &reqwest::Error) -> CallFault {
    debug!(%error, "a call to a neighbour failed");
    if error.is_connect() && is_refusal(error) {
        CallFault::Refused
    } else {
        CallFault::Silent
    }
}

fn is_refusal(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.kind() == io::ErrorKind::ConnectionRefused;
        }
        cause = error.source();
    }
    false
}

fn encode<T: Serialize>(body: &T) -> Result<Vec<u8>, CallFault> {
    serde_json::to_vec(body).map_err(|_| CallFault::Failed)
}

fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, CallFault> {
    serde_json::from_slice(body).map_err(|_| CallFault::Failed)
}

#[cfg(test)]
mod tests;
