//! Alice, Bob and their room; deadlines; the same scenario on both backends.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    client::TestClient,
    http::Api,
    server::{LOOK_INTERVAL, Server},
    view::{list, text},
};

/// Longest life of one scenario.
pub const SCENARIO_DEADLINE: Duration = Duration::from_secs(120);
/// Longest wait for something seen only by asking.
pub const EVENTUALLY_DEADLINE: Duration = Duration::from_secs(20);

/// Defines a test per scenario and backend: `embedded::name` and `redis_and_postgres::name`.
#[macro_export]
macro_rules! on_both_backends {
    ($($name:ident),+ $(,)?) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let backend = $crate::common::server::Backend::Embedded;
                $crate::common::scenario::within_deadline(super::$name(backend)).await;
            })+
        }
        mod redis_and_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let backend = $crate::common::server::Backend::RedisPostgres;
                $crate::common::scenario::within_deadline(super::$name(backend)).await;
            })+
        }
    };
}

/// Runs a scenario to its end or panics at the deadline.
pub async fn within_deadline(scenario: impl Future<Output = ()>) {
    tokio::time::timeout(SCENARIO_DEADLINE, Box::pin(scenario))
        .await
        .expect("the scenario ends before its deadline");
}

/// Asks again and again until there is an answer.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(started.elapsed() < EVENTUALLY_DEADLINE, "in vain: {what}");
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// A user or guest with a token for one room.
#[derive(Clone, Debug)]
pub struct Person {
    /// Shown to the others.
    pub name: String,
    /// Who.
    pub user_id: String,
    /// The join token.
    pub token: String,
}

/// One room, made over HTTP.
pub struct TestRoom {
    /// The tenant's backend.
    pub api: Api,
    /// Which room.
    pub room_id: String,
    /// Its owner, Alice.
    pub host: Person,
    /// The signal URL.
    pub signal_url: String,
}

impl TestRoom {
    /// A room with default settings.
    pub async fn new(server: &Server) -> Self {
        Self::with(server, json!({})).await
    }

    /// A room with these settings.
    pub async fn with(server: &Server, settings: Value) -> Self {
        let host_id = create_user(&server.api, "Alice").await;
        let body = json!({"hostUserId": host_id, "settings": settings});
        let room = server.api.post("/v1/rooms", body).await.expect(201);
        let room_id = text(&room, "roomId").to_owned();
        let host = Person {
            name: "Alice".to_owned(),
            user_id: host_id,
            token: text(&room, "joinToken").to_owned(),
        };
        Self {
            api: server.api.clone(),
            signal_url: server.signal_url(&room_id),
            room_id,
            host,
        }
    }

    /// A path below the room's.
    pub fn path(&self, below: &str) -> String {
        format!("/v1/rooms/{}{below}", self.room_id)
    }

    /// A new user of the tenant with a token.
    pub async fn person(&self, name: &str) -> Person {
        let user_id = create_user(&self.api, name).await;
        self.token_for(name, &user_id).await
    }

    /// A token for a user of the tenant.
    pub async fn token_for(&self, name: &str, user_id: &str) -> Person {
        let body = json!({"userId": user_id});
        let join = self.api.post(&self.path("/join"), body).await.expect(200);
        assert_eq!(join["userId"], user_id);
        Person {
            name: name.to_owned(),
            user_id: user_id.to_owned(),
            token: text(&join, "token").to_owned(),
        }
    }

    /// A guest with a token, asked for with the tenant's key.
    pub async fn guest(&self, name: &str) -> Person {
        let body = json!({"displayName": name});
        let join = self.api.post(&self.path("/join"), body).await.expect(200);
        Person {
            name: name.to_owned(),
            user_id: text(&join, "userId").to_owned(),
            token: text(&join, "token").to_owned(),
        }
    }

    /// Somebody who is not connected yet.
    pub fn client(&self, person: &Person) -> TestClient {
        TestClient::new(&person.name, &self.signal_url, &self.room_id, &person.token)
    }

    /// Somebody who has joined.
    pub async fn joined(&self, person: &Person) -> TestClient {
        let mut client = self.client(person);
        client.join().await;
        assert_eq!(client.user_id(), person.user_id);
        client
    }

    /// The owner, joined.
    pub async fn alice(&self) -> TestClient {
        self.joined(&self.host).await
    }

    /// A new user, joined as attendee.
    pub async fn attendee(&self, name: &str) -> TestClient {
        let person = self.person(name).await;
        self.joined(&person).await
    }

    /// Alice and Bob, each seeing the other.
    pub async fn alice_and_bob(&self) -> (TestClient, TestClient) {
        let alice = self.alice().await;
        let bob = self.attendee("Bob").await;
        alice.until_seq(bob.seq()).await;
        (alice, bob)
    }

    /// The room as HTTP shows it.
    pub async fn show(&self) -> Value {
        self.api.get(&self.path("")).await.expect(200)
    }

    /// Waits until the room has this status.
    pub async fn until_status(&self, status: &str) {
        eventually(&format!("status {status}"), async || {
            (self.show().await["status"] == status).then_some(())
        })
        .await;
    }

    /// The sessions as listed, newest first.
    pub async fn sessions(&self) -> Vec<Value> {
        let listed = self.api.get(&self.path("/sessions")).await.expect(200);
        list(&listed, "items")
    }

    /// Waits until exactly this many sessions are listed and all are closed; whole, with
    /// attendances, newest first.
    pub async fn closed_sessions(&self, count: usize) -> Vec<Value> {
        let listed = eventually(&format!("{count} closed sessions"), async || {
            let all = self.sessions().await;
            let closed = all.iter().all(|session| session["endTime"].is_string());
            (all.len() == count && closed).then_some(all)
        })
        .await;
        let mut whole = Vec::new();
        for session in listed {
            let path = format!("/v1/sessions/{}", text(&session, "id"));
            whole.push(self.api.get(&path).await.expect(200));
        }
        whole
    }

    /// The one closed session.
    pub async fn closed_session(&self) -> Value {
        self.closed_sessions(1).await.remove(0)
    }
}

/// A new user of the tenant; the id.
pub async fn create_user(api: &Api, name: &str) -> String {
    let email = format!("{}.{}@example.org", name.to_lowercase(), Uuid::new_v4());
    let body = json!({"email": email, "displayName": name});
    let user = api.post("/v1/users", body).await.expect(201);
    text(&user, "id").to_owned()
}

/// The attendance of one user in a session that has exactly one of them.
#[track_caller]
pub fn attendance_of(session: &Value, user_id: &str) -> Value {
    let mut all = list(session, "attendances");
    all.retain(|attendance| attendance["userId"] == user_id);
    assert_eq!(all.len(), 1, "attendances of {user_id}: {session}");
    all.remove(0)
}

/// A tenant made on the command line, beside the running server; the id.
pub fn create_tenant(server: &Server, name: &str) -> String {
    let printed = printed(server, &["tenants", "create", "--name", name]);
    let mut words = printed.split(|letter: char| !letter.is_ascii_hexdigit() && letter != '-');
    let id = words.find(|word| Uuid::try_parse(word).is_ok());
    id.unwrap_or_else(|| panic!("no id in {printed}"))
        .to_owned()
}

/// An API key made on the command line; its text.
pub fn create_key(server: &Server, tenant: &str, name: &str) -> String {
    let printed = printed(
        server,
        &["keys", "create", "--tenant", tenant, "--name", name],
    );
    let is_of_key = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
    let mut words = printed.split(|letter: char| !is_of_key(letter));
    let key = words.find(|word| word.starts_with("cb_"));
    key.unwrap_or_else(|| panic!("no key in {printed}"))
        .to_owned()
}

fn printed(server: &Server, arguments: &[&str]) -> String {
    let output = server.command(arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}
