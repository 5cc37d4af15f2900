//! State that all handlers share.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use serde::Serialize;
use url::Url;

use super::{auth::KeyRing, problem::Problem, throttle::Throttle};
use crate::{
    actor::Rooms,
    clock::wall_time,
    cluster::Neighbour,
    config::{Config, IceServer},
    ids::{RoomId, TenantId, Timestamp, UserId},
    metrics::Metrics,
    protocol::Kind,
    secrets::{
        ApiKeyText, SigningKey,
        node_token::{self, NodeClaims},
        token::{self, Claims},
    },
    store::Store,
};

/// The clock of the server: wall time that never steps.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;
/// Reports readiness. Called for every `/readyz`, so it must be cheap.
pub type ReadinessSource = Arc<dyn Fn() -> Readiness + Send + Sync>;

/// Returns how long the node has reached the mirror without interruption, in milliseconds. `None`
/// if it does not.
pub type MirrorSource = Arc<dyn Fn() -> Option<u64> + Send + Sync>;
/// Learns of a node that has started.
pub type Introductions = Arc<dyn Fn(Neighbour) + Send + Sync>;
/// Makes the node hand its rooms off and stop, as SIGTERM does. Repeats do nothing.
pub type DrainSwitch = Arc<dyn Fn() + Send + Sync>;

/// The configuration of HTTP.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// Origins that browsers may call from. `*` allows all.
    pub allowed_origins: Vec<String>,
    /// Largest request body, in bytes.
    pub body_bytes_max: usize,
    /// Largest system message, in bytes.
    pub text_bytes_max: usize,
    /// Longest display name, in characters.
    pub display_name_chars_max: usize,
    /// Life of a join token, in seconds, at most 24 h.
    pub token_lifetime_secs: u64,
    /// URL under which clients reach this node: `http` or `https`.
    pub advertise: Url,
    /// Given to every joiner.
    pub ice_servers: Vec<IceServer>,
    /// Joins without a key that one address gets per second, on average.
    pub keyless_joins_per_second: u32,
    /// Joins without a key that one address gets at once.
    pub keyless_joins_burst: u32,
}

impl From<&Config> for HttpOptions {
    fn from(config: &Config) -> Self {
        Self {
            allowed_origins: config.http.allowed_origins.clone(),
            body_bytes_max: config.http.body_bytes_max,
            text_bytes_max: config.limits.text_bytes_max,
            display_name_chars_max: config.limits.display_name_chars_max,
            token_lifetime_secs: config.token.lifetime.as_secs(),
            advertise: config.advertise.clone(),
            ice_servers: config.ice_servers.clone(),
            keyless_joins_per_second: config.http.keyless_joins_per_second,
            keyless_joins_burst: config.http.keyless_joins_burst,
        }
    }
}

/// Whether a node can serve rooms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReadinessStatus {
    /// Not yet.
    Starting,
    /// Yes.
    Ready,
    /// Yes, but a component is away: see `components`.
    Degraded,
    /// No longer: its rooms are handed off.
    Draining,
}

/// State of one component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComponentState {
    /// Whether it works.
    pub is_up: bool,
    /// What is wrong, without addresses or causes. Absent if nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// The answer of `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Readiness {
    /// Overall.
    pub status: ReadinessStatus,
    /// By name: `mirror`, `store`, …
    #[schema(value_type = BTreeMap<String, ComponentState>)]
    pub components: BTreeMap<&'static str, ComponentState>,
}

/// What [`AppState::new`] needs.
pub struct AppServices {
    /// SQL.
    pub store: Store,
    /// The live rooms.
    pub rooms: Rooms,
    /// Signs join tokens.
    pub signing: SigningKey,
    /// The operator key of the default tenant that has no row in SQL.
    pub bootstrap: ApiKeyText,
    /// Counters.
    pub metrics: Metrics,
    /// The configuration's part.
    pub options: HttpOptions,
    /// Time.
    pub clock: Clock,
    /// Readiness of the server.
    pub readiness: ReadinessSource,
    /// The state of the mirror, for other nodes.
    pub has_mirror_for: MirrorSource,
    /// Receives nodes that introduce themselves.
    pub introduced: Introductions,
    /// Drains the node.
    pub drain: DrainSwitch,
}

/// Shared by all workers, as `web::Data`.
pub struct AppState {
    /// SQL.
    pub store: Store,
    /// The live rooms.
    pub rooms: Rooms,
    /// Counters.
    pub metrics: Metrics,
    /// The configuration's part.
    pub options: HttpOptions,
    /// Readiness of the server.
    pub readiness: ReadinessSource,
    /// The state of the mirror, for other nodes.
    pub has_mirror_for: MirrorSource,
    /// Receives nodes that introduce themselves.
    pub introduced: Introductions,
    /// Drains the node.
    pub drain: DrainSwitch,
    /// Whether WebSockets are accepted: the node has checked that its address leads to itself.
    is_open: AtomicBool,
    /// Knows API keys.
    pub(super) keys: KeyRing,
    /// Limits joins without a key.
    pub(super) throttle: Throttle<IpAddr>,
    /// Signs join tokens.
    signing: SigningKey,
    /// Time.
    clock: Clock,
}

impl AppState {
    /// Makes the state. Call it once per process, so that limits hold over all workers.
    #[must_use]
    pub fn new(parts: AppServices) -> Self {
        let throttle = Throttle::new(
            parts.options.keyless_joins_per_second,
            parts.options.keyless_joins_burst,
        );
        Self {
            store: parts.store,
            rooms: parts.rooms,
            metrics: parts.metrics,
            options: parts.options,
            readiness: parts.readiness,
            has_mirror_for: parts.has_mirror_for,
            introduced: parts.introduced,
            drain: parts.drain,
            is_open: AtomicBool::new(false),
            keys: KeyRing::new(&parts.bootstrap),
            throttle,
            signing: parts.signing,
            clock: parts.clock,
        }
    }

    /// Accepts WebSockets from now on.
    pub fn open(&self) {
        self.is_open.store(true, Ordering::Release);
    }

    /// Refuses WebSockets from now on: the node stops.
    pub fn close(&self) {
        self.is_open.store(false, Ordering::Release);
    }

    /// Whether WebSockets are accepted.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }

    /// Verifies another node's token for this one.
    pub(super) fn node_claims(&self, token: &str) -> Result<NodeClaims, Problem> {
        node_token::verify(token, self.rooms.node_id(), &self.signing, wall_time())
            .map_err(|_| Problem::not_a_node())
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Signs a join token. Returns it with its expiry.
    pub(super) fn mint(
        &self,
        tenant: TenantId,
        room: RoomId,
        joiner: UserId,
        role: Kind,
        name: &str,
    ) -> (String, Timestamp) {
        let expires_at_secs =
            u64::try_from(self.now().0).unwrap_or(0) / 1000 + self.options.token_lifetime_secs;
        let claims = Claims {
            sub: joiner,
            room,
            tenant,
            role,
            name: name.to_owned(),
            exp: expires_at_secs,
            jti: uuid::Uuid::new_v4().to_string(),
        };
        let expires_at = Timestamp(0).plus_ms(expires_at_secs.saturating_mul(1000));
        (token::mint(&claims, &self.signing), expires_at)
    }

    /// The signal URL of a room: `ws(s)://…/v1/rooms/{roomId}/signal`, on the node that owns the
    /// room, unless that node drains.
    pub(super) async fn signal_url(&self, room: RoomId) -> Result<String, Problem> {
        let owner = self.rooms.host_of(room).await;
        let mut url = owner.map_or_else(|| self.options.advertise.clone(), |owner| owner.url);
        let scheme = if url.scheme() == "https" { "wss" } else { "ws" };
        url.set_scheme(scheme)
            .map_err(|()| Problem::bug("the advertised URL takes no WebSocket scheme"))?;
        let path = format!(
            "{}/v1/rooms/{room}/signal",
            url.path().trim_end_matches('/')
        );
        url.set_path(&path);
        url.set_query(None);
        Ok(url.into())
    }
}
