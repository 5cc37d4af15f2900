//! A run from its first request to its report: prepare, ramp, window, settle.

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
    commits::CommitTimes,
    crew::Crew,
    machine::{ServerUse, cpu_secs, rss_kib},
    meter::Kind,
    options::{Options, Profile},
    plan::{self, Window},
    report::{Measured, Report},
    settle::settle,
    setup::{House, prepare},
    socket::Target,
    stage::Stage,
};

/// Between a plan's making and its first order.
const LEAD: Duration = Duration::from_millis(20);
/// Between two looks at counters.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// Exit code of an impatient end: 128 and the number of SIGINT.
const EXIT_INTERRUPTED: i32 = 130;

/// Runs it.
pub(super) async fn drive(options: Options) -> Result<Report, LoadError> {
    let House {
        targets,
        rooms,
        people,
        api,
        host_id,
    } = prepare(&options).await?;
    let stage = Arc::new(Stage::new(options, targets, rooms));
    tokio::spawn(stop_on_signal(Arc::clone(&stage)));
    let crew = Crew::new(&stage, people);
    let calls = api.clone().map(|api| Calls::new(&stage, api, host_id));
    let (most, watching) = watch_over(&stage);
    fill(&stage, &crew).await;
    let measured = measure(&stage, &crew, api.as_ref(), calls.as_ref()).await;
    settle(&stage, &crew, api.as_ref(), measured.window).await;
    let sessions = match &calls {
        Some(calls) => calls.recorded().await,
        None => None,
    };
    watching.abort();
    stage.meter.end_second(main_kind(stage.options.profile));
    let report = Report::new(&stage, measured.with_most(*most.borrow()), sessions);
    crew.dismiss().await;
    Ok(report)
}

/// Ends the window at the first Ctrl-C, the process at the second.
async fn stop_on_signal(stage: Arc<Stage>) {
    while tokio::signal::ctrl_c().await.is_ok() {
        if stage.stop.send_replace(true) {
            std::process::exit(EXIT_INTERRUPTED);
        }
    }
}

/// Brings everybody into their rooms, in the profiles that begin so.
async fn fill(stage: &Arc<Stage>, crew: &Crew) {
    if !stage.options.profile.has_ramp() {
        return;
    }
    let people = stage.options.people();
    let plan = plan::ramp(people, window_of(stage, stage.options.ramp));
    // The thread does not panic: it hands orders over.
    let _ = crew.follow(plan).await;
    let counts = &stage.meter.counts;
    let entered = || {
        counts.joins_done.load(Relaxed)
            + counts.joins_refused.load(Relaxed)
            + counts.joins_failed.load(Relaxed)
    };
    while usize::try_from(entered()).is_ok_and(|entered| entered < people) && !stage.is_stopped() {
        sleep(LOOK_INTERVAL).await;
    }
}

/// The window: the load runs, the processes are watched.
async fn measure(
    stage: &Arc<Stage>,
    crew: &Crew,
    api: Option<&Api>,
    calls: Option<&Calls>,
) -> Measured {
    let options = &stage.options;
    let own = std::process::id();
    let commits_before = commit_times(api, &stage.targets).await;
    let window = window_of(stage, options.duration);
    let deliveries_before = stage.meter.counts.deliveries_seen.load(Relaxed);
    let server_before = options.server_pid.and_then(look_at);
    let own_before = cpu_secs(own);
    begin(stage, crew, calls, window);
    let is_over = |stopped: &bool| *stopped;
    let mut stopped = stage.stop.subscribe();
    tokio::select! {
        () = sleep_until(Instant::from_std(stage.meter.instant(window.until_ns))) => {}
        _ = stopped.wait_for(is_over) => {}
    }
    let until_ns = stage.meter.now_ns().min(window.until_ns);
    let own_after = cpu_secs(own);
    let deliveries = stage.meter.counts.deliveries_seen.load(Relaxed) - deliveries_before;
    if let Some(calls) = calls.filter(|_| options.profile == Profile::Churn) {
        calls.until_last_recorded().await;
    }
    let server = server_before
        .zip(options.server_pid.and_then(look_at))
        .map(|(before, after)| ServerUse {
            cpu_secs: after.0 - before.0,
            rss_begin_kib: before.1,
            rss_end_kib: after.1,
            rss_max_kib: before.1.max(after.1),
        });
    let commits_after = commit_times(api, &stage.targets).await;
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

/// Of all nodes; none: one of them does not show it.
async fn commit_times(api: Option<&Api>, nodes: &[Target]) -> Option<CommitTimes> {
    let mut all = CommitTimes::default();
    for node in nodes {
        all.add(&api?.commit_times(&node.base).await?);
    }
    Some(all)
}

/// Starts what the profile does in the window.
fn begin(stage: &Arc<Stage>, crew: &Crew, calls: Option<&Calls>, window: Window) {
    let options = &stage.options;
    let (rooms, size, seed) = (options.rooms, options.size, options.seed);
    match options.profile {
        Profile::Broadcast => {
            let publishes = options.rate / f64::from(u32::try_from(size).unwrap_or(u32::MAX));
            drop(crew.follow(plan::broadcast(rooms * size, seed, publishes, window)));
        }
        Profile::JoinStorm => {
            drop(crew.follow(plan::storm(rooms, size, seed, options.rate, window)));
        }
        Profile::Meeting => {
            let users: Vec<Vec<Uuid>> = stage.rooms.iter().map(|room| room.users.clone()).collect();
            drop(crew.follow(plan::meeting(users, seed, options.rate, window)));
        }
        Profile::Reconnect => {
            let middle_ns = window.from_ns.midpoint(window.until_ns);
            drop(crew.follow(plan::drops(rooms * size, middle_ns)));
        }
        Profile::Churn => {
            if let Some(calls) = calls {
                calls.begin(seed, options.rate, window);
            }
        }
        Profile::Idle => {}
    }
}

/// Gathers the latencies, looks at the server's memory and draws progress, once a second. The most memory seen, and the task.
fn watch_over(stage: &Arc<Stage>) -> (watch::Receiver<u64>, tokio::task::JoinHandle<()>) {
    const SECOND: Duration = Duration::from_secs(1);
    let (sender, receiver) = watch::channel(0);
    let stage = Arc::clone(stage);
    let bar = progress_bar(&stage.options);
    let task = tokio::spawn(async move {
        let mut seconds = interval_at(Instant::now() + SECOND, SECOND);
        loop {
            seconds.tick().await;
            stage.meter.end_second(main_kind(stage.options.profile));
            let rss = stage.options.server_pid.and_then(rss_kib);
            sender.send_if_modified(|most| {
                let before = *most;
                *most = before.max(rss.unwrap_or_default());
                *most > before
            });
            if let Some(bar) = &bar {
                bar.inc(1);
                bar.set_message(progress(&stage));
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

fn progress(stage: &Stage) -> String {
    let counts = &stage.meter.counts;
    format!(
        "{} joined, {} acked, {} delivered, {} violations",
        counts.joins_done.load(Relaxed),
        counts.commands_acked.load(Relaxed),
        counts.deliveries_seen.load(Relaxed),
        stage.breaches.count(),
    )
}

/// The latency that a profile is about.
pub(super) const fn main_kind(profile: Profile) -> Kind {
    match profile {
        Profile::Broadcast => Kind::Delivery,
        Profile::JoinStorm | Profile::Idle => Kind::Join,
        Profile::Meeting | Profile::Churn => Kind::Command,
        Profile::Reconnect => Kind::Resume,
    }
}

fn window_of(stage: &Stage, length: Duration) -> Window {
    let as_ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let from_ns = stage.meter.now_ns() + as_ns(LEAD);
    Window {
        from_ns,
        until_ns: from_ns + as_ns(length),
    }
}

/// CPU time and memory of a process.
fn look_at(pid: u32) -> Option<(f64, u64)> {
    cpu_secs(pid).zip(rss_kib(pid))
}
