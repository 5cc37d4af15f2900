//! A client that keeps trying to join full rooms: **capacity** holds while owners change.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use callboard::load::client::RoomLog;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_tungstenite::tungstenite::Message;

use super::{Crowd, person::open, try_post};
use crate::common::{http::Api, view::text};

/// Between two attempts.
const PACE: Duration = Duration::from_millis(400);
/// Longest time of one attempt.
const ATTEMPT_DEADLINE: Duration = Duration::from_secs(6);

/// The running attempts; stopped with [`Intruder::stop`].
pub struct Intruder {
    task: JoinHandle<()>,
    refused: Arc<AtomicU64>,
}

impl Intruder {
    /// Begins to try the rooms of a crowd, one after the other, through all nodes.
    pub fn start(nodes: &[Api], crowd: &Crowd) -> Self {
        let refused = Arc::new(AtomicU64::new(0));
        let rooms: Vec<_> = crowd
            .rooms
            .iter()
            .map(|room| Arc::clone(&room.log))
            .collect();
        let (nodes, counter) = (nodes.to_vec(), Arc::clone(&refused));
        let task = tokio::spawn(async move {
            for attempt in 0.. {
                let api = &nodes[attempt % nodes.len()];
                let log = &rooms[attempt % rooms.len()];
                let (room_id, losses) = {
                    let log = log.lock().expect("no holder of the log panics");
                    (log.room_id.clone(), log.losses)
                };
                // After an allowed loss the room may have begun anew, with free seats.
                if losses > 0 {
                    sleep(PACE).await;
                    continue;
                }
                if let Ok(Some(answer)) = timeout(ATTEMPT_DEADLINE, join(api, &room_id)).await {
                    check(log, &answer, &counter);
                }
                sleep(PACE).await;
            }
        });
        Self { task, refused }
    }

    /// Ends the attempts; how many were refused as `room_full`.
    pub async fn stop(self) -> u64 {
        self.task.abort();
        // Cancelled: nothing to know.
        let _ = self.task.await;
        self.refused.load(Ordering::Acquire)
    }
}

fn check(log: &std::sync::Mutex<RoomLog>, answer: &Value, refused: &AtomicU64) {
    let mut log = log.lock().expect("no holder of the log panics");
    match (text(answer, "type"), text(answer, "code")) {
        ("Error", "room_full") => {
            refused.fetch_add(1, Ordering::AcqRel);
        }
        ("Error", "unavailable" | "timeout") | ("Goodbye", _) => {}
        // The allowed loss came in between.
        ("RoomJoined", _) if log.losses > 0 => {}
        _ => log.violate(
            "capacity",
            &format!("a full room answered a join: {answer}"),
        ),
    }
}

/// Returns the first answer to a join. `None` if the node is down.
async fn join(api: &Api, room_id: &str) -> Option<Value> {
    let path = format!("/v1/rooms/{room_id}/join");
    let body = json!({"displayName": "intruder"});
    let (status, granted) = try_post(api, &path, &body).await.ok()?;
    if status != 200 {
        return None;
    }
    let mut socket = open(text(&granted, "signalUrl")).await?;
    let ask = json!({"type": "JoinRoom", "id": 1, "roomId": room_id, "token": granted["token"]});
    socket.send(Message::text(ask.to_string())).await.ok()?;
    loop {
        if let Message::Text(frame) = socket.next().await?.ok()? {
            return serde_json::from_str(frame.as_str()).ok();
        }
    }
}
