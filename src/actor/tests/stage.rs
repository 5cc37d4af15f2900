//! One node in this process: real actors, real sockets, SQLite, and a memory mirror with fault
//! controls.

use std::{collections::BTreeMap, net::TcpListener, sync::Arc, time::Duration};

use actix_web::{dev::ServerHandle, web};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use url::Url;
use uuid::Uuid;

use super::{client::TestClient, plan::Plan};
use crate::{
    actor::{HandOffFn, JoinService, Leaving, NodeContext, RoomThreads, Rooms},
    claims::{Alone, Claimant, LeaseHandle},
    clock::Clock,
    cluster::client::NodeClient,
    fd_budget::FdBudget,
    http::{self, AppState, HttpOptions, Readiness, ReadinessStatus},
    ids::{Epoch, NodeId, RoomId, TenantId, UserId},
    metrics::Metrics,
    mirror::{
        Claim, ClaimOutcome, Ownership, RoomMirror,
        memory::MemoryMirror,
        writer::{MirrorMetrics, MirrorWriter, WriterLimits},
    },
    protocol::{EndReason, Kind, Settings},
    recorder::{Recorder, RecorderParts},
    room::record::Snapshot,
    secrets::{
        SIGNING_KEY_BYTES_MIN, SigningKey,
        api_key::ApiKeyText,
        token::{self, Claims},
    },
    store::{DEFAULT_TENANT, Room, RoomStatus, Store, StoreOptions, User},
    ws::{self, listener::HttpLimits},
};

/// Longest wait for anything that the node owes without a client seeing it.
const DEADLINE: Duration = Duration::from_secs(15);

/// The node with one room, owned by `host`.
pub struct Stage {
    pub node: Arc<NodeContext>,
    pub rooms: Rooms,
    pub mirror: Arc<MemoryMirror>,
    pub room_id: RoomId,
    pub host: UserId,
    /// `ws://…` of the room.
    pub url: String,
    signing: SigningKey,
    server: ServerHandle,
    /// Stopped when dropped; an async test cannot just drop it.
    io: Option<Runtime>,
    /// Removed when dropped.
    _data: TempDir,
}

impl Stage {
    pub async fn new() -> Self {
        Self::with(|_| ()).await
    }

    /// A node after `change` was made to the plan.
    pub async fn with(change: impl FnOnce(&mut Plan)) -> Self {
        let mut plan = Plan::default();
        change(&mut plan);
        let data = tempfile::tempdir().unwrap();
        let io = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let options = StoreOptions {
            url: format!("sqlite:{}", data.path().join("callboard.db").display()),
            pool_size: 2,
            timeout: Duration::from_secs(5),
        };
        let open = async move {
            Store::migrate(&options).await.unwrap();
            Store::open(&options).await.unwrap()
        };
        let store = io.spawn(open).await.unwrap();
        let mirror = Arc::new(MemoryMirror::new());
        let node = node(&plan, &mirror, store, &io);
        let (room_id, host) = create_room(&node, plan.settings.clone()).await;
        let threads = RoomThreads::default();
        let rooms = Rooms::start(Arc::clone(&node), threads.clone());
        io.spawn(rooms.clone().tick());
        let signing = SigningKey::from_text("a signing key that is long enough for tests").unwrap();
        let (server, url) = serve(&node, &rooms, &threads, &signing, &plan, room_id);
        threads.until_joined().await;
        let stage = Self {
            node,
            rooms,
            mirror,
            room_id,
            host,
            url,
            signing,
            server,
            io: Some(io),
            _data: data,
        };
        stage.start_recorder(stage.node.recorder.clone());
        stage
    }

    /// Ends all rooms as a stopping node without successors does.
    pub async fn stop_rooms(&self, patience: Duration) -> Option<usize> {
        let mirror = Arc::clone(&self.mirror);
        let to_nobody: HandOffFn = Arc::new(move |room_id, former| {
            let mirror = Arc::clone(&mirror);
            Box::pin(async move {
                let owner = former.owner.unwrap();
                // What cannot be released is taken over.
                let _ = mirror.release(room_id, owner, former.epoch).await;
                None
            })
        });
        self.rooms.stop(to_nobody, patience).await
    }

    /// Starts one more recorder, as another process would.
    pub fn start_recorder(&self, recorder: Recorder) {
        let node = &self.node;
        node.io.spawn(recorder.run(RecorderParts {
            mirror: Arc::clone(&node.mirror),
            store: node.store.clone(),
            metrics: node.metrics.clone(),
            clock: node.clock,
            backoff_min: Duration::from_millis(10),
            backoff_max: Duration::from_millis(100),
            touch_every: Duration::from_secs(60),
            lost_after: Duration::from_secs(180),
        }));
    }

    /// A person with a token of this tenant.
    pub fn person(&self, name: &str, user: UserId, tenant: TenantId, role: Kind) -> TestClient {
        self.person_in(self.room_id, name, user, tenant, role)
    }

    fn person_in(
        &self,
        room: RoomId,
        name: &str,
        user: UserId,
        tenant: TenantId,
        role: Kind,
    ) -> TestClient {
        let claims = Claims {
            sub: user,
            room,
            tenant,
            role,
            name: name.to_owned(),
            exp: u64::try_from(self.node.clock.now().0 / 1000).unwrap() + 3600,
            jti: Uuid::new_v4().to_string(),
        };
        let token = token::mint(&claims, &self.signing);
        TestClient::new(name, &self.url, &room.to_string(), &token)
    }

    /// The owner and a guest of another room, not connected.
    pub async fn room_beside(&self) -> [TestClient; 2] {
        let (room_id, host) = create_room(&self.node, Settings::default()).await;
        let [own, other] = [self.room_id, room_id].map(|id| id.to_string());
        let people = [
            ("Olga", host, Kind::Host),
            ("Paul", UserId(Uuid::new_v4()), Kind::Guest),
        ];
        people.map(|(name, user, role)| {
            let mut person = self.person_in(room_id, name, user, DEFAULT_TENANT, role);
            person.url = person.url.replace(&own, &other);
            person
        })
    }

    /// The owner, not connected.
    pub fn owner(&self) -> TestClient {
        self.person("Alice", self.host, DEFAULT_TENANT, Kind::Host)
    }

    /// A guest, not connected.
    pub fn guest(&self, name: &str) -> TestClient {
        self.person(name, UserId(Uuid::new_v4()), DEFAULT_TENANT, Kind::Guest)
    }

    /// The owner and a guest, both inside, both having seen both.
    pub async fn alice_and_bob(&self) -> (TestClient, TestClient) {
        let (mut alice, mut bob) = (self.owner(), self.guest("Bob"));
        alice.join().await;
        bob.join().await;
        alice.until_seq(bob.seq()).await;
        (alice, bob)
    }

    /// Waits until something holds that no client sees.
    pub async fn until(&self, what: &str, holds: impl AsyncFn() -> bool) {
        let wait = async {
            while !holds().await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let came = tokio::time::timeout(DEADLINE, wait).await;
        assert!(came.is_ok(), "waited in vain: {what}");
    }

    /// Pauses the mirror and sends a command, whose commit then waits there. The command's id.
    pub async fn hold_commit(&self, person: &mut TestClient, command: Value) -> u64 {
        let batches = self.mirror.calls().batches;
        self.mirror.pause();
        let id = person.post(command).await;
        self.until("a commit", async || self.mirror.calls().batches > batches)
            .await;
        id
    }

    /// Who owns the room, as the mirror says.
    pub async fn ownership(&self) -> Option<Ownership> {
        self.mirror.ownership(self.room_id).await.unwrap()
    }

    /// Claims the room as another node would: its owner here is fenced. What the mirror has of it.
    pub async fn claim_elsewhere(&self) -> Snapshot {
        let claim = Claim {
            room_id: self.room_id,
            expected: self.ownership().await,
            claimant: NodeId(Uuid::new_v4()),
            last_seen: Epoch(0),
        };
        match self.mirror.claim(claim).await.unwrap() {
            ClaimOutcome::Claimed {
                room: Some(room), ..
            } => *room,
            other => panic!("the room is in the mirror: {other:?}"),
        }
    }

    /// How a session ended, as SQL has it.
    pub async fn end_reason(&self, session_id: &str) -> Option<EndReason> {
        let id = session_id.parse().unwrap();
        let found = self.node.store.session(DEFAULT_TENANT, id).await;
        found.unwrap()?.0.end_reason
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // What a paused mirror holds back would hold back the end as well.
        self.mirror.resume();
        drop(self.server.stop(false));
        if let Some(io) = self.io.take() {
            io.shutdown_background();
        }
    }
}

fn node(plan: &Plan, mirror: &Arc<MemoryMirror>, store: Store, io: &Runtime) -> Arc<NodeContext> {
    let mirror: Arc<dyn RoomMirror> = Arc::clone(mirror) as Arc<dyn RoomMirror>;
    let writer = MirrorWriter::start(
        Arc::clone(&mirror),
        WriterLimits::default(),
        io.handle(),
        MirrorMetrics::new(),
    );
    let (node_id, clock) = (NodeId(Uuid::new_v4()), Clock::start());
    let claimant = Claimant::new(
        node_id,
        clock,
        Arc::clone(&mirror),
        Arc::new(store.clone()),
        Arc::new(Alone(Arc::clone(&mirror))),
        LeaseHandle::sole(),
        Arc::new(plan.rules.clone()),
    );
    let signing = SigningKey::from_text(&"s".repeat(SIGNING_KEY_BYTES_MIN)).unwrap();
    let client = NodeClient::new(node_id, signing).unwrap();
    Arc::new(NodeContext {
        node_id,
        clock,
        io: io.handle().clone(),
        mirror,
        writer,
        store,
        recorder: Recorder::default(),
        metrics: Metrics::new(),
        limits: plan.actors,
        claimant,
        registry: None,
        client,
        leaving: Leaving::default(),
    })
}

async fn create_room(node: &Arc<NodeContext>, settings: Settings) -> (RoomId, UserId) {
    let (room_id, host) = (RoomId(Uuid::new_v4()), UserId(Uuid::new_v4()));
    let user = User {
        id: host,
        tenant_id: DEFAULT_TENANT,
        email: format!("{host}@example.com"),
        display_name: "Alice".to_owned(),
        created_at: node.clock.now(),
    };
    let room = Room {
        id: room_id,
        tenant_id: DEFAULT_TENANT,
        host_user_id: host,
        settings,
        status: RoomStatus::Scheduled,
        version: 1,
        created_at: node.clock.now(),
        deleted_at: None,
    };
    node.store.create_user(user).await.unwrap();
    node.store.create_room(room).await.unwrap();
    (room_id, host)
}

fn serve(
    node: &Arc<NodeContext>,
    rooms: &Rooms,
    threads: &RoomThreads,
    signing: &SigningKey,
    plan: &Plan,
    room_id: RoomId,
) -> (ServerHandle, String) {
    let bootstrap = ApiKeyText::generate();
    let budget = FdBudget::new(1_000);
    let joins = Arc::new(JoinService::new(
        rooms,
        signing.clone(),
        bootstrap.clone(),
        plan.connections,
        budget.clone(),
    ));
    let clock = node.clock;
    let state = web::Data::new(AppState::new(http::AppServices {
        store: node.store.clone(),
        rooms: rooms.clone(),
        signing: signing.clone(),
        bootstrap,
        metrics: node.metrics.clone(),
        options: http_options(),
        clock: Arc::new(move || clock.now()),
        readiness: Arc::new(|| Readiness {
            status: ReadinessStatus::Ready,
            components: BTreeMap::new(),
        }),
        has_mirror_for: Arc::new(|| None),
        introduced: Arc::new(|_| {}),
        drain: Arc::new(|| {}),
    }));
    state.open();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (threads, writer) = (threads.clone(), node.writer.clone());
    let limits = HttpLimits {
        workers: plan.workers,
        connections_max: 1_000,
        shutdown_timeout_secs: 1,
    };
    let metrics = node.metrics.clone();
    let server = ws::listener::serve(listener, limits, budget, metrics, move |app| {
        threads.join(&writer);
        http::configure(app, state.clone(), &joins);
    })
    .unwrap();
    let handle = server.handle();
    actix_web::rt::spawn(server);
    (handle, format!("ws://{address}/v1/rooms/{room_id}/signal"))
}

fn http_options() -> HttpOptions {
    HttpOptions {
        allowed_origins: vec!["*".to_owned()],
        body_bytes_max: 64 << 10,
        text_bytes_max: 4 << 10,
        display_name_chars_max: 128,
        token_lifetime_secs: 3_600,
        advertise: Url::parse("http://127.0.0.1/").unwrap(),
        ice_servers: Vec::new(),
        keyless_joins_per_second: 20,
        keyless_joins_burst: 300,
    }
}
