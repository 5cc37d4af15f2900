//! Plans that once broke a promise, each spelled out: the meaning of a seed may change.

use callboard::lease::PartitionPolicy;

use crate::{
    plan::{Fault, Mishap, Plan},
    run::run,
};

/// Seeds of each.
const SEEDS: u64 = 8;

/// This trouble befalls the owner of the first room, over and over.
#[track_caller]
fn endure(fault: &Fault, end: Option<(u64, Fault)>) {
    for seed in 1..=SEEDS {
        let mut plan = Plan::of(seed);
        let mishap = Mishap {
            fault: fault.clone(),
            owner_of: Some(0),
            end: end.clone(),
        };
        let times = [5_000, 17_000, 29_000].into_iter();
        plan.faults = times.map(|at| (at, mishap.clone())).collect();
        let outcome = run(plan);
        if let Some(violation) = outcome.violation {
            panic!("{}\nseed {seed}: {violation}", outcome.log);
        }
    }
}

/// What waited for the mirror was told before people knew that nothing is durable now, and "durable
/// again" last.
#[test]
fn a_mirror_that_stalls_and_comes_back() {
    let slow = Fault::Slow {
        delay_ms: 3_000,
        lost_permille: 200,
    };
    endure(&slow, Some((6_000, Fault::Fast)));
}

/// Who resumed after the outage was not told that it is over.
#[test]
fn a_mirror_that_is_away_for_everybody() {
    endure(&Fault::CutAll, Some((8_000, Fault::MendAll)));
}

/// A node that was cut off for less than the expiry gave its rooms up and was still their owner:
/// nobody ran them.
#[test]
fn an_owner_that_is_cut_off_and_back_before_it_expires() {
    for ms in [4_200, 5_000, 5_800] {
        let end = Fault::Mend { machine: 0 };
        endure(&Fault::Cut { machine: 0 }, Some((ms, end)));
    }
}

#[test]
fn an_owner_that_stands_still_beyond_its_expiry() {
    let end = Fault::Thaw { machine: 0 };
    endure(&Fault::Freeze { machine: 0 }, Some((9_000, end)));
}

#[test]
fn an_owner_whose_machine_is_gone() {
    let kill = Fault::Kill {
        machine: 0,
        is_silent: true,
    };
    endure(&kill, Some((10_000, Fault::Restart { machine: 0 })));
}

#[test]
fn an_owner_that_leaves() {
    let end = Fault::Restart { machine: 0 };
    endure(&Fault::Drain { machine: 0 }, Some((6_000, end)));
}

#[test]
fn a_mirror_that_forgets_everything() {
    endure(&Fault::LoseAll, None);
}

/// The only other nodes had left; one that came up afterwards took the rooms, unseen by an owner
/// that had no mirror to read of it.
#[test]
fn a_node_that_comes_up_while_the_owner_is_cut_off() {
    for seed in 1..=SEEDS {
        let mut plan = Plan::of(seed);
        plan.policy = PartitionPolicy::Stop;
        let mishap = |fault| Mishap {
            fault,
            owner_of: None,
            end: None,
        };
        plan.faults = vec![
            (3_000, mishap(Fault::Drain { machine: 1 })),
            (3_000, mishap(Fault::Drain { machine: 2 })),
            (9_000, mishap(Fault::Cut { machine: 0 })),
            (14_500, mishap(Fault::Restart { machine: 1 })),
            (15_500, mishap(Fault::Restart { machine: 2 })),
        ];
        let outcome = run(plan);
        assert_eq!(outcome.violation, None, "{}\nseed {seed}", outcome.log);
    }
}

/// A mirror that had just forgotten all nodes did not list the owner, and that was taken for its
/// end.
#[test]
fn an_owner_that_a_lost_mirror_does_not_list_yet() {
    let outcome = run(Plan::of(5_285));
    assert_eq!(outcome.violation, None, "{}", outcome.log);
}
