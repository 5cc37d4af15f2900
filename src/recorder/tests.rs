use std::{collections::BTreeMap, future::Future};

use tempfile::TempDir;
use uuid::Uuid;

use super::{sql::Swept, *};
use crate::{
    clock::Clock,
    ids::{Epoch, NodeId, Seq, StayId, Version},
    metrics::Metrics,
    mirror::{Claim, ClaimOutcome, Commit, CommitOutcome, RoomMirror, memory::MemoryMirror},
    protocol::{EndReason, LeaveReason, Role, Settings},
    room::record::{Attendance, ChangeSet, ClosedSession, Closing},
    store::{Created, DEFAULT_TENANT, Room, RoomStatus, Store, StoreOptions, User},
};

/// As with the default expiry.
const TOUCH_EVERY: Duration = Duration::from_secs(60);
const LOST_AFTER: Duration = Duration::from_secs(180);

/// Longest wait for anything the recorder owes.
const DEADLINE: Duration = Duration::from_secs(20);
const HOUR_MS: i64 = 3_600_000;
/// A year that no database of ours takes: the session can never be recorded.
const REFUSED_START: Timestamp = Timestamp(400_000_000_000_000);

fn opening(session_id: SessionId, room_id: RoomId, start_time: Timestamp) -> Opening {
    Opening {
        session_id,
        room_id,
        start_time,
    }
}

/// A recorder's surroundings: a room in SQL, and a mirror.
struct World {
    mirror: Arc<MemoryMirror>,
    store: Store,
    metrics: Metrics,
    clock: Clock,
    room_id: RoomId,
    /// Removed when dropped.
    _data: TempDir,
}

impl World {
    async fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let options = StoreOptions {
            url: format!("sqlite:{}", data.path().join("callboard.db").display()),
            pool_size: 2,
            timeout: Duration::from_secs(5),
        };
        Store::migrate(&options).await.unwrap();
        let store = Store::open(&options).await.unwrap();
        let clock = Clock::start();
        let host = UserId(Uuid::new_v4());
        let user = User {
            id: host,
            tenant_id: DEFAULT_TENANT,
            email: "alice@example.com".to_owned(),
            display_name: "Alice".to_owned(),
            created_at: clock.now(),
        };
        store.create_user(user).await.unwrap();
        let room_id = RoomId(Uuid::new_v4());
        let room = Room {
            id: room_id,
            tenant_id: DEFAULT_TENANT,
            host_user_id: host,
            settings: Settings::default(),
            status: RoomStatus::Scheduled,
            version: 1,
            created_at: clock.now(),
            deleted_at: None,
        };
        let created = store.create_room(room).await.unwrap();
        assert!(matches!(created, Created::New(_)));
        Self {
            mirror: Arc::new(MemoryMirror::new()),
            store,
            metrics: Metrics::new(),
            clock,
            room_id,
            _data: data,
        }
    }

    /// Starts a process's recorder.
    fn recorder(&self) -> Recorder {
        let recorder = Recorder::default();
        tokio::spawn(recorder.clone().run(RecorderParts {
            mirror: self.mirror.clone(),
            store: self.store.clone(),
            metrics: self.metrics.clone(),
            clock: self.clock,
            backoff_min: Duration::from_millis(5),
            backoff_max: Duration::from_millis(50),
            touch_every: TOUCH_EVERY,
            lost_after: LOST_AFTER,
        }));
        recorder
    }

    fn ago(&self, ms: i64) -> Timestamp {
        Timestamp(self.clock.now().0 - ms)
    }

    /// Puts a finished session into the outbox, as a closing commit does.
    async fn finish(&self, session_id: SessionId, start: Timestamp) {
        let node_id = NodeId(Uuid::new_v4());
        let claim = Claim {
            room_id: self.room_id,
            expected: None,
            claimant: node_id,
            last_seen: Epoch(0),
        };
        let ClaimOutcome::Claimed { epoch, .. } = self.mirror.claim(claim).await.unwrap() else {
            panic!("nobody else claims");
        };
        let commit = Commit {
            room_id: self.room_id,
            owner: node_id,
            epoch,
            changes: closing(self.room_id, session_id, start),
        };
        let outcome = self.mirror.commit(&[commit]).await.remove(0).unwrap();
        assert_eq!(outcome, CommitOutcome::Ok);
    }

    /// How a session ended, as SQL has it.
    async fn end_reason(&self, session_id: SessionId) -> Option<EndReason> {
        let found = self.store.session(DEFAULT_TENANT, session_id).await;
        found.unwrap()?.0.end_reason
    }
}

fn closing(room_id: RoomId, session_id: SessionId, start: Timestamp) -> ChangeSet {
    let attendance = Attendance {
        stay_id: StayId(Uuid::new_v4()),
        user_id: UserId(Uuid::new_v4()),
        display_name: "Alice".to_owned(),
        role: Role::Host,
        joined_at: start,
        left_at: start.plus_ms(1_000),
        leave_reason: LeaveReason::Left,
    };
    let session = ClosedSession {
        session_id,
        room_id,
        tenant_id: DEFAULT_TENANT,
        start_time: start,
        end_time: start.plus_ms(1_000),
        end_reason: EndReason::Ended,
        attendances: vec![attendance],
        bans: BTreeMap::new(),
    };
    ChangeSet {
        from: Version(0),
        to: Version(1),
        seq: Seq(2),
        is_full: true,
        head: None,
        participants: BTreeMap::new(),
        lobby: BTreeMap::new(),
        left: BTreeMap::new(),
        bans: BTreeMap::new(),
        tail: Vec::new(),
        tail_keep: 0,
        closing: Some(Closing {
            session: Some(session),
        }),
    }
}

fn session(number: u128) -> SessionId {
    SessionId(Uuid::from_u128(number))
}

/// Asks again until the answer is yes.
async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let wait = async {
        while !holds().await {
            sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(timeout(DEADLINE, wait).await.is_ok(), "in vain: {what}");
}

#[tokio::test]
async fn sessions_that_sql_refuses_for_good_keep_only_themselves_from_being_recorded() {
    let world = World::new().await;
    // More than are read at once, and all before the good one in the outbox's order.
    let refused = OUTBOX_BATCH as u128 + 3;
    for number in 1..=refused {
        world.finish(session(number), REFUSED_START).await;
    }
    let good = session(u128::MAX);
    world.finish(good, world.ago(HOUR_MS)).await;
    let recorder = world.recorder();
    recorder.session_closed();
    until("the good session is recorded", || async {
        world.end_reason(good).await.is_some()
    })
    .await;
    assert!(recorder.flush(DEADLINE).await);
    let left = world.mirror.outbox(1_000).await.unwrap();
    assert_eq!(left.len() as u128, refused, "the others wait");
    assert!(left.iter().all(|left| left.session_id != good));
    assert_eq!(world.metrics.sessions_recorded_total.get(), 1);
}

#[tokio::test]
async fn opening_that_sql_refuses_holds_up_none_of_those_beside_it() {
    let world = World::new().await;
    let recorder = world.recorder();
    recorder.open_session(world.room_id, session(1), world.clock.now());
    recorder.open_session(world.room_id, session(2), REFUSED_START);
    recorder.open_session(world.room_id, session(3), world.clock.now());
    assert!(recorder.flush(DEADLINE).await);
    let open = world.store.open_sessions_of(world.room_id).await.unwrap();
    let mut open: Vec<_> = open.iter().map(|session| session.session_id).collect();
    open.sort();
    assert_eq!(open, [session(1), session(3)]);
    assert_eq!(world.metrics.recorder_retries_total.get(), 0);
}

#[tokio::test]
async fn mirror_that_is_away_delays_closings_and_not_openings() {
    let world = World::new().await;
    world.finish(session(1), world.ago(HOUR_MS)).await;
    world.mirror.fail_all(true);
    let recorder = world.recorder();
    recorder.open_session(world.room_id, session(2), world.clock.now());
    recorder.session_closed();
    until("the second session is open", || async {
        !world
            .store
            .open_sessions_of(world.room_id)
            .await
            .unwrap()
            .is_empty()
    })
    .await;
    until("several tries", || async {
        world.metrics.recorder_retries_total.get() > 2
    })
    .await;
    assert_eq!(world.end_reason(session(1)).await, None);
    world.mirror.fail_all(false);
    until("the first session is recorded", || async {
        world.end_reason(session(1)).await == Some(EndReason::Ended)
    })
    .await;
    assert!(recorder.flush(DEADLINE).await);
    let room = world.store.any_room(world.room_id).await.unwrap().unwrap();
    assert_eq!(
        room.status,
        RoomStatus::Active,
        "the second session goes on"
    );
}

#[tokio::test]
async fn session_that_a_former_process_left_in_the_outbox_is_recorded_without_being_asked() {
    let world = World::new().await;
    world
        .store
        .record_openings(&[opening(session(1), world.room_id, world.ago(HOUR_MS))])
        .await
        .unwrap();
    world.finish(session(1), world.ago(HOUR_MS)).await;
    let _recorder = world.recorder();
    until(
        "the session is recorded and gone from the outbox",
        || async { world.mirror.outbox(1).await.unwrap().is_empty() },
    )
    .await;
    // What is in the outbox is recorded before anything is called lost.
    assert_eq!(world.end_reason(session(1)).await, Some(EndReason::Ended));
}

#[tokio::test]
async fn only_an_old_session_whose_room_nobody_knows_is_called_lost() {
    let world = World::new().await;
    let (old, young) = (session(1), session(2));
    for (id, start) in [(old, world.ago(HOUR_MS)), (young, world.ago(1_000))] {
        world
            .store
            .record_openings(&[opening(id, world.room_id, start)])
            .await
            .unwrap();
    }
    let claim = Claim {
        room_id: world.room_id,
        expected: None,
        claimant: NodeId(Uuid::new_v4()),
        last_seen: Epoch(0),
    };
    world.mirror.claim(claim).await.unwrap();
    let parts = RecorderParts {
        mirror: world.mirror.clone(),
        store: world.store.clone(),
        metrics: world.metrics.clone(),
        clock: world.clock,
        backoff_min: Duration::from_millis(5),
        backoff_max: Duration::from_millis(50),
        touch_every: TOUCH_EVERY,
        lost_after: LOST_AFTER,
    };
    let swept = parts.close_lost(&LiveSessions::default()).await.unwrap();
    assert_eq!(swept, Swept::default(), "the mirror knows the room");
    world.mirror.lose_room(world.room_id);
    let swept = parts.close_lost(&LiveSessions::default()).await.unwrap();
    assert_eq!(
        swept,
        Swept {
            closed: 1,
            young: 1
        }
    );
    assert_eq!(world.end_reason(old).await, Some(EndReason::Lost));
    assert_eq!(world.end_reason(young).await, None);
}
