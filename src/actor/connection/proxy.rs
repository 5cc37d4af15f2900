//! Carries the frames of a connection whose room is on another node, both ways. It buffers little:
//! a client that does not read slows the owner down, and the other way round.
//!
//! No room of this node checks such a connection, so the proxy does. It disconnects a client that
//! is silent or does not read, and leaves an owner that is silent.

use std::{sync::Arc, time::Duration};

use actix::{Addr, Context, Handler, Message};
use bytestring::ByteString;
use futures_util::{
    FutureExt, SinkExt, StreamExt,
    future::{BoxFuture, pending},
    stream::{SplitSink, SplitStream},
};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tokio_tungstenite::tungstenite::Message as NodeFrame;
use url::Url;

use super::{Connection, Phase, forward::Opened};
use crate::{
    actor::{
        context::NodeContext,
        room::link::{CLOSE_TIMEOUT, CloseNotice},
    },
    cluster::socket::NodeSocket,
    protocol::GoodbyeReason,
    ws::{DisconnectCause, Outgoing, Socket, SocketClosed},
};

/// Messages of a client that wait for the owner's socket. Beyond it the client is not read.
const WAITING_TEXTS_MAX: usize = 16;
/// Pings of the owner during the time after which it counts as gone.
const PINGS_PER_EXPIRY: u32 = 3;
/// How often both sides are checked.
const CHECK_EVERY: Duration = Duration::from_millis(500);

/// How the owner's side ended.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub enum End {
    /// With a Close of this code, after all messages.
    Closed(u16),
    /// Without a Close.
    Lost,
    /// This node leaves. The room is at this URL.
    Leaving(Option<Url>),
}

/// Why the proxy ends.
enum Outcome {
    /// The client is to be told.
    Owner(End),
    /// The client is gone.
    Client,
}

/// The client's side of a forwarded connection.
struct Receiver {
    connection: Addr<Connection>,
    socket: Arc<Socket>,
    node: Arc<NodeContext>,
}

/// Counts a proxy until it is dropped.
struct Counted(Arc<NodeContext>);

impl Counted {
    fn new(node: &Arc<NodeContext>) -> Self {
        node.metrics.forwarded_connections.inc();
        Self(Arc::clone(node))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.metrics.forwarded_connections.dec();
    }
}

/// Starts a proxy. The client's messages go into the returned channel. The proxy ends when that is
/// dropped.
pub(super) fn start(
    node: &Arc<NodeContext>,
    connection: Addr<Connection>,
    socket: Arc<Socket>,
    opened: Opened,
) -> mpsc::Sender<ByteString> {
    let (to_owner, texts) = mpsc::channel(WAITING_TEXTS_MAX);
    let receiver = Receiver {
        connection,
        socket,
        node: Arc::clone(node),
    };
    let counted = Counted::new(node);
    node.io.spawn(async move {
        run(opened, texts, receiver).await;
        drop(counted);
    });
    to_owner
}

async fn run(opened: Opened, mut texts: mpsc::Receiver<ByteString>, receiver: Receiver) {
    let _permit = opened.permit;
    let (mut sink, mut stream) = opened.socket.split();
    let outcome = tokio::select! {
        () = write(&mut texts, &mut sink, receiver.owner_expiry()) => Outcome::Client,
        outcome = read(&mut stream, opened.said, &receiver) => outcome,
        () = receiver.node.leaving.wait() => Outcome::Owner(End::Leaving(opened.url)),
    };
    // Releases a connection that waits for room in the channel.
    drop(texts);
    if let Outcome::Owner(end) = outcome {
        receiver.connection.do_send(end);
    }
    part(sink, stream).await;
}

impl Handler<End> for Connection {
    type Result = ();

    fn handle(&mut self, end: End, context: &mut Context<Self>) {
        if matches!(self.phase, Phase::Closing) {
            return;
        }
        match end {
            End::Closed(code) => self.close(context, None, code),
            End::Lost => self.end(context, GoodbyeReason::Moved),
            End::Leaving(url) => {
                let reason = GoodbyeReason::Draining;
                self.end(context, CloseNotice { reason, url });
            }
        }
    }
}

/// Sends the client's messages and pings to the owner. Returns when the client is gone. The reader
/// notices a broken socket.
async fn write(
    texts: &mut mpsc::Receiver<ByteString>,
    sink: &mut SplitSink<NodeSocket, NodeFrame>,
    owner_expiry: Duration,
) {
    let mut pings = interval(owner_expiry / PINGS_PER_EXPIRY);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let frame = tokio::select! {
            text = texts.recv() => match text {
                Some(text) => NodeFrame::text(String::from(text)),
                None => return,
            },
            _ = pings.tick() => NodeFrame::Ping(bytes::Bytes::new()),
        };
        if sink.send(frame).await.is_err() {
            return pending().await;
        }
    }
}

/// Sends the owner's messages to the client, one write at a time, each with all that has come
/// meanwhile, up to a bound.
async fn read(
    stream: &mut SplitStream<NodeSocket>,
    said: Vec<ByteString>,
    receiver: &Receiver,
) -> Outcome {
    let bytes_max = receiver.node.limits.link.outgoing_bytes_max;
    let mut waiting_bytes = 0;
    let mut waiting = said;
    let mut end = None;
    let (mut heard, mut pinged) = (Instant::now(), Instant::now());
    let ping_interval = Duration::from_millis(receiver.node.limits.ping_interval_ms);
    let mut delivery = pending().boxed();
    let mut is_taken = true;
    let mut checks = interval(CHECK_EVERY);
    checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        if is_taken {
            if !waiting.is_empty() {
                waiting_bytes = 0;
                delivery = receiver.deliver(std::mem::take(&mut waiting));
                is_taken = false;
            } else if let Some(end) = end.take() {
                return Outcome::Owner(end);
            }
        }
        let reads_on = end.is_none() && waiting_bytes < bytes_max;
        tokio::select! {
            taken = &mut delivery => {
                if taken.is_err() {
                    return Outcome::Client;
                }
                (delivery, is_taken) = (pending().boxed(), true);
            }
            frame = stream.next(), if reads_on => {
                heard = Instant::now();
                match frame {
                    Some(Ok(NodeFrame::Text(text))) => {
                        waiting_bytes += text.len();
                        waiting.push(ByteString::from(text.as_str()));
                    }
                    Some(Ok(NodeFrame::Close(Some(close)))) => end = Some(End::Closed(close.code.into())),
                    Some(Ok(NodeFrame::Close(None)) | Err(_)) | None => end = Some(End::Lost),
                    // Pings are answered by the library, as long as the client takes what comes.
                    Some(Ok(NodeFrame::Binary(_) | NodeFrame::Ping(_) | NodeFrame::Pong(_) | NodeFrame::Frame(_))) => {}
                }
            }
            _ = checks.tick() => {
                if pinged.elapsed() >= ping_interval {
                    pinged = Instant::now();
                    receiver.socket.ping();
                }
                if let Some(lost) = receiver.check() {
                    receiver.cut(lost);
                    return Outcome::Client;
                }
                if reads_on && heard.elapsed() >= receiver.owner_expiry() {
                    end = Some(End::Lost);
                } else if !reads_on {
                    heard = Instant::now();
                }
            }
        }
    }
}

/// Closes the owner's socket, and reads it to its end, so that the client's last messages still
/// reach the owner.
async fn part(mut sink: SplitSink<NodeSocket, NodeFrame>, mut stream: SplitStream<NodeSocket>) {
    let parting = async {
        if sink.send(NodeFrame::Close(None)).await.is_ok() {
            while let Some(Ok(_)) = stream.next().await {}
        }
    };
    // An owner that does not answer is left as well.
    let _ = timeout(CLOSE_TIMEOUT, parting).await;
}

impl Receiver {
    /// How long an owner may be silent: then its lease has expired as well.
    fn owner_expiry(&self) -> Duration {
        Duration::from_millis(self.node.limits.owner.expiry_ms)
    }

    /// Completes when the client has taken all frames.
    fn deliver(&self, frames: Vec<ByteString>) -> BoxFuture<'static, Result<(), SocketClosed>> {
        let socket = Arc::clone(&self.socket);
        async move {
            let frames = frames.iter().map(|frame| Outgoing::Text(frame));
            socket.send(frames)?;
            socket.drained().await;
            Ok(())
        }
        .boxed()
    }

    /// Why the client is to be disconnected, if it is.
    fn check(&self) -> Option<DisconnectCause> {
        if let Err(lag) = self.socket.check_lag(self.node.limits.link) {
            return Some(lag);
        }
        let silent_ms = self.node.clock.now().ms_since(self.socket.last_seen());
        (silent_ms >= self.node.limits.ping_timeout_ms).then_some(DisconnectCause::Silent)
    }

    fn cut(&self, cause: DisconnectCause) {
        if let Some(reason) = cause.eviction() {
            self.node.metrics.eviction(reason);
        }
        self.socket.cut();
    }
}
