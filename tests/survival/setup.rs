//! A meeting on a cluster: its clients, its owner, and its state in Redis and SQL.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::common::{
    client::TestClient,
    cluster::{Cluster, Node},
    postgres::Postgres,
    scenario::{Person, TestRoom, eventually},
    view::{list, text},
};

/// Shorter times of ownership, in the order of the defaults, with room for a busy machine.
pub const SHORT: [(&str, &str); 4] = [
    ("MIRROR__STALL_MS", "500"),
    ("CLUSTER__HEARTBEAT_MS", "400"),
    ("CLUSTER__OWN_DEADLINE_MS", "2000"),
    ("CLUSTER__EXPIRY_MS", "4000"),
];
/// The own deadline of [`SHORT`].
pub const SHORT_OWN_DEADLINE: Duration = Duration::from_millis(2_000);
/// The expiry of [`SHORT`].
pub const SHORT_EXPIRY: Duration = Duration::from_millis(4_000);
/// SQL connections of a node: all tests of this binary share one PostgreSQL.
const SQL_CONNECTIONS: (&str, &str) = ("STORE__POOL_SIZE", "2");
/// Longest time of resuming.
const RETURN_DEADLINE: Duration = Duration::from_secs(25);
/// Pause between two attempts.
const RETURN_PAUSE: Duration = Duration::from_millis(100);
/// Interval of polling the ownership of a room.
const WATCH_PAUSE: Duration = Duration::from_millis(5);

/// Nodes with one room on them.
pub struct Setup {
    /// The nodes and what they stand on.
    pub cluster: Cluster,
    /// Asked over HTTP at the last node, which the tests leave alone.
    pub room: TestRoom,
}

/// Who owns a room, as the mirror says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ownership {
    /// Node id; empty: nobody.
    pub owner: String,
    /// Grows with each owner.
    pub epoch: u64,
}

impl Setup {
    /// So many nodes with this configuration, and an empty room.
    pub async fn start(nodes: usize, set: &[(&str, &str)]) -> Self {
        static SHARED: OnceLock<Arc<Postgres>> = OnceLock::new();
        let postgres = Arc::clone(SHARED.get_or_init(|| Arc::new(Postgres::start())));
        let mut all = vec![SQL_CONNECTIONS];
        all.extend_from_slice(set);
        let cluster = Cluster::start_on(postgres, nodes, &all).await;
        until_acquainted(&cluster).await;
        let room = TestRoom::new(&*cluster.nodes[nodes - 1].server.lock().await).await;
        Self { cluster, room }
    }

    /// One of the nodes.
    pub fn node(&self, number: usize) -> &Node {
        &self.cluster.nodes[number]
    }

    /// Where the room's signalling is at a node.
    pub fn url(&self, number: usize) -> String {
        signal_url(self.node(number), &self.room.room_id)
    }

    /// Somebody with a token who has not come yet.
    pub fn client(&self, person: &Person, number: usize) -> TestClient {
        let url = self.url(number);
        TestClient::new(&person.name, &url, &self.room.room_id, &person.token)
    }

    /// The owner of the room, joined at a node.
    pub async fn alice(&self, number: usize) -> TestClient {
        let mut alice = self.client(&self.room.host, number);
        alice.join().await;
        alice
    }

    /// A new user, joined at a node.
    pub async fn joined(&self, name: &str, number: usize) -> TestClient {
        let mut client = self.client(&self.room.person(name).await, number);
        client.join().await;
        client
    }

    /// The id of the process at a node's address.
    pub async fn node_id(&self, number: usize) -> String {
        let health = self.node(number).api.get("/healthz").await.expect(200);
        text(&health, "nodeId").to_owned()
    }

    /// Comes back as clients do: to where it was sent, else to one of these nodes that is ready,
    /// again and again; the `RoomResumed` or `RoomJoined`.
    pub async fn come_back(&self, client: &mut TestClient, numbers: &[usize]) -> Value {
        let started = Instant::now();
        loop {
            assert!(
                started.elapsed() < RETURN_DEADLINE,
                "{} cannot come back",
                client.name
            );
            if let Some(url) = self.way_back(client, numbers).await {
                client.url = url;
                let answer = attempt(client).await;
                if matches!(text(&answer, "type"), "RoomResumed" | "RoomJoined") {
                    return answer;
                }
            }
            tokio::time::sleep(RETURN_PAUSE).await;
        }
    }

    async fn way_back(&self, client: &TestClient, numbers: &[usize]) -> Option<String> {
        let goodbye = client.look().goodbye.take();
        let sent_to = goodbye.and_then(|goodbye| goodbye["url"].as_str().map(str::to_owned));
        for number in numbers {
            let url = signal_url(self.node(*number), &client.room_id);
            if sent_to.as_ref().is_some_and(|sent_to| *sent_to != url) {
                continue;
            }
            if self.node(*number).api.probe("/readyz").await == Some(200) {
                return Some(url);
            }
        }
        None
    }

    /// Comes back to the same stay, with everything missed.
    pub async fn resume(&self, client: &mut TestClient, numbers: &[usize]) {
        let resumed = self.come_back(client, numbers).await;
        assert_eq!(resumed["type"], "RoomResumed", "{}: {resumed}", client.name);
    }

    /// What Redis holds of the room.
    pub async fn head(&self) -> BTreeMap<String, String> {
        self.hash("").await
    }

    async fn hash(&self, below: &str) -> BTreeMap<String, String> {
        let key = format!("room:{{{}}}{below}", self.room.room_id);
        let hash = self.cluster.redis(&["HGETALL", &key]).await;
        hash.expect("Redis answers")
    }

    /// The room's last events in Redis.
    pub async fn tail(&self) -> String {
        let key = format!("room:{{{}}}:tail", self.room.room_id);
        let words = ["LRANGE", &key, "0", "-1"];
        let tail: Vec<String> = self.cluster.redis(&words).await.expect("Redis answers");
        tail.concat()
    }

    /// The room's owner in Redis.
    pub async fn ownership(&self) -> Ownership {
        let head = self.head().await;
        Ownership {
            owner: head.get("owner").cloned().unwrap_or_default(),
            epoch: head["epoch"].parse().expect("a number"),
        }
    }

    /// Whether Redis holds exactly what somebody sees, or what is different.
    pub async fn compare(&self, person: &TestClient) -> Result<(), String> {
        let (head, seats) = (self.head().await, self.hash(":participants").await);
        let view = person.look();
        let people = view.people();
        for (field, seen) in [
            ("seq", view.seq.to_string()),
            ("sessionId", view.session_id.clone()),
            ("participantCount", people.len().to_string()),
            ("isLocked", view.room["isLocked"].to_string()),
        ] {
            if head.get(field) != Some(&seen) {
                return Err(format!("{field}: {:?} and not {seen}", head.get(field)));
            }
        }
        if !seats.keys().eq(people.keys()) {
            return Err(format!("other people: {seats:?}"));
        }
        for (user_id, seen) in &people {
            let seat: Value = serde_json::from_str(&seats[user_id]).expect("JSON");
            let fields = seen.as_object().expect("an object").iter();
            if let Some((field, value)) = fields
                .filter(|(field, _)| *field != "userId")
                .find(|(field, value)| seat[field] != **value)
            {
                return Err(format!("{field} is not {value}: {seat}"));
            }
        }
        Ok(())
    }

    /// Waits until Redis holds what somebody sees; how long that took.
    pub async fn until_mirrored(&self, person: &TestClient) -> Duration {
        let started = Instant::now();
        eventually("Redis holds what is seen", async || {
            self.compare(person).await.ok()
        })
        .await;
        started.elapsed()
    }

    /// Sessions of the room in SQL.
    pub async fn sessions_in_sql(&self) -> usize {
        let room_id = &self.room.room_id;
        let count = format!("SELECT count(*) FROM sessions WHERE room_id = '{room_id}'");
        let counted = self.cluster.sql(&count).await;
        counted.parse().expect("a number")
    }

    /// SQL is told of a session beside its first commit: waits until it knows.
    pub async fn until_session_in_sql(&self) {
        eventually("the session in SQL", async || {
            (self.sessions_in_sql().await == 1).then_some(())
        })
        .await;
    }

    /// What a node says of itself: `ready` or `degraded`.
    pub async fn status(&self, number: usize) -> String {
        let ready = self.node(number).api.get("/readyz").await.expect(200);
        text(&ready, "status").to_owned()
    }

    /// Waits until a node says this of itself.
    pub async fn until_status(&self, number: usize, status: &str) {
        eventually(&format!("node {number} is {status}"), async || {
            (self.status(number).await == status).then_some(())
        })
        .await;
    }

    /// Waits until a node has so many rooms.
    pub async fn until_rooms(&self, number: usize, rooms: f64) {
        eventually(&format!("node {number} has {rooms} rooms"), async || {
            let has = self.node(number).metric("callboard_rooms", &[]).await;
            (has == Some(rooms)).then_some(())
        })
        .await;
    }

    /// Ends the meeting; its one session as recorded.
    pub async fn end(&self) -> Value {
        let path = self.room.path("/end");
        let ended = self.room.api.post(&path, json!({})).await.expect(200);
        assert_eq!(ended["ended"], true);
        let session = self.room.closed_session().await;
        assert_eq!(session["endReason"], "ended");
        session
    }

    /// Notes every owner that Redis gives the room from now on.
    pub async fn watch_ownership(&self) -> OwnershipWatch {
        let url = self.cluster.redis.lock().await.url();
        OwnershipWatch::start(&url, format!("room:{{{}}}", self.room.room_id))
    }
}

/// Waits until all nodes are ready in the registry, and then for one more heartbeat of each:
/// between two heartbeats a node copies the registry more than once, so each knows the others as
/// ready.
async fn until_acquainted(cluster: &Cluster) {
    let mut since = None;
    eventually("all nodes know each other", async || {
        let listed = cluster.nodes[0].api.get("/v1/nodes").await.expect(200);
        let items = list(&listed, "items");
        let ready = items.iter().filter(|node| node["state"] == "ready").count();
        if ready < cluster.nodes.len() {
            return None;
        }
        let seen: Vec<String> = items
            .iter()
            .map(|node| text(node, "lastSeenAt").to_owned())
            .collect();
        let first = since.get_or_insert_with(|| seen.clone());
        let have_all_moved = first.iter().zip(&seen).all(|(first, now)| now > first);
        have_all_moved.then_some(())
    })
    .await;
}

/// Where a room's signalling is at a node.
pub fn signal_url(node: &Node, room_id: &str) -> String {
    let base = node.api.base.replacen("http", "ws", 1);
    format!("{base}/v1/rooms/{room_id}/signal")
}

/// One attempt to resume; the first answer, or `Null`: the connection ended without one.
async fn attempt(client: &mut TestClient) -> Value {
    client.connect().await;
    let (room_id, token) = (client.room_id.clone(), client.token.clone());
    let resume = {
        let view = client.look();
        json!({"connectionId": view.connection_id, "resumeToken": view.resume_token, "lastSeq": view.seq})
    };
    let join = json!({"type": "JoinRoom", "roomId": room_id, "token": token, "resume": resume});
    let id = client.post(join).await;
    let answer = client.until("an answer or the end", |view| {
        let answer = view.answers.get(&id).and_then(|all| all.first().cloned());
        answer.or_else(|| view.closed.as_ref().map(|_| Value::Null))
    });
    let answer = answer.await;
    if answer["type"] == "Error" {
        client.closed().await;
    }
    answer
}

/// Reads the ownership of a room over and over, beside the test.
pub struct OwnershipWatch {
    is_over: Arc<AtomicBool>,
    reader: JoinHandle<Vec<Ownership>>,
}

impl OwnershipWatch {
    fn start(url: &str, key: String) -> Self {
        let client = redis::Client::open(url).expect("a URL");
        let mut connection = client.get_connection().expect("Redis answers");
        let is_over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&is_over);
        let reader = thread::spawn(move || {
            let mut seen: Vec<Ownership> = Vec::new();
            while !told.load(Ordering::Relaxed) {
                let (owner, epoch): (Option<String>, u64) = redis::cmd("HMGET")
                    .arg(&[&key, "owner", "epoch"])
                    .query(&mut connection)
                    .expect("the room is there all the time");
                let owner = owner.unwrap_or_default();
                let now = Ownership { owner, epoch };
                if seen.last() != Some(&now) {
                    seen.push(now);
                }
                thread::sleep(WATCH_PAUSE);
            }
            seen
        });
        Self { is_over, reader }
    }

    /// All owners, one after the other: no epoch was lower than one before it.
    pub fn finish(self) -> Vec<Ownership> {
        self.is_over.store(true, Ordering::Relaxed);
        let seen = self.reader.join().expect("Redis answers");
        assert!(
            seen.is_sorted_by(|one, next| one.epoch < next.epoch),
            "{seen:?}"
        );
        seen
    }
}

/// Says something to all; the `Ack`.
pub async fn say(person: &mut TestClient, words: &str) -> Value {
    let said = json!({"type": "SendMessage", "text": words});
    person.command(said).await
}

/// How often somebody heard these words.
pub fn times_heard(person: &TestClient, words: &str) -> usize {
    let view = person.look();
    let heard = view.events.values().filter(|event| event["text"] == words);
    heard.count()
}

/// Everybody has seen what the last one of them has seen.
pub async fn settle(people: &[&TestClient]) {
    let seq = people.iter().map(|person| person.seq()).max();
    for person in people {
        person.until_seq(seq.unwrap_or_default()).await;
    }
}
