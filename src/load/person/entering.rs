//! How a person comes into a room, comes back to it, and leaves.

use std::{sync::Arc, sync::atomic::Ordering::Relaxed, time::Duration};

use futures_util::{SinkExt, StreamExt};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;

use super::{
    Person, Step,
    hearing::{Answer, is_for_load},
    step_of,
};
use crate::{
    load::{
        command::{What, join},
        inbox::Pending,
        meter::{Kind, count},
        options::Profile,
        socket::{ConnectFault, Socket, open_elsewhere},
    },
    protocol::Action,
};

/// Longest wait for the connection and for the answer to `JoinRoom`.
const JOIN_DEADLINE: Duration = Duration::from_secs(30);
/// Longest wait for the end of a connection after `LeaveRoom`.
const LEAVE_DEADLINE: Duration = Duration::from_secs(10);
/// How long a lost stay is tried to be resumed.
const RESUME_DEADLINE: Duration = Duration::from_secs(60);
/// Between two attempts to resume.
const RESUME_INTERVAL: Duration = Duration::from_millis(250);
/// A stay that was lost for less time must go on: shorter than the default `reconnect_grace`.
const GRACE: Duration = Duration::from_secs(25);

/// Why somebody is not in the room.
enum Refused {
    /// Asked to come back later.
    Load,
    /// Anything else.
    Failed(String),
}

impl From<ConnectFault> for Refused {
    fn from(fault: ConnectFault) -> Self {
        match fault {
            ConnectFault::Refused => Self::Load,
            ConnectFault::Failed(why) => Self::Failed(why),
        }
    }
}

impl Person {
    /// Joins for the first time, or again after a leave.
    pub(in crate::load) async fn join(&mut self, due_ns: u64) {
        let stage = Arc::clone(&self.stage);
        let counts = &stage.meter.counts;
        count(&counts.joins_offered);
        let Ok(_permit) = stage.joining.acquire().await else {
            return;
        };
        // A storm is measured from when it was due; while rooms are filled, waiting at the door is no latency of the server.
        let from_ns = match stage.options.profile {
            Profile::JoinStorm => due_ns,
            Profile::Meeting
            | Profile::Broadcast
            | Profile::Idle
            | Profile::Churn
            | Profile::Reconnect => stage.meter.now_ns(),
        };
        match self.enter(false).await {
            Ok(_) => {
                count(&counts.joins_done);
                stage.meter.record(Kind::Join, self.who.index, from_ns);
                self.room.inside.fetch_add(1, Relaxed);
                self.stay_from_ns = stage.meter.now_ns();
                self.reply().await;
            }
            Err(Refused::Load) => {
                count(&counts.joins_refused);
                self.forget();
            }
            Err(Refused::Failed(why)) => {
                count(&counts.joins_failed);
                self.forget();
                self.broken("join", why);
            }
        }
    }

    /// Connects and says `JoinRoom`; whether the stay of before goes on.
    async fn enter(&mut self, is_resume: bool) -> Result<bool, Refused> {
        let entering = timeout(JOIN_DEADLINE, Box::pin(self.knock(is_resume))).await;
        entering.unwrap_or_else(|_| Err(Refused::Failed("no answer to the join in time".into())))
    }

    async fn knock(&mut self, is_resume: bool) -> Result<bool, Refused> {
        let mut socket = self.connect().await?;
        let id = self.next_id;
        self.next_id += 1;
        let room = &self.room.name;
        let ticket = self.inbox.ticket().filter(|_| is_resume);
        let resume = ticket.map(|ticket| (ticket, self.inbox.last_seq()));
        let frame = join(id, room, &self.who.token, resume);
        self.inbox.asked(Pending {
            id,
            due_ns: 0,
            what: What::Join,
        });
        count(&self.stage.meter.counts.requests);
        let sent = socket.send(Message::text(frame)).await;
        sent.map_err(|error| Refused::Failed(error.to_string()))?;
        loop {
            match step_of(socket.next().await) {
                Step::Frame(text) => match self.take(&text) {
                    Some(Answer::In(is_same_stay)) => {
                        self.socket = Some(socket);
                        return Ok(is_same_stay);
                    }
                    Some(Answer::Out(why)) if is_for_load(why.0) => return Err(Refused::Load),
                    Some(Answer::Out(why)) => return Err(Refused::Failed(format!("{:?}", why.0))),
                    None => {}
                },
                Step::Closed => return Err(Refused::Failed("closed without an answer".into())),
                Step::Silence | Step::Ordered(_) => {}
            }
        }
    }

    /// To where the server said, or else to the room's node.
    async fn connect(&mut self) -> Result<Socket, ConnectFault> {
        if let Some(url) = self.farewell.take().and_then(|farewell| farewell.url) {
            return open_elsewhere(&url).await;
        }
        let target = self.stage.target_of(self.who.room);
        let url = target.signal_url(&self.room.name);
        target
            .open(&url, self.stage.source_of(self.who.index))
            .await
    }

    /// Loses the connection on purpose and comes back.
    pub(super) async fn drop_and_resume(&mut self, due_ns: u64) {
        if self.socket.take().is_some() {
            self.resume(due_ns).await;
        }
    }

    /// The connection ended and was not meant to.
    pub(super) async fn lost(&mut self) {
        self.socket = None;
        count(&self.stage.meter.counts.connections_lost);
        match &self.farewell {
            Some(farewell) if farewell.action != Action::Reconnect => {
                let seen = format!("sent away: {}", farewell.reason);
                self.broken("stay", seen);
                self.go_out();
            }
            Some(_) | None if self.stage.options.is_bare => {
                self.broken("stay", "the connection was closed".to_owned());
                self.go_out();
            }
            Some(_) | None => self.resume(self.stage.meter.now_ns()).await,
        }
    }

    /// Tries until the stay goes on, or for too long.
    async fn resume(&mut self, lost_ns: u64) {
        let stage = Arc::clone(&self.stage);
        let deadline = stage.meter.instant(lost_ns) + RESUME_DEADLINE;
        loop {
            match self.enter(true).await {
                Ok(is_same_stay) => return self.resumed(lost_ns, is_same_stay).await,
                Err(_) if std::time::Instant::now() < deadline => sleep(RESUME_INTERVAL).await,
                Err(Refused::Load) => break,
                Err(Refused::Failed(why)) => {
                    self.broken("resume", why);
                    break;
                }
            }
        }
        self.go_out();
    }

    async fn resumed(&mut self, lost_ns: u64, is_same_stay: bool) {
        let meter = &self.stage.meter;
        if is_same_stay {
            count(&meter.counts.resumes_done);
            meter.record(Kind::Resume, self.who.index, lost_ns);
            self.repeat_unanswered().await;
            return;
        }
        self.stay_from_ns = meter.now_ns();
        let away = Duration::from_nanos(self.stay_from_ns.saturating_sub(lost_ns));
        if away < GRACE {
            self.broken("resume", format!("the stay was lost after {away:?}"));
        }
        self.count_lost();
    }

    /// Commands whose answer was lost with the connection: the same ids again take effect once.
    async fn repeat_unanswered(&mut self) {
        let pending: Vec<Pending<What>> = self.inbox.pending().cloned().collect();
        for Pending { id, due_ns, what } in pending {
            let frame = what.frame(id, self.who.seat, due_ns);
            if let Some(socket) = &mut self.socket {
                // A connection that takes nothing more is seen as lost by the reading side.
                let _ = socket.send(Message::text(frame)).await;
            }
        }
    }

    /// Leaves the room, if inside, and waits for the end of the connection.
    pub(in crate::load) async fn leave(&mut self) {
        if self.socket.is_none() {
            return;
        }
        if !self.stage.options.is_bare {
            self.inbox.is_leaving = true;
            let now_ns = self.stage.meter.now_ns();
            self.send(What::Leave, now_ns).await;
        }
        let ended = timeout(LEAVE_DEADLINE, Box::pin(self.until_closed())).await;
        if ended.is_err() && !self.stage.options.is_bare {
            self.broken("one-answer", "no end after LeaveRoom".to_owned());
        }
        self.socket = None;
        self.go_out();
    }

    async fn until_closed(&mut self) {
        let Some(mut socket) = self.socket.take() else {
            return;
        };
        if self.stage.options.is_bare {
            // One that is closed already is as good.
            let _ = socket.close(None).await;
            return;
        }
        loop {
            match step_of(socket.next().await) {
                Step::Frame(text) => drop(self.take(&text)),
                Step::Closed => return,
                Step::Silence | Step::Ordered(_) => {}
            }
        }
    }

    /// Outside now.
    fn go_out(&mut self) {
        self.room.inside.fetch_sub(1, Relaxed);
        self.forget();
    }

    /// The stay is over: nothing of it will be answered.
    fn forget(&mut self) {
        self.count_lost();
        self.inbox.forget_stay();
        self.farewell = None;
    }

    fn count_lost(&mut self) {
        let lost = self.inbox.forget_pending();
        let commands = lost.filter(|pending| pending.what != What::Join).count();
        let commands = u64::try_from(commands).unwrap_or(u64::MAX);
        self.stage
            .meter
            .counts
            .commands_lost
            .fetch_add(commands, Relaxed);
    }
}
