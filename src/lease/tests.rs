use uuid::Uuid;

use super::*;
use crate::ids::NodeId;

const DEADLINES: Deadlines = Deadlines {
    heartbeat_ms: 1_000,
    stall_ms: 1_000,
    own_deadline_ms: 4_000,
    expiry_ms: 6_000,
};

fn at(ms: u64) -> Timestamp {
    Timestamp(1_000_000).plus_ms(ms)
}

/// A lease that looks every 500 ms and is renewed every second until `until_ms`.
fn renewed(partition: PartitionPolicy, until_ms: u64) -> Lease {
    let mut lease = Lease::new(DEADLINES, partition, at(0));
    for ms in (0..=until_ms).step_by(500) {
        lease.observe(at(ms));
        if ms % 1_000 == 0 {
            lease.renew(at(ms), at(ms + 5), "g");
        }
    }
    lease
}

fn observe_until(lease: &mut Lease, from_ms: u64, to_ms: u64) {
    for ms in (from_ms..=to_ms).step_by(500) {
        lease.observe(at(ms));
        lease.miss();
    }
}

fn state(lease: &Lease, ms: u64) -> LeaseState {
    lease.shared().view(at(ms)).state
}

fn node(number: u128) -> NodeId {
    NodeId(Uuid::from_u128(number))
}

#[test]
fn deadlines_in_a_wrong_order_are_a_bug() {
    let wrong = Deadlines {
        expiry_ms: 4_000,
        ..DEADLINES
    };
    assert!(std::panic::catch_unwind(|| wrong.checked()).is_err());
    assert_eq!(DEADLINES.checked(), DEADLINES);
}

#[test]
fn lease_counts_from_the_moment_its_heartbeat_was_sent() {
    let mut lease = Lease::new(DEADLINES, PartitionPolicy::Stop, at(0));
    assert_eq!(state(&lease, 0), LeaseState::Unsure);
    lease.renew(at(100), at(1_900), "g");
    assert_eq!(state(&lease, 4_099), LeaseState::Held);
    assert_eq!(state(&lease, 4_100), LeaseState::Unsure);
}

#[test]
fn outage_of_all_lets_rooms_go_on_and_asks_for_no_proof_afterwards() {
    let mut lease = renewed(PartitionPolicy::Stop, 3_000);
    observe_until(&mut lease, 3_500, 7_000);
    assert_eq!(state(&lease, 7_000), LeaseState::Unsure);
    let answers = [MirrorAnswer::HasNot, MirrorAnswer::Refused];
    assert_eq!(lease.diagnose(at(7_000), &answers), ExpiryCause::Outage);
    assert_eq!(state(&lease, 7_100), LeaseState::Outage);
    let renewal = lease.renew(at(7_500), at(7_505), "g");
    assert!(renewal.had_ended);
    assert_eq!(lease.shared().view(at(7_600)).term, 0);
    assert_eq!(state(&lease, 7_600), LeaseState::Held);
}

#[test]
fn judgement_counts_only_for_a_while() {
    let mut lease = renewed(PartitionPolicy::Stop, 0);
    observe_until(&mut lease, 500, 4_000);
    lease.diagnose(at(4_000), &[]);
    assert_eq!(state(&lease, 4_000 + 2_499), LeaseState::Outage);
    assert_eq!(state(&lease, 4_000 + 2_500), LeaseState::Unsure);
}

#[test]
fn node_that_stood_still_needs_a_proof_even_if_there_is_an_outage_now() {
    let mut lease = renewed(PartitionPolicy::Serve, 3_000);
    lease.observe(at(12_000));
    assert_eq!(state(&lease, 12_000), LeaseState::Unsure);
    assert_eq!(lease.diagnose(at(12_000), &[]), ExpiryCause::Unknown);
    assert_eq!(state(&lease, 12_001), LeaseState::Unsure);
    lease.renew(at(12_500), at(12_505), "g");
    let view = lease.shared().view(at(12_600));
    assert_eq!((view.state, view.term), (LeaseState::Held, 1));
}

#[test]
fn outage_that_was_judged_before_the_node_stood_still_does_not_count_afterwards() {
    let mut lease = renewed(PartitionPolicy::Stop, 0);
    observe_until(&mut lease, 500, 4_000);
    lease.diagnose(at(4_000), &[]);
    lease.observe(at(20_000));
    lease.renew(at(20_000), at(20_005), "g");
    assert_eq!(lease.shared().view(at(20_010)).term, 1);
}

#[test]
fn heartbeat_from_before_the_node_stood_still_proves_nothing_of_what_came_after() {
    let mut lease = renewed(PartitionPolicy::Stop, 3_000);
    lease.observe(at(14_000));
    lease.renew(at(3_100), at(14_001), "g");
    assert_eq!(lease.diagnose(at(14_002), &[]), ExpiryCause::Unknown);
    lease.renew(at(14_010), at(14_020), "g");
    assert_eq!(state(&lease, 14_030), LeaseState::Held);
    assert_eq!(
        lease.shared().view(at(14_030)).term,
        1,
        "rooms need a proof"
    );
    assert_eq!(lease.has_mirror_for(at(14_030)), Some(20));
    assert!(!lease.may_take_expired(at(14_030)));
}

#[test]
fn node_is_cut_off_when_another_has_had_the_mirror_all_the_time() {
    let has = |for_ms| MirrorAnswer::Has { for_ms };
    let diagnosed = |answers: &[MirrorAnswer], policy| expiry::diagnose(answers, DEADLINES, policy);
    use PartitionPolicy::{Serve, Stop};
    assert_eq!(
        diagnosed(&[MirrorAnswer::Silent, has(4_000)], Serve),
        ExpiryCause::CutOff
    );
    assert_eq!(diagnosed(&[has(3_999)], Stop), ExpiryCause::Outage);
    assert_eq!(diagnosed(&[], Stop), ExpiryCause::Outage);
    assert_eq!(
        diagnosed(&[MirrorAnswer::Silent], Stop),
        ExpiryCause::CannotTell
    );
    assert_eq!(
        diagnosed(&[MirrorAnswer::Silent], Serve),
        ExpiryCause::Outage
    );
}

#[test]
fn nodes_that_lost_the_mirror_at_the_same_time_agree_that_none_has_it() {
    // The other's last heartbeat was answered just before the mirror died, 1 s after ours.
    let other = renewed(PartitionPolicy::Stop, 10_000);
    assert_eq!(other.has_mirror_for(at(11_999)), Some(11_999));
    assert_eq!(other.has_mirror_for(at(13_000)), None);
}

#[test]
fn expired_nodes_may_be_taken_only_by_one_that_had_the_same_mirror_for_the_whole_expiry() {
    let mut lease = renewed(PartitionPolicy::Stop, 5_000);
    assert!(!lease.may_take_expired(at(5_500)));
    lease.observe(at(5_500));
    lease.renew(at(6_000), at(6_005), "g");
    assert!(lease.may_take_expired(at(6_010)));
    lease.miss();
    lease.observe(at(6_500));
    lease.renew(at(7_000), at(7_005), "g");
    assert!(
        !lease.may_take_expired(at(7_010)),
        "there was an interruption"
    );
}

#[test]
fn new_generation_is_told_once_and_holds_takeovers_back() {
    let mut lease = renewed(PartitionPolicy::Stop, 10_000);
    assert!(!lease.is_generation_young(at(10_000)));
    assert!(lease.renew(at(10_500), at(10_505), "h").is_new_generation);
    assert!(lease.is_generation_young(at(16_504)));
    assert!(!lease.may_take_expired(at(10_600)));
    assert!(!lease.renew(at(11_500), at(11_505), "h").is_new_generation);
    assert!(!lease.is_generation_young(at(16_505)));
    assert_eq!(lease.generation(), Some("h"));
}

#[test]
fn mirror_is_complete_when_it_was_there_for_three_expiries_and_lost_nothing() {
    let mut lease = renewed(PartitionPolicy::Stop, 18_000);
    assert!(lease.is_mirror_complete(at(18_005)));
    assert!(!renewed(PartitionPolicy::Stop, 17_000).is_mirror_complete(at(17_999)));
    lease.renew(at(18_500), at(18_505), "h");
    for ms in (19_000..=36_500).step_by(500) {
        lease.observe(at(ms));
        lease.renew(at(ms), at(ms + 4), "h");
    }
    assert!(!lease.is_mirror_complete(at(36_504)));
    assert!(lease.is_mirror_complete(at(36_505)));
    lease.miss();
    assert!(!lease.is_mirror_complete(at(36_505)));
}

#[test]
fn node_that_stood_still_gives_nothing_up_before_its_own_heartbeat_had_time() {
    let cut_off = [MirrorAnswer::Has { for_ms: 60_000 }];
    let mut lease = renewed(PartitionPolicy::Stop, 3_000);
    lease.observe(at(20_000));
    assert_eq!(lease.diagnose(at(20_010), &cut_off), ExpiryCause::Unknown);
    observe_until(&mut lease, 20_500, 21_500);
    assert_eq!(lease.diagnose(at(21_999), &cut_off), ExpiryCause::Unknown);
    assert_eq!(lease.diagnose(at(22_000), &cut_off), ExpiryCause::CutOff);
}

#[test]
fn watched_heartbeat_expires_when_it_was_seen_to_stand_still_long_enough() {
    let mut watch = Watch::new(6_000);
    for ms in (0..=5_000).step_by(1_000) {
        watch.see(node(1), 5, at(ms));
    }
    watch.see(node(1), 5, at(5_999));
    assert!(!watch.is_expired(node(1)));
    watch.see(node(1), 5, at(6_000));
    assert!(watch.is_expired(node(1)));
    watch.see(node(1), 6, at(6_100));
    assert!(!watch.is_expired(node(1)));
    assert!(!watch.is_expired(node(2)), "never seen");
    watch.forget(node(1));
    assert!(!watch.is_expired(node(1)));
}

#[test]
fn time_in_which_nobody_looked_does_not_count() {
    let mut watch = Watch::new(6_000);
    watch.see(node(1), 5, at(0));
    watch.see(node(1), 5, at(60_000));
    assert_eq!(watch.still_ms(node(1)), 0);
    watch.see(node(1), 5, at(62_000));
    assert_eq!(watch.still_ms(node(1)), 2_000);
}

#[test]
fn heartbeat_that_was_under_way_while_the_node_stood_still_proves_nothing() {
    let mut lease = renewed(PartitionPolicy::Stop, 10_000);
    lease.observe(at(30_000));
    lease.renew(at(10_500), at(30_001), "g");
    assert_eq!(lease.has_mirror_for(at(30_002)), None);
    assert_eq!(lease.diagnose(at(30_010), &[]), ExpiryCause::Unknown);
    lease.renew(at(30_020), at(30_021), "g");
    assert!(!lease.may_take_expired(at(30_022)));
}

#[test]
fn node_that_stood_still_in_an_outage_needs_a_proof_though_nobody_has_looked_yet() {
    let mut lease = renewed(PartitionPolicy::Stop, 0);
    observe_until(&mut lease, 500, 4_000);
    lease.diagnose(at(4_000), &[]);
    lease.renew(at(20_000), at(20_005), "g");
    assert_eq!(lease.shared().view(at(20_010)).term, 1);
}

#[test]
fn watch_is_bounded() {
    let mut watch = Watch::new(1);
    for number in 0..=10_000_u128 {
        watch.see(node(number), 1, at(0));
    }
    assert!(watch.watched() <= 10_000);
}
