//! Calls of two clients in a room of their own: twenty signalling requests from the first join to
//! the last leave.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use tokio::{
    sync::Semaphore,
    task::spawn_blocking,
    time::{sleep, timeout},
};
use uuid::Uuid;

use super::{
    api::{Api, ApiFault},
    command::What,
    context::{ClientSpec, RunContext},
    meter::count,
    pacer::pace,
    person::{Due, Order, Person},
    plan::{Arrivals, Window},
    report::Sessions,
    setup::card,
    ticket::{Signer, holder},
};

/// Concurrent calls. Further ones count as refused.
pub(super) const CALLS_MAX: usize = 2_000;
/// Seats of a call's room.
const SEATS: usize = 2;
/// State changes of each client.
const STATES: u8 = 2;
/// Messages of the callee in reply to the offer: the answer and its candidates.
const ANSWERS: u64 = 6;
/// Candidates of the caller.
const CANDIDATES: usize = 5;
/// Longest wait for the last session: above the default `departure_timeout`.
const RECORD_DEADLINE: Duration = Duration::from_secs(90);
/// Interval of reading the sessions.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Longest call.
const CALL_DEADLINE: Duration = Duration::from_secs(60);
/// Concurrent requests for rooms.
const ASKING_MAX: usize = 16;

/// All calls of a run.
#[derive(Clone)]
pub(super) struct Calls(Arc<Shared>);

struct Shared {
    context: Arc<RunContext>,
    api: Api,
    host_id: Uuid,
    permits: Arc<Semaphore>,
    /// Rooms of calls with a join, with the call's number.
    rooms: Mutex<Vec<(usize, Uuid)>>,
}

impl Calls {
    pub fn new(context: &Arc<RunContext>, api: Api, host_id: Uuid) -> Self {
        Self(Arc::new(Shared {
            context: Arc::clone(context),
            api,
            host_id,
            permits: Arc::new(Semaphore::new(CALLS_MAX)),
            rooms: Mutex::default(),
        }))
    }

    /// Starts calls at this rate.
    pub fn begin(&self, seed: u64, per_sec: f64, window: Window) {
        let calls = self.clone();
        let runtime = tokio::runtime::Handle::current();
        let due = |(to, at_ns)| Due {
            at_ns,
            to,
            order: Order::Join,
        };
        let plan = Arrivals::new(seed, per_sec, window).enumerate().map(due);
        drop(spawn_blocking(move || {
            let context = Arc::clone(&calls.0.context);
            pace(
                plan,
                &context.meter,
                || context.is_stopped(),
                |due| {
                    runtime.spawn(Box::pin(calls.clone().call(due)));
                },
            );
        }));
    }

    async fn call(self, due: Due) {
        let counts = &self.0.context.meter.counts;
        let context = &self.0.context;
        context
            .meter
            .record(super::meter::Kind::Late, due.to, due.at_ns);
        let Ok(_permit) = Arc::clone(&self.0.permits).try_acquire_owned() else {
            count(&counts.joins_offered);
            count(&counts.joins_refused);
            return;
        };
        match self.people(due.to).await {
            Ok((room_id, [mut caller, mut callee])) => {
                let running = talk(&mut caller, &mut callee, due.at_ns);
                if timeout(CALL_DEADLINE, Box::pin(running)).await.is_err() {
                    let line = format!("call: room {room_id}: no end in {CALL_DEADLINE:?}");
                    context.violations.add_line(line);
                }
                if caller.has_been_inside() || callee.has_been_inside() {
                    lock(&self.0.rooms).push((due.to, room_id));
                }
            }
            Err(ApiFault::Refused) => {
                count(&counts.joins_offered);
                count(&counts.joins_refused);
            }
            Err(ApiFault::Failed(why)) => {
                count(&counts.joins_offered);
                count(&counts.joins_failed);
                context.violations.add_line(format!("call: {why}"));
            }
        }
    }

    /// Makes the room and its two clients.
    async fn people(&self, number: usize) -> Result<(Uuid, [Person; SEATS]), ApiFault> {
        let shared = &self.0;
        let base = &shared.context.target_of(number).base;
        let made = shared.api.create_room(base, shared.host_id, SEATS).await?;
        let unreadable = || ApiFault::Failed("the key or the join token cannot be read".to_owned());
        let key = shared.context.options.key.as_deref().unwrap_or_default();
        let signer = Signer::new(key, &made.join_token).ok_or_else(unreadable)?;
        let host = holder(&made.join_token).ok_or_else(unreadable)?;
        let (guest, guest_token) = signer.guest(made.room_id, 1);
        let room = card(
            made.room_id.to_string(),
            Some(made.room_id),
            vec![host, guest],
        );
        let person = |seat: usize, token: String| {
            let spec = ClientSpec {
                index: number * SEATS + seat,
                room: number,
                seat,
                token,
            };
            Person::new(Arc::clone(&shared.context), Arc::clone(&room), spec)
        };
        Ok((
            made.room_id,
            [person(0, made.join_token.clone()), person(1, guest_token)],
        ))
    }

    /// Waits until the last call is in SQL: the server's work for the calls is then done.
    pub async fn until_last_recorded(&self) {
        let deadline = Instant::now() + RECORD_DEADLINE;
        while self.0.permits.available_permits() < CALLS_MAX && Instant::now() < deadline {
            sleep(LOOK_INTERVAL).await;
        }
        let Some(last) = lock(&self.0.rooms).last().copied() else {
            return;
        };
        while !self.is_recorded(last).await && Instant::now() < deadline {
            sleep(LOOK_INTERVAL).await;
        }
    }

    /// Returns how many calls there were and how many of them SQL has as one closed session. `None`
    /// without calls.
    pub async fn recorded(&self) -> Option<Sessions> {
        let mut missing = lock(&self.0.rooms).clone();
        let expected = missing.len();
        if expected == 0 {
            return None;
        }
        let deadline = Instant::now() + RECORD_DEADLINE;
        loop {
            missing = stream::iter(missing)
                .map(|room| async move { (room, self.is_recorded(room).await) })
                .buffer_unordered(ASKING_MAX)
                .filter_map(async |(room, is_recorded)| (!is_recorded).then_some(room))
                .collect()
                .await;
            if missing.is_empty() || Instant::now() > deadline {
                break;
            }
            sleep(LOOK_INTERVAL).await;
        }
        for (_, room_id) in &missing {
            let violations = &self.0.context.violations;
            violations.add_line(format!("one-session: room {room_id} is not recorded"));
        }
        Some(Sessions {
            expected,
            recorded: expected - missing.len(),
        })
    }

    async fn is_recorded(&self, (number, room_id): (usize, Uuid)) -> bool {
        let base = &self.0.context.target_of(number).base;
        let sessions = self.0.api.sessions(base, room_id).await;
        sessions.is_ok_and(|all| all.len() == 1 && all[0].end_time.is_some())
    }
}

/// One call: both clients join, negotiate, change their state and leave.
async fn talk(caller: &mut Person, callee: &mut Person, due_ns: u64) {
    caller.join(due_ns).await;
    callee.join(due_ns).await;
    if caller.is_inside() && callee.is_inside() {
        let to = callee.user_id();
        tokio::join!(Box::pin(call(caller, to)), Box::pin(answer(callee)));
    }
    tokio::join!(Box::pin(caller.leave()), Box::pin(callee.leave()));
}

async fn call(caller: &mut Person, callee: Uuid) {
    caller.send_now(What::Offer(callee)).await;
    for _ in 0..CANDIDATES {
        caller.send_now(What::Candidate(callee)).await;
    }
    for bits in 0..STATES {
        caller.send_now(What::State(bits)).await;
    }
    caller.listen(0).await;
}

async fn answer(callee: &mut Person) {
    for bits in 0..STATES {
        callee.send_now(What::State(bits)).await;
    }
    callee.listen(ANSWERS).await;
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
