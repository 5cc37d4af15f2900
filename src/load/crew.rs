//! Everybody of a run: their tasks, and the plan that they follow.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::mpsc::{self, error::TrySendError},
    task::{JoinHandle, JoinSet, spawn_blocking},
    time::timeout,
};

use super::{
    meter::count,
    pacer::pace,
    person::{Due, ORDERS_MAX, Order, Person, Summary},
    stage::{Stage, Who},
};

/// Longest wait for what people have seen.
const TELL_DEADLINE: Duration = Duration::from_secs(10);
/// Longest wait for everybody to leave at the end.
const LEAVE_DEADLINE: Duration = Duration::from_secs(60);

/// Everybody.
pub(super) struct Crew {
    stage: Arc<Stage>,
    orders: Arc<[mpsc::Sender<Due>]>,
    tasks: JoinSet<()>,
}

impl Crew {
    /// Starts a task for each.
    pub fn new(stage: &Arc<Stage>, people: Vec<Who>) -> Self {
        let mut tasks = JoinSet::new();
        let mut orders = Vec::with_capacity(people.len());
        for who in people {
            let (sender, receiver) = mpsc::channel(ORDERS_MAX);
            orders.push(sender);
            let room = Arc::clone(&stage.rooms[who.room]);
            tasks.spawn(Person::new(Arc::clone(stage), room, who).run(receiver));
        }
        Self {
            stage: Arc::clone(stage),
            orders: orders.into(),
            tasks,
        }
    }

    /// Gives the plan's orders at their times, in a thread of its own.
    pub fn follow(&self, plan: impl Iterator<Item = Due> + Send + 'static) -> JoinHandle<()> {
        let stage = Arc::clone(&self.stage);
        let orders = Arc::clone(&self.orders);
        spawn_blocking(move || {
            pace(
                plan,
                &stage.meter,
                || stage.is_stopped(),
                |due| give(&stage, &orders, due),
            );
        })
    }

    /// What everybody has seen, as far as they answer in time.
    pub async fn summaries(&self) -> Vec<Summary> {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let gather = async {
            for (to, orders) in self.orders.iter().enumerate() {
                let due = Due {
                    at_ns: 0,
                    to,
                    order: Order::Tell(sender.clone()),
                };
                // Somebody whose task ended has nothing to tell.
                let _ = orders.send(due).await;
            }
        };
        let _ = timeout(TELL_DEADLINE, gather).await;
        drop(sender);
        let mut all = Vec::new();
        while let Ok(Some(summary)) = timeout(TELL_DEADLINE, receiver.recv()).await {
            all.push(summary);
        }
        all
    }

    /// Everybody leaves.
    pub async fn dismiss(mut self) {
        drop(self.orders);
        let leave = async { while self.tasks.join_next().await.is_some() {} };
        // Those who are not gone by then are cut off with the runtime.
        let _ = timeout(LEAVE_DEADLINE, leave).await;
    }
}

/// Hands an order to its person. Who is too busy to take it is counted as having been asked in vain.
fn give(stage: &Stage, orders: &[mpsc::Sender<Due>], due: Due) {
    let Err(TrySendError::Full(due) | TrySendError::Closed(due)) = orders[due.to].try_send(due)
    else {
        return;
    };
    let counts = &stage.meter.counts;
    match due.order {
        Order::Act(_) | Order::Say => {
            count(&counts.commands_offered);
            count(&counts.commands_withheld);
        }
        Order::Join => {
            count(&counts.joins_offered);
            count(&counts.joins_failed);
        }
        Order::Drop | Order::Leave | Order::Tell(_) => {}
    }
}
