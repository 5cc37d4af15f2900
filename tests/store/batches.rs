//! What is recorded in one batch comes out as if its pieces had been recorded one by one, and
//! batches at once do not block each other for good.

use std::collections::BTreeMap;

use callboard::{
    ids::{RoomId, SessionId, StayId, Timestamp, UserId},
    protocol::EndReason,
    room::record::{Attendance, BanRecord, ClosedSession},
    store::{DEFAULT_TENANT, Opening, RECORD_BATCH, Room, RoomStatus},
};
use futures_util::future::join_all;
use uuid::Uuid;

use crate::{World, at, attendance, closed, on_both, opening, room, session_id};

on_both!(
    truth_after_lost_in_one_batch_replaces_it,
    ban_lifted_stays_lifted_when_its_session_comes_with_new_ones,
    very_large_session_is_recorded_with_everybody,
    batches_of_the_same_rooms_at_once_all_succeed,
    refused_session_takes_its_batch_with_it,
);

/// Rooms that exist; the next number has no row.
const ROOMS: u64 = 3;
const SESSIONS: u64 = 7;

/// The same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Ids of one run of a scenario: those of another run differ and have the same order.
#[derive(Clone, Copy)]
struct Run(Uuid);

impl Run {
    fn new() -> Self {
        Self(Uuid::new_v4())
    }

    fn id(self, kind: u64, number: u64) -> Uuid {
        Uuid::from_u64_pair(self.0.as_u64_pair().0, kind << 32 | number)
    }

    fn number(id: Uuid) -> u64 {
        id.as_u64_pair().1 & 0xFFFF_FFFF
    }

    fn room(self, number: u64) -> RoomId {
        RoomId(self.id(1, number))
    }

    fn session(self, number: u64) -> SessionId {
        SessionId(self.id(2, number))
    }

    fn user(self, number: u64) -> UserId {
        UserId(self.id(3, number))
    }

    fn stay(self, number: u64) -> StayId {
        StayId(self.id(4, number))
    }

    /// A session has one room.
    fn place(self, dice: &mut Dice) -> (RoomId, SessionId) {
        let session = dice.below(SESSIONS);
        (self.room(session % (ROOMS + 1)), self.session(session))
    }

    fn opening(self, dice: &mut Dice) -> Opening {
        let (room, session) = self.place(dice);
        opening(session, room, at(dice.below(50)))
    }

    fn closed(self, dice: &mut Dice) -> ClosedSession {
        let (room, session) = self.place(dice);
        let reasons = [
            EndReason::Lost,
            EndReason::Lost,
            EndReason::Empty,
            EndReason::Ended,
        ];
        let attendances = (0..dice.below(4)).map(|_| Attendance {
            stay_id: self.stay(dice.below(30)),
            user_id: self.user(dice.below(5)),
            ..attendance(&format!("person {}", dice.below(100)))
        });
        let attendances = attendances.collect();
        let bans = (0..dice.below(3)).map(|_| {
            let created_at = at(dice.below(100));
            (self.user(dice.below(5)), BanRecord { created_at })
        });
        let bans = bans.collect();
        ClosedSession {
            start_time: at(dice.below(100)),
            end_time: at(100 + dice.below(100)),
            end_reason: reasons[usize::try_from(dice.below(4)).unwrap()],
            attendances,
            bans,
            ..closed(room, session)
        }
    }

    /// Makes the rooms; some of their sessions are open, some of those lost.
    async fn begin(self, world: &World, seed: u64) -> Dice {
        let host = world.user().await;
        for number in 0..ROOMS {
            let room = Room {
                id: self.room(number),
                ..room(host.id)
            };
            world.store.create_room(room).await.unwrap();
        }
        let mut dice = Dice(seed);
        for _ in 0..dice.below(5) {
            let opening = self.opening(&mut dice);
            world.store.record_openings(&[opening]).await.unwrap();
            if dice.below(2) == 0 {
                world.store.close_lost(opening.session_id).await.unwrap();
            }
        }
        dice
    }

    async fn outcome(self, world: &World) -> Outcome {
        let store = &world.store;
        let mut outcome = Outcome::default();
        for number in 0..ROOMS {
            let room = self.room(number);
            let bans = store.bans(room).await.unwrap();
            let bans = bans
                .into_iter()
                .map(|(user, at)| (Self::number(user.0), at))
                .collect();
            outcome.rooms.push((world.status(room).await, bans));
        }
        for number in 0..SESSIONS {
            let session = store
                .session(DEFAULT_TENANT, self.session(number))
                .await
                .unwrap();
            let Some((row, attendances)) = session else {
                continue;
            };
            let people = attendances.into_iter().map(|one| {
                (
                    Self::number(one.stay_id.0),
                    Self::number(one.user_id.0),
                    one.display_name,
                )
            });
            let end = row.end_time.zip(row.end_reason);
            let times = (row.start_time, end, row.last_seen_at);
            outcome.sessions.insert(
                number,
                (Self::number(row.room_id.0), times, people.collect()),
            );
        }
        outcome
    }
}

type Times = (Timestamp, Option<(Timestamp, EndReason)>, Timestamp);
/// Stays, users and their names.
type People = Vec<(u64, u64, String)>;

/// What is in SQL, by numbers that do not depend on the run.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    rooms: Vec<(RoomStatus, Vec<(u64, Timestamp)>)>,
    sessions: BTreeMap<u64, (u64, Times, People)>,
}

/// Whether a batch is recorded at once.
#[derive(Clone, Copy)]
enum Way {
    Whole,
    OneByOne,
}

const WAYS: [Way; 2] = [Way::Whole, Way::OneByOne];

#[tokio::test]
async fn batch_leaves_what_its_sessions_leave_one_by_one_on_either_database() {
    let worlds = [World::on_postgres().await, World::on_sqlite().await];
    for seed in 0..60 {
        let mut outcomes = Vec::new();
        for (world, way) in worlds.iter().flat_map(|world| WAYS.map(|way| (world, way))) {
            let run = Run::new();
            let mut dice = run.begin(world, seed).await;
            let mut sessions: Vec<_> = (0..=dice.below(12))
                .map(|_| run.closed(&mut dice))
                .collect();
            match way {
                Way::Whole => world.store.record_sessions(&sessions).await.unwrap(),
                Way::OneByOne => {
                    sessions.sort_by_key(|session| (session.room_id, session.session_id));
                    for session in sessions {
                        world.store.record_sessions(&[session]).await.unwrap();
                    }
                }
            }
            outcomes.push(run.outcome(world).await);
        }
        for outcome in &outcomes {
            assert_eq!(outcome, &outcomes[0], "seed {seed}");
        }
    }
}

#[tokio::test]
async fn batch_of_openings_leaves_what_they_leave_one_by_one_on_either_database() {
    let worlds = [World::on_postgres().await, World::on_sqlite().await];
    for seed in 0..60 {
        let mut outcomes = Vec::new();
        for (world, way) in worlds.iter().flat_map(|world| WAYS.map(|way| (world, way))) {
            let run = Run::new();
            let mut dice = run.begin(world, seed).await;
            let closed = run.closed(&mut dice);
            world.store.record_sessions(&[closed]).await.unwrap();
            let mut openings: Vec<_> = (0..=dice.below(12))
                .map(|_| run.opening(&mut dice))
                .collect();
            match way {
                Way::Whole => world.store.record_openings(&openings).await.unwrap(),
                Way::OneByOne => {
                    openings.sort_by_key(|opening| (opening.room_id, opening.session_id));
                    for opening in openings {
                        world.store.record_openings(&[opening]).await.unwrap();
                    }
                }
            }
            outcomes.push(run.outcome(world).await);
        }
        for outcome in &outcomes {
            assert_eq!(outcome, &outcomes[0], "seed {seed}");
        }
    }
}

async fn truth_after_lost_in_one_batch_replaces_it(world: World) {
    let room = world.room().await.id;
    let truth = closed(room, session_id());
    let mut lost = truth.clone();
    lost.end_reason = EndReason::Lost;
    lost.attendances = vec![attendance("Bob")];
    let batch = [lost.clone(), truth.clone(), lost];
    world.store.record_sessions(&batch).await.unwrap();
    let session = world.store.session(DEFAULT_TENANT, truth.session_id);
    let (row, attendances) = session.await.unwrap().unwrap();
    assert_eq!(row.end_reason, Some(EndReason::Empty));
    assert_eq!(attendances.len(), 2);
    assert_eq!(world.status(room).await, RoomStatus::Completed);
}

async fn ban_lifted_stays_lifted_when_its_session_comes_with_new_ones(world: World) {
    let room = world.room().await.id;
    let (eve, mallory) = (UserId(Uuid::new_v4()), UserId(Uuid::new_v4()));
    let (mut old, mut new) = (closed(room, session_id()), closed(room, session_id()));
    old.bans.insert(eve, BanRecord { created_at: at(5) });
    new.bans.insert(mallory, BanRecord { created_at: at(6) });
    let store = &world.store;
    store
        .record_sessions(std::slice::from_ref(&old))
        .await
        .unwrap();
    assert!(store.remove_ban(room, eve).await.unwrap());
    store.record_sessions(&[old, new]).await.unwrap();
    assert_eq!(store.bans(room).await.unwrap(), [(mallory, at(6))]);
}

async fn very_large_session_is_recorded_with_everybody(world: World) {
    const PEOPLE: usize = 12_000;
    let room = world.room().await.id;
    let mut large = closed(room, session_id());
    large.attendances = (0..PEOPLE)
        .map(|n| attendance(&format!("person {n}")))
        .collect();
    let small = closed(room, session_id());
    let batch = [large.clone(), small.clone()];
    world.store.record_sessions(&batch).await.unwrap();
    for (session, count) in [(large, PEOPLE), (small, 1)] {
        let found = world.store.session(DEFAULT_TENANT, session.session_id);
        assert_eq!(found.await.unwrap().unwrap().1.len(), count);
    }
}

async fn batches_of_the_same_rooms_at_once_all_succeed(world: World) {
    let mut rooms = Vec::new();
    for _ in 0..RECORD_BATCH / 4 {
        rooms.push(world.room().await.id);
    }
    for _ in 0..5 {
        let sessions: Vec<_> = rooms
            .iter()
            .map(|room| closed(*room, session_id()))
            .collect();
        let new: Vec<_> = rooms
            .iter()
            .map(|room| opening(session_id(), *room, at(200_000)))
            .collect();
        let backwards: Vec<_> = sessions.iter().rev().cloned().collect();
        let recorded = [&sessions, &backwards, &sessions, &backwards];
        let recorded = join_all(recorded.map(|batch| world.store.record_sessions(batch)));
        let opened = join_all([&new, &new].map(|batch| world.store.record_openings(batch)));
        let (recorded, opened) = tokio::join!(recorded, opened);
        for outcome in recorded.into_iter().chain(opened) {
            outcome.unwrap();
        }
        for (room, opening) in rooms.iter().zip(new) {
            assert_eq!(world.status(*room).await, RoomStatus::Active);
            assert!(world.store.close_lost(opening.session_id).await.unwrap());
            assert_eq!(world.status(*room).await, RoomStatus::Completed);
        }
    }
}

async fn refused_session_takes_its_batch_with_it(world: World) {
    let room = world.room().await.id;
    let good = closed(room, session_id());
    let mut bad = closed(room, session_id());
    // Before PostgreSQL's first day, and a year that SQLite's text has no room for.
    bad.start_time = Timestamp(-300_000_000_000_000);
    let store = &world.store;
    let fault = store
        .record_sessions(&[good.clone(), bad])
        .await
        .unwrap_err();
    assert!(!fault.is_unavailable(), "{fault}");
    assert!(!store.session_closed(good.session_id).await.unwrap());
    assert_eq!(world.status(room).await, RoomStatus::Scheduled);
    store.record_sessions(&[good]).await.unwrap();
    assert_eq!(world.status(room).await, RoomStatus::Completed);
}
