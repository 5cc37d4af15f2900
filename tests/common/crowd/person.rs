//! One client over real sockets that behaves as documented: it resumes, repeats commands under the
//! same ids, backs off and follows redirects.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use callboard::{
    load::client::{Client, Entry, Heard, SWITCHES},
    protocol::Action,
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

use super::{Mark, Return, Shared, wish::Wish};

/// Longest wait for an answer before the client gives the connection up.
const SILENCE: Duration = Duration::from_millis(1_500);
/// The same for a `JoinRoom`: a node waits until a silent owner continues or has expired.
const JOIN_SILENCE: Duration = Duration::from_secs(10);
/// Interval of `KeepAlive` while nothing is unanswered.
const KEEP_ALIVE: Duration = Duration::from_millis(500);
/// Pause between two connections, at random within this range of milliseconds.
const BACK_OFF_MS: std::ops::Range<u64> = 50..250;
/// Interval of checking for the end of a pause.
const PAUSE_INTERVAL: Duration = Duration::from_millis(50);
/// The share of chat messages among all commands.
const CHAT_SHARE: f64 = 0.3;
/// Commands without an answer at any time. The server allows 64.
const UNANSWERED_MAX: usize = 8;

type Socket = WebSocketStream<TcpStream>;

/// Why a connection ended.
enum Ending {
    /// Without a `Goodbye`, or given up.
    Lost,
    /// With a `Goodbye`.
    Goodbye {
        url: Option<String>,
        retry_after: Option<Duration>,
    },
    /// The session ended, or the client must not return.
    Over,
}

/// One client and how it connects.
pub struct Person {
    /// The name in reports.
    pub name: String,
    /// Checks every message.
    pub client: Client<Wish>,
    /// The state that other tasks may read.
    pub mark: Arc<Mark>,
    /// Shared by the whole crowd.
    pub shared: Arc<Shared>,
    /// The room on the wire.
    pub room_id: String,
    /// The join token.
    pub token: String,
    /// Where to connect first.
    pub url: String,
    /// Its place in the list of nodes.
    pub node: usize,
    rng: SmallRng,
    /// The number of chat messages.
    chats: u64,
    /// The fault that cost the connection, and when the loss was noticed.
    lost: Option<(usize, Instant, Instant)>,
}

/// The state of one connection.
struct Talk {
    is_in: bool,
    opened_at: Instant,
    keep_alive: Option<Instant>,
    heard_at: Instant,
    next_wish: Instant,
}

impl Person {
    /// Returns a client that has a token and no connection.
    pub fn new(
        name: &str,
        client: Client<Wish>,
        mark: Arc<Mark>,
        shared: Arc<Shared>,
        address: (String, String, String),
        seed: u64,
    ) -> Self {
        let (room_id, token, url) = address;
        let mut rng = SmallRng::seed_from_u64(seed);
        Self {
            node: rng.random_range(0..shared.nodes.len()),
            name: name.to_owned(),
            client,
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

    /// Runs until the session ends. Returns the client with what it counted.
    pub async fn live(mut self) -> Self {
        loop {
            let ending = match timeout(SILENCE, open(&self.url)).await {
                Ok(Some(socket)) => self.talk(socket).await,
                Ok(None) | Err(_) => Ending::Lost,
            };
            self.note_loss();
            let is_ending = self.shared.is_ending.load(Ordering::Acquire);
            let wait = Duration::from_millis(self.rng.random_range(BACK_OFF_MS));
            match ending {
                Ending::Over => break,
                Ending::Lost | Ending::Goodbye { .. } if is_ending => break,
                Ending::Lost => {
                    self.node = (self.node + 1) % self.shared.nodes.len();
                    self.url = self.url_of(self.node);
                    sleep(wait).await;
                }
                Ending::Goodbye { url, retry_after } => {
                    if let Some(url) = url {
                        self.url = url;
                    } else {
                        self.node = (self.node + 1) % self.shared.nodes.len();
                        self.url = self.url_of(self.node);
                    }
                    // The server spreads the clients that it sends away.
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

    async fn talk(&mut self, mut socket: Socket) -> Ending {
        let join = self.client.join(&self.room_id, &self.token, true);
        if socket.send(Message::text(join)).await.is_err() {
            return Ending::Lost;
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
                    let ending = match item {
                        Some(Ok(Message::Text(frame))) => self.hear(&mut talk, frame.as_str()),
                        Some(Ok(_)) => None,
                        Some(Err(_)) | None => Some(Ending::Lost),
                    };
                    if let Some(ending) = ending {
                        return ending;
                    }
                }
                () = sleep_until(wake.into()) => {
                    if self.is_silent(&talk) {
                        return Ending::Lost;
                    }
                    if talk.is_in && self.say(&mut talk, &mut socket).await.is_err() {
                        return Ending::Lost;
                    }
                }
                () = mark.drop_now.notified() => return Ending::Lost,
            }
        }
    }

    /// Sends what is due.
    async fn say(&mut self, talk: &mut Talk, socket: &mut Socket) -> Result<(), ()> {
        let now = Instant::now();
        if talk.next_wish <= now {
            talk.next_wish = now + self.pace();
            if !self.is_paused() && self.client.pending.len() < UNANSWERED_MAX {
                let wish = self.invent();
                self.client.pending.ask(wish);
            }
        }
        let due = self.client.pending.due(now);
        let frame = |(id, wish): (u64, Wish)| wish.frame(id).to_string();
        let mut frames: Vec<String> = due.into_iter().map(frame).collect();
        let is_quiet = frames.is_empty() && self.client.pending.waiting_since().is_none();
        if is_quiet && talk.keep_alive.is_none() && now >= talk.heard_at + KEEP_ALIVE {
            talk.keep_alive = Some(now);
            frames.push(r#"{"type":"KeepAlive"}"#.to_owned());
        }
        self.mark
            .is_idle
            .store(self.client.pending.is_empty(), Ordering::Release);
        for frame in frames {
            // A frozen server takes nothing, so that the wait needs a bound.
            let sent = timeout(SILENCE, socket.send(Message::text(frame))).await;
            sent.map_err(drop)?.map_err(drop)?;
        }
        Ok(())
    }

    fn hear(&mut self, talk: &mut Talk, frame: &str) -> Option<Ending> {
        let now = Instant::now();
        let mut heard = Vec::new();
        self.client.take(frame, now, &mut heard);
        self.mark.show(&self.client);
        let mut ending = None;
        for one in heard {
            ending = self.react(talk, one, now).or(ending);
        }
        ending
    }

    fn react(&mut self, talk: &mut Talk, heard: Heard<Wish>, now: Instant) -> Option<Ending> {
        match heard {
            Heard::Entered { entry, .. } => {
                talk.is_in = true;
                talk.heard_at = now;
                talk.next_wish = talk.next_wish.min(now + self.pace());
                self.client.pending.repeat_all();
                self.note_return(entry, now);
                self.shared.confirm(&self.mark, talk.opened_at);
            }
            Heard::Acked(sent) | Heard::Refused(Some(sent), _) => {
                if let Some(sent_at) = sent.sent_at {
                    talk.heard_at = now;
                    self.shared.confirm(&self.mark, sent_at);
                }
            }
            Heard::KeepAlive => {
                talk.heard_at = now;
                if let Some(sent_at) = talk.keep_alive.take() {
                    self.shared.confirm(&self.mark, sent_at);
                }
            }
            Heard::Goodbye(goodbye) => {
                let retry_after = goodbye.retry_after();
                return Some(match goodbye.action {
                    Action::Stop => Ending::Over,
                    Action::Reconnect | Action::Rejoin => Ending::Goodbye {
                        url: goodbye.url,
                        retry_after,
                    },
                });
            }
            Heard::JoinRefused(_)
            | Heard::Refused(None, _)
            | Heard::Message(_)
            | Heard::Offer(_)
            | Heard::RoomEnded
            | Heard::Violation(_) => {}
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
        let command = self.client.pending.waiting_since();
        command.into_iter().chain(talk.keep_alive).min()
    }

    fn next_wake(&self, talk: &Talk) -> Instant {
        if !talk.is_in {
            return talk.opened_at + JOIN_SILENCE;
        }
        let silence = self.waiting_since(talk).map(|since| since + SILENCE);
        let keep_alive = silence.is_none().then_some(talk.heard_at + KEEP_ALIVE);
        [silence, keep_alive, self.client.pending.next_due()]
            .into_iter()
            .flatten()
            .fold(talk.next_wish, Instant::min)
    }

    fn is_paused(&self) -> bool {
        self.shared.pace_ms.load(Ordering::Acquire) == 0
    }

    /// Returns the time until the next own command.
    fn pace(&mut self) -> Duration {
        match self.shared.pace_ms.load(Ordering::Acquire) {
            0 => PAUSE_INTERVAL,
            pace => Duration::from_millis(self.rng.random_range(pace / 2..=pace + pace / 2)),
        }
    }

    fn invent(&mut self) -> Wish {
        let switch = self.rng.random_range(0..SWITCHES.len());
        let is_switch = |wish: &Wish| matches!(wish, Wish::Switch(own, _) if *own == switch);
        let is_moving = self.client.pending.iter().any(|(_, wish)| is_switch(wish));
        let is_chat = self.rng.random_bool(CHAT_SHARE) || is_moving;
        if is_chat {
            self.chats += 1;
            return Wish::Chat(format!("{}, number {}", self.name, self.chats));
        }
        let own = self.client.participants.get(&self.client.user_id);
        let value = own.and_then(|own| own[SWITCHES[switch]].as_bool());
        Wish::Switch(switch, !value.unwrap_or_default())
    }

    fn note_loss(&mut self) {
        let now = Instant::now();
        if self.mark.is_in.swap(false, Ordering::AcqRel) {
            let (number, at) = self.shared.fault();
            self.lost = Some((number, at, now));
            self.client.mark_disconnected(Some(now));
        }
    }

    fn note_return(&mut self, entry: Entry, now: Instant) {
        self.client.mark_disconnected(None);
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

/// Connects and upgrades. `None` if that fails.
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
