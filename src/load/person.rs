//! One participant of a load run: a task that executes orders and reads its connection.

mod entering;
mod hearing;

use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};
use uuid::Uuid;

use super::{
    client::{Client, Goodbye, Heard, Participants, Violation},
    command::{Scheduled, What},
    context::{ClientSpec, RoomCard, RunContext},
    messages::Messages,
    meter::{Kind, count},
    socket::Socket,
};

/// Orders that wait for one person. Further ones count as withheld.
pub(super) const ORDERS_MAX: usize = 32;
/// Commands without an answer at once: the server remembers as many for a resume.
const UNANSWERED_MAX: usize = 64;

/// What the plan asks of one person.
#[derive(Debug)]
pub(super) enum Order {
    /// Connect and join.
    Join,
    /// Send a command.
    Act(What),
    /// Publish the next message.
    Say,
    /// Drop the connection and resume.
    Drop,
    /// Leave the room.
    Leave,
    /// Report what was seen.
    Tell(mpsc::UnboundedSender<Summary>),
}

/// An order with its scheduled time.
#[derive(Debug)]
pub(super) struct Due {
    /// In nanoseconds of the run.
    pub at_ns: u64,
    /// The person's place among all clients.
    pub to: usize,
    pub order: Order,
}

/// What one person saw of the room.
#[derive(Debug)]
pub(super) struct Summary {
    pub room: usize,
    pub seat: usize,
    /// The last event. `None` outside the room.
    pub last_seq: Option<u64>,
    /// The start of the stay, in nanoseconds of the run.
    pub stay_from_ns: u64,
    /// Chat messages received in the stay. `None` if a snapshot replaced some.
    pub messages: Option<u64>,
    /// Commands without an answer.
    pub unanswered: usize,
    /// The participants as events told them. `None` if this person does not keep them.
    pub participants: Option<Participants>,
}

/// One person.
pub(super) struct Person {
    context: Arc<RunContext>,
    spec: ClientSpec,
    room: Arc<RoomCard>,
    client: Client<Scheduled>,
    messages: Messages,
    /// `None` outside the room.
    socket: Option<Socket>,
    /// Published chat messages.
    said: u32,
    /// Commands sent in reply to messages.
    replied: u64,
    /// The start of the last stay. 0 before the first.
    stay_from_ns: u64,
    /// The `Goodbye` of the last connection.
    goodbye: Option<Goodbye>,
    /// Commands to send after the message at hand.
    replies: Vec<What>,
    /// Empty between messages; kept to reuse its memory.
    heard: Vec<Heard<Scheduled>>,
}

enum Step {
    Ordered(Option<Due>),
    Frame(Utf8Bytes),
    Silence,
    Closed,
}

impl Person {
    pub fn new(context: Arc<RunContext>, room: Arc<RoomCard>, spec: ClientSpec) -> Self {
        let client = Client::new(context.keeps_participants(&spec));
        let messages = Messages::new(context.options.size, context.options.is_bare);
        Self {
            context,
            spec,
            room,
            client,
            messages,
            socket: None,
            said: 0,
            replied: 0,
            stay_from_ns: 0,
            goodbye: None,
            replies: Vec::new(),
            heard: Vec::new(),
        }
    }

    /// Runs until there are no more orders, then leaves.
    pub async fn run(mut self, mut orders: mpsc::Receiver<Due>) {
        loop {
            match self.step(&mut orders).await {
                Step::Ordered(None) => break,
                Step::Ordered(Some(due)) => Box::pin(self.execute(due)).await,
                Step::Frame(text) => self.hear(&text).await,
                Step::Silence => {}
                Step::Closed => Box::pin(self.lost()).await,
            }
        }
        let context = Arc::clone(&self.context);
        let _permit = context.leaving.acquire().await;
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

    async fn execute(&mut self, due: Due) {
        let meter = &self.context.meter;
        match due.order {
            Order::Join => {
                // The ramp is not measured.
                if !self.context.options.profile.has_ramp() {
                    meter.record(Kind::Late, self.spec.index, due.at_ns);
                }
                self.join(due.at_ns).await;
            }
            Order::Act(what) => {
                meter.record(Kind::Late, self.spec.index, due.at_ns);
                self.send(what, due.at_ns).await;
            }
            Order::Say => {
                meter.record(Kind::Late, self.spec.index, due.at_ns);
                self.send(What::Say(self.said + 1), due.at_ns).await;
            }
            Order::Drop => self.drop_and_resume(due.at_ns).await,
            Order::Leave => self.leave().await,
            Order::Tell(to) => {
                // The receiver may have given up waiting.
                let _ = to.send(self.summary());
            }
        }
    }

    /// Sends a command, if it may be sent now.
    async fn send(&mut self, what: What, due_ns: u64) {
        let counts = &self.context.meter.counts;
        let is_bare = self.context.options.is_bare;
        count(&counts.commands_offered);
        let may_ask =
            self.client.last_seq().is_some() && self.client.pending.len() < UNANSWERED_MAX;
        let Some(socket) = self.socket.as_mut().filter(|_| may_ask) else {
            count(&counts.commands_withheld);
            return;
        };
        if let What::Say(number) = what {
            self.said = number;
        }
        let id = if is_bare {
            // A target without callboard's protocol answers no command.
            count(&counts.commands_acked);
            self.room.expect_message(&self.context.meter);
            self.client.pending.take_id()
        } else {
            self.client.pending.ask(Scheduled { what, due_ns })
        };
        count(&counts.requests);
        let frame = what.frame(id, self.spec.seat, due_ns);
        // The reading side notices a broken connection.
        let _ = socket.send(Message::text(frame)).await;
    }

    /// Sends a command now.
    pub async fn send_now(&mut self, what: What) {
        self.send(what, self.context.meter.now_ns()).await;
    }

    /// Reads until all commands are answered and this many replies were sent, or the stay is lost.
    pub async fn listen(&mut self, replies: u64) {
        while self.replied < replies || !self.client.pending.is_empty() {
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

    pub fn is_inside(&self) -> bool {
        self.socket.is_some()
    }

    pub fn has_been_inside(&self) -> bool {
        self.stay_from_ns > 0
    }

    /// Returns the user id, which is nil for a bare target.
    pub fn user_id(&self) -> Uuid {
        self.room
            .users
            .get(self.spec.seat)
            .copied()
            .unwrap_or_default()
    }

    fn summary(&self) -> Summary {
        let keeps = self.context.keeps_participants(&self.spec);
        Summary {
            room: self.spec.room,
            seat: self.spec.seat,
            last_seq: self.socket.as_ref().and_then(|_| self.client.last_seq()),
            stay_from_ns: self.stay_from_ns,
            messages: (!self.messages.has_gap).then_some(self.messages.count),
            unanswered: self.client.pending.len(),
            participants: keeps.then(|| self.client.participants.clone()),
        }
    }

    fn violate(&self, promise: &'static str, what: &str) {
        self.report(&Violation::new(promise, what));
    }

    fn report(&self, violation: &Violation) {
        let violations = &self.context.violations;
        violations.add(self.spec.room, self.spec.seat, violation);
    }
}

/// Maps a message of the library.
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
