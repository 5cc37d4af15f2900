//! HTTP as a tenant's backend uses it: JSON with a bearer, answers as plain values.

use std::time::Duration;

use reqwest::{Method, RequestBuilder, header::HeaderMap};
use serde_json::Value;

/// Longest wait for one answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);

/// One caller of the HTTP API.
#[derive(Clone)]
pub struct Api {
    /// `http://127.0.0.1:port`, without a slash at the end.
    pub base: String,
    /// The bearer token. `None` sends no `Authorization` header.
    pub key: Option<String>,
    /// Shared by the clones.
    client: reqwest::Client,
}

/// One answer.
#[derive(Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// The body as JSON; `Null` when it is empty or no JSON.
    pub body: Value,
    /// The body as it came.
    pub text: String,
}

impl Api {
    /// A caller with a key, or without.
    pub fn new(base: &str, key: Option<&str>) -> Self {
        // There is one provider for the process. Another one installed before is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .timeout(ANSWER_DEADLINE)
            .no_proxy()
            .build()
            .unwrap();
        Self {
            base: base.to_owned(),
            key: key.map(str::to_owned),
            client,
        }
    }

    /// The same server for another caller.
    pub fn with_key(&self, key: Option<&str>) -> Self {
        Self {
            key: key.map(str::to_owned),
            ..self.clone()
        }
    }

    /// A request to be completed by the test.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base));
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    /// `GET`.
    pub async fn get(&self, path: &str) -> Answer {
        send(self.request(Method::GET, path)).await
    }

    /// `POST` with a JSON body.
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        send(self.request(Method::POST, path).json(&body)).await
    }

    /// `PATCH` with a JSON Merge Patch.
    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        send(self.merge_patch(path, &body)).await
    }

    /// `PATCH` under the condition of an ETag.
    pub async fn patch_if(&self, path: &str, etag: &str, body: Value) -> Answer {
        send(self.merge_patch(path, &body).header("if-match", etag)).await
    }

    /// `DELETE`.
    pub async fn delete(&self, path: &str) -> Answer {
        send(self.request(Method::DELETE, path)).await
    }

    /// Returns the status of the answer. `None` without an answer in time.
    pub async fn probe(&self, path: &str) -> Option<u16> {
        let answer = self.request(Method::GET, path).send().await.ok()?;
        Some(answer.status().as_u16())
    }

    fn merge_patch(&self, path: &str, body: &Value) -> RequestBuilder {
        self.request(Method::PATCH, path)
            .header("content-type", "application/merge-patch+json")
            .body(body.to_string())
    }
}

/// Sends a request and reads the whole answer.
pub async fn send(request: RequestBuilder) -> Answer {
    let answer = request.send().await.expect("the server answers");
    let status = answer.status().as_u16();
    let headers = answer.headers().clone();
    let text = answer.text().await.expect("the answer is complete");
    let body = serde_json::from_str(&text).unwrap_or(Value::Null);
    Answer {
        status,
        headers,
        body,
        text,
    }
}

impl Answer {
    /// The body of an answer that must have this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "unexpected answer: {}", self.text);
        self.body
    }

    /// An error as RFC 9457 wants it, with its stable code and nothing internal in it.
    #[track_caller]
    pub fn expect_problem(self, status: u16, code: &str) -> Value {
        let content_type = self.header("content-type").to_owned();
        let text = self.text.clone();
        let body = self.expect_any_problem(status);
        assert_eq!(body["code"], code, "{text}");
        assert!(
            content_type.starts_with("application/problem+json"),
            "{content_type}"
        );
        body
    }

    /// Expects an error with this status and any code.
    #[track_caller]
    pub fn expect_any_problem(self, status: u16) -> Value {
        assert_eq!(self.status, status, "unexpected answer: {}", self.text);
        assert!(self.body["code"].is_string(), "no code: {}", self.text);
        assert_eq!(self.body["status"], status, "{}", self.text);
        for internal in ["src/", "/root", "/tmp", "panicked", "diesel", "SELECT "] {
            assert!(!self.text.contains(internal), "internals: {}", self.text);
        }
        self.body
    }

    /// A header's text; empty when it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}
