//! HTTP as nobody means it: broken requests, and texts that databases choke on. Refused, and no
//! line in the log.

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::common::{
    client::ANSWER_DEADLINE,
    http::send,
    scenario::TestRoom,
    server::{Backend, Server},
};

crate::on_both_backends!(
    broken_requests_are_refused_and_do_not_fill_the_log,
    no_value_of_any_field_is_a_fault_of_the_server,
);

/// Bytes of an answer that are read at most.
const ANSWER_BYTES_MAX: u64 = 4 * 1024;
/// Words that only our inside knows.
const INSIDE: [&str; 6] = ["src/", ".rs:", "diesel", "SELECT", "INSERT", "panicked"];

/// Sends bytes; the beginning of the answer, up to the end of the connection.
async fn exchange(server: &Server, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port))
        .await
        .expect("the server listens");
    // The server may have answered and closed before it has read everything.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let mut bounded = stream.take(ANSWER_BYTES_MAX);
    let read = bounded.read_to_end(&mut answer);
    // A reset may follow the answer.
    let _ = timeout(ANSWER_DEADLINE, read)
        .await
        .expect("the server answers and closes");
    String::from_utf8_lossy(&answer).into_owned()
}

async fn broken_requests_are_refused_and_do_not_fill_the_log(backend: Backend) {
    let server = Server::on(backend).start().await;
    let key = server.api.key.clone().expect("the first key");
    let before = server.log();
    let usual = format!("Host: x\r\nConnection: close\r\nAuthorization: Bearer {key}\r\n");
    let post = format!("POST /v1/users HTTP/1.1\r\n{usual}Content-Type: application/json\r\n");
    let long = "a".repeat(70_000);
    for (name, request) in [
        ("no HTTP", "\u{16}\u{3}\u{1}\r\n\r\n".to_owned()),
        ("other version", format!("GET / HTTP/9.9\r\n{usual}\r\n")),
        ("no path", format!("GET * HTTP/1.1\r\n{usual}\r\n")),
        ("long path", format!("GET /{long} HTTP/1.1\r\n{usual}\r\n")),
        (
            "odd method",
            format!("BREW /v1/users HTTP/1.1\r\n{usual}\r\n"),
        ),
        (
            "NUL in a path",
            format!("GET /v1/users/%00 HTTP/1.1\r\n{usual}\r\n"),
        ),
        (
            "NUL in a header",
            format!("GET /v1/users HTTP/1.1\r\n{usual}X: a\0b\r\n\r\n"),
        ),
        (
            "two hosts",
            format!("GET /v1/users HTTP/1.1\r\n{usual}Host: y\r\n\r\n"),
        ),
        (
            "two keys",
            format!("GET /v1/users HTTP/1.1\r\n{usual}Authorization: Bearer {key}\r\n\r\n"),
        ),
        (
            "folded header",
            format!("GET /v1/users HTTP/1.1\r\n{usual}X: y\r\n z\r\n\r\n"),
        ),
        (
            "long header",
            format!("GET /v1/users HTTP/1.1\r\n{usual}X: {long}{long}\r\n\r\n"),
        ),
        (
            "two lengths",
            format!("{post}Content-Length: 1\r\nContent-Length: 2\r\n\r\n{{}}"),
        ),
        (
            "length and chunks",
            format!("{post}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{{}}"),
        ),
        (
            "negative length",
            format!("{post}Content-Length: -1\r\n\r\n{{}}"),
        ),
        (
            "announced too large",
            format!("{post}Content-Length: 999999999\r\n\r\n"),
        ),
        (
            "no chunk size",
            format!("{post}Transfer-Encoding: chunked\r\n\r\nzz\r\n{{}}\r\n"),
        ),
        (
            "deep",
            format!("{post}Content-Length: 50000\r\n\r\n{}", "[".repeat(50_000)),
        ),
        (
            "huge number",
            format!("{post}Content-Length: 5\r\n\r\n1e400"),
        ),
        (
            "lone surrogate",
            format!("{post}Content-Length: 8\r\n\r\n\"\\ud800\""),
        ),
    ] {
        let answer = exchange(&server, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{name}: {answer:?}");
        for word in INSIDE {
            assert!(!answer.contains(word), "{name}: {answer}");
        }
    }
    assert_eq!(server.log(), before, "a caller's mistakes are not logged");
    server.api.get("/healthz").await.expect(200);
}

/// What a field may be given: wrong types, numbers at and over their ends, texts that databases or
/// parsers choke on.
fn odd_values() -> Vec<Value> {
    let mut values = vec![
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(u64::MAX),
        json!(i64::MIN),
        json!([]),
        json!([null]),
        json!({}),
        json!({"a": {"b": []}}),
    ];
    let texts = [
        "",
        " ",
        "\0",
        "a\0b",
        "\u{1b}[31m",
        "\u{202e}",
        "\u{ffff}",
        "'; --",
        "%00",
        "http://[",
    ];
    values.extend(texts.map(Value::from));
    values.push(json!("😀".repeat(128)));
    values.push(json!("😀".repeat(5_000)));
    values.push(json!("a\0b@example.org"));
    values
}

async fn no_value_of_any_field_is_a_fault_of_the_server(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let mut alice = room.alice().await;
    let host = alice.user_id();
    let session = format!("/v1/sessions/{}", alice.look().session_id);
    let participant = room.path(&format!("/participants/{host}"));
    let new_user = json!({"email": "odd@example.org", "displayName": "Odd"});
    for value in odd_values() {
        let with = |body: &Value, field: &str| {
            let mut body = body.clone();
            body[field] = value.clone();
            body
        };
        let new_room = json!({"hostUserId": host});
        let mut posts = vec![
            ("/v1/users".to_owned(), with(&new_user, "email")),
            ("/v1/users".to_owned(), with(&new_user, "displayName")),
            ("/v1/users".to_owned(), with(&new_user, "id")),
            ("/v1/rooms".to_owned(), with(&new_room, "id")),
            ("/v1/rooms".to_owned(), with(&new_room, "hostUserId")),
            (room.path("/join"), json!({"userId": value})),
            (room.path("/join"), json!({"userId": host, "role": value})),
            (room.path("/join"), json!({"displayName": value})),
            (room.path("/messages"), json!({"text": value})),
        ];
        let mut patches = vec![
            (session.clone(), json!({"recordingUrl": value})),
            (participant.clone(), json!({"isMuted": value})),
            (participant.clone(), json!({"role": value})),
            (format!("/v1/users/{host}"), json!({"displayName": value})),
            (room.path(""), json!({"settings": value})),
        ];
        for setting in [
            "maxParticipants",
            "allowedRoles",
            "duplicatePolicy",
            "maxDurationSecs",
            "x",
        ] {
            let settings = json!({"settings": {setting: value}});
            posts.push(("/v1/rooms".to_owned(), with(&settings, "hostUserId")));
            // Not the duration: one second would end the meeting that the others need.
            if setting != "maxDurationSecs" {
                patches.push((room.path(""), settings));
            }
        }
        for (path, body) in posts {
            let answer = room.api.post(&path, body.clone()).await;
            assert!(answer.status < 500, "{path} {body}: {}", answer.text);
        }
        for (path, body) in patches {
            let answer = room.api.patch(&path, body.clone()).await;
            assert!(answer.status < 500, "{path} {body}: {}", answer.text);
        }
        let query = [("cursor", value.to_string()), ("limit", value.to_string())];
        for pair in query {
            let path = room.path("/sessions");
            let request = room.api.request(reqwest::Method::GET, &path).query(&[pair]);
            let answer = send(request).await;
            assert!(answer.status < 500, "{path}: {}", answer.text);
        }
    }
    alice
        .command(json!({"type": "SendMessage", "text": "a\0b: chat is no text of SQL"}))
        .await;
    let log = server.log();
    assert!(
        !log.contains("panicked") && !log.contains(" ERROR "),
        "{log}"
    );
}
