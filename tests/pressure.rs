//! Busy rooms: a client that does not read loses its own connection only. A short pause of Redis
//! costs nobody anything.

mod common;

use std::time::Duration;

use common::{
    client::TestClient,
    http::Api,
    raw,
    scenario::{TestRoom, eventually, within_deadline},
    server::{Backend, Server, binary, free_port},
};
use serde_json::json;
use tempfile::TempDir;
use tokio::{io::AsyncReadExt, net::TcpStream, time::timeout};

on_both_backends!(
    a_client_that_stops_reading_is_evicted_and_nobody_else_notices,
    a_flood_of_relays_cannot_evict_its_target,
    a_person_takes_one_file_of_the_server_and_gives_it_back,
    a_node_without_files_left_goes_on_for_its_people_and_says_that_it_is_full,
);

/// Receive buffer of the client that stops reading: fills at once.
const SMALL_BUFFER_BYTES: u32 = 4096;
/// Memory that an eviction may cost: the bytes allowed to wait, twice, and what allocators keep.
const MEMORY_GROWTH_MAX: u64 = 48 * 1024 * 1024;
/// Metric that counts evictions by reason.
const EVICTIONS: &str = "callboard_evictions_total";

async fn a_client_that_stops_reading_is_evicted_and_nobody_else_notices(backend: Backend) {
    const LISTENERS: usize = 6;
    const ROUNDS_MAX: usize = 400;
    const AT_ONCE: usize = 16;
    let server = Server::on(backend)
        .set("LIMITS__COMMANDS_PER_SECOND", 100_000)
        .set("LIMITS__COMMANDS_BURST", 100_000)
        .set("LIMITS__SLOW_MS", 1_000)
        .start()
        .await;
    let room = TestRoom::new(&server).await;
    let mut alice = room.alice().await;
    let mut listeners = Vec::new();
    for number in 0..LISTENERS {
        listeners.push(room.attendee(&format!("Listener{number}")).await);
    }
    let person = room.person("Sleepy").await;
    let mut sleepy = room.client(&person);
    sleepy.receive_buffer_bytes = Some(SMALL_BUFFER_BYTES);
    sleepy.join().await;
    alice.until_seq(sleepy.seq()).await;
    let before = server.memory_bytes();
    sleepy.stop_reading();

    let text = "x".repeat(4096);
    let mut said = 0;
    for _ in 0..ROUNDS_MAX {
        let mut last = 0;
        for _ in 0..AT_ONCE {
            last = alice
                .post(json!({"type": "SendMessage", "text": text}))
                .await;
            said += 1;
        }
        assert_eq!(alice.answer(last).await["type"], "Ack");
        if alice.sees(&person.user_id)["isAway"] == true {
            break;
        }
    }
    assert_eq!(
        alice.sees(&person.user_id)["isAway"],
        true,
        "evicted, so away"
    );
    assert_eq!(server.metric(EVICTIONS, &[]).await, 1.0);
    let grown = server.memory_bytes().saturating_sub(before);
    assert!(grown < MEMORY_GROWTH_MAX, "memory grew by {grown} bytes");
    for listener in &listeners {
        listener.until_seq(alice.seq()).await;
        assert_eq!(
            messages(listener),
            said,
            "{} got every event",
            listener.name
        );
        assert_eq!(listener.look().closed, None);
    }
    sleepy.drop_abruptly().await;
    let back = sleepy.try_resume().await;
    assert!(
        back["type"] == "RoomResumed" || back["isSnapshotAfterGap"] == true,
        "it may come back: {}",
        back["type"]
    );
}

async fn a_flood_of_relays_cannot_evict_its_target(backend: Backend) {
    const OFFERS: usize = 200;
    let server = Server::on(backend)
        .set("LIMITS__COMMANDS_PER_SECOND", 100_000)
        .set("LIMITS__COMMANDS_BURST", 100_000)
        .set("LIMITS__SLOW_MS", 20_000)
        .start()
        .await;
    let room = TestRoom::new(&server).await;
    let mut alice = room.alice().await;
    let person = room.person("Slow").await;
    let mut slow = room.client(&person);
    slow.receive_buffer_bytes = Some(SMALL_BUFFER_BYTES);
    slow.join().await;
    slow.stop_reading();
    let sdp = "x".repeat(60_000);
    for _ in 0..OFFERS {
        alice
            .command(json!({"type": "SendOffer", "targetUserId": person.user_id, "sdp": sdp}))
            .await;
    }
    let dropped = server.metric("callboard_relays_dropped_total", &[]).await;
    assert!(dropped > 0.0, "{dropped} relays dropped");
    slow.read_on();
    alice
        .command(json!({"type": "UpdateState", "isMuted": true}))
        .await;
    slow.until_seq(alice.seq()).await;
    assert_eq!(slow.look().closed, None);
    assert_eq!(server.metric(EVICTIONS, &[]).await, 0.0);
}

async fn a_person_takes_one_file_of_the_server_and_gives_it_back(backend: Backend) {
    const PEOPLE: usize = 60;
    /// What databases, timers and HTTP clients may open or close meanwhile.
    const OTHERS: usize = 20;
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let alice = room.alice().await;
    let before = server.open_files();
    let mut people = Vec::new();
    for number in 0..PEOPLE {
        people.push(room.attendee(&format!("Guest{number}")).await);
    }
    alice.until_seq(people[PEOPLE - 1].seq()).await;
    let taken = server.open_files() - before;
    assert!(
        taken <= PEOPLE + OTHERS,
        "{taken} files for {PEOPLE} people"
    );
    for (number, mut person) in people.into_iter().enumerate() {
        if number % 2 == 0 {
            person.drop_abruptly().await;
        } else {
            person.command(json!({"type": "LeaveRoom"})).await;
        }
    }
    eventually("the files are closed", async || {
        (server.open_files() <= before + OTHERS).then_some(())
    })
    .await;
}

async fn a_node_without_files_left_goes_on_for_its_people_and_says_that_it_is_full(
    backend: Backend,
) {
    const FILES: usize = 600;
    const REFUSED: &str = "callboard_refused_connections_total";
    let admin = free_port();
    let server = Server::on(backend)
        .open_files_max(FILES)
        .set("ADMIN_LISTEN", format!("127.0.0.1:{admin}"))
        .set("CONNECTION__JOIN_TIMEOUT_MS", 120_000)
        .set("HTTP__WORKERS", 2)
        .start()
        .await;
    let admin = Api::new(&format!("http://127.0.0.1:{admin}"), None);
    assert!(server.file_table() >= FILES, "{}", server.file_table());
    let room = TestRoom::new(&server).await;
    let mut alice = room.alice().await;

    // Connections that last, until there are no more.
    let mut lasting = Vec::new();
    let refused = loop {
        assert!(lasting.len() < FILES, "nobody was refused");
        let (stream, head) = raw::upgrade(&server, &room.room_id, &[]).await;
        if !head.starts_with("HTTP/1.1 101") {
            break head.to_lowercase();
        }
        lasting.push(stream);
    };
    assert!(refused.starts_with("http/1.1 503"), "{refused}");
    assert!(refused.contains("retry-after: "), "{refused}");
    assert_eq!(server.metric(REFUSED, &["full"]).await, 1.0);
    for path in ["/healthz", "/readyz"] {
        assert_eq!(server.api.probe(path).await, Some(200), "{path}");
    }
    // A file that is kept for requests is for one of them, not for one client.
    let last = reqwest::get(format!("http://127.0.0.1:{}/healthz", server.port));
    let last = last.await.expect("an answer");
    assert_eq!(last.headers()["connection"], "close");
    room.person("Bob").await;

    // Connections that say nothing, until there are none for requests either.
    let mut silent = Vec::new();
    loop {
        assert!(silent.len() < FILES, "all were taken");
        let address = ("127.0.0.1", server.port);
        let mut stream = TcpStream::connect(address)
            .await
            .expect("the kernel takes it");
        let ended = timeout(Duration::from_millis(50), stream.read_u8()).await;
        if ended.is_ok() {
            break;
        }
        silent.push(stream);
    }
    let said = json!({"type": "SendMessage", "text": "still here"});
    assert_eq!(alice.command(said).await["durable"], true);
    assert_eq!(admin.probe("/readyz").await, Some(200));
    assert!(server.open_files() < FILES, "{}", server.open_files());

    drop((lasting, silent));
    let bob = eventually("there is room again", async || {
        let (_, head) = raw::upgrade(&server, &room.room_id, &[]).await;
        head.starts_with("HTTP/1.1 101").then_some(())
    });
    bob.await;
    room.attendee("Carol").await;
    assert!(!server.log().contains("Too many open files"));
}

#[test]
fn a_node_with_too_few_files_says_so_and_does_not_start() {
    const FILES: usize = 200;
    let data = TempDir::new().unwrap();
    let mut start = binary(Some(FILES));
    start.args(["serve", "--listen", "127.0.0.1:0", "--data"]);
    let ended = start.arg(data.path()).output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    let why = format!("{FILES} open files are allowed, at least ");
    assert!(said.contains(&why), "{said}");
    assert!(said.contains("ulimit -Hn"), "{said}");
}

fn messages(client: &TestClient) -> usize {
    let view = client.look();
    let chat = view
        .events
        .values()
        .filter(|event| event["type"] == "MessageReceived");
    chat.count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_pause_of_redis_evicts_nobody_in_a_room_of_two_hundred() {
    within_deadline(pause_in_a_big_room()).await;
}

async fn pause_in_a_big_room() {
    const PEOPLE: usize = 200;
    const MESSAGES: usize = 60;
    const PAUSE_MS: u64 = 300;
    let server = Server::on(Backend::RedisPostgres).start().await;
    let room = TestRoom::with(&server, json!({"maxParticipants": PEOPLE})).await;
    let mut alice = room.alice().await;
    let mut people = Vec::new();
    for number in 1..PEOPLE {
        people.push(
            room.joined(&room.guest(&format!("Guest {number}")).await)
                .await,
        );
    }
    alice.until_seq(PEOPLE as u64).await;

    let mut ids = Vec::new();
    for number in 0..MESSAGES {
        if number == MESSAGES / 3 {
            server.outside().redis.pause(PAUSE_MS);
        }
        ids.push(
            alice
                .post(json!({"type": "SendMessage", "text": format!("{number}")}))
                .await,
        );
    }
    for id in ids {
        let ack = alice.answer(id).await;
        assert_eq!(
            (&ack["type"], &ack["durable"]),
            (&json!("Ack"), &json!(true))
        );
    }
    let mut deliveries = 0;
    for person in people.iter().chain([&alice]) {
        person.until_seq((PEOPLE + MESSAGES) as u64).await;
        deliveries += messages(person);
        assert_eq!(person.look().closed, None, "{}", person.name);
    }
    assert_eq!(deliveries, PEOPLE * MESSAGES);
    assert_eq!(server.metric(EVICTIONS, &[]).await, 0.0);
    eventually("the room shows everybody", async || {
        let count = room.show().await["live"]["participantCount"].clone();
        (count == PEOPLE).then_some(())
    })
    .await;
}
