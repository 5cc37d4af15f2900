//! A TCP proxy before Redis or PostgreSQL that can be told to fail: what a network does, between
//! one node and one backend.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

/// Bytes read at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// How a cut looks from the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Open connections are reset, new ones too. The listener stays, so that the port cannot be
    /// lost to somebody else: a client sees a reset right after the connect instead of a refusal.
    Refuse,
    /// A black hole: connections open and stay open, nothing passes. What was sent arrives after
    /// [`Proxy::heal`], as TCP would bring it.
    Silent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Forward,
    Cut(Cut),
    LoseAnswers,
}

#[derive(Clone, Copy, Debug)]
struct Weather {
    mode: Mode,
    delay: Duration,
}

/// A running proxy; ends with its owner.
pub struct Proxy {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a free port and forwards to `target`.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let weather = watch::Sender::new(Weather {
            mode: Mode::Forward,
            delay: Duration::ZERO,
        });
        Self {
            address: listener.local_addr().unwrap(),
            task: tokio::spawn(accept(listener, target, weather.subscribe())),
            weather,
        }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Nothing passes until [`Self::heal`].
    pub fn cut(&self, cut: Cut) {
        self.weather.send_modify(|now| now.mode = Mode::Cut(cut));
    }

    /// Requests pass, answers do not: until [`Self::heal`], which ends the connections that lost
    /// something.
    pub fn lose_answers(&self) {
        self.weather.send_modify(|now| now.mode = Mode::LoseAnswers);
    }

    /// Each chunk of each direction takes this much longer; zero ends it.
    pub fn delay(&self, delay: Duration) {
        self.weather.send_modify(|now| now.delay = delay);
    }

    /// Ends every cut, loss and delay.
    pub fn heal(&self) {
        self.weather.send_replace(Weather {
            mode: Mode::Forward,
            delay: Duration::ZERO,
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, weather: watch::Receiver<Weather>) {
    // Dropped, and so aborted, with the proxy.
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        connections.spawn(carry(client, target, weather.clone()));
        while connections.try_join_next().is_some() {}
    }
}

/// One connection from its begin to its end.
async fn carry(mut client: TcpStream, target: SocketAddr, mut weather: watch::Receiver<Weather>) {
    // An error: the proxy is gone.
    let Ok(mode) = weather
        .wait_for(|now| now.mode != Mode::Cut(Cut::Silent))
        .await
        .map(|now| now.mode)
    else {
        return;
    };
    if mode != Mode::Cut(Cut::Refuse)
        && let Ok(mut server) = TcpStream::connect(target).await
    {
        // Only latency.
        let _ = client.set_nodelay(true);
        let _ = server.set_nodelay(true);
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        tokio::select! {
            () = pump(&mut from_client, &mut to_server, weather.clone(), false) => {}
            () = pump(&mut from_server, &mut to_client, weather.clone(), true) => {}
            _ = weather.wait_for(|now| now.mode == Mode::Cut(Cut::Refuse)) => {}
        }
        let _ = server.set_zero_linger();
    }
    // Closed with a reset.
    let _ = client.set_zero_linger();
}

async fn pump(
    reader: &mut (impl AsyncRead + Unpin),
    writer: &mut (impl AsyncWrite + Unpin),
    mut weather: watch::Receiver<Weather>,
    are_answers: bool,
) {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut has_lost = false;
    loop {
        let Some(now) = until_open(&mut weather).await else {
            return;
        };
        if has_lost && now.mode == Mode::Forward {
            return;
        }
        let read = tokio::select! {
            read = reader.read(&mut chunk) => read,
            _ = weather.changed() => continue,
        };
        let Ok(length @ 1..) = read else {
            return;
        };
        let delay = weather.borrow().delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let Some(now) = until_open(&mut weather).await else {
            return;
        };
        if are_answers && now.mode == Mode::LoseAnswers {
            has_lost = true;
        } else if has_lost || writer.write_all(&chunk[..length]).await.is_err() {
            return;
        }
    }
}

/// Waits for the end of a black hole. `None` if the proxy ended.
async fn until_open(weather: &mut watch::Receiver<Weather>) -> Option<Weather> {
    let now = weather
        .wait_for(|now| now.mode != Mode::Cut(Cut::Silent))
        .await;
    now.ok().map(|now| *now)
}
