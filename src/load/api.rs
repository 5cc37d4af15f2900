//! The server's HTTP API, as far as a load run needs it: rooms made, people and sessions read.

use std::time::Duration;

use reqwest::{Client, Method, StatusCode, header::CONTENT_TYPE};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use thiserror::Error;
use url::Url;
use uuid::Uuid;

use super::commits::CommitTimes;
use crate::ids::Timestamp;

/// Longest wait for an answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);
/// Longest pages that the server gives.
const PAGE_MAX: usize = 500;
/// Characters of an answer that are shown in an error.
const SHOWN_MAX: usize = 200;

/// Why a request brought nothing.
#[derive(Debug, Error)]
pub(super) enum ApiFault {
    /// Asked to come back: 503 or 429.
    #[error("refused for load")]
    Refused,
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

/// A room that was made.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MadeRoom {
    /// Which.
    pub room_id: Uuid,
    /// Of its host.
    pub join_token: String,
}

/// A session in a list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListedSession {
    /// Null while it is open.
    pub end_time: Option<Timestamp>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page<T> {
    items: Vec<T>,
    next_cursor: Option<String>,
}

/// Calls the nodes with the key; clones share the connections.
#[derive(Clone)]
pub(super) struct Api {
    client: Client,
    key: String,
}

impl Api {
    /// For calls with this key.
    pub fn new(key: &str) -> Result<Self, ApiFault> {
        // There is one provider for the process. Another one installed before is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .timeout(ANSWER_DEADLINE)
            .no_proxy()
            .build()
            .map_err(failed)?;
        Ok(Self {
            client,
            key: key.to_owned(),
        })
    }

    /// Makes the user that all rooms belong to.
    pub async fn create_host(&self, base: &Url) -> Result<Uuid, ApiFault> {
        #[derive(Deserialize)]
        struct User {
            id: Uuid,
        }
        let email = format!("load-{}@example.org", Uuid::new_v4());
        let body = json!({"email": email, "displayName": "Load"});
        let user: User = self
            .call(Method::POST, base, "v1/users", Some(body))
            .await?;
        Ok(user.id)
    }

    /// Makes a room with so many seats.
    pub async fn create_room(
        &self,
        base: &Url,
        host_id: Uuid,
        seats: usize,
    ) -> Result<MadeRoom, ApiFault> {
        let body = json!({"hostUserId": host_id, "settings": {"maxParticipants": seats}});
        self.call(Method::POST, base, "v1/rooms", Some(body)).await
    }

    /// Returns the participants of a room.
    pub async fn participants(&self, base: &Url, room_id: Uuid) -> Result<Vec<Value>, ApiFault> {
        self.list(base, &format!("v1/rooms/{room_id}/participants"))
            .await
    }

    /// A room's sessions.
    pub async fn sessions(
        &self,
        base: &Url,
        room_id: Uuid,
    ) -> Result<Vec<ListedSession>, ApiFault> {
        self.list(base, &format!("v1/rooms/{room_id}/sessions"))
            .await
    }

    /// Returns how long a node's commits took so far. `None` if the key is no operator's or the
    /// node does not answer.
    pub async fn commit_times(&self, base: &Url) -> Option<CommitTimes> {
        let text = self.send(Method::GET, base, "metrics", None).await;
        CommitTimes::read(&text.ok()?)
    }

    async fn list<T: DeserializeOwned>(&self, base: &Url, path: &str) -> Result<Vec<T>, ApiFault> {
        let mut all = Vec::new();
        let mut query = format!("{path}?limit={PAGE_MAX}");
        loop {
            let page: Page<T> = self.call(Method::GET, base, &query, None).await?;
            all.extend(page.items);
            match page.next_cursor {
                Some(cursor) => query = format!("{path}?limit={PAGE_MAX}&cursor={cursor}"),
                None => return Ok(all),
            }
        }
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        base: &Url,
        path: &str,
        body: Option<Value>,
    ) -> Result<T, ApiFault> {
        let text = self.send(method, base, path, body).await?;
        serde_json::from_str(&text).map_err(failed)
    }

    async fn send(
        &self,
        method: Method,
        base: &Url,
        path: &str,
        body: Option<Value>,
    ) -> Result<String, ApiFault> {
        let url = base.join(path).map_err(failed)?;
        let mut request = self.client.request(method, url).bearer_auth(&self.key);
        if let Some(body) = body {
            request = request
                .header(CONTENT_TYPE, "application/json")
                .body(body.to_string());
        }
        let answer = request.send().await.map_err(failed)?;
        let status = answer.status();
        let text = answer.text().await.map_err(failed)?;
        match status {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                Err(ApiFault::Refused)
            }
            _ if status.is_success() => Ok(text),
            _ => {
                let shown: String = text.chars().take(SHOWN_MAX).collect();
                Err(ApiFault::Failed(format!("{path}: {status} {shown}")))
            }
        }
    }
}

fn failed(error: impl std::error::Error) -> ApiFault {
    let cause = error.source().map(|cause| format!(": {cause}"));
    ApiFault::Failed(format!("{error}{}", cause.unwrap_or_default()))
}
