//! One run: prepare the rooms, ramp up, measure the window, settle, report.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::{
    sync::watch,
    time::{Instant, interval_at, sleep, sleep_until},
};
use uuid::Uuid;

use super::{
    LoadError,
    api::Api,
    churn::Calls,
    clients::Clients,
    commits::CommitTimes,
    context::RunContext,
    machine::{ServerUse, cpu_secs, rss_kib},
    meter::Kind,
    options::{Options, Profile},
    plan::{self, Window},
    report::{Measured, Report},
    settle::settle,
    setup::{Setup, prepare},
    socket::Target,
};

/// Time between the start of a plan and its first order.
const LEAD: Duration = Duration::from_millis(20);
/// Interval of reading the counters.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// Exit code after a second Ctrl-C: 128 plus the number of SIGINT.
const EXIT_INTERRUPTED: i32 = 130;

pub(super) async fn drive(options: Options) -> Result<Report, LoadError> {
    let Setup {
        targets,
        rooms,
        specs,
        api,
        host_id,
    } = prepare(&options).await?;
    let context = Arc::new(RunContext::new(options, targets, rooms));
    tokio::spawn(stop_on_signal(Arc::clone(&context)));
    let clients = Clients::new(&context, specs);
    let calls = api.clone().map(|api| Calls::new(&context, api, host_id));
    let (most, watching) = watch_over(&context);
    fill(&context, &clients).await;
    let measured = measure(&context, &clients, api.as_ref(), calls.as_ref()).await;
    settle(&context, &clients, api.as_ref(), measured.window).await;
    let sessions = match &calls {
        Some(calls) => calls.recorded().await,
        None => None,
    };
    watching.abort();
    context.meter.end_second(main_kind(context.options.profile));
    let report = Report::new(&context, measured.with_most(*most.borrow()), sessions);
    clients.leave().await;
    Ok(report)
}

/// Ends the window at the first Ctrl-C, the process at the second.
async fn stop_on_signal(context: Arc<RunContext>) {
    while tokio::signal::ctrl_c().await.is_ok() {
        if context.stop.send_replace(true) {
            std::process::exit(EXIT_INTERRUPTED);
        }
    }
}

/// Lets all clients join, in the profiles with a ramp.
async fn fill(context: &Arc<RunContext>, clients: &Clients) {
    if !context.options.profile.has_ramp() {
        return;
    }
    let people = context.options.people();
    let plan = plan::ramp(people, window_of(context, context.options.ramp));
    // The thread does not panic.
    let _ = clients.follow(plan).await;
    let counts = &context.meter.counts;
    let entered = || {
        counts.joins_done.load(Relaxed)
            + counts.joins_refused.load(Relaxed)
            + counts.joins_failed.load(Relaxed)
    };
    while usize::try_from(entered()).is_ok_and(|entered| entered < people) && !context.is_stopped()
    {
        sleep(LOOK_INTERVAL).await;
    }
}

/// Runs the load for the window and measures the processes.
async fn measure(
    context: &Arc<RunContext>,
    clients: &Clients,
    api: Option<&Api>,
    calls: Option<&Calls>,
) -> Measured {
    let options = &context.options;
    let own = std::process::id();
    let commits_before = commit_times(api, &context.targets).await;
    let window = window_of(context, options.duration);
    let deliveries_before = context.meter.counts.deliveries_seen.load(Relaxed);
    let server_before = options.server_pid.and_then(usage_of);
    let own_before = cpu_secs(own);
    begin(context, clients, calls, window);
    let is_over = |stopped: &bool| *stopped;
    let mut stopped = context.stop.subscribe();
    tokio::select! {
        () = sleep_until(Instant::from_std(context.meter.instant(window.until_ns))) => {}
        _ = stopped.wait_for(is_over) => {}
    }
    let until_ns = context.meter.now_ns().min(window.until_ns);
    let own_after = cpu_secs(own);
    let deliveries = context.meter.counts.deliveries_seen.load(Relaxed) - deliveries_before;
    if let Some(calls) = calls.filter(|_| options.profile == Profile::Churn) {
        calls.until_last_recorded().await;
    }
    let server = server_before
        .zip(options.server_pid.and_then(usage_of))
        .map(|(before, after)| ServerUse {
            cpu_secs: after.0 - before.0,
            rss_begin_kib: before.1,
            rss_end_kib: after.1,
            rss_max_kib: before.1.max(after.1),
        });
    let commits_after = commit_times(api, &context.targets).await;
    Measured {
        window: Window { until_ns, ..window },
        deliveries,
        own_cpu_secs: own_before
            .zip(own_after)
            .map_or(0.0, |(before, after)| after - before),
        server,
        commits: commits_before
            .zip(commits_after)
            .map(|(before, after)| after.since(&before)),
    }
}

/// Returns the commit times of all nodes. `None` if one of them does not show them.
async fn commit_times(api: Option<&Api>, nodes: &[Target]) -> Option<CommitTimes> {
    let mut all = CommitTimes::default();
    for node in nodes {
        all.add(&api?.commit_times(&node.base).await?);
    }
    Some(all)
}

/// Starts what the profile does in the window.
fn begin(context: &Arc<RunContext>, clients: &Clients, calls: Option<&Calls>, window: Window) {
    let options = &context.options;
    let (rooms, size, seed) = (options.rooms, options.size, options.seed);
    match options.profile {
        Profile::Broadcast => {
            let publishes = options.rate / f64::from(u32::try_from(size).unwrap_or(u32::MAX));
            drop(clients.follow(plan::broadcast(rooms * size, seed, publishes, window)));
        }
        Profile::JoinStorm => {
            drop(clients.follow(plan::storm(rooms, size, seed, options.rate, window)));
        }
        Profile::Meeting => {
            let users: Vec<Vec<Uuid>> = context
                .rooms
                .iter()
                .map(|room| room.users.clone())
                .collect();
            drop(clients.follow(plan::meeting(users, seed, options.rate, window)));
        }
        Profile::Reconnect => {
            let middle_ns = window.from_ns.midpoint(window.until_ns);
            drop(clients.follow(plan::drops(rooms * size, middle_ns)));
        }
        Profile::Churn => {
            if let Some(calls) = calls {
                calls.begin(seed, options.rate, window);
            }
        }
        Profile::Idle => {}
    }
}

/// Collects latencies, reads the server's memory and draws the progress once a second. Returns the
/// highest memory seen and the task.
fn watch_over(context: &Arc<RunContext>) -> (watch::Receiver<u64>, tokio::task::JoinHandle<()>) {
    const SECOND: Duration = Duration::from_secs(1);
    let (sender, receiver) = watch::channel(0);
    let context = Arc::clone(context);
    let bar = progress_bar(&context.options);
    let task = tokio::spawn(async move {
        let mut seconds = interval_at(Instant::now() + SECOND, SECOND);
        loop {
            seconds.tick().await;
            context.meter.end_second(main_kind(context.options.profile));
            let rss = context.options.server_pid.and_then(rss_kib);
            sender.send_if_modified(|most| {
                let before = *most;
                *most = before.max(rss.unwrap_or_default());
                *most > before
            });
            if let Some(bar) = &bar {
                bar.inc(1);
                bar.set_message(progress(&context));
            }
        }
    });
    (receiver, task)
}

fn progress_bar(options: &Options) -> Option<ProgressBar> {
    let style = ProgressStyle::with_template("{elapsed_precise} {wide_bar} {pos}/{len} s {msg}");
    let seconds = options.duration.as_secs() + options.ramp.as_secs();
    let bar = options.has_progress.then(|| ProgressBar::new(seconds))?;
    Some(bar.with_style(style.ok()?))
}

fn progress(context: &RunContext) -> String {
    let counts = &context.meter.counts;
    format!(
        "{} joined, {} acked, {} delivered, {} violations",
        counts.joins_done.load(Relaxed),
        counts.commands_acked.load(Relaxed),
        counts.deliveries_seen.load(Relaxed),
        context.violations.count(),
    )
}

/// Returns the latency that a profile measures.
pub(super) const fn main_kind(profile: Profile) -> Kind {
    match profile {
        Profile::Broadcast => Kind::Delivery,
        Profile::JoinStorm | Profile::Idle => Kind::Join,
        Profile::Meeting | Profile::Churn => Kind::Command,
        Profile::Reconnect => Kind::Resume,
    }
}

fn window_of(context: &RunContext, length: Duration) -> Window {
    let as_ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let from_ns = context.meter.now_ns() + as_ns(LEAD);
    Window {
        from_ns,
        until_ns: from_ns + as_ns(length),
    }
}

/// Returns CPU time and memory of a process.
fn usage_of(pid: u32) -> Option<(f64, u64)> {
    cpu_secs(pid).zip(rss_kib(pid))
}
