//! The room, its owner, the lease and the claims of several processes in a simulated world: seeds,
//! virtual time, people who come back and repeat, a mirror that delays, forgets and is cut off. The
//! promises of the README are checked on every run.
//!
//! `SIMULATION_SEEDS=10000 cargo test --release --test simulation` for a long run;
//! `SIMULATION_SEED=17` replays one with its log.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

mod checks;
mod found;
mod hosted;
mod mirror;
mod node;
mod notes;
mod peers;
mod person;
mod plan;
mod random;
mod run;
mod sql;
#[expect(dead_code, reason = "the other tests need more of it")]
#[path = "../common/view.rs"]
mod view;
mod world;

use plan::Plan;
use run::{Outcome, run};

/// Seeds of an ordinary run.
const SEEDS: u64 = 300;
/// A broken fence is noticed within so many seeds.
const SEEDS_FOR_BROKEN_FENCE: u64 = 50;
/// Lines of the log that are shown of a failed run.
const TAIL_LINES: usize = 60;

fn number_from(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[track_caller]
fn fail(seed: u64, outcome: &Outcome, violation: &str) {
    let lines: Vec<&str> = outcome.log.lines().collect();
    let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
    panic!(
        "{tail}\n\nseed {seed}: {violation}\nreplay: SIMULATION_SEED={seed} cargo test --test simulation promises -- --nocapture"
    );
}

#[test]
fn promises_hold_on_every_seed() {
    if let Some(seed) = number_from("SIMULATION_SEED") {
        let outcome = run(Plan::of(seed));
        println!("{}", outcome.log);
        if let Some(violation) = &outcome.violation {
            fail(seed, &outcome, violation);
        }
        return;
    }
    let begin = number_from("SIMULATION_FROM").unwrap_or(1);
    let seeds = number_from("SIMULATION_SEEDS").unwrap_or(SEEDS);
    let started = std::time::Instant::now();
    let (mut virtual_ms, mut failures) = (0, Vec::new());
    for seed in begin..begin + seeds {
        let outcome = run(Plan::of(seed));
        virtual_ms += outcome.virtual_ms;
        if let Some(violation) = &outcome.violation {
            if number_from("SIMULATION_GO_ON").is_none() {
                fail(seed, &outcome, violation);
            }
            println!("seed {seed}: {violation}");
            failures.push(seed);
        }
    }
    println!(
        "{seeds} seeds, {} virtual hours, in {:.1} s",
        virtual_ms / 3_600_000,
        started.elapsed().as_secs_f64()
    );
    assert!(
        failures.is_empty(),
        "{} seeds failed: {failures:?}",
        failures.len()
    );
}

#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in 1..=10 {
        let (first, second) = (run(Plan::of(seed)), run(Plan::of(seed)));
        if first.hash != second.hash {
            let mut pairs = first.log.lines().zip(second.log.lines());
            let differing = pairs.find(|(one, other)| one != other);
            panic!("seed {seed} had two histories: {differing:?}");
        }
    }
}

#[test]
fn a_broken_fence_is_noticed() {
    for seed in 1..=SEEDS_FOR_BROKEN_FENCE {
        let mut plan = Plan::of(seed);
        plan.is_fence_broken = true;
        if let Some(violation) = run(plan).violation {
            println!("noticed at seed {seed}: {violation}");
            return;
        }
    }
    panic!("{SEEDS_FOR_BROKEN_FENCE} seeds did not notice that nobody is fenced");
}
