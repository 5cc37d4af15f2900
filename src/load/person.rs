//! One person of a run: a task that obeys orders and listens to its connection.

mod entering;
mod hearing;

use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};
use uuid::Uuid;

use super::{
    breach::Breach,
    command::What,
    fold::Fold,
    frame::Farewell,
    inbox::{Heard, Inbox, Pending},
    meter::{Kind, count},
    socket::Socket,
    stage::{RoomCard, Stage, Who},
};

/// Orders that wait for one person; more are counted as withheld.
pub(super) const ORDERS_MAX: usize = 32;
/// What a person is told to do.
#[derive(Debug)]
pub(super) enum Order {
    /// Connect and join.
    Join,
    /// Send a command.
    Act(What),
    /// Publish the next message.
    Say,
    /// Lose the connection, resume.
    Drop,
    /// Leave the room.
    Leave,
    /// Tell what was seen.
    Tell(mpsc::UnboundedSender<Summary>),
}

/// An order with its time.
#[derive(Debug)]
pub(super) struct Due {
    /// In nanoseconds of the run.
    pub at_ns: u64,
    /// Index of the person.
    pub to: usize,
    /// What to do.
    pub order: Order,
}

/// What a person has seen of their room.
#[derive(Debug)]
pub(super) struct Summary {
    /// Counts the rooms.
    pub room: usize,
    /// Counts the people of the room.
    pub seat: usize,
    /// The last event; none: outside.
    pub last_seq: Option<u64>,
    /// When the stay began, in nanoseconds of the run.
    pub stay_from_ns: u64,
    /// Messages heard in the stay; none: a snapshot replaced some.
    pub messages: Option<u64>,
    /// Commands without an answer.
    pub unanswered: usize,
    /// The room's state by its events; only of some.
    pub fold: Option<Fold>,
}

/// One person.
pub(super) struct Person {
    stage: Arc<Stage>,
    who: Who,
    /// The room.
    room: Arc<RoomCard>,
    inbox: Inbox<What>,
    /// The connection; none: outside.
    socket: Option<Socket>,
    /// Id of the next command.
    next_id: u64,
    /// Messages published.
    said: u32,
    /// Commands sent because of what came.
    replied: u64,
    /// When the last stay began; 0: never.
    stay_from_ns: u64,
    /// What the server said before it closes.
    farewell: Option<Farewell>,
    /// To be sent when the frame at hand has been dealt with.
    replies: Vec<What>,
    /// Emptied after each frame, kept for its memory.
    heard: Vec<Heard<What>>,
}

/// What happened next.
enum Step {
    Ordered(Option<Due>),
    Frame(Utf8Bytes),
    Silence,
    Closed,
}

impl Person {
    /// Somebody outside.
    pub fn new(stage: Arc<Stage>, room: Arc<RoomCard>, who: Who) -> Self {
        let inbox = Inbox::new(
            stage.options.size,
            stage.options.is_bare,
            stage.is_folding(&who),
        );
        Self {
            stage,
            who,
            room,
            inbox,
            socket: None,
            next_id: 1,
            said: 0,
            replied: 0,
            stay_from_ns: 0,
            farewell: None,
            replies: Vec::new(),
            heard: Vec::new(),
        }
    }

    /// Obeys and listens until there are no more orders; then leaves.
    pub async fn run(mut self, mut orders: mpsc::Receiver<Due>) {
        loop {
            match self.step(&mut orders).await {
                Step::Ordered(None) => break,
                Step::Ordered(Some(due)) => Box::pin(self.obey(due)).await,
                Step::Frame(text) => self.hear(&text).await,
                Step::Silence => {}
                Step::Closed => Box::pin(self.lost()).await,
            }
        }
        let stage = Arc::clone(&self.stage);
        let _permit = stage.leaving.acquire().await;
        Box::pin(self.leave()).await;
    }

    async fn step(&mut self, orders: &mut mpsc::Receiver<Due>) -> Step {
        match &mut self.socket {
            None => Step::Ordered(orders.recv().await),
            Some(socket) => tokio::select! {
                biased;
                message = socket.next() => step_of(message),
                order = orders.recv() => Step::Ordered(order),
            },
        }
    }

    async fn obey(&mut self, due: Due) {
        let meter = &self.stage.meter;
        match due.order {
            Order::Join => {
                // The ramp is not measured.
                if !self.stage.options.profile.has_ramp() {
                    meter.record(Kind::Late, self.who.index, due.at_ns);
                }
                self.join(due.at_ns).await;
            }
            Order::Act(what) => {
                meter.record(Kind::Late, self.who.index, due.at_ns);
                self.send(what, due.at_ns).await;
            }
            Order::Say => {
                meter.record(Kind::Late, self.who.index, due.at_ns);
                self.send(What::Say(self.said + 1), due.at_ns).await;
            }
            Order::Drop => self.drop_and_resume(due.at_ns).await,
            Order::Leave => self.leave().await,
            Order::Tell(to) => {
                // Whoever asked may have given up waiting.
                let _ = to.send(self.summary());
            }
        }
    }

    /// Sends a command, if it may be sent now.
    async fn send(&mut self, what: What, due_ns: u64) {
        let counts = &self.stage.meter.counts;
        let is_bare = self.stage.options.is_bare;
        count(&counts.commands_offered);
        let may_ask = self.inbox.last_seq().is_some() && self.inbox.may_ask();
        let Some(socket) = self.socket.as_mut().filter(|_| may_ask) else {
            count(&counts.commands_withheld);
            return;
        };
        let id = self.next_id;
        self.next_id += 1;
        if let What::Say(number) = what {
            self.said = number;
        }
        if is_bare {
            count(&counts.commands_acked);
            self.room.owe_message(&self.stage.meter);
        } else {
            self.inbox.asked(Pending { id, due_ns, what });
        }
        count(&counts.requests);
        let frame = what.frame(id, self.who.seat, due_ns);
        // A connection that takes nothing more is seen as lost by the reading side.
        let _ = socket.send(Message::text(frame)).await;
    }

    /// Sends a command that is due now.
    pub async fn send_now(&mut self, what: What) {
        self.send(what, self.stage.meter.now_ns()).await;
    }

    /// Listens until all commands are answered and so many others were sent because of what came, or the stay is lost.
    pub async fn listen(&mut self, replies: u64) {
        while self.replied < replies || self.inbox.pending().len() > 0 {
            let Some(socket) = &mut self.socket else {
                return;
            };
            match step_of(socket.next().await) {
                Step::Frame(text) => self.hear(&text).await,
                Step::Silence | Step::Ordered(_) => {}
                Step::Closed => Box::pin(self.lost()).await,
            }
        }
    }

    /// Whether in the room.
    pub fn is_inside(&self) -> bool {
        self.socket.is_some()
    }

    /// Whether ever in the room.
    pub fn has_been_inside(&self) -> bool {
        self.stay_from_ns > 0
    }

    /// Who; none has it in a target without rules.
    pub fn user_id(&self) -> Uuid {
        self.room
            .users
            .get(self.who.seat)
            .copied()
            .unwrap_or_default()
    }

    /// What was seen, for the comparison with the others.
    fn summary(&self) -> Summary {
        Summary {
            room: self.who.room,
            seat: self.who.seat,
            last_seq: self.socket.as_ref().and_then(|_| self.inbox.last_seq()),
            stay_from_ns: self.stay_from_ns,
            messages: (!self.inbox.has_gap).then_some(self.inbox.messages),
            unanswered: self.inbox.pending().len(),
            fold: self.inbox.fold.clone(),
        }
    }

    fn broken(&self, name: &'static str, seen: String) {
        let breach = Breach::new(name, seen);
        self.stage
            .breaches
            .add(self.who.room, self.who.seat, &breach);
    }
}

/// What a message of the library means.
fn step_of(message: Option<Result<Message, tungstenite::Error>>) -> Step {
    match message {
        Some(Ok(Message::Text(text))) => Step::Frame(text),
        Some(Ok(Message::Binary(bytes))) => match Utf8Bytes::try_from(bytes) {
            Ok(text) => Step::Frame(text),
            Err(_) => Step::Silence,
        },
        Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_))) => {
            Step::Silence
        }
        Some(Err(_)) | None => Step::Closed,
    }
}
