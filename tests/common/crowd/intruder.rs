//! Somebody who tries again and again to get into full rooms: **capacity** holds while seats are away and owners change.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_tungstenite::tungstenite::Message;

use super::{Crowd, ledger::Ledger, person::open, try_post};
use crate::common::{http::Api, view::text};

/// Between two attempts.
const PACE: Duration = Duration::from_millis(400);
/// Longest time of one attempt.
const PATIENCE: Duration = Duration::from_secs(6);

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
            .map(|room| Arc::clone(&room.ledger))
            .collect();
        let (nodes, counter) = (nodes.to_vec(), Arc::clone(&refused));
        let task = tokio::spawn(async move {
            for attempt in 0.. {
                let api = &nodes[attempt % nodes.len()];
                let ledger = &rooms[attempt % rooms.len()];
                let (room_id, amnesties) = {
                    let ledger = ledger.lock().expect("nobody panics with the ledger");
                    (ledger.room_id.clone(), ledger.amnesties)
                };
                // After an allowed loss the room may have begun anew, with free seats.
                if amnesties > 0 {
                    sleep(PACE).await;
                    continue;
                }
                if let Ok(Some(answer)) = timeout(PATIENCE, knock(api, &room_id)).await {
                    judge(ledger, &answer, &counter);
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

fn judge(ledger: &std::sync::Mutex<Ledger>, answer: &Value, refused: &AtomicU64) {
    let mut ledger = ledger.lock().expect("nobody panics with the ledger");
    match (text(answer, "type"), text(answer, "code")) {
        ("Error", "room_full") => {
            refused.fetch_add(1, Ordering::AcqRel);
        }
        ("Error", "unavailable" | "timeout") | ("Goodbye", _) => {}
        // The loss came in between.
        ("RoomJoined", _) if ledger.amnesties > 0 => {}
        _ => ledger.violate("capacity", format!("a full room answered a join: {answer}")),
    }
}

/// The first answer to a join; none: the node is away.
async fn knock(api: &Api, room_id: &str) -> Option<Value> {
    let path = format!("/v1/rooms/{room_id}/join");
    let body = json!({"displayName": "intruder"});
    let (status, join) = try_post(api, &path, &body).await.ok()?;
    if status != 200 {
        return None;
    }
    let mut socket = open(text(&join, "signalUrl")).await?;
    let ask = json!({"type": "JoinRoom", "id": 1, "roomId": room_id, "token": join["token"]});
    socket.send(Message::text(ask.to_string())).await.ok()?;
    loop {
        if let Message::Text(frame) = socket.next().await?.ok()? {
            return serde_json::from_str(frame.as_str()).ok();
        }
    }
}
