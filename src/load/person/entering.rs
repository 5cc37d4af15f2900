//! How a person of a load run joins a room, resumes and leaves.

use std::{sync::Arc, sync::atomic::Ordering::Relaxed, time::Duration};

use futures_util::{SinkExt, StreamExt};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;

use super::{Person, Step, hearing::Answer, step_of};
use crate::{
    load::{
        client::{Entry, is_for_now},
        command::{Scheduled, What},
        meter::{Kind, count},
        options::Profile,
        socket::{ConnectFault, Socket, open_elsewhere},
    },
    protocol::Action,
};

/// Longest wait for the connection and for the answer to `JoinRoom`.
const JOIN_DEADLINE: Duration = Duration::from_secs(30);
/// Longest wait for the close after `LeaveRoom`.
const LEAVE_DEADLINE: Duration = Duration::from_secs(10);
/// Longest time of resuming a lost stay.
const RESUME_DEADLINE: Duration = Duration::from_secs(60);
/// Pause between two resumes.
const RESUME_INTERVAL: Duration = Duration::from_millis(250);
/// The server must keep a stay for this long: shorter than the default `reconnect_grace`.
const GRACE: Duration = Duration::from_secs(25);

/// Why a join or resume failed.
enum Refused {
    /// The server is busy.
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
        let context = Arc::clone(&self.context);
        let counts = &context.meter.counts;
        count(&counts.joins_offered);
        let Ok(_permit) = context.joining.acquire().await else {
            return;
        };
        // A storm counts from the scheduled time. While rooms are filled, waiting for the permit is
        // no latency of the server.
        let from_ns = match context.options.profile {
            Profile::JoinStorm => due_ns,
            Profile::Meeting
            | Profile::Broadcast
            | Profile::Idle
            | Profile::Churn
            | Profile::Reconnect => context.meter.now_ns(),
        };
        match self.enter(false).await {
            Ok(_) => {
                count(&counts.joins_done);
                context.meter.record(Kind::Join, self.spec.index, from_ns);
                self.room.inside.fetch_add(1, Relaxed);
                self.stay_from_ns = context.meter.now_ns();
                self.reply().await;
            }
            Err(Refused::Load) => {
                count(&counts.joins_refused);
                self.forget();
            }
            Err(Refused::Failed(why)) => {
                count(&counts.joins_failed);
                self.forget();
                self.violate("join", &why);
            }
        }
    }

    /// Connects and sends `JoinRoom`, within the deadline.
    async fn enter(&mut self, is_resume: bool) -> Result<Entry, Refused> {
        let entering = timeout(JOIN_DEADLINE, Box::pin(self.try_enter(is_resume))).await;
        entering.unwrap_or_else(|_| Err(Refused::Failed("no answer to the join in time".into())))
    }

    async fn try_enter(&mut self, is_resume: bool) -> Result<Entry, Refused> {
        let mut socket = self.connect().await?;
        let frame = self
            .client
            .join(&self.room.name, &self.spec.token, is_resume);
        count(&self.context.meter.counts.requests);
        let sent = socket.send(Message::text(frame)).await;
        sent.map_err(|error| Refused::Failed(error.to_string()))?;
        loop {
            match step_of(socket.next().await) {
                Step::Frame(text) => match self.take(&text) {
                    Some(Answer::Entered(entry)) => {
                        self.socket = Some(socket);
                        return Ok(entry);
                    }
                    Some(Answer::Refused(code)) if is_for_now(code) => return Err(Refused::Load),
                    Some(Answer::Refused(code)) => {
                        return Err(Refused::Failed(format!("{code:?}")));
                    }
                    None => {}
                },
                Step::Closed => return Err(Refused::Failed("closed without an answer".into())),
                Step::Silence | Step::Ordered(_) => {}
            }
        }
    }

    /// Connects to the URL of the last `Goodbye`, or else to the room's node.
    async fn connect(&mut self) -> Result<Socket, ConnectFault> {
        if let Some(url) = self.goodbye.take().and_then(|goodbye| goodbye.url) {
            return open_elsewhere(&url).await;
        }
        let target = self.context.target_of(self.spec.room);
        let url = target.signal_url(&self.room.name);
        target
            .open(&url, self.context.source_of(self.spec.index))
            .await
    }

    /// Drops the connection and resumes.
    pub(super) async fn drop_and_resume(&mut self, due_ns: u64) {
        if self.socket.take().is_some() {
            self.resume(due_ns).await;
        }
    }

    /// Handles a connection that the server closed.
    pub(super) async fn lost(&mut self) {
        self.socket = None;
        count(&self.context.meter.counts.connections_lost);
        match &self.goodbye {
            Some(goodbye) if goodbye.action != Action::Reconnect => {
                let what = format!("sent away: {}", goodbye.reason);
                self.violate("stay", &what);
                self.go_out();
            }
            Some(_) | None if self.context.options.is_bare => {
                self.violate("stay", "the connection was closed");
                self.go_out();
            }
            Some(_) | None => self.resume(self.context.meter.now_ns()).await,
        }
    }

    /// Tries to resume until the deadline.
    async fn resume(&mut self, lost_ns: u64) {
        let context = Arc::clone(&self.context);
        let deadline = context.meter.instant(lost_ns) + RESUME_DEADLINE;
        loop {
            match self.enter(true).await {
                Ok(entry) => return self.resumed(lost_ns, entry).await,
                Err(_) if std::time::Instant::now() < deadline => sleep(RESUME_INTERVAL).await,
                Err(Refused::Load) => break,
                Err(Refused::Failed(why)) => {
                    self.violate("resume", &why);
                    break;
                }
            }
        }
        self.go_out();
    }

    async fn resumed(&mut self, lost_ns: u64, entry: Entry) {
        let meter = &self.context.meter;
        if entry != Entry::Joined {
            count(&meter.counts.resumes_done);
            meter.record(Kind::Resume, self.spec.index, lost_ns);
            self.repeat_unanswered().await;
            return;
        }
        self.stay_from_ns = meter.now_ns();
        let away = Duration::from_nanos(self.stay_from_ns.saturating_sub(lost_ns));
        if away < GRACE {
            self.violate("resume", &format!("the stay was lost after {away:?}"));
        }
        self.count_lost();
    }

    /// Repeats the commands without an answer. Under the same ids they take effect once.
    async fn repeat_unanswered(&mut self) {
        let pending: Vec<(u64, Scheduled)> = self
            .client
            .pending
            .iter()
            .map(|(id, scheduled)| (id, *scheduled))
            .collect();
        for (id, Scheduled { what, due_ns }) in pending {
            let frame = what.frame(id, self.spec.seat, due_ns);
            if let Some(socket) = &mut self.socket {
                // The reading side notices a broken connection.
                let _ = socket.send(Message::text(frame)).await;
            }
        }
    }

    /// Leaves the room, if inside, and waits for the close.
    pub(in crate::load) async fn leave(&mut self) {
        if self.socket.is_none() {
            return;
        }
        if !self.context.options.is_bare {
            self.client.is_leaving = true;
            let now_ns = self.context.meter.now_ns();
            self.send(What::Leave, now_ns).await;
        }
        let ended = timeout(LEAVE_DEADLINE, Box::pin(self.until_closed())).await;
        if ended.is_err() && !self.context.options.is_bare {
            self.violate("one-answer", "no end after LeaveRoom");
        }
        self.socket = None;
        self.go_out();
    }

    async fn until_closed(&mut self) {
        let Some(mut socket) = self.socket.take() else {
            return;
        };
        if self.context.options.is_bare {
            // It may be closed already.
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

    fn go_out(&mut self) {
        self.room.inside.fetch_sub(1, Relaxed);
        self.forget();
    }

    /// Ends the stay: its commands will not be answered.
    fn forget(&mut self) {
        self.count_lost();
        self.client.forget_stay();
        self.messages.begin_stay();
        self.goodbye = None;
    }

    fn count_lost(&mut self) {
        let commands = self.client.pending.forget().count();
        let commands = u64::try_from(commands).unwrap_or(u64::MAX);
        self.context
            .meter
            .counts
            .commands_lost
            .fetch_add(commands, Relaxed);
    }
}
