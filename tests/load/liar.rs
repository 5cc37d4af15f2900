//! A fan-out without rules that can lie: it drops, repeats or swaps messages, and the load tool
//! must say so.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::{SinkExt, StreamExt};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Mutex, mpsc},
};
use tokio_tungstenite::{
    accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{ErrorResponse, Request, Response},
        http::HeaderValue,
    },
};

use crate::{common::scenario::within_deadline, tool::Run};

/// The message of a room that is not treated as it should be.
const VICTIM: usize = 5;

/// What happens to the victim, for one member.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lie {
    None,
    Drop,
    Repeat,
    Swap,
}

/// One room: who gets what is said, and how much was said.
#[derive(Default)]
struct Room {
    members: Vec<mpsc::UnboundedSender<Message>>,
    said: usize,
    held: Option<Message>,
}

type Rooms = Arc<Mutex<HashMap<String, Room>>>;

/// Listens; the base URL.
async fn serve(lie: Lie) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let rooms = Rooms::default();
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(attend(stream, Arc::clone(&rooms), lie));
        }
    });
    base
}

async fn attend(stream: TcpStream, rooms: Rooms, lie: Lie) {
    let mut path = String::new();
    #[expect(clippy::result_large_err, reason = "the library's own type")]
    let upgrade = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
        request.uri().path().clone_into(&mut path);
        response.headers_mut().insert(
            "sec-websocket-protocol",
            HeaderValue::from_static("callboard.v1+json"),
        );
        Ok(response)
    };
    let Ok(socket) = accept_hdr_async(stream, upgrade).await else {
        return;
    };
    let (mut sink, mut stream) = socket.split();
    let (sender, mut receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(message) = receiver.recv().await {
            if sink.send(message).await.is_err() {
                return;
            }
        }
    });
    while let Some(Ok(message)) = stream.next().await {
        let Message::Text(text) = &message else {
            continue;
        };
        let mut rooms = rooms.lock().await;
        let room = rooms.entry(path.clone()).or_default();
        if text.contains("JoinRoom") {
            let _ = sender.send(Message::text("welcome"));
            room.members.push(sender.clone());
        } else {
            room.tell(&message, lie);
        }
    }
}

impl Room {
    /// Tells everybody; the first member is lied to.
    fn tell(&mut self, message: &Message, lie: Lie) {
        self.said += 1;
        let is_victim = self.said == VICTIM;
        for (index, member) in self.members.iter().enumerate() {
            let lie = if index == 0 { lie } else { Lie::None };
            let copies = match lie {
                Lie::Drop if is_victim => 0,
                Lie::Repeat if is_victim => 2,
                Lie::Swap if is_victim => {
                    self.held = Some(message.clone());
                    0
                }
                Lie::None | Lie::Drop | Lie::Repeat | Lie::Swap => 1,
            };
            for _ in 0..copies {
                let _ = member.send(message.clone());
            }
            let late = self.held.take_if(|_| index == 0 && !is_victim);
            if let Some(late) = late {
                let _ = member.send(late);
            }
        }
    }
}

async fn seen_of(lie: Lie) -> crate::tool::Outcome {
    let base = serve(lie).await;
    // One publisher, so that neighbours are of the same one.
    let arguments = "broadcast --bare --rooms 3 --size 1 --rate 60 --duration 2 --ramp 0";
    let run = Run::start(&base, "", &arguments.split(' ').collect::<Vec<_>>());
    tokio::time::timeout(Duration::from_secs(60), run.end())
        .await
        .expect("the run ends")
}

async fn expect_named(lie: Lie, name: &str) {
    within_deadline(async {
        let outcome = seen_of(lie).await;
        assert_eq!(outcome.code, Some(1), "{}", outcome.stdout);
        assert!(outcome.stdout.contains(name), "{}", outcome.stdout);
        let violations = outcome.report["violations"].to_string();
        assert!(violations.contains(name), "{violations}");
        assert!(
            outcome.stderr.contains("broke a promise"),
            "{}",
            outcome.stderr
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_honest_target_without_rules_is_measured() {
    within_deadline(async {
        let outcome = seen_of(Lie::None).await;
        outcome.expect_clean();
        let seen = outcome.count("deliveries", "seen");
        assert!(seen > 60, "{}", outcome.stdout);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_message_is_an_exit_code() {
    expect_named(Lie::Drop, "each-once").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_message_is_an_exit_code() {
    expect_named(Lie::Repeat, "each-once").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swapped_messages_are_an_exit_code() {
    expect_named(Lie::Swap, "each-once").await;
}
