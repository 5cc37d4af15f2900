//! What every adapter does alike.

use std::{collections::HashSet, path::PathBuf, sync::Arc};

use callboard::{
    ids::{Epoch, RoomId, Seq, SessionId, UserId, Version},
    mirror::{
        Claim, ClaimOutcome, CommitOutcome, NodeRecord, Ownership, RoomMirror,
        memory::MemoryMirror,
        redis::{RedisMirror, RedisOptions},
        sqlite::{SqliteMirror, SqliteSync},
    },
    room::record::{ChangeSet, Snapshot},
};
use diesel::{Connection, SqliteConnection, connection::SimpleConnection};
use proptest::{prelude::*, test_runner::TestRunner};
use uuid::Uuid;

use crate::{redis_server::RedisServer, sample::*};

/// An adapter under test and ways to harm what it holds.
pub struct Fixture {
    pub mirror: Arc<dyn RoomMirror>,
    hold: Hold,
}

enum Hold {
    Memory(Arc<MemoryMirror>),
    Sqlite(tempfile::TempDir),
    Redis(RedisServer),
}

impl Fixture {
    async fn memory() -> Self {
        let mirror = Arc::new(MemoryMirror::new());
        Self {
            mirror: mirror.clone(),
            hold: Hold::Memory(mirror),
        }
    }

    async fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mirror.db");
        Self {
            mirror: Arc::new(SqliteMirror::open(path, SqliteSync::Normal).unwrap()),
            hold: Hold::Sqlite(directory),
        }
    }

    async fn redis() -> Self {
        let server = RedisServer::start();
        let mirror = RedisMirror::connect(&RedisOptions::new(server.url())).await;
        Self {
            mirror: Arc::new(mirror.unwrap()),
            hold: Hold::Redis(server),
        }
    }

    /// A Redis Cluster of one node that serves every slot.
    async fn cluster() -> Self {
        let server = RedisServer::start_with(&["--cluster-enabled", "yes"]);
        let _: String = server.command(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
        while !server
            .command::<String>(&["CLUSTER", "INFO"])
            .contains("cluster_state:ok")
        {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        let url = format!("redis+cluster://127.0.0.1:{}", server.port());
        let mirror = RedisMirror::connect(&RedisOptions::new(url)).await;
        Self {
            mirror: Arc::new(mirror.unwrap()),
            hold: Hold::Redis(server),
        }
    }

    fn sql(directory: &tempfile::TempDir, statement: &str) {
        let path: PathBuf = directory.path().join("mirror.db");
        let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
        connection.batch_execute(statement).unwrap();
    }

    /// As if a newer release had written the room.
    fn raise_format(&self, room_id: RoomId) {
        match &self.hold {
            Hold::Memory(mirror) => mirror.raise_format(room_id),
            Hold::Sqlite(directory) => Self::sql(directory, "UPDATE room SET format = 2"),
            Hold::Redis(server) => {
                let _: u64 =
                    server.command(&["HSET", &format!("room:{{{room_id}}}"), "format", "2"]);
            }
        }
    }

    /// The mirror forgets the room.
    fn lose(&self, room_id: RoomId) {
        match &self.hold {
            Hold::Memory(mirror) => mirror.lose_room(room_id),
            Hold::Sqlite(directory) => Self::sql(directory, "DELETE FROM room"),
            Hold::Redis(server) => {
                let _: u64 = server.command(&["DEL", &format!("room:{{{room_id}}}")]);
            }
        }
    }
}

/// Runs each behaviour on each adapter.
macro_rules! on_every_adapter {
    ($($behaviour:ident),+ $(,)?) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $behaviour() { super::$behaviour(super::Fixture::memory().await).await })+
        }
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $behaviour() { super::$behaviour(super::Fixture::sqlite().await).await })+
        }
        mod cluster {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $behaviour() { super::$behaviour(super::Fixture::cluster().await).await })+
        }
        mod redis {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $behaviour() { super::$behaviour(super::Fixture::redis().await).await })+
        }
    };
}

on_every_adapter![
    claim_of_an_unknown_room_stores_its_owner_only,
    claim_loads_exactly_what_was_committed,
    claim_loads_partial_commits_applied_in_order,
    any_chain_of_commits_loads_as_its_sum,
    commit_out_of_the_chain_is_behind,
    repeated_commit_is_ok_and_changes_nothing,
    former_owner_is_fenced_and_told_by_whom,
    commit_to_an_unknown_room_is_missing,
    empty_commit_verifies_the_room,
    commits_of_many_rooms_are_answered_in_their_order,
    one_of_many_claimants_wins,
    claim_with_a_wrong_expectation_is_lost,
    owner_claims_its_own_room_again_under_a_new_epoch,
    epochs_never_go_back,
    room_of_a_newer_format_is_not_claimed,
    closing_moves_the_session_to_the_outbox,
    repeated_closing_is_ok_also_behind_a_new_session,
    repeated_closing_without_session_is_ok,
    restore_is_a_compare_and_set_to_a_new_epoch,
    restore_writes_a_missing_room_anew,
    restore_may_close_the_room,
    full_commit_drops_what_was_there,
    ten_thousand_participants_fit_one_commit,
    tail_keeps_the_newest_events,
    rooms_are_listed_by_their_owner,
    nodes_are_listed_until_they_are_forgotten,
];

async fn load(fixture: &Fixture, owned: &Owned) -> (Owned, Version, Option<Snapshot>) {
    let expected = Some(owned.ownership());
    let claimant = node_id();
    let (owned, version, room) =
        Owned::claim(&*fixture.mirror, owned.room_id, expected, claimant).await;
    (owned, version, room.map(|room| *room))
}

async fn claim_of_an_unknown_room_stores_its_owner_only(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let room_id = room_id();
    assert_eq!(mirror.ownership(room_id).await.unwrap(), None);
    let (owned, version, room) = Owned::claim(mirror, room_id, None, node_id()).await;
    assert_eq!((version, room), (Version(0), None));
    assert_eq!(
        mirror.ownership(room_id).await.unwrap(),
        Some(owned.ownership())
    );
    // Still nothing but an owner: the claimant died before its first commit.
    let (_, version, room) = load(&fixture, &owned).await;
    assert_eq!((version, room), (Version(0), None));
}

async fn claim_loads_exactly_what_was_committed(fixture: Fixture) {
    let (owned, snapshot) = Owned::rich(&*fixture.mirror).await;
    let (_, version, room) = load(&fixture, &owned).await;
    assert_eq!(version, Version(1));
    assert_eq!(room, Some(snapshot));
}

async fn claim_loads_partial_commits_applied_in_order(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let (owned, mut snapshot) = Owned::rich(mirror).await;
    let mut changes = empty_changes(1, 4, 7);
    snapshot.head.sfu_region = None;
    snapshot.head.depart_at = None;
    snapshot.head.is_locked = true;
    snapshot.head.epoch_starts.clear();
    changes.head = Some(snapshot.head.clone());
    changes.participants.insert(user_id(2), None);
    changes
        .participants
        .insert(user_id(6), Some(participant("New")));
    changes.lobby.insert(user_id(4), None);
    changes.bans.insert(user_id(5), None);
    changes.left.insert(
        callboard::ids::StayId(Uuid::from_u128(12)),
        Some(left_record()),
    );
    changes.tail = vec![event(6), event(7)];
    owned.write(mirror, changes.clone()).await;
    apply(&mut snapshot, &changes);

    let mut second = empty_changes(4, 5, 7);
    second
        .participants
        .insert(user_id(6), Some(participant("Renamed")));
    owned.write(mirror, second.clone()).await;
    apply(&mut snapshot, &second);

    let (_, version, room) = load(&fixture, &owned).await;
    assert_eq!(version, Version(5));
    assert_eq!(room, Some(snapshot));
}

/// The meaning of a change set.
fn apply(snapshot: &mut Snapshot, changes: &ChangeSet) {
    fn records<K: Ord + Copy, V: Clone>(
        stored: &mut std::collections::BTreeMap<K, V>,
        changes: &std::collections::BTreeMap<K, Option<V>>,
    ) {
        for (&id, change) in changes {
            stored.remove(&id);
            stored.extend(change.clone().map(|record| (id, record)));
        }
    }
    if changes.is_full {
        snapshot.participants.clear();
        snapshot.lobby.clear();
        snapshot.left.clear();
        snapshot.bans.clear();
        snapshot.tail.clear();
    }
    snapshot.head = changes.head.clone().unwrap_or(snapshot.head.clone());
    snapshot.seq = changes.seq;
    records(&mut snapshot.participants, &changes.participants);
    records(&mut snapshot.lobby, &changes.lobby);
    records(&mut snapshot.left, &changes.left);
    records(&mut snapshot.bans, &changes.bans);
    snapshot.tail.extend(changes.tail.iter().cloned());
    let excess = snapshot.tail.len().saturating_sub(changes.tail_keep);
    snapshot.tail.drain(..excess);
}

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

async fn commit_out_of_the_chain_is_behind(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let (owned, snapshot) = Owned::rich(mirror).await;
    let outcome = owned.try_write(mirror, empty_changes(3, 4, 5)).await;
    assert_eq!(outcome, CommitOutcome::Behind);
    let newer = Owned {
        epoch: owned.epoch.next(),
        ..owned
    };
    let outcome = newer.try_write(mirror, empty_changes(1, 2, 5)).await;
    assert_eq!(outcome, CommitOutcome::Behind);
    let (_, version, room) = load(&fixture, &owned).await;
    assert_eq!((version, room), (Version(1), Some(snapshot)));
}

async fn repeated_commit_is_ok_and_changes_nothing(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let (owned, mut snapshot) = Owned::rich(mirror).await;
    let mut changes = empty_changes(1, 2, 6);
    changes.tail = vec![event(6)];
    owned.write(mirror, changes.clone()).await;
    owned.write(mirror, changes.clone()).await;
    apply(&mut snapshot, &changes);
    let (_, version, room) = load(&fixture, &owned).await;
    assert_eq!((version, room), (Version(2), Some(snapshot)));
}

async fn former_owner_is_fenced_and_told_by_whom(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let (owned, snapshot) = Owned::rich(mirror).await;
    let (successor, ..) = load(&fixture, &owned).await;
    let fenced = CommitOutcome::Fenced {
        epoch: successor.epoch,
        owner: Some(successor.owner),
    };
    for changes in [
        empty_changes(1, 2, 5),
        empty_changes(0, 1, 5),
        empty_changes(7, 8, 5),
        closing_changes(1, 2, None),
    ] {
        assert_eq!(owned.try_write(mirror, changes).await, fenced);
    }
    // The same epoch under another name: the mirror once forgot a claim.
    let twin = Owned {
        owner: node_id(),
        ..successor
    };
    assert_eq!(twin.try_write(mirror, empty_changes(1, 2, 5)).await, fenced);
    successor.write(mirror, empty_changes(1, 2, 5)).await;
    let (_, version, room) = load(&fixture, &successor).await;
    assert_eq!((version, room), (Version(2), Some(snapshot)));
}

async fn commit_to_an_unknown_room_is_missing(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let (owned, snapshot) = Owned::rich(mirror).await;
    fixture.lose(owned.room_id);
    let session = closed_session(owned.room_id, SessionId(Uuid::new_v4()));
    for changes in [
        empty_changes(1, 2, 5),
        full_changes(&snapshot, 1, 2),
        closing_changes(1, 2, Some(session)),
    ] {
        let outcome = owned.try_write(mirror, changes).await;
        assert_eq!(outcome, CommitOutcome::Missing);
    }
    assert_eq!(mirror.ownership(owned.room_id).await.unwrap(), None);
    assert!(mirror.outbox(10).await.unwrap().is_empty());
}

async fn empty_commit_verifies_the_room(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let (owned, snapshot) = Owned::rich(mirror).await;
    owned.write(mirror, empty_changes(1, 1, 5)).await;
    let (_, version, room) = load(&fixture, &owned).await;
    assert_eq!((version, room), (Version(1), Some(snapshot)));
}

async fn commits_of_many_rooms_are_answered_in_their_order(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let mut commits = Vec::new();
    let mut wanted = Vec::new();
    for number in 0..60 {
        let (owned, _) = Owned::rich(mirror).await;
        match number % 3 {
            0 => {
                commits.push(owned.commit(empty_changes(1, 2, 5)));
                wanted.push(CommitOutcome::Ok);
            }
            1 => {
                commits.push(owned.commit(empty_changes(2, 3, 5)));
                wanted.push(CommitOutcome::Behind);
            }
            _ => {
                let unknown = Owned {
                    room_id: room_id(),
                    ..owned
                };
                commits.push(unknown.commit(empty_changes(1, 2, 5)));
                wanted.push(CommitOutcome::Missing);
            }
        }
    }
    let results = mirror.commit(&commits).await;
    let outcomes: Vec<_> = results.into_iter().map(Result::unwrap).collect();
    assert_eq!(outcomes, wanted);
    assert!(mirror.commit(&[]).await.is_empty());
}

async fn one_of_many_claimants_wins(fixture: Fixture) {
    let (owned, snapshot) = Owned::rich(&*fixture.mirror).await;
    for (room_id, expected) in [(room_id(), None), (owned.room_id, Some(owned.ownership()))] {
        let claims = (0..40).map(|_| {
            let mirror = Arc::clone(&fixture.mirror);
            let claimant = node_id();
            let claim = Claim {
                room_id,
                expected,
                claimant,
                last_seen: Epoch(0),
            };
            tokio::spawn(async move { (claimant, mirror.claim(claim).await.unwrap()) })
        });
        let mut winners = Vec::new();
        let mut losers = HashSet::new();
        for claim in claims.collect::<Vec<_>>() {
            match claim.await.unwrap() {
                (claimant, ClaimOutcome::Claimed { epoch, room, .. }) => {
                    assert_eq!(room.is_some(), expected.is_some());
                    assert!(room.is_none_or(|room| *room == snapshot));
                    winners.push(Ownership {
                        owner: Some(claimant),
                        epoch,
                    });
                }
                (_, ClaimOutcome::Lost(stored)) => {
                    let stored = stored.unwrap();
                    losers.insert((stored.owner, stored.epoch));
                }
                (_, ClaimOutcome::TooNew) => panic!("too new"),
            }
        }
        assert_eq!(winners.len(), 1);
        // Every loser was told the winner: that is where it forwards to.
        assert_eq!(
            losers,
            HashSet::from([(winners[0].owner, winners[0].epoch)])
        );
    }
}

async fn claim_with_a_wrong_expectation_is_lost(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let (owned, _) = Owned::rich(mirror).await;
    let right = owned.ownership();
    let wrong = [
        None,
        Some(Ownership {
            owner: None,
            ..right
        }),
        Some(Ownership {
            owner: Some(node_id()),
            ..right
        }),
        Some(Ownership {
            epoch: right.epoch.next(),
            ..right
        }),
    ];
    for expected in wrong {
        let claim = Claim {
            room_id: owned.room_id,
            expected,
            claimant: node_id(),
            last_seen: Epoch(0),
        };
        let outcome = mirror.claim(claim).await.unwrap();
        assert!(
            matches!(outcome, ClaimOutcome::Lost(Some(stored)) if stored == right),
            "{outcome:?}"
        );
    }
    let claim = Claim {
        room_id: room_id(),
        expected: Some(right),
        claimant: node_id(),
        last_seen: Epoch(0),
    };
    let outcome = mirror.claim(claim).await.unwrap();
    assert!(matches!(outcome, ClaimOutcome::Lost(None)), "{outcome:?}");
    owned.write(mirror, empty_changes(1, 2, 5)).await;
}

async fn owner_claims_its_own_room_again_under_a_new_epoch(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let (owned, snapshot) = Owned::rich(mirror).await;
    let (again, version, room) =
        Owned::claim(mirror, owned.room_id, Some(owned.ownership()), owned.owner).await;
    assert!(again.epoch > owned.epoch);
    assert_eq!((version, room), (Version(1), Some(Box::new(snapshot))));
    let outcome = owned.try_write(mirror, empty_changes(1, 2, 5)).await;
    assert!(matches!(outcome, CommitOutcome::Fenced { .. }));
    again.write(mirror, empty_changes(1, 2, 5)).await;
    assert_eq!(mirror.rooms_of(owned.owner).await.unwrap(), [owned.room_id]);
}

async fn epochs_never_go_back(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let (owned, _) = Owned::rich(mirror).await;
    // A claimant that has seen more than the mirror remembers: a higher epoch, though exact.
    let seen = Epoch(owned.epoch.0 + 1_000_000_000_000);
    let claim = Claim {
        room_id: owned.room_id,
        expected: Some(owned.ownership()),
        claimant: owned.owner,
        last_seen: seen,
    };
    let outcome = mirror.claim(claim).await.unwrap();
    let ClaimOutcome::Claimed { epoch, .. } = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(epoch, seen.next());
    let mut owned = Owned { epoch, ..owned };
    for _ in 0..20 {
        let before = owned.epoch;
        (owned, _, _) = load(&fixture, &owned).await;
        assert_eq!(owned.epoch, before.next());
    }
    // Also when the mirror has forgotten the room.
    let first = Owned::new(mirror).await;
    fixture.lose(first.room_id);
    let (second, ..) = Owned::claim(mirror, first.room_id, None, node_id()).await;
    assert!(second.epoch > first.epoch);
}

async fn room_of_a_newer_format_is_not_claimed(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let (owned, snapshot) = Owned::rich(mirror).await;
    fixture.raise_format(owned.room_id);
    let claim = Claim {
        room_id: owned.room_id,
        expected: Some(owned.ownership()),
        claimant: node_id(),
        last_seen: Epoch(0),
    };
    let outcome = mirror.claim(claim).await.unwrap();
    assert!(matches!(outcome, ClaimOutcome::TooNew), "{outcome:?}");
    let commit = owned.commit(full_changes(&snapshot, 0, 9));
    let outcome = mirror
        .restore(&commit, Some(owned.ownership()))
        .await
        .unwrap();
    assert!(matches!(outcome, ClaimOutcome::TooNew), "{outcome:?}");
    assert_eq!(
        mirror.ownership(owned.room_id).await.unwrap(),
        Some(owned.ownership())
    );
}

async fn closing_moves_the_session_to_the_outbox(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let (owned, snapshot) = Owned::rich(mirror).await;
    let (other, _) = Owned::rich(mirror).await;
    let session_id = snapshot.head.session.unwrap().session_id;
    let session = closed_session(owned.room_id, session_id);
    owned
        .write(mirror, closing_changes(1, 2, Some(session.clone())))
        .await;
    assert_eq!(mirror.ownership(owned.room_id).await.unwrap(), None);
    assert!(mirror.rooms_of(owned.owner).await.unwrap().is_empty());
    assert_eq!(mirror.outbox(10).await.unwrap(), [session.clone()]);
    assert_eq!(mirror.outbox(10).await.unwrap(), [session]);
    assert!(mirror.outbox(0).await.unwrap().is_empty());
    mirror.recorded(owned.room_id, session_id).await.unwrap();
    mirror.recorded(owned.room_id, session_id).await.unwrap();
    assert!(mirror.outbox(10).await.unwrap().is_empty());
    // The neighbour lives.
    other.write(mirror, empty_changes(1, 2, 5)).await;
}

async fn repeated_closing_is_ok_also_behind_a_new_session(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let (owned, snapshot) = Owned::rich(mirror).await;
    let session_id = snapshot.head.session.unwrap().session_id;
    let closing = closing_changes(1, 2, Some(closed_session(owned.room_id, session_id)));
    owned.write(mirror, closing.clone()).await;
    owned.write(mirror, closing.clone()).await;
    let (next, version, room) = Owned::claim(mirror, owned.room_id, None, node_id()).await;
    assert_eq!((version, room), (Version(0), None));
    let next_room = rich(owned.room_id);
    next.write(mirror, full_changes(&next_room, 0, 1)).await;
    owned.write(mirror, closing).await;
    assert_eq!(mirror.outbox(10).await.unwrap().len(), 1);
    // The new session is whole, and ends in an entry of its own.
    let (next, _, room) = load(&fixture, &next).await;
    assert_eq!(room, Some(next_room.clone()));
    let next_session = closed_session(owned.room_id, next_room.head.session.unwrap().session_id);
    next.write(mirror, closing_changes(1, 2, Some(next_session)))
        .await;
    let entries = mirror.outbox(10).await.unwrap();
    let ids: HashSet<SessionId> = entries.iter().map(|entry| entry.session_id).collect();
    assert_eq!(ids.len(), 2);
}

async fn repeated_closing_without_session_is_ok(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let (owned, _) = Owned::rich(mirror).await;
    owned.write(mirror, closing_changes(1, 2, None)).await;
    owned.write(mirror, closing_changes(1, 2, None)).await;
    assert_eq!(mirror.ownership(owned.room_id).await.unwrap(), None);
    assert!(mirror.outbox(10).await.unwrap().is_empty());
}

async fn restore_is_a_compare_and_set_to_a_new_epoch(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let (owned, mut room) = Owned::rich(mirror).await;
    room.participants.remove(&user_id(3));
    room.seq = Seq(6);
    room.tail.push(event(6));
    let commit = owned.commit(full_changes(&room, 40, 41));
    let stale = Ownership {
        epoch: Epoch(1),
        ..owned.ownership()
    };
    let outcome = mirror.restore(&commit, Some(stale)).await.unwrap();
    assert!(matches!(outcome, ClaimOutcome::Lost(Some(stored)) if stored == owned.ownership()));
    let outcome = mirror.restore(&commit, None).await.unwrap();
    assert!(matches!(outcome, ClaimOutcome::Lost(Some(_))));
    let outcome = mirror.restore(&commit, Some(owned.ownership())).await;
    let ClaimOutcome::Claimed { epoch, version, .. } = outcome.unwrap() else {
        panic!("not restored");
    };
    assert!(epoch > owned.epoch);
    assert_eq!(version, Version(41));
    let restored = Owned { epoch, ..owned };
    restored.write(mirror, empty_changes(41, 42, 6)).await;
    let (_, version, stored) = load(&fixture, &restored).await;
    assert_eq!((version, stored), (Version(42), Some(room)));
}

async fn restore_writes_a_missing_room_anew(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let (owned, room) = Owned::rich(mirror).await;
    fixture.lose(owned.room_id);
    let commit = owned.commit(full_changes(&room, 7, 8));
    let outcome = mirror
        .restore(&commit, Some(owned.ownership()))
        .await
        .unwrap();
    assert!(matches!(outcome, ClaimOutcome::Lost(None)), "{outcome:?}");
    let ClaimOutcome::Claimed { epoch, .. } = mirror.restore(&commit, None).await.unwrap() else {
        panic!("not restored");
    };
    assert!(epoch > owned.epoch);
    assert_eq!(mirror.rooms_of(owned.owner).await.unwrap(), [owned.room_id]);
    let (_, version, stored) = load(&fixture, &Owned { epoch, ..owned }).await;
    assert_eq!((version, stored), (Version(8), Some(room)));
}

async fn restore_may_close_the_room(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let (owned, room) = Owned::rich(mirror).await;
    let session = closed_session(owned.room_id, room.head.session.unwrap().session_id);
    let mut changes = closing_changes(4, 5, Some(session.clone()));
    changes.is_full = true;
    let commit = owned.commit(changes);
    for _ in 0..2 {
        let outcome = mirror.restore(&commit, Some(owned.ownership())).await;
        assert!(matches!(outcome.unwrap(), ClaimOutcome::Claimed { .. }));
    }
    assert_eq!(mirror.ownership(owned.room_id).await.unwrap(), None);
    assert_eq!(mirror.outbox(10).await.unwrap(), [session]);
}

async fn full_commit_drops_what_was_there(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let (owned, mut room) = Owned::rich(mirror).await;
    room.participants.remove(&user_id(2));
    room.lobby.clear();
    room.left.clear();
    room.bans.clear();
    room.tail.drain(..2);
    room.head.session = None;
    room.head.ends_at = None;
    owned.write(mirror, full_changes(&room, 1, 2)).await;
    let (_, _, stored) = load(&fixture, &owned).await;
    assert_eq!(stored, Some(room));
}

async fn ten_thousand_participants_fit_one_commit(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let owned = Owned::new(mirror).await;
    let mut room = rich(owned.room_id);
    room.participants = (0..10_000_u128)
        .map(|number| (user_id(number), participant(&format!("user {number}"))))
        .collect();
    owned.write(mirror, full_changes(&room, 0, 1)).await;
    let (owned, _, stored) = load(&fixture, &owned).await;
    assert!(stored == Some(room), "10,000 came back as they were");
    let mut changes = empty_changes(1, 2, 5);
    changes.participants = (0..9_999_u128)
        .map(|number| (user_id(number), None))
        .collect();
    owned.write(mirror, changes).await;
    let (_, _, stored) = load(&fixture, &owned).await;
    let left: Vec<UserId> = stored.unwrap().participants.into_keys().collect();
    assert_eq!(left, [user_id(9_999)]);
}

async fn tail_keeps_the_newest_events(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let (owned, _) = Owned::rich(mirror).await;
    let mut changes = empty_changes(1, 2, 3_005);
    changes.tail = (6..=3_005).map(event).collect();
    changes.tail_keep = 4;
    owned.write(mirror, changes).await;
    let (owned, _, stored) = load(&fixture, &owned).await;
    let wanted: Vec<_> = (3_002..=3_005).map(event).collect();
    assert_eq!(stored.unwrap().tail, wanted);
    let mut changes = empty_changes(2, 3, 3_006);
    changes.tail = vec![event(3_006)];
    changes.tail_keep = 0;
    owned.write(mirror, changes).await;
    let (_, _, stored) = load(&fixture, &owned).await;
    let stored = stored.unwrap();
    assert_eq!((stored.seq, stored.tail), (Seq(3_006), Vec::new()));
}

async fn rooms_are_listed_by_their_owner(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let owner = node_id();
    let mut rooms = HashSet::new();
    for _ in 0..5 {
        let id = room_id();
        Owned::claim(mirror, id, None, owner).await;
        rooms.insert(id);
    }
    let listed: HashSet<RoomId> = mirror.rooms_of(owner).await.unwrap().into_iter().collect();
    assert_eq!(listed, rooms);
    let taken = *rooms.iter().next().unwrap();
    let expected = mirror.ownership(taken).await.unwrap();
    let successor = node_id();
    Owned::claim(mirror, taken, expected, successor).await;
    assert_eq!(mirror.rooms_of(successor).await.unwrap(), [taken]);
    assert_eq!(mirror.rooms_of(owner).await.unwrap().len(), 4);
    assert!(mirror.rooms_of(node_id()).await.unwrap().is_empty());
}

async fn nodes_are_listed_until_they_are_forgotten(fixture: Fixture) {
    let mirror = &*fixture.mirror;
    let mut first = NodeRecord {
        node_id: node_id(),
        url: "http://127.0.0.1:8080".to_owned(),
        region: "local".to_owned(),
        version: "0.1.0".to_owned(),
        database_id: "db".to_owned(),
        rooms: 3,
        connections: 12,
        state: "starting".to_owned(),
        heartbeat: 1,
    };
    let generation = mirror.heartbeat(&first).await.unwrap();
    first.heartbeat = 2;
    first.state = "ready".to_owned();
    assert_eq!(mirror.heartbeat(&first).await.unwrap(), generation);
    let second = NodeRecord {
        node_id: node_id(),
        ..first.clone()
    };
    assert_eq!(mirror.heartbeat(&second).await.unwrap(), generation);
    let listed = mirror.nodes().await.unwrap();
    assert_eq!(listed.len(), 2);
    assert!(listed.contains(&first) && listed.contains(&second));
    mirror.forget_node(first.node_id).await.unwrap();
    assert_eq!(mirror.nodes().await.unwrap(), [second]);
}
