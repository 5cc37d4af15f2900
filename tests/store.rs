//! The store on both databases: each scenario runs on a fresh PostgreSQL database and on a fresh
//! SQLite file.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "store/batches.rs"]
mod batches;
#[path = "store/faults.rs"]
mod faults;
#[path = "store/history.rs"]
mod history;
#[path = "store/pool.rs"]
mod pool;
#[path = "common/postgres.rs"]
mod postgres;
#[path = "store/recording.rs"]
mod recording;
#[path = "store/resources.rs"]
mod resources;
#[path = "store/rooms.rs"]
mod rooms;
#[path = "store/schema.rs"]
mod schema;

use std::{sync::OnceLock, time::Duration};

use callboard::{
    ids::{RoomId, SessionId, StayId, TenantId, Timestamp, UserId},
    protocol::{EndReason, LeaveReason, Role, Settings},
    room::record::{Attendance, ClosedSession},
    store::{
        Created, DEFAULT_TENANT, Opening, Room, RoomStatus, Session, Store, StoreOptions, Tenant,
        User,
    },
};
use tempfile::TempDir;
use uuid::Uuid;

use postgres::Postgres;

/// Runs scenarios on both databases.
macro_rules! on_both {
    ($($scenario:ident),+ $(,)?) => {
        mod on_postgres {
            $(#[tokio::test]
            async fn $scenario() {
                super::$scenario(crate::World::on_postgres().await).await;
            })+
        }
        mod on_sqlite {
            $(#[tokio::test]
            async fn $scenario() {
                super::$scenario(crate::World::on_sqlite().await).await;
            })+
        }
    };
}
pub(crate) use on_both;

/// A session that began.
pub fn opening(session_id: SessionId, room_id: RoomId, start_time: Timestamp) -> Opening {
    Opening {
        session_id,
        room_id,
        start_time,
    }
}

/// One server for all tests of this binary; its guard stops it when the process ends.
fn server() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(Postgres::start)
}

/// A migrated store and where it is.
struct World {
    store: Store,
    options: StoreOptions,
    /// Keeps the SQLite file.
    _directory: Option<TempDir>,
}

impl World {
    async fn on_postgres() -> Self {
        let database = server().create_database();
        Self::open(server().url(&database), None).await
    }

    async fn on_sqlite() -> Self {
        let directory = TempDir::new().unwrap();
        let url = format!("sqlite:{}", directory.path().join("callboard.db").display());
        Self::open(url, Some(directory)).await
    }

    async fn open(url: String, directory: Option<TempDir>) -> Self {
        let options = StoreOptions {
            url,
            pool_size: 4,
            timeout: Duration::from_secs(20),
        };
        Store::migrate(&options).await.unwrap();
        Self {
            store: Store::open(&options).await.unwrap(),
            options,
            _directory: directory,
        }
    }

    async fn tenant(&self) -> TenantId {
        let tenant = Tenant {
            id: TenantId(Uuid::new_v4()),
            name: "another".to_owned(),
            created_at: at(1),
        };
        let created = self.store.create_tenant(tenant.clone()).await.unwrap();
        assert_eq!(created, Created::New(tenant.clone()));
        tenant.id
    }

    async fn user(&self) -> User {
        let id = Uuid::new_v4();
        let user = user(&format!("{}@example.org", id.simple()));
        let created = self.store.create_user(user.clone()).await.unwrap();
        assert_eq!(created, Created::New(user.clone()));
        user
    }

    async fn room(&self) -> Room {
        let host = self.user().await;
        let room = room(host.id);
        let created = self.store.create_room(room.clone()).await.unwrap();
        assert_eq!(created, Created::New(room.clone()));
        room
    }

    async fn session(&self, id: SessionId) -> Session {
        let found = self.store.session(DEFAULT_TENANT, id).await.unwrap();
        found.unwrap().0
    }

    async fn status(&self, id: RoomId) -> RoomStatus {
        self.store.any_room(id).await.unwrap().unwrap().status
    }
}

/// A moment of 2026.
fn at(ms: u64) -> Timestamp {
    "2026-11-22T16:00:00.000Z"
        .parse::<Timestamp>()
        .unwrap()
        .plus_ms(ms)
}

fn user(email: &str) -> User {
    User {
        id: UserId(Uuid::new_v4()),
        tenant_id: DEFAULT_TENANT,
        email: email.to_owned(),
        display_name: "Ada".to_owned(),
        created_at: at(7),
    }
}

fn room(host: UserId) -> Room {
    Room {
        id: RoomId(Uuid::new_v4()),
        tenant_id: DEFAULT_TENANT,
        host_user_id: host,
        settings: Settings {
            max_duration_secs: Some(3600),
            ..Settings::default()
        },
        status: RoomStatus::Scheduled,
        version: 1,
        created_at: at(11),
        deleted_at: None,
    }
}

fn session_id() -> SessionId {
    SessionId(Uuid::new_v4())
}

/// A finished session of one attendance, from minute 1 to minute 2.
fn closed(room: RoomId, session_id: SessionId) -> ClosedSession {
    ClosedSession {
        session_id,
        room_id: room,
        tenant_id: DEFAULT_TENANT,
        start_time: at(60_000),
        end_time: at(120_000),
        end_reason: EndReason::Empty,
        attendances: vec![attendance("Ada")],
        bans: std::iter::empty().collect(),
    }
}

fn attendance(display_name: &str) -> Attendance {
    Attendance {
        stay_id: StayId(Uuid::new_v4()),
        user_id: UserId(Uuid::new_v4()),
        display_name: display_name.to_owned(),
        role: Role::Attendee,
        joined_at: at(60_000),
        left_at: at(120_000),
        leave_reason: LeaveReason::Left,
    }
}
