//! One person over real sockets who behaves as the contract asks: resumes, repeats with the same ids, backs off, goes elsewhere.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use futures_util::{SinkExt, StreamExt};
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use tokio::{
    net::TcpStream,
    time::{sleep, sleep_until, timeout},
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest},
};

use super::{
    Mark, Return, Shared,
    desk::{SWITCHES, Wish},
    witness::{Entry, Heard, Witness},
};

/// A server that leaves something unanswered for this long is given up.
const SILENCE: Duration = Duration::from_millis(1_500);
/// The same for a `JoinRoom`, as long as a node may take for one: it waits until a silent owner goes on or has expired.
const JOIN_SILENCE: Duration = Duration::from_secs(10);
/// Without anything unanswered for this long a `KeepAlive` is sent.
const KEEP_ALIVE: Duration = Duration::from_millis(500);
/// Between two attempts to connect: jitter in this range of milliseconds.
const BACK_OFF_MS: std::ops::Range<u64> = 50..250;
/// Looked at again this often while paused.
const PAUSE_LOOK: Duration = Duration::from_millis(50);
/// Of all commands, those that are chat.
const CHAT_SHARE: f64 = 0.3;

type Socket = WebSocketStream<TcpStream>;

/// Why a connection is over.
enum Parting {
    /// Without a word, or given up.
    Lost,
    /// With a `Goodbye`.
    Goodbye {
        url: Option<String>,
        retry_after: Option<Duration>,
    },
    /// The meeting is over, or no way back.
    Over,
}

/// One person and what is needed to come back.
pub struct Person {
    /// Checks every frame.
    pub witness: Witness,
    /// What others may see of this person.
    pub mark: Arc<Mark>,
    /// Of the whole crowd.
    pub shared: Arc<Shared>,
    /// Which room.
    pub room_id: String,
    /// The join token.
    pub token: String,
    /// Where to connect first.
    pub url: String,
    /// Place in the list of nodes.
    pub node: usize,
    rng: SmallRng,
    /// Numbers the chats.
    chats: u64,
    /// The fault that cost the connection, and when the loss was noticed.
    lost: Option<(usize, Instant, Instant)>,
}

/// What changes while one connection lives.
struct Talk {
    is_in: bool,
    opened_at: Instant,
    keep_alive: Option<Instant>,
    heard_at: Instant,
    next_wish: Instant,
}

impl Person {
    /// Somebody who has a token and has not connected yet.
    pub fn new(
        witness: Witness,
        mark: Arc<Mark>,
        shared: Arc<Shared>,
        place: (String, String, String),
        seed: u64,
    ) -> Self {
        let (room_id, token, url) = place;
        let mut rng = SmallRng::seed_from_u64(seed);
        Self {
            node: rng.random_range(0..shared.nodes.len()),
            witness,
            mark,
            shared,
            room_id,
            token,
            url,
            rng,
            chats: 0,
            lost: None,
        }
    }

    /// Lives until the meeting is over; gives the person back, with what was counted.
    pub async fn live(mut self) -> Self {
        loop {
            let parting = match timeout(SILENCE, open(&self.url)).await {
                Ok(Some(socket)) => self.talk(socket).await,
                Ok(None) | Err(_) => Parting::Lost,
            };
            self.note_loss();
            let is_ending = self.shared.is_ending.load(Ordering::Acquire);
            let wait = Duration::from_millis(self.rng.random_range(BACK_OFF_MS));
            match parting {
                Parting::Over => break,
                Parting::Lost | Parting::Goodbye { .. } if is_ending => break,
                Parting::Lost => {
                    self.node = (self.node + 1) % self.shared.nodes.len();
                    self.url = self.url_of(self.node);
                    sleep(wait).await;
                }
                Parting::Goodbye { url, retry_after } => {
                    if let Some(url) = url {
                        self.url = url;
                    } else {
                        self.node = (self.node + 1) % self.shared.nodes.len();
                        self.url = self.url_of(self.node);
                    }
                    // The server spreads those whom it sends away.
                    sleep(retry_after.unwrap_or(wait)).await;
                }
            }
        }
        self.mark.is_over.store(true, Ordering::Release);
        self.mark.is_in.store(false, Ordering::Release);
        self
    }

    fn url_of(&self, node: usize) -> String {
        let base = self.shared.nodes[node].replacen("http", "ws", 1);
        format!("{base}/v1/rooms/{}/signal", self.room_id)
    }

    async fn talk(&mut self, mut socket: Socket) -> Parting {
        let knock = self.witness.knock(&self.room_id, &self.token);
        if socket.send(Message::text(knock)).await.is_err() {
            return Parting::Lost;
        }
        let now = Instant::now();
        let mut talk = Talk {
            is_in: false,
            opened_at: now,
            keep_alive: None,
            heard_at: now,
            next_wish: now + self.pace(),
        };
        let mark = Arc::clone(&self.mark);
        loop {
            let wake = self.next_wake(&talk);
            tokio::select! {
                item = socket.next() => {
                    let parting = match item {
                        Some(Ok(Message::Text(frame))) => self.hear(&mut talk, frame.as_str()),
                        Some(Ok(_)) => None,
                        Some(Err(_)) | None => Some(Parting::Lost),
                    };
                    if let Some(parting) = parting {
                        return parting;
                    }
                }
                () = sleep_until(wake.into()) => {
                    if self.is_silent(&talk) {
                        return Parting::Lost;
                    }
                    if talk.is_in && self.say(&mut talk, &mut socket).await.is_err() {
                        return Parting::Lost;
                    }
                }
                () = mark.drop_now.notified() => return Parting::Lost,
            }
        }
    }

    /// What must be sent now.
    async fn say(&mut self, talk: &mut Talk, socket: &mut Socket) -> Result<(), ()> {
        let now = Instant::now();
        if talk.next_wish <= now {
            talk.next_wish = now + self.pace();
            if !self.is_paused() && self.witness.desk.has_room() {
                let wish = self.invent();
                self.witness.desk.ask(wish);
            }
        }
        let mut frames = self.witness.desk.due(now);
        let is_quiet = frames.is_empty() && self.witness.desk.waiting_since().is_none();
        if is_quiet && talk.keep_alive.is_none() && now >= talk.heard_at + KEEP_ALIVE {
            talk.keep_alive = Some(now);
            frames.push(r#"{"type":"KeepAlive"}"#.to_owned());
        }
        self.mark
            .is_idle
            .store(self.witness.desk.is_empty(), Ordering::Release);
        for frame in frames {
            // A frozen server takes nothing: noticed by the silence, but never waited for without end.
            let sent = timeout(SILENCE, socket.send(Message::text(frame))).await;
            sent.map_err(drop)?.map_err(drop)?;
        }
        Ok(())
    }

    fn hear(&mut self, talk: &mut Talk, frame: &str) -> Option<Parting> {
        let now = Instant::now();
        let heard = self.witness.take(frame, now);
        self.mark.show(&self.witness);
        match heard {
            Heard::Nothing => {}
            Heard::Entered(entry) => {
                talk.is_in = true;
                talk.heard_at = now;
                talk.next_wish = talk.next_wish.min(now + self.pace());
                self.witness.desk.repeat_all();
                self.note_return(entry, now);
                self.shared.confirm(&self.mark, talk.opened_at);
            }
            Heard::Refused(_) => {}
            Heard::Answered(sent_at) => {
                talk.heard_at = now;
                self.shared.confirm(&self.mark, sent_at);
            }
            Heard::Alive => {
                talk.heard_at = now;
                if let Some(sent_at) = talk.keep_alive.take() {
                    self.shared.confirm(&self.mark, sent_at);
                }
            }
            Heard::Goodbye {
                action,
                url,
                retry_after,
            } => {
                return Some(match action.as_str() {
                    "stop" => Parting::Over,
                    _ => Parting::Goodbye { url, retry_after },
                });
            }
            Heard::Ended => {}
        }
        None
    }

    fn is_silent(&self, talk: &Talk) -> bool {
        let now = Instant::now();
        if !talk.is_in {
            return now >= talk.opened_at + JOIN_SILENCE;
        }
        self.waiting_since(talk)
            .is_some_and(|since| now >= since + SILENCE)
    }

    fn waiting_since(&self, talk: &Talk) -> Option<Instant> {
        let command = self.witness.desk.waiting_since();
        command.into_iter().chain(talk.keep_alive).min()
    }

    fn next_wake(&self, talk: &Talk) -> Instant {
        if !talk.is_in {
            return talk.opened_at + JOIN_SILENCE;
        }
        let silence = self.waiting_since(talk).map(|since| since + SILENCE);
        let keep_alive = silence.is_none().then_some(talk.heard_at + KEEP_ALIVE);
        [silence, keep_alive, self.witness.desk.next_due()]
            .into_iter()
            .flatten()
            .fold(talk.next_wish, Instant::min)
    }

    fn is_paused(&self) -> bool {
        self.shared.pace_ms.load(Ordering::Acquire) == 0
    }

    /// Until the next own wish.
    fn pace(&mut self) -> Duration {
        match self.shared.pace_ms.load(Ordering::Acquire) {
            0 => PAUSE_LOOK,
            pace => Duration::from_millis(self.rng.random_range(pace / 2..=pace + pace / 2)),
        }
    }

    fn invent(&mut self) -> Wish {
        let switch = self.rng.random_range(0..SWITCHES.len());
        let is_chat = self.rng.random_bool(CHAT_SHARE) || self.witness.desk.is_moving(switch);
        if is_chat {
            self.chats += 1;
            return Wish::Chat(format!("{}, number {}", self.witness.name, self.chats));
        }
        let own = self.witness.fold.person(&self.witness.user_id);
        let value = own.and_then(|own| own[SWITCHES[switch]].as_bool());
        Wish::Switch(switch, !value.unwrap_or_default())
    }

    fn note_loss(&mut self) {
        let now = Instant::now();
        if self.mark.is_in.swap(false, Ordering::AcqRel) {
            let (number, at) = self.shared.fault();
            self.lost = Some((number, at, now));
            let user_id = self.witness.user_id.clone();
            self.witness.ledger().mark_out(&user_id, Some(now));
        }
    }

    fn note_return(&mut self, entry: Entry, now: Instant) {
        let user_id = self.witness.user_id.clone();
        self.witness.ledger().mark_out(&user_id, None);
        self.mark.is_in.store(true, Ordering::Release);
        if let Some((fault, fault_at, lost_at)) = self.lost.take() {
            self.shared.returns().push(Return {
                fault,
                entry,
                since_fault: now - fault_at,
                since_loss: now - lost_at,
            });
        }
    }
}

/// Connects and upgrades; none: not possible.
pub async fn open(url: &str) -> Option<Socket> {
    let mut request = url.into_client_request().ok()?;
    let protocol = "callboard.v1+json".parse().ok()?;
    request
        .headers_mut()
        .insert("sec-websocket-protocol", protocol);
    let address = request.uri().authority()?.as_str().to_owned();
    let stream = TcpStream::connect(address).await.ok()?;
    stream.set_nodelay(true).ok()?;
    let (socket, _) = client_async(request, stream).await.ok()?;
    Some(socket)
}
