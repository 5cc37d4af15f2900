//! Carries the frames of a connection whose room is on another node, both ways. Nothing gathers here: a client that does not read
//! holds the owner back, an owner that does not read holds the client back.
//!
//! No room of this node judges such a connection, so the pump does: a client that is silent or takes nothing is cut off from
//! outside, and the owner learns of it at once; an owner that is silent is left.

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
        Node,
        link::{CLOSE_TIMEOUT, Farewell, Lost},
    },
    cluster::socket::NodeSocket,
    protocol::GoodbyeReason,
    ws::{Outgoing, Socket, SocketClosed},
};

/// Messages of a client that wait for the owner's socket; beyond it the client is held back.
const WAITING_TEXTS_MAX: usize = 16;
/// How often the owner is asked for a sign of life.
const PING_EVERY: Duration = Duration::from_secs(2);
/// How long an owner may give none: then its lease is over as well.
const OWNER_SILENT: Duration = Duration::from_secs(6);
/// How often both sides are judged.
const JUDGE_EVERY: Duration = Duration::from_millis(500);

/// How the owner's side ended.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub enum End {
    /// By a close with this code, after everything that was due.
    Closed(u16),
    /// Without a word.
    Lost,
    /// This node leaves; the room goes on there.
    Leaving(Option<Url>),
}

/// Why the pump ends.
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
    node: Arc<Node>,
}

/// Counts an open pump; not any more when dropped.
struct Counted(Arc<Node>);

impl Counted {
    fn new(node: &Arc<Node>) -> Self {
        node.metrics.forwarded_connections.inc();
        Self(Arc::clone(node))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.metrics.forwarded_connections.dec();
    }
}

/// Starts a pump; what the client says goes into the channel that is returned. When that is dropped, the pump ends.
pub(super) fn start(
    node: &Arc<Node>,
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
        () = write(&mut texts, &mut sink) => Outcome::Client,
        outcome = read(&mut stream, opened.said, &receiver) => outcome,
        () = receiver.node.directory.left() => Outcome::Owner(End::Leaving(opened.url)),
    };
    // A connection that waits for its place in the channel is released.
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
            End::Leaving(url) => self.end(context, Farewell::to(GoodbyeReason::Draining, url)),
        }
    }
}

/// What the client says, and pings, to the owner; returns when the client is gone. A broken socket is noticed by the reader.
async fn write(
    texts: &mut mpsc::Receiver<ByteString>,
    sink: &mut SplitSink<NodeSocket, NodeFrame>,
) {
    let mut pings = interval(PING_EVERY);
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

/// What the owner says, to the client: one delivery at a time, with all that has come meanwhile, up to a bound.
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
    let mut judge = interval(JUDGE_EVERY);
    judge.set_missed_tick_behavior(MissedTickBehavior::Delay);
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
            _ = judge.tick() => {
                if pinged.elapsed() >= ping_interval {
                    pinged = Instant::now();
                    receiver.socket.ping();
                }
                if let Some(lost) = receiver.judge() {
                    receiver.cut(lost);
                    return Outcome::Client;
                }
                if reads_on && heard.elapsed() >= OWNER_SILENT {
                    end = Some(End::Lost);
                } else if !reads_on {
                    heard = Instant::now();
                }
            }
        }
    }
}

/// What the client has said still reaches the owner: its socket is closed, and read to its end.
async fn part(mut sink: SplitSink<NodeSocket, NodeFrame>, mut stream: SplitStream<NodeSocket>) {
    let parting = async {
        if sink.send(NodeFrame::Close(None)).await.is_ok() {
            while let Some(Ok(_)) = stream.next().await {}
        }
    };
    // An owner that does not answer is left all the same.
    let _ = timeout(CLOSE_TIMEOUT, parting).await;
}

impl Receiver {
    /// Ends when the client has taken all of it.
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

    /// Why the client must go, if it must.
    fn judge(&self) -> Option<Lost> {
        if let Err(lag) = self.socket.judge(self.node.limits.link) {
            return Some(lag.into());
        }
        let silent_ms = self.node.clock.now().ms_since(self.socket.last_seen());
        (silent_ms >= self.node.limits.ping_timeout_ms).then_some(Lost::Silent)
    }

    fn cut(&self, lost: Lost) {
        if let Some(reason) = lost.eviction() {
            self.node.metrics.eviction(reason);
        }
        self.socket.cut();
    }
}
