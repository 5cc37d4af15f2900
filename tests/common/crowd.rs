//! Many clients in many rooms over real sockets. They act all the time and check the promises.

pub mod intruder;
pub mod person;
pub mod returns;
pub mod wish;

use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rand::{SeedableRng, rngs::SmallRng, seq::IndexedRandom};
use serde_json::{Value, json};
use tokio::{
    sync::{Notify, Semaphore},
    task::JoinHandle,
};

use callboard::load::client::{Client, Counts, RoomLog};

use self::{person::Person, returns::Return, wish::Wish};
use super::{http::Api, view::text};

/// Longest wait until a token is given, while nodes come and go.
const TOKEN_DEADLINE: Duration = Duration::from_secs(30);
/// Requests for tokens at the same time.
const TOKENS_AT_ONCE: usize = 16;
/// Interval of reading the state of all people.
const LOOK: Duration = Duration::from_millis(20);

/// What all people share.
pub struct Shared {
    /// The HTTP addresses of the nodes.
    pub nodes: Vec<String>,
    /// Mean time between two commands of a person, in milliseconds. 0 while paused.
    pub pace_ms: AtomicU64,
    /// Rooms are being ended: a lost connection is not resumed any more.
    pub is_ending: AtomicBool,
    /// Times are counted from here.
    started: Instant,
    /// The number of the current fault and when it began.
    fault: Mutex<(usize, Instant)>,
    returns: Mutex<Vec<Return>>,
}

/// The state of a person that other tasks may read.
#[derive(Default)]
pub struct Mark {
    /// Connected and resumed.
    pub is_in: AtomicBool,
    /// Done.
    pub is_over: AtomicBool,
    /// Nothing unanswered.
    pub is_idle: AtomicBool,
    /// Drops the connection without a close frame.
    pub drop_now: Notify,
    /// The durability that the server told last.
    is_durable: AtomicBool,
    /// When the last answered command was sent, in milliseconds since the start.
    confirmed_ms: AtomicU64,
    /// The last event and the digest of the room.
    seen: Mutex<Seen>,
}

/// The state of a room as one client sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The last event.
    pub seq: u64,
    /// The digest of the participants.
    pub digest: u64,
}

/// A room with its people.
pub struct CrowdRoom {
    /// The room on the wire.
    pub room_id: String,
    /// What its clients know together.
    pub log: Arc<Mutex<RoomLog>>,
    /// Its people.
    pub people: Vec<Arc<Mark>>,
}

/// All people in all rooms.
pub struct Crowd {
    /// See [`Shared`].
    pub shared: Arc<Shared>,
    /// The rooms.
    pub rooms: Vec<CrowdRoom>,
    tasks: Vec<JoinHandle<Person>>,
}

/// How many, how fast.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Rooms.
    pub rooms: usize,
    /// People in each room. The room has no further seat.
    pub people: usize,
    /// Mean time between two commands of a person.
    pub pace: Duration,
    /// For everything random.
    pub seed: u64,
}

impl Shared {
    /// The people come to these nodes.
    pub fn new(nodes: Vec<String>, pace: Duration) -> Self {
        let now = Instant::now();
        Self {
            nodes,
            pace_ms: AtomicU64::new(pace.as_millis() as u64),
            is_ending: AtomicBool::new(false),
            started: now,
            fault: Mutex::new((0, now)),
            returns: Mutex::default(),
        }
    }

    /// Who came back so far, and how fast.
    pub fn returns(&self) -> MutexGuard<'_, Vec<Return>> {
        self.returns.lock().expect("no holder panics")
    }

    /// The present fault: its number and when it began.
    pub fn fault(&self) -> (usize, Instant) {
        *self.fault.lock().expect("no holder panics")
    }

    fn confirm(&self, mark: &Mark, sent_at: Instant) {
        mark.confirmed_ms
            .fetch_max(self.ms(sent_at), Ordering::AcqRel);
    }

    fn ms(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.started).as_millis() as u64
    }
}

impl Mark {
    /// The last event and the digest.
    pub fn seen(&self) -> Seen {
        self.seen.lock().expect("no holder panics").clone()
    }

    fn show(&self, client: &Client<Wish>) {
        self.is_durable.store(client.is_durable, Ordering::Release);
        self.is_idle
            .store(client.pending.is_empty(), Ordering::Release);
        *self.seen.lock().expect("no holder panics") = Seen {
            seq: client.seq,
            digest: client.participants.digest(),
        };
    }
}

impl Crowd {
    /// Makes the rooms and starts their clients.
    pub async fn start(nodes: &[Api], size: Size) -> Self {
        let addresses = nodes.iter().map(|api| api.base.clone()).collect();
        let shared = Arc::new(Shared::new(addresses, size.pace));
        let mut crowd = Self {
            shared,
            rooms: Vec::new(),
            tasks: Vec::new(),
        };
        let host = json!({"email": format!("host.{}@example.org", uuid::Uuid::new_v4()), "displayName": "Host"});
        let host = nodes[0].post("/v1/users", host).await.expect(201);
        let settings = json!({"maxParticipants": size.people});
        for _ in 0..size.rooms {
            let body = json!({"hostUserId": host["id"], "settings": settings});
            let room = nodes[0].post("/v1/rooms", body).await.expect(201);
            let room_id = text(&room, "roomId").to_owned();
            crowd.rooms.push(CrowdRoom {
                log: Arc::new(Mutex::new(RoomLog::new(&room_id, size.people))),
                people: Vec::new(),
                room_id,
            });
        }
        let permits = Arc::new(Semaphore::new(TOKENS_AT_ONCE));
        for number in 0..size.rooms {
            for seat in 0..size.people {
                crowd.add_person(nodes, number, seat, size, &permits);
            }
        }
        crowd
    }

    fn add_person(
        &mut self,
        nodes: &[Api],
        number: usize,
        seat: usize,
        size: Size,
        permits: &Arc<Semaphore>,
    ) {
        let room = &mut self.rooms[number];
        let mark = Arc::new(Mark::default());
        room.people.push(Arc::clone(&mark));
        let (nodes, shared) = (nodes.to_vec(), Arc::clone(&self.shared));
        let permits = Arc::clone(permits);
        let (room_id, log) = (room.room_id.clone(), Arc::clone(&room.log));
        let index = number * size.people + seat;
        let name = format!("person {seat} of room {number}");
        self.tasks.push(tokio::spawn(async move {
            let permit = permits.acquire_owned().await;
            let body = json!({"displayName": name});
            let path = format!("/v1/rooms/{room_id}/join");
            let join = ask_any(&nodes, index, &path, &body).await;
            drop(permit);
            let client = Client::in_room(&name, text(&join, "userId"), &log);
            let address = (
                room_id,
                text(&join, "token").to_owned(),
                text(&join, "signalUrl").to_owned(),
            );
            let seed = size.seed.wrapping_mul(1_000_003) + index as u64;
            Person::new(&name, client, mark, shared, address, seed)
                .live()
                .await
        }));
    }

    /// Everybody in all rooms.
    pub fn people(&self) -> impl Iterator<Item = &Arc<Mark>> {
        self.rooms.iter().flat_map(|room| &room.people)
    }

    /// How many people there are.
    pub fn len(&self) -> usize {
        self.people().count()
    }

    /// Begins a new fault: later losses count for it.
    pub fn fault_begins(&self) -> usize {
        let mut fault = self.shared.fault.lock().expect("no holder panics");
        *fault = (fault.0 + 1, Instant::now());
        fault.0
    }

    /// Waits until every client is inside a durable room and has an answer to something sent after
    /// `since`. The error counts those that are not.
    pub async fn until_all_in(&self, since: Instant, deadline: Duration) -> Result<(), String> {
        let since_ms = self.shared.ms(since);
        let started = Instant::now();
        loop {
            let is_out = |mark: &&Arc<Mark>| {
                !mark.is_in.load(Ordering::Acquire)
                    || !mark.is_durable.load(Ordering::Acquire)
                    || mark.confirmed_ms.load(Ordering::Acquire) < since_ms
            };
            let out = self.people().filter(is_out).count();
            if out == 0 {
                return Ok(());
            }
            if started.elapsed() > deadline {
                let unconnected = self
                    .people()
                    .filter(|mark| !mark.is_in.load(Ordering::Acquire))
                    .count();
                let undurable = self
                    .people()
                    .filter(|mark| !mark.is_durable.load(Ordering::Acquire))
                    .count();
                return Err(format!(
                    "{out} of {} people were not back after {deadline:?} ({unconnected} not inside, {undurable} told durable:false)",
                    self.len()
                ));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Stops all commands and waits for the pending answers.
    pub async fn pause(&self, deadline: Duration) -> Result<(), String> {
        self.shared.pace_ms.store(0, Ordering::Release);
        let started = Instant::now();
        while !self
            .people()
            .all(|mark| mark.is_idle.load(Ordering::Acquire))
        {
            if started.elapsed() > deadline {
                return Err(format!("commands were not answered within {deadline:?}"));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Ends the pause.
    pub fn end_pause(&self, pace: Duration) {
        let pace_ms = pace.as_millis() as u64;
        self.shared.pace_ms.store(pace_ms, Ordering::Release);
    }

    /// Drops this share of all connections without a close frame.
    pub fn drop_some(&self, share: f64, seed: u64) -> usize {
        let mut rng = SmallRng::seed_from_u64(seed);
        let all: Vec<_> = self.people().collect();
        let count = (all.len() as f64 * share).ceil() as usize;
        for mark in all.sample(&mut rng, count) {
            mark.drop_now.notify_one();
        }
        count
    }

    /// Waits for the end of all clients. Returns the rooms and what the clients counted.
    pub async fn finish(self, deadline: Duration) -> (Vec<CrowdRoom>, Counts, Result<(), String>) {
        let mut counts = Counts::default();
        let mut result = Ok(());
        let until = tokio::time::Instant::now() + deadline;
        for task in self.tasks {
            let abort = task.abort_handle();
            match tokio::time::timeout_at(until, task).await {
                Ok(Ok(person)) => counts.add(&person.client.counts),
                Ok(Err(fault)) => result = Err(format!("a person broke down: {fault}")),
                Err(_) => {
                    abort.abort();
                    result = Err(format!("somebody did not see the end within {deadline:?}"));
                }
            }
        }
        (self.rooms, counts, result)
    }
}

impl CrowdRoom {
    /// Locks the log. Never hold it across an await.
    pub fn log(&self) -> MutexGuard<'_, RoomLog> {
        self.log.lock().expect("no holder of the log panics")
    }
}

/// Sends a `POST` to one node after the other until one answers 200.
pub async fn ask_any(nodes: &[Api], first: usize, path: &str, body: &Value) -> Value {
    let started = Instant::now();
    let mut last = String::new();
    for attempt in 0.. {
        let api = &nodes[(first + attempt) % nodes.len()];
        match try_post(api, path, body).await {
            Ok((200, answer)) => return answer,
            Ok((status, answer)) => last = format!("{status} {answer}"),
            Err(fault) => last = fault,
        }
        if started.elapsed() > TOKEN_DEADLINE {
            break;
        }
        tokio::time::sleep(LOOK * 5).await;
    }
    panic!("no node answered POST {path}: {last}");
}

/// Sends a `POST` to a node that may be down.
pub async fn try_post(api: &Api, path: &str, body: &Value) -> Result<(u16, Value), String> {
    let request = api.request(reqwest::Method::POST, path).json(body);
    let answer = request
        .timeout(Duration::from_secs(5))
        .send()
        .await
        .map_err(|fault| fault.to_string())?;
    let status = answer.status().as_u16();
    let text = answer.text().await.map_err(|fault| fault.to_string())?;
    Ok((status, serde_json::from_str(&text).unwrap_or(Value::Null)))
}
