//! Two nodes on one Redis and one PostgreSQL: a room lives on one of them, people and admins come
//! to the other.

use callboard::{
    ids::{NodeId, RoomId},
    secrets::{
        SigningKey,
        node_token::{self, Grant},
    },
};

use super::{
    client::TestClient,
    scenario::{Person, TestRoom},
    server::{Backend, Plan, SIGNING_KEY, STORE_CONNECTIONS, Server},
    view::text,
};

/// The first API key of both nodes.
const API_KEY: &str =
    "cb_00000000000040008000000000000002_0123456789abcdefghijABCDEFGHIJ0123456789";

/// Two nodes.
pub struct Pair {
    /// Where somebody comes in whose room is at home.
    pub entry: Server,
    /// Where the rooms of the tests live; Redis and PostgreSQL are this one's.
    pub home: Server,
}

impl Pair {
    /// Both with the defaults of the product.
    pub async fn start() -> Self {
        Self::with(|plan| plan).await
    }

    /// Both with these settings.
    pub async fn with(set: impl Fn(Plan) -> Plan) -> Self {
        let plan =
            Server::on(Backend::RedisPostgres).environment("CALLBOARD_BOOTSTRAP_API_KEY", API_KEY);
        let home = set(plan).start().await;
        let entry = set(beside(&home, &home.outside().database)).start().await;
        Self { entry, home }
    }

    /// A room with Alice at home in it, so that it lives there.
    pub async fn room_with_alice(&self) -> (TestRoom, TestClient) {
        let room = TestRoom::new(&self.home).await;
        let alice = room.alice().await;
        (room, alice)
    }

    /// Somebody who will connect to the entry node.
    pub fn at_entry(&self, room: &TestRoom, person: &Person) -> TestClient {
        let url = self.entry.signal_url(&room.room_id);
        TestClient::new(&person.name, &url, &room.room_id, &person.token)
    }

    /// A new user who has joined at the entry node.
    pub async fn joined_at_entry(&self, room: &TestRoom, name: &str) -> TestClient {
        let person = room.person(name).await;
        let mut client = self.at_entry(room, &person);
        client.join().await;
        client
    }

    /// The room as seen through the entry node.
    pub fn through_entry(&self, room: &TestRoom) -> TestRoom {
        TestRoom {
            api: self.entry.api.clone(),
            room_id: room.room_id.clone(),
            host: room.host.clone(),
            signal_url: self.entry.signal_url(&room.room_id),
        }
    }
}

/// One more node on the Redis of another.
pub fn beside(server: &Server, database: &str) -> Plan {
    // Only its own data directory is embedded: what is given here wins.
    Server::on(Backend::Embedded)
        .environment("CALLBOARD_BOOTSTRAP_API_KEY", API_KEY)
        .environment("CALLBOARD_DATABASE", database)
        .environment("CALLBOARD_REDIS", server.outside().redis.url())
        .environment("CALLBOARD_ADVERTISE", "http://127.0.0.1:{port}")
        .environment("CALLBOARD_SIGNING_KEY", SIGNING_KEY)
        .environment("CALLBOARD_STORE__POOL_SIZE", STORE_CONNECTIONS)
}

/// Who answers.
pub async fn node_id(server: &Server) -> NodeId {
    let health = server.api.get("/healthz").await.expect(200);
    text(&health, "nodeId").parse().expect("a UUID")
}

/// The id of a room.
pub fn room_id(room: &TestRoom) -> RoomId {
    room.room_id.parse().expect("a UUID")
}

/// A token as nodes give it to each other.
pub fn token(grant: Grant, issuer: NodeId, audience: NodeId) -> String {
    let key = SigningKey::from_text(SIGNING_KEY).expect("long enough");
    node_token::mint(grant, issuer, audience, &key, callboard::clock::wall_time())
}
