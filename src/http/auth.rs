//! Authentication of callers: API keys, `Authorization: Bearer cb_<id>_<secret>`, their tenants and
//! scopes.
//!
//! [`with_key`] and [`with_operator_key`] make routes that need a key. The key is checked before
//! anything else of the request is read. Handlers take the [`Caller`].

use std::{
    collections::HashMap,
    future::{Ready, ready},
    sync::Mutex,
    time::{Duration, Instant},
};

use actix_web::{
    Error, FromRequest, Handler, HttpMessage, HttpRequest, Responder, ResponseError, Route,
    body::{BoxBody, MessageBody},
    dev::{Payload, ServiceRequest, ServiceResponse},
    http::header::{self, HeaderMap},
    middleware::{Next, from_fn},
    web,
};

use super::{
    problem::{Problem, ProblemCode},
    state::AppState,
};
use crate::{
    ids::{ApiKeyId, TenantId},
    secrets::ApiKeyText,
    store::{DEFAULT_TENANT, Scope, Store},
};

/// How long a key found in SQL is cached. A revocation takes effect within this time.
const KEY_TTL: Duration = Duration::from_secs(2);
/// Most cached keys.
const KEYS_MAX: usize = 1_024;
/// Longest key text. Ours are far shorter.
const KEY_CHARS_MAX: usize = 256;

/// The holder of a valid key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The tenant whose data the key opens.
    pub tenant: TenantId,
    /// Whether the operator's routes are open too.
    pub scope: Scope,
}

impl FromRequest for Caller {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let caller = request.extensions().get::<Self>().copied();
        ready(caller.ok_or_else(|| Problem::bug("a handler wants a caller on a route without key")))
    }
}

/// A cached key.
#[derive(Clone, Copy)]
struct KnownKey {
    /// SHA-256 of the key.
    secret_hash: [u8; 32],
    /// What it opens.
    caller: Caller,
}

/// Finds keys: the bootstrap key, cached keys, keys in SQL.
pub struct KeyRing {
    /// The id of the key without a row.
    bootstrap_id: ApiKeyId,
    /// What it opens.
    bootstrap: KnownKey,
    /// Valid keys with the time they were read.
    recent: Mutex<HashMap<ApiKeyId, (KnownKey, Instant)>>,
}

impl KeyRing {
    /// Starts with the bootstrap key only.
    #[must_use]
    pub fn new(bootstrap: &ApiKeyText) -> Self {
        Self {
            bootstrap_id: bootstrap.id,
            bootstrap: KnownKey {
                secret_hash: bootstrap.hash(),
                caller: Caller {
                    tenant: DEFAULT_TENANT,
                    scope: Scope::Operator,
                },
            },
            recent: Mutex::new(HashMap::new()),
        }
    }

    /// Returns the holder of a key.
    ///
    /// # Errors
    /// `unauthorized` if the key is wrong in any way, `unavailable` if SQL is needed and away.
    pub async fn caller(&self, store: &Store, key: &ApiKeyText) -> Result<Caller, Problem> {
        let known = self
            .find(store, key.id)
            .await?
            .ok_or_else(Problem::unauthorized)?;
        if key.matches(&known.secret_hash) {
            Ok(known.caller)
        } else {
            Err(Problem::unauthorized())
        }
    }

    /// Finds a key that is not revoked by its id.
    async fn find(&self, store: &Store, id: ApiKeyId) -> Result<Option<KnownKey>, Problem> {
        if id == self.bootstrap_id {
            return Ok(Some(self.bootstrap));
        }
        if let Some(known) = self.remembered(id) {
            return Ok(Some(known));
        }
        let Some(row) = store.api_key(id).await? else {
            return Ok(None);
        };
        if row.revoked_at.is_some() {
            return Ok(None);
        }
        let known = KnownKey {
            secret_hash: row.secret_hash,
            caller: Caller {
                tenant: row.tenant_id,
                scope: row.scope,
            },
        };
        self.remember(id, known);
        Ok(Some(known))
    }

    /// A key read less than [`KEY_TTL`] ago.
    fn remembered(&self, id: ApiKeyId) -> Option<KnownKey> {
        let recent = self.recent.lock().expect("no holder of this lock panics");
        let (known, read_at) = recent.get(&id)?;
        (read_at.elapsed() < KEY_TTL).then_some(*known)
    }

    /// Caches a key. Makes room by dropping the stale ones, then all.
    fn remember(&self, id: ApiKeyId, known: KnownKey) {
        let mut recent = self.recent.lock().expect("no holder of this lock panics");
        if recent.len() >= KEYS_MAX {
            recent.retain(|_, (_, read_at)| read_at.elapsed() < KEY_TTL);
        }
        if recent.len() >= KEYS_MAX {
            recent.clear();
        }
        recent.insert(id, (known, Instant::now()));
    }
}

/// Returns the key of a request. `None` if it has no `Authorization`.
///
/// # Errors
/// `unauthorized` for one that is not `Bearer` with a key text.
pub fn key_of(headers: &HeaderMap) -> Result<Option<ApiKeyText>, Problem> {
    let mut values = headers.get_all(header::AUTHORIZATION);
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Problem::unauthorized());
    }
    let key = value.to_str().ok().and_then(|text| {
        let (scheme, key) = text.split_once(' ')?;
        let key = key.trim();
        let is_bearer = scheme.eq_ignore_ascii_case("bearer") && key.len() <= KEY_CHARS_MAX;
        is_bearer.then(|| ApiKeyText::parse(key))?
    });
    key.map(Some).ok_or_else(Problem::unauthorized)
}

/// Returns the text behind `Bearer`. `None` without `Authorization`, with several, or with another
/// scheme.
pub(super) fn bearer_of(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION);
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (scheme, text) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| text.trim())
}

/// A route for holders of any key.
pub fn with_key<F, Args>(handler: F) -> Route
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    web::route().to(handler).wrap(from_fn(require_key))
}

/// A route for operators.
pub fn with_operator_key<F, Args>(handler: F) -> Route
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    web::route().to(handler).wrap(from_fn(require_operator_key))
}

/// Accepts holders of any key.
async fn require_key(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    match authenticate(&request).await {
        Ok(caller) => pass(request, next, Some(caller)).await,
        Err(problem) => Ok(refuse(request, &problem)),
    }
}

/// Accepts holders of an operator key.
async fn require_operator_key(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let checked = authenticate(&request)
        .await
        .and_then(|caller| match caller.scope {
            Scope::Operator => Ok(caller),
            Scope::Tenant => Err(Problem::new(
                ProblemCode::Forbidden,
                "this needs a key of scope operator",
            )),
        });
    match checked {
        Ok(caller) => pass(request, next, Some(caller)).await,
        Err(problem) => Ok(refuse(request, &problem)),
    }
}

/// Calls the handler, which finds the caller in the request's extensions.
///
/// # Errors
/// Those of the handler.
pub(super) async fn pass(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
    caller: Option<Caller>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    if let Some(caller) = caller {
        request.extensions_mut().insert(caller);
    }
    Ok(next.call(request).await?.map_into_boxed_body())
}

/// Answers instead of the handler. It is a response, not an error, so that it gets CORS headers.
pub(super) fn refuse(request: ServiceRequest, problem: &Problem) -> ServiceResponse<BoxBody> {
    request.into_response(problem.error_response())
}

/// Returns the caller of a request that must have a key.
///
/// # Errors
/// `unauthorized`, and `unavailable` when SQL is needed and away.
pub(super) async fn authenticate(request: &ServiceRequest) -> Result<Caller, Problem> {
    let key = key_of(request.headers())?.ok_or_else(Problem::unauthorized)?;
    let state = request
        .app_data::<web::Data<AppState>>()
        .ok_or_else(|| Problem::bug("a route without the app state"))?;
    state.keys.caller(&state.store, &key).await
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn request_without_authorization_has_no_key_and_a_strange_one_is_wrong() {
        let absent = TestRequest::default().to_http_request();
        assert!(key_of(absent.headers()).unwrap().is_none());
        for text in [
            "",
            "Bearer",
            "Bearer ",
            "Basic YTpi",
            "Bearer nonsense",
            "cb_1_2",
        ] {
            let request = TestRequest::default()
                .insert_header((header::AUTHORIZATION, text))
                .to_http_request();
            assert!(key_of(request.headers()).is_err(), "{text:?}");
        }
    }
}
