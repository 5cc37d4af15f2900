use uuid::Uuid;

use super::{introduction::INTRODUCED_MAX, *};
use crate::{
    lease::{Deadlines, Lease, MirrorAnswer, PartitionPolicy},
    mirror::memory::MemoryMirror,
};

const DEADLINES: Deadlines = Deadlines {
    heartbeat_ms: 1_000,
    stall_ms: 1_000,
    own_deadline_ms: 4_000,
    expiry_ms: 6_000,
};

/// Notes who is called; every node is silent but has the mirror.
#[derive(Default)]
struct Wires {
    introduced_to: Mutex<Vec<NodeId>>,
}

#[async_trait]
impl Calls for Wires {
    async fn probe(&self, _: &Neighbour) -> Probe {
        Probe::Silent
    }

    async fn mirror_of(&self, _: &Neighbour, _: Duration) -> MirrorAnswer {
        MirrorAnswer::Has { for_ms: 7_000 }
    }

    async fn introduce(&self, neighbour: &Neighbour, own: &Url, _: Duration) {
        assert_eq!(own.as_str(), "http://own:1/");
        self.introduced_to.lock().unwrap().push(neighbour.node_id);
    }
}

struct Scene {
    mirror: Arc<MemoryMirror>,
    wires: Arc<Wires>,
    lease: LeaseHandle,
    clock: Clock,
    registry: Registry,
}

fn node(number: u128) -> NodeId {
    NodeId(Uuid::from_u128(number))
}

fn neighbour(number: u128) -> Neighbour {
    Neighbour {
        node_id: node(number),
        url: format!("http://node{number}:1").parse().unwrap(),
    }
}

impl Scene {
    fn set() -> Self {
        let (mirror, wires) = (Arc::new(MemoryMirror::new()), Arc::new(Wires::default()));
        let clock = Clock::start();
        let lease = Lease::new(DEADLINES, PartitionPolicy::Stop, clock.now());
        let lease = LeaseHandle::leased(lease);
        let registry = Registry::new(
            Arc::clone(&mirror) as Arc<dyn RoomMirror>,
            Identity {
                node_id: node(1),
                url: "http://own:1".parse().unwrap(),
                database_id: "one".to_owned(),
            },
            clock,
            lease.clone(),
            Arc::clone(&wires) as Arc<dyn Calls>,
            DEADLINES,
        );
        Self {
            mirror,
            wires,
            lease,
            clock,
            registry,
        }
    }

    async fn beat(&self, number: u128, heartbeat: u64) {
        let record = NodeRecord {
            node_id: node(number),
            url: neighbour(number).url.to_string(),
            region: "local".to_owned(),
            version: "1".to_owned(),
            database_id: "one".to_owned(),
            rooms: 0,
            connections: 0,
            state: "ready".to_owned(),
            heartbeat,
            seen_at: self.clock.now(),
        };
        let generation = self.mirror.heartbeat(&record).await.unwrap();
        if number == 1 {
            let now = self.clock.now();
            let mut lease = self.lease.lock().unwrap();
            lease.renew(now, now, &generation);
        }
    }

    /// This node lives and reads for so many seconds, and nobody else writes.
    async fn watch(&self, seconds: u64) {
        for second in 0..seconds {
            self.beat(1, second + 1).await;
            self.registry.refresh().await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn node_that_introduced_itself_is_asked_until_the_registry_is_read_again() {
    let scene = Scene::set();
    assert_eq!(scene.registry.ask_for_mirror().await, []);
    scene.registry.introduced(neighbour(2));
    let has = MirrorAnswer::Has { for_ms: 7_000 };
    assert_eq!(scene.registry.ask_for_mirror().await, [has]);
    scene.beat(3, 1).await;
    scene.registry.refresh().await.unwrap();
    scene.registry.introduced(neighbour(3));
    assert_eq!(
        scene.registry.ask_for_mirror().await,
        [has],
        "listed, and asked once"
    );
}

#[tokio::test(start_paused = true)]
async fn introductions_are_bounded() {
    let scene = Scene::set();
    for number in 0..INTRODUCED_MAX as u128 + 5 {
        scene.registry.introduced(neighbour(number + 2));
    }
    assert_eq!(scene.registry.ask_for_mirror().await.len(), INTRODUCED_MAX);
}

#[tokio::test(start_paused = true)]
async fn only_nodes_whose_heartbeat_stands_still_are_told_of_this_one() {
    let scene = Scene::set();
    scene.beat(2, 1).await;
    scene.watch(2).await;
    scene.registry.introduce().await;
    assert_eq!(*scene.wires.introduced_to.lock().unwrap(), []);
    scene.watch(2).await;
    scene.beat(3, 1).await;
    scene.registry.refresh().await.unwrap();
    scene.registry.introduce().await;
    assert_eq!(*scene.wires.introduced_to.lock().unwrap(), [node(2)]);
}

#[tokio::test(start_paused = true)]
async fn node_that_goes_on_at_the_last_moment_has_not_expired() {
    let scene = Scene::set();
    scene.beat(2, 1).await;
    scene.watch(8).await;
    let former = scene.registry.liveness_of(node(2)).await.unwrap();
    assert!(former.has_expired);
    // Since the last look.
    scene.beat(2, 2).await;
    let former = scene.registry.liveness_of(node(2)).await.unwrap();
    assert!(!former.has_expired, "{former:?}");
}
