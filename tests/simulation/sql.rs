//! SQL as far as ownership is concerned: sessions, bans, and an outage switch.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use callboard::{
    claims::{SessionHistory, StoredRoom},
    ids::{RoomId, SessionId, TenantId, Timestamp, UserId},
    protocol::EndReason,
    room::{
        RoomBasis,
        record::{BanRecord, ClosedSession},
    },
    store::{OpenSession, StoreFault},
};
use uuid::Uuid;

use crate::world::World;

pub const TENANT: TenantId = TenantId(Uuid::from_u128(0x7E));

#[derive(Default)]
pub struct Sql {
    pub is_away: bool,
    pub sessions: BTreeMap<SessionId, Row>,
    bans: BTreeSet<(RoomId, UserId)>,
}

#[derive(Clone, Debug)]
pub struct Row {
    pub room_id: RoomId,
    pub start: Timestamp,
    pub end: Option<(Timestamp, EndReason)>,
    pub last_seen: Timestamp,
}

fn away() -> StoreFault {
    StoreFault::Unavailable("told to be away".to_owned())
}

impl Sql {
    pub fn open(&mut self, room_id: RoomId, session_id: SessionId, start: Timestamp) {
        self.sessions.entry(session_id).or_insert(Row {
            room_id,
            start,
            end: None,
            last_seen: start,
        });
    }

    /// Answers what is wrong with it.
    pub fn close(&mut self, session: &ClosedSession) -> Option<String> {
        self.open(session.room_id, session.session_id, session.start_time);
        let row = self.sessions.get_mut(&session.session_id).unwrap();
        let is_true = row.start == session.start_time;
        let end = (session.end_time, session.end_reason);
        match row.end {
            None => row.end = Some(end),
            Some((_, EndReason::Lost)) => {}
            Some(known) if known != end => {
                return Some(format!(
                    "one-session: {} was closed as {known:?} and again as {end:?}",
                    session.session_id
                ));
            }
            Some(_) => {}
        }
        for user_id in session.bans.keys() {
            self.bans.insert((session.room_id, *user_id));
        }
        (!is_true).then(|| format!("one-session: {} began twice", session.session_id))
    }

    pub fn ban(&mut self, room_id: RoomId, user_id: UserId) {
        self.bans.insert((room_id, user_id));
    }

    fn open_sessions(&self, room_id: RoomId) -> Vec<OpenSession> {
        let rows = self.sessions.iter();
        rows.filter(|(_, row)| row.room_id == room_id && row.end.is_none())
            .map(|(session_id, row)| OpenSession {
                session_id: *session_id,
                room_id,
                start_time: row.start,
                last_seen_at: row.last_seen,
            })
            .collect()
    }

    pub fn touch(&mut self, sessions: &[SessionId], now: Timestamp) {
        for session_id in sessions {
            if let Some(row) = self.sessions.get_mut(session_id) {
                row.last_seen = now;
            }
        }
    }
}

/// One process's way to SQL.
pub struct SimHistory(pub Arc<World>);

impl SimHistory {
    /// Calls that are answered; the lock is not held over the wait.
    async fn enter(&self) -> Result<(), StoreFault> {
        let delay = self.0.random(|random| random.between(1, 8));
        tokio::time::sleep(Duration::from_millis(delay)).await;
        if self.0.sql(|sql| sql.is_away) {
            Err(away())
        } else {
            Ok(())
        }
    }
}

#[async_trait]
impl SessionHistory for SimHistory {
    async fn stored_room(&self, room_id: RoomId) -> Result<Option<StoredRoom>, StoreFault> {
        self.enter().await?;
        let plan = self.0.plan.rooms.iter();
        let mut rooms = plan.filter(|room| room.room_id == room_id);
        let (bans, open) = self.0.sql(|sql| {
            let bans = sql.bans.iter().filter(|(room, _)| *room == room_id);
            let ban = BanRecord {
                created_at: Timestamp(0),
            };
            let bans = bans.map(|(_, user_id)| (*user_id, ban.clone())).collect();
            (bans, sql.open_sessions(room_id))
        });
        Ok(rooms.next().map(|room| StoredRoom {
            basis: RoomBasis {
                room_id,
                tenant_id: TENANT,
                host_user_id: room.host,
                settings: room.settings.clone(),
                bans,
            },
            open,
        }))
    }

    async fn is_closed(&self, session_id: SessionId) -> Result<bool, StoreFault> {
        self.enter().await?;
        Ok(self.0.sql(|sql| {
            let row = sql.sessions.get(&session_id);
            row.is_some_and(|row| row.end.is_some())
        }))
    }

    async fn close_lost(&self, session_id: SessionId) -> Result<(), StoreFault> {
        self.enter().await?;
        self.0.sql(|sql| {
            if let Some(row) = sql.sessions.get_mut(&session_id)
                && row.end.is_none()
            {
                row.end = Some((row.last_seen, EndReason::Lost));
            }
        });
        Ok(())
    }
}
