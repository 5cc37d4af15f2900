//! Faults of real nodes, Redis and PostgreSQL under traffic. Every promise is checked from outside.
//!
//! `cargo test --release --test faults -- --faults 200 --seed 7` is a campaign; `--scenario kill`
//! measures one kind of fault.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod arguments;
mod audit;
mod campaign;
mod fault;
mod report;
mod run;
mod scenarios;

#[path = "../common/mod.rs"]
mod common;

use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use arguments::{Arguments, Wanted};
use report::{Report, Strain};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.wanted() {
        Wanted::List => {
            println!("faults: test");
            ExitCode::SUCCESS
        }
        Wanted::Nothing => ExitCode::SUCCESS,
        Wanted::Run => tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime")
            .block_on(async {
                tokio::select! {
                    code = run(arguments) => code,
                    // Dropped on the way out: no process stays behind.
                    () = asked_to_stop() => ExitCode::FAILURE,
                }
            }),
    }
}

async fn asked_to_stop() {
    let mut terminated = signal(SignalKind::terminate()).expect("a signal handler");
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated.recv() => {}
    }
}

async fn run(arguments: Arguments) -> ExitCode {
    let seed = arguments
        .seed
        .unwrap_or_else(|| rand::random::<u32>().into());
    let (rooms, people) = (arguments.rooms, arguments.rooms * arguments.people);
    eprintln!(
        "faults: seed {seed}, {} nodes, {rooms} rooms, {people} people",
        arguments.nodes
    );
    let strain = Strain::watch();
    let (report, tables) = match arguments.scenario {
        None => {
            let (report, returns) = campaign::run(&arguments, seed).await;
            let table = report.table(&returns);
            (report, table)
        }
        Some(scenario) => {
            let (report, _, figures) = scenarios::run(&arguments, scenario, seed).await;
            (report, figures)
        }
    };
    let text = format!(
        "{tables}\n{} nodes, seed {seed}. {}\n\n{}\n",
        arguments.nodes,
        report.totals(rooms, people),
        strain.tell().await
    );
    println!("{text}");
    if let Some(path) = &arguments.md {
        std::fs::write(path, &text).expect("the file can be written");
    }
    verdict(&report, seed)
}

fn verdict(report: &Report, seed: u64) -> ExitCode {
    if report.violations.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("faults: broken promises with seed {seed}:");
    for violation in &report.violations {
        eprintln!("  {violation}");
    }
    if report.violations_beyond > 0 {
        eprintln!("  and {} more", report.violations_beyond);
    }
    ExitCode::FAILURE
}
