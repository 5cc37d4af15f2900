//! All clients of a run: one task each, and the plan that schedules their commands.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::mpsc::{self, error::TrySendError},
    task::{JoinHandle, JoinSet, spawn_blocking},
    time::timeout,
};

use super::{
    context::{ClientSpec, RunContext},
    meter::count,
    pacer::pace,
    person::{Due, ORDERS_MAX, Order, Person, Summary},
};

/// Longest wait for the clients' summaries.
const TELL_DEADLINE: Duration = Duration::from_secs(10);
/// Longest wait for all leaves at the end.
const LEAVE_DEADLINE: Duration = Duration::from_secs(60);

/// All clients.
pub(super) struct Clients {
    context: Arc<RunContext>,
    orders: Arc<[mpsc::Sender<Due>]>,
    tasks: JoinSet<()>,
}

impl Clients {
    /// Starts a task for each client.
    pub fn new(context: &Arc<RunContext>, specs: Vec<ClientSpec>) -> Self {
        let mut tasks = JoinSet::new();
        let mut orders = Vec::with_capacity(specs.len());
        for spec in specs {
            let (sender, receiver) = mpsc::channel(ORDERS_MAX);
            orders.push(sender);
            let room = Arc::clone(&context.rooms[spec.room]);
            tasks.spawn(Person::new(Arc::clone(context), room, spec).run(receiver));
        }
        Self {
            context: Arc::clone(context),
            orders: orders.into(),
            tasks,
        }
    }

    /// Gives the plan's orders at their times, in a separate thread.
    pub fn follow(&self, plan: impl Iterator<Item = Due> + Send + 'static) -> JoinHandle<()> {
        let context = Arc::clone(&self.context);
        let orders = Arc::clone(&self.orders);
        spawn_blocking(move || {
            pace(
                plan,
                &context.meter,
                || context.is_stopped(),
                |due| give(&context, &orders, due),
            );
        })
    }

    /// Returns the summaries of all clients that answer in time.
    pub async fn summaries(&self) -> Vec<Summary> {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let gather = async {
            for (to, orders) in self.orders.iter().enumerate() {
                let due = Due {
                    at_ns: 0,
                    to,
                    order: Order::Tell(sender.clone()),
                };
                // A client whose task ended has no summary.
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

    /// Ends all clients: each leaves its room.
    pub async fn leave(mut self) {
        drop(self.orders);
        let tasks = async { while self.tasks.join_next().await.is_some() {} };
        // The end of the runtime closes what is left.
        let _ = timeout(LEAVE_DEADLINE, tasks).await;
    }
}

/// Gives an order to its client. An order that does not fit its queue counts as withheld.
fn give(context: &RunContext, orders: &[mpsc::Sender<Due>], due: Due) {
    let Err(TrySendError::Full(due) | TrySendError::Closed(due)) = orders[due.to].try_send(due)
    else {
        return;
    };
    let counts = &context.meter.counts;
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
