//! What a lease in doubt, and a mirror that lost the room, mean for an owner.

use super::*;

#[test]
fn in_doubt_nothing_is_published_not_even_what_is_committed() {
    let mut stage = Stage::with_one();
    stage.say("one");
    let _ = stage.commit(CommitOutcome::Ok);
    stage.stand(LeaseState::Unsure, 0);
    assert!(stage.told().is_empty());
    stage.pass(3_000);
    assert!(!stage.owner.is_degraded());
    assert!(stage.told().is_empty());
    stage.stand(LeaseState::Held, 0);
    assert_eq!(stage.told(), ["message durable", "Ack durable"]);
}

#[test]
fn a_node_that_is_cut_off_loses_its_rooms() {
    let mut stage = Stage::with_one();
    let lease = in_term(LeaseState::CutOff, 0);
    assert_eq!(stage.owner.read_lease(lease), StillOwner::No);
    assert!(stage.told().is_empty());
}

#[test]
fn in_an_outage_the_room_goes_on_without_durability() {
    let mut stage = Stage::with_one();
    stage.stand(LeaseState::Outage, 0);
    stage.pass(100);
    assert!(stage.owner.is_degraded());
    stage.say("one");
    assert_eq!(
        stage.told(),
        [
            "is not durable not durable",
            "message not durable",
            "Ack not durable"
        ]
    );
}

#[test]
fn after_a_lapsed_lease_the_mirror_must_confirm_the_room_first() {
    let mut stage = Stage::with_one();
    stage.stand(LeaseState::Unsure, 0);
    stage.stand(LeaseState::Held, 1);
    assert!(!stage.owner.is_trusted());
    let proof = stage.owner.next_commit().unwrap();
    assert_eq!(proof.changes.from, proof.changes.to);
    stage.say("one");
    assert!(stage.told().is_empty());
    let _ = stage
        .owner
        .committed_to(stage.now, proof.changes.to, CommitOutcome::Ok);
    assert!(stage.owner.is_trusted());
    let _ = stage.commit(CommitOutcome::Ok);
    assert_eq!(stage.told(), ["message durable", "Ack durable"]);
}

#[test]
fn an_answer_to_a_commit_of_an_earlier_term_proves_nothing() {
    let mut stage = Stage::with_one();
    stage.say("one");
    let old = stage.owner.next_commit().unwrap();
    stage.stand(LeaseState::Held, 1);
    let _ = stage
        .owner
        .committed_to(stage.now, old.changes.to, CommitOutcome::Ok);
    assert!(!stage.owner.is_trusted());
    assert!(stage.told().is_empty());
    let _ = stage.commit(CommitOutcome::Ok);
    assert_eq!(stage.told(), ["message durable", "Ack durable"]);
}

#[test]
fn a_lost_room_is_written_again_at_once_by_an_owner_that_never_lapsed() {
    for outcome in [CommitOutcome::Behind, CommitOutcome::Missing] {
        let mut stage = Stage::with_one();
        stage.say("one");
        assert_eq!(stage.commit(outcome), StillOwner::Yes);
        assert!(stage.owner.next_commit().is_none());
        let loss = stage.owner.next_loss(stage.now).unwrap();
        assert!(loss.commit.changes.is_full);
        let to = loss.commit.changes.to;
        let restored = Recovery::Restored(Epoch(7));
        let fate = stage.owner.recovered(stage.now, to, outcome, restored);
        assert_eq!(fate, StillOwner::Yes);
        assert_eq!(stage.owner.room().epoch(), Epoch(7));
        assert_eq!(stage.told(), ["message durable", "Ack durable"]);
    }
}

#[test]
fn after_a_lapse_a_lost_room_is_left_to_others_for_the_expiry() {
    let mut stage = Stage::with_one();
    stage.stand(LeaseState::Held, 1);
    assert_eq!(stage.commit(CommitOutcome::Missing), StillOwner::Yes);
    stage.pass(5_900);
    assert!(stage.owner.next_loss(stage.now).is_none());
    stage.pass(100);
    assert!(stage.owner.next_loss(stage.now).is_some());
}

#[test]
fn a_recovery_that_fails_is_tried_again_and_one_that_is_lost_gives_the_room_up() {
    let mut stage = Stage::with_one();
    stage.say("one");
    let _ = stage.commit(CommitOutcome::Missing);
    let to = stage.owner.next_loss(stage.now).unwrap().commit.changes.to;
    let failed = Recovery::Failed;
    let _ = stage
        .owner
        .recovered(stage.now, to, CommitOutcome::Missing, failed);
    assert!(stage.owner.is_degraded());
    assert!(stage.owner.next_loss(stage.now).is_none());
    stage.pass(500);
    let to = stage.owner.next_loss(stage.now).unwrap().commit.changes.to;
    let lost = Recovery::Lost;
    let fate = stage
        .owner
        .recovered(stage.now, to, CommitOutcome::Missing, lost);
    assert_eq!(fate, StillOwner::No);
}

#[test]
fn a_commit_that_the_writer_refused_is_offered_again_and_its_wait_counts() {
    let mut stage = Stage::with_one();
    stage.say("one");
    let commit = stage.owner.next_commit().unwrap();
    let (from, to) = (commit.changes.from, commit.changes.to);
    stage.owner.commit_refused(commit);
    stage.pass(1_000);
    assert!(stage.owner.is_degraded());
    let again = stage.owner.next_commit().unwrap();
    assert_eq!((again.changes.from, again.changes.to), (from, to));
}

#[test]
fn an_idle_room_is_verified_now_and_then() {
    let mut stage = Stage::with_one();
    assert!(stage.owner.next_commit().is_none());
    stage.pass(LIMITS.verify_ms);
    let empty = stage.owner.next_commit().unwrap();
    assert!(empty.changes.tail.is_empty());
    assert_eq!(empty.changes.seq, Seq(1));
}

#[test]
fn a_close_that_sql_has_is_the_owners_own_only_if_its_lease_never_lapsed() {
    for (term, fate) in [(0, StillOwner::Yes), (1, StillOwner::No)] {
        let mut stage = Stage::with_one();
        stage.stand(LeaseState::Held, term);
        let end = crate::protocol::EndReason::Ended;
        let _ = stage.owner.apply(stage.now, Input::End(end));
        let outcome = CommitOutcome::Missing;
        assert_eq!(stage.commit(outcome), StillOwner::Yes);
        stage.pass(6_000);
        let to = stage.owner.next_loss(stage.now).unwrap().commit.changes.to;
        let closed = Recovery::Closed;
        assert_eq!(stage.owner.recovered(stage.now, to, outcome, closed), fate);
        let is_told = stage.told().contains(&"Closed durable".to_owned());
        assert_eq!(is_told, fate == StillOwner::Yes);
    }
}
