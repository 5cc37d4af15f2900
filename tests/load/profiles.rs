//! Each profile against a real server keeps its counts and finds nothing wrong.

use crate::common::{
    scenario::within_deadline,
    server::{Backend, Server},
};
use crate::tool::{Outcome, Run};

/// Every name that a report has at its top.
const FIELDS: [&str; 21] = [
    "profile",
    "urls",
    "rooms",
    "size",
    "rate",
    "seed",
    "windowSecs",
    "ramp",
    "joins",
    "commands",
    "deliveries",
    "requests",
    "resumes",
    "connections",
    "sessions",
    "violations",
    "violationsBeyond",
    "generator",
    "server",
    "commits",
    "series",
];

async fn server() -> Server {
    Server::on(Backend::Embedded)
        .set("ROOM__DEPARTURE_TIMEOUT_MS", 500)
        .start()
        .await
}

fn start(server: &Server, arguments: &[&str]) -> Run {
    let key = server.api.key.clone().unwrap_or_default();
    Run::start(&server.api.base, &key, arguments)
}

async fn run(arguments: &[&str]) -> Outcome {
    let server = server().await;
    start(&server, arguments).end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broadcast_delivers_every_message_to_everybody_and_writes_both_reports() {
    within_deadline(async {
        let arguments = "broadcast --rooms 5 --size 4 --rate 200 --duration 2 --ramp 1 --seed 3";
        let outcome = run(&arguments.split(' ').collect::<Vec<_>>()).await;
        outcome.expect_clean();
        assert_eq!(outcome.count("joins", "done"), 20);
        let acked = outcome.count("commands", "acked");
        assert!(acked > 50, "{}", outcome.stdout);
        assert_eq!(outcome.count("deliveries", "expected"), acked * 4);
        assert_eq!(outcome.count("deliveries", "seen"), acked * 4);
        for field in FIELDS {
            let is_there = outcome.report.get(field).is_some();
            assert!(is_there, "{field}: {}", outcome.report);
        }
        // One for each message at most, and some for the rooms themselves.
        let commits = outcome.count("commits", "count");
        assert!((1..=acked + 5).contains(&commits), "{}", outcome.stdout);
        let [p50, p99] = ["p50Us", "p99Us"].map(|us| outcome.count("commits", us));
        assert!(0 < p50 && p50 <= p99, "{}", outcome.stdout);
        for latency in ["p50", "p90", "p99", "p999", "max"] {
            let us = &outcome.report["deliveries"]["latencyUs"][latency];
            assert!(us.as_u64().is_some_and(|us| us > 0), "{latency} is {us}");
        }
        assert!(outcome.page.contains("<svg"), "{}", outcome.page);
        assert!(outcome.page.contains("polyline"), "{}", outcome.page);
        assert!(
            outcome.page.contains("broadcast --rooms 5"),
            "{}",
            outcome.page
        );
        assert!(!outcome.page.contains("http://www"), "{}", outcome.page);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn join_storm_uses_its_rooms_again_and_again() {
    within_deadline(async {
        let arguments = "join-storm --rooms 8 --size 3 --rate 25 --duration 4";
        let outcome = run(&arguments.split(' ').collect::<Vec<_>>()).await;
        outcome.expect_clean();
        let done = outcome.count("joins", "done");
        assert!(done > 24, "{}", outcome.stdout);
        assert_eq!(outcome.count("joins", "offered"), done);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_people_stay_and_the_server_is_watched() {
    within_deadline(async {
        let server = server().await;
        let own = std::process::id().to_string();
        let arguments = "idle --rooms 4 --size 5 --duration 2 --ramp 1 --sources 3 --server-pid";
        let mut arguments: Vec<&str> = arguments.split(' ').collect();
        arguments.push(&own);
        let outcome = start(&server, &arguments).end().await;
        outcome.expect_clean();
        assert_eq!(outcome.count("joins", "done"), 20);
        assert_eq!(outcome.count("connections", "lost"), 0);
        assert!(outcome.count("server", "rssMaxKib") > 1_000);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_meetings_of_two_agree_with_the_server() {
    within_deadline(async {
        let arguments = "meeting --rooms 1000 --size 2 --rate 1 --ramp 10 --duration 4";
        let outcome = run(&arguments.split(' ').collect::<Vec<_>>()).await;
        outcome.expect_clean();
        assert_eq!(outcome.count("joins", "done"), 2_000);
        let seen = outcome.count("deliveries", "seen");
        assert_eq!(outcome.count("deliveries", "expected"), seen);
        assert!(seen > 100, "{}", outcome.stdout);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn churn_records_every_call() {
    within_deadline(async {
        let outcome = run(&["churn", "--rate", "5", "--duration", "3"]).await;
        outcome.expect_clean();
        let calls = outcome.count("sessions", "expected");
        assert!(calls > 3, "{}", outcome.stdout);
        assert_eq!(outcome.count("sessions", "recorded"), calls);
        let requests = outcome.report["requests"].as_u64();
        assert_eq!(requests, Some(calls * 20), "{}", outcome.stdout);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_resumes_after_dropping_at_once() {
    within_deadline(async {
        let arguments = "reconnect --rooms 6 --size 5 --duration 4 --ramp 1";
        let outcome = run(&arguments.split(' ').collect::<Vec<_>>()).await;
        outcome.expect_clean();
        assert_eq!(outcome.count("resumes", "done"), 30);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_run_reports_what_it_has() {
    within_deadline(async {
        let server = server().await;
        let arguments = "broadcast --rooms 2 --size 3 --rate 60 --duration 600 --ramp 0";
        let run = start(&server, &arguments.split(' ').collect::<Vec<_>>());
        crate::common::scenario::eventually("a message", async || {
            let said = server
                .metric("callboard_commands_total", &["SendMessage"])
                .await;
            (said > 0.0).then_some(())
        })
        .await;
        run.interrupt();
        let outcome = run.end().await;
        outcome.expect_clean();
        assert!(outcome.count("commands", "acked") > 0);
        assert!(outcome.report["windowSecs"].as_f64().unwrap() < 300.0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_asked_is_said_before_anything_happens() {
    within_deadline(async {
        let refused = async |arguments: &[&str], part: &str| {
            let outcome = Run::start("http://127.0.0.1:9", "cb_x", arguments)
                .end()
                .await;
            assert_eq!(outcome.code, Some(2), "{arguments:?}: {}", outcome.stderr);
            assert!(outcome.stderr.contains(part), "{}", outcome.stderr);
        };
        refused(&["party"], "must be one of meeting").await;
        refused(&["idle", "--rooms", "0"], "--rooms must be").await;
        refused(&["churn", "--bare"], "--bare takes").await;
        refused(&["broadcast", "--rate", "0"], "--rate must be").await;
        let remote = "idle --url http://192.0.2.1 --sources 2";
        refused(&remote.split(' ').collect::<Vec<_>>(), "--sources works").await;
    })
    .await;
}
