//! Any chain of commits: what is loaded is their sum.

use callboard::{
    ids::Version,
    room::record::{ChangeSet, Snapshot},
};
use proptest::{prelude::*, test_runner::TestRunner};

use crate::{
    fixture::{Fixture, apply, load, on_every_adapter},
    sample::*,
};

on_every_adapter![any_chain_of_commits_loads_as_its_sum,];

/// One random step: (user, what, new events, flags).
type Step = (u8, u8, u8, u8);

fn random_changes((user, what, events, flags): Step, version: u64, room: &Snapshot) -> ChangeSet {
    let seq = room.seq.0 + u64::from(events);
    let id = user_id(u128::from(user));
    if flags % 8 == 0 {
        let mut changes = full_changes(room, version, version + 1);
        changes.participants.remove(&id);
        return changes;
    }
    let mut changes = empty_changes(version, version + 1 + u64::from(flags % 3), seq);
    changes.tail = (room.seq.0 + 1..=seq).map(event).collect();
    changes.tail_keep = usize::from(flags);
    let is_set = what % 2 == 0;
    let name = format!("user {user} {what}");
    match what / 2 {
        0 => drop(
            changes
                .participants
                .insert(id, is_set.then(|| participant(&name))),
        ),
        1 => drop(changes.lobby.insert(id, is_set.then(lobby_record))),
        2 => {
            let stay = callboard::ids::StayId(id.0);
            changes.left.insert(stay, is_set.then(left_record));
        }
        3 => {
            let ban = callboard::room::record::BanRecord { created_at: NOW };
            changes.bans.insert(id, is_set.then_some(ban));
        }
        _ => {
            let mut head = room.head.clone();
            head.is_recording = is_set;
            head.empty_at = is_set.then_some(NOW.plus_ms(u64::from(flags)));
            head.session = head.session.filter(|_| is_set);
            changes.head = Some(head);
        }
    }
    changes
}

async fn any_chain_of_commits_loads_as_its_sum(fixture: Fixture) {
    let steps = prop::collection::vec((0..4_u8, 0..10_u8, 0..4_u8, 1..16_u8), 0..20);
    let mut runner = TestRunner::new(ProptestConfig::with_cases(24));
    let runtime = tokio::runtime::Handle::current();
    tokio::task::block_in_place(|| {
        runner
            .run(&steps, |steps| {
                runtime.block_on(async {
                    let (owned, mut room) = Owned::rich(&*fixture.mirror).await;
                    let mut version = 1;
                    for step in steps {
                        let changes = random_changes(step, version, &room);
                        version = changes.to.0;
                        apply(&mut room, &changes);
                        owned.write(&*fixture.mirror, changes).await;
                    }
                    let (_, stored_version, stored) = load(&fixture, &owned).await;
                    assert_eq!(stored_version, Version(version));
                    assert_eq!(stored, Some(room));
                });
                Ok(())
            })
            .unwrap();
    });
}
