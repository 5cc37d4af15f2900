//! Faults by chance, one after the other, under traffic that never stops.

use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::SmallRng};

use super::{
    arguments::Arguments,
    fault::{Deck, Fault},
    report::Report,
    run::Run,
};
use crate::common::crowd::returns::Return;

/// Between two faults, in milliseconds.
const GAP_MS: std::ops::RangeInclusive<u64> = 500..=4_000;
/// How much later the second of them begins, in milliseconds: before and after rooms notice the
/// first.
const LATER_MS: std::ops::RangeInclusive<u64> = 0..=3_000;
/// Attempts to find a second fault that fits the first.
const PARTNERS_MAX: usize = 20;
/// Mirror and people are compared after this many faults, and at the end.
const COMPARE_AFTER: usize = 20;
/// A campaign with more violations has shown enough.
const ENOUGH: usize = 25;

/// Runs the campaign.
pub async fn run(arguments: &Arguments, seed: u64) -> (Report, Vec<Return>) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut deck = Deck::new(usize::from(arguments.nodes), arguments.only.clone());
    let mut run = Run::start(arguments, seed).await;
    for number in 1..=arguments.faults {
        tokio::time::sleep(Duration::from_millis(rng.random_range(GAP_MS))).await;
        let faults = draw(&mut deck, &mut rng, arguments.two);
        let later = Duration::from_millis(rng.random_range(LATER_MS));
        eprintln!(
            "{} fault {number}: {faults:?}{}",
            chrono::Utc::now().format("%H:%M:%S%.3f"),
            match faults.len() {
                1 => String::new(),
                _ => format!(", the second {later:?} later"),
            }
        );
        run.suffer(&faults, later).await;
        if number % COMPARE_AFTER == 0 {
            run.compare().await;
        }
        let violations = run.violations();
        if violations > 0 {
            eprintln!("            violations so far: {violations}");
        }
        if violations > ENOUGH {
            eprintln!("            enough: the campaign ends here");
            break;
        }
    }
    run.finish().await
}

fn draw(deck: &mut Deck, rng: &mut SmallRng, two: f64) -> Vec<Fault> {
    let mut faults = vec![deck.draw(rng)];
    if rng.random_bool(two) {
        for _ in 0..PARTNERS_MAX {
            let partner = deck.draw(rng);
            if faults[0].fits(&partner) {
                faults.push(partner);
                break;
            }
        }
    }
    faults
}
