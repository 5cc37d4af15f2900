//! Recording sessions: opened, kept alive, closed, each write harmless when repeated or late.
//!
//! Every transaction that opens or closes a session locks the room's row first. So they take turns
//! per room, and the last one writes the status that fits the open sessions. PostgreSQL gets a few
//! statements for a whole batch. SQLite runs the whole transaction in one visit to a blocking
//! thread.

mod postgres;
mod rows;
mod sqlite;

use std::sync::Arc;

use diesel::{ExpressionMethods, QueryDsl, Queryable, Selectable, SelectableHelper, dsl};
use diesel_async::{AsyncConnection, RunQueryDsl};

use super::{
    Database, Store, StoreFault,
    pool::{drive, on_connection},
    schema::sessions,
    sqlite::transaction,
};
use crate::{
    ids::{RoomId, SessionId, Timestamp},
    room::record::ClosedSession,
};

/// Most open sessions of one room that are read. A room has several only after SQL was away.
const OPEN_PER_ROOM_MAX: i64 = 16;

/// Most sessions recorded in one transaction.
pub const RECORD_BATCH: usize = 64;

/// Most sessions in one `touch` statement.
const TOUCH_BATCH: usize = 500;

/// A session that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Its id.
    pub session_id: SessionId,
    /// Its room.
    pub room_id: RoomId,
    /// First admitted join.
    pub start_time: Timestamp,
}

/// A session that is open in SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = sessions)]
pub struct OpenSession {
    /// Its id.
    #[diesel(column_name = id)]
    pub session_id: SessionId,
    /// The room, deleted or not.
    pub room_id: RoomId,
    /// First admitted join.
    pub start_time: Timestamp,
    /// When a node last reported it alive.
    pub last_seen_at: Timestamp,
}

impl Store {
    /// Opens sessions, unless they have a row already, and makes their rooms active, unless the
    /// session is closed already. Rooms without a row are skipped. At most [`RECORD_BATCH`] share a
    /// transaction, as with [`Store::record_sessions`].
    ///
    /// # Errors
    /// When the database is away or fails. The sessions before the failing transaction are open.
    /// Repeating the call is harmless.
    pub async fn record_openings(&self, openings: &[Opening]) -> Result<(), StoreFault> {
        let mut ordered: Vec<&Opening> = openings.iter().collect();
        ordered.sort_by_key(|opening| (opening.room_id, opening.session_id));
        for batch in ordered.chunks(RECORD_BATCH) {
            match &self.database {
                Database::Postgres(pool) => drive!(pool, self.timeout, |conn, _is_repeat| {
                    conn.transaction(async |conn| postgres::record_openings(conn, batch).await)
                        .await
                }),
                Database::Sqlite(pool) => {
                    let batch: Arc<[Opening]> = batch.iter().copied().copied().collect();
                    drive!(pool, self.timeout, |conn, _is_repeat| {
                        let batch = Arc::clone(&batch);
                        transaction(conn, move |conn, caller| {
                            sqlite::record_openings(conn, caller, &batch)
                        })
                        .await
                    })
                }
            }?;
        }
        Ok(())
    }

    /// Records finished sessions: the whole row whether it was opened or not, the attendances, the
    /// bans, the room's status. What was recorded before stays as it is, except that the true end
    /// replaces a `lost`. Sessions of rooms without a row are skipped. At most [`RECORD_BATCH`]
    /// sessions share a transaction, and each transaction has its own
    /// [`super::StoreOptions::timeout`].
    ///
    /// # Errors
    /// When the database is away or fails. The sessions before the failing transaction are
    /// recorded. Repeating the call is harmless.
    pub async fn record_sessions(&self, closed: &[ClosedSession]) -> Result<(), StoreFault> {
        let mut ordered: Vec<&ClosedSession> = closed.iter().collect();
        // All recorders lock rooms in the same order, so they cannot deadlock.
        ordered.sort_by_key(|session| (session.room_id, session.session_id));
        for batch in ordered.chunks(RECORD_BATCH) {
            match &self.database {
                Database::Postgres(pool) => drive!(pool, self.timeout, |conn, _is_repeat| {
                    conn.transaction(async |conn| postgres::record_sessions(conn, batch).await)
                        .await
                }),
                Database::Sqlite(pool) => {
                    let batch: Arc<[ClosedSession]> = batch.iter().copied().cloned().collect();
                    drive!(pool, self.timeout, |conn, _is_repeat| {
                        let batch = Arc::clone(&batch);
                        transaction(conn, move |conn, caller| {
                            sqlite::record_sessions(conn, caller, &batch)
                        })
                        .await
                    })
                }
            }?;
        }
        Ok(())
    }

    /// Reports live sessions as alive. Times never go back, and closed sessions stay as they are.
    ///
    /// # Errors
    /// When the database is away or fails.
    pub async fn touch_sessions(
        &self,
        ids: &[SessionId],
        now: Timestamp,
    ) -> Result<(), StoreFault> {
        for batch in ids.chunks(TOUCH_BATCH) {
            on_connection!(self, |conn, _is_repeat| {
                let older = sessions::table
                    .filter(sessions::id.eq_any(batch))
                    .filter(sessions::end_time.is_null())
                    .filter(sessions::last_seen_at.lt(now));
                diesel::update(older)
                    .set(sessions::last_seen_at.eq(now))
                    .execute(conn)
                    .await
            })?;
        }
        Ok(())
    }

    /// Returns the sessions of a room that are open in SQL, latest first, 16 at most. There are
    /// several only after SQL was away.
    ///
    /// # Errors
    /// When the database is away or fails.
    pub async fn open_sessions_of(&self, room: RoomId) -> Result<Vec<OpenSession>, StoreFault> {
        on_connection!(self, |conn, _is_repeat| {
            open_by_age(room)
                .select(OpenSession::as_select())
                .load(conn)
                .await
        })
    }

    /// Returns sessions that are open in SQL, by id, `after` the last one seen.
    ///
    /// # Errors
    /// When the database is away or fails.
    pub async fn open_sessions(
        &self,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<OpenSession>, StoreFault> {
        let limit = i64::try_from(limit.clamp(1, super::PAGE_MAX)).expect("a page is small");
        on_connection!(self, |conn, _is_repeat| {
            let mut query = sessions::table
                .filter(sessions::end_time.is_null())
                .select(OpenSession::as_select())
                .into_boxed();
            if let Some(after) = after {
                query = query.filter(sessions::id.gt(after));
            }
            query
                .order(sessions::id.asc())
                .limit(limit)
                .load(conn)
                .await
        })
    }

    /// Closes a session that only its row is left of: it was lost when it was last seen. Returns
    /// false if it is not open.
    ///
    /// # Errors
    /// When the database is away or fails.
    pub async fn close_lost(&self, session: SessionId) -> Result<bool, StoreFault> {
        match &self.database {
            Database::Postgres(pool) => drive!(pool, self.timeout, |conn, is_repeat| {
                conn.transaction(async |conn| postgres::close_lost(conn, session, is_repeat).await)
                    .await
            }),
            Database::Sqlite(pool) => drive!(pool, self.timeout, |conn, is_repeat| {
                transaction(conn, move |conn, _caller| {
                    sqlite::close_lost(conn, session, is_repeat)
                })
                .await
            }),
        }
    }
}

/// The sessions of a room that are open, latest first.
#[dsl::auto_type]
pub(super) fn open_by_age(room: RoomId) -> _ {
    let limit: i64 = OPEN_PER_ROOM_MAX;
    sessions::table
        .filter(sessions::room_id.eq(room))
        .filter(sessions::end_time.is_null())
        .order((sessions::start_time.desc(), sessions::id.desc()))
        .limit(limit)
}
