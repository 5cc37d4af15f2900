//! Everything that a room starts from, in one exchange with the database: the first join waits for
//! it.

use diesel::{OptionalExtension, QueryDsl, QueryResult, SelectableHelper, SqliteConnection, dsl};
use diesel_async::AsyncPgConnection;
use futures_util::future::try_join3;

use super::{
    Database, OpenSession, Room, Store, StoreFault, bans::bans_by_age, pool::drive,
    record::open_by_age, rooms::undeleted,
};
use crate::ids::{RoomId, Timestamp, UserId};

/// What SQL has of a room that is not deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomFacts {
    /// Its row.
    pub room: Room,
    /// As [`Store::bans`] answers.
    pub bans: Vec<(UserId, Timestamp)>,
    /// As [`Store::open_sessions_of`] answers.
    pub open: Vec<OpenSession>,
}

impl Store {
    /// Returns one room, of any tenant, with its bans and open sessions. Takes one round trip to
    /// PostgreSQL, or one visit to a blocking thread for SQLite.
    ///
    /// # Errors
    /// When the database is away or fails.
    pub async fn room_facts(&self, id: RoomId) -> Result<Option<RoomFacts>, StoreFault> {
        match &self.database {
            Database::Postgres(pool) => {
                drive!(pool, self.timeout, |conn, _is_repeat| {
                    pipelined(conn, id).await
                })
            }
            Database::Sqlite(pool) => {
                drive!(pool, self.timeout, |conn, _is_repeat| {
                    conn.spawn_blocking(move |conn| blocking(conn, id)).await
                })
            }
        }
    }
}

/// The queries go out together: none waits for the answer to another.
async fn pipelined(mut conn: &AsyncPgConnection, id: RoomId) -> QueryResult<Option<RoomFacts>> {
    use diesel_async::RunQueryDsl;

    let room = undeleted(id).select(Room::as_select()).load(&mut conn);
    let bans = bans_by_age(id).load(&mut conn);
    let open = open_by_age(id)
        .select(OpenSession::as_select())
        .load(&mut conn);
    let (room, bans, open) = try_join3(room, bans, open).await?;
    Ok(room
        .into_iter()
        .next()
        .map(|room| RoomFacts { room, bans, open }))
}

/// Most rooms have no bans and no open session: then one statement is enough.
fn blocking(conn: &mut SqliteConnection, id: RoomId) -> QueryResult<Option<RoomFacts>> {
    use diesel::RunQueryDsl;

    let found: Option<(Room, bool, bool)> = undeleted(id)
        .select((
            Room::as_select(),
            dsl::exists(bans_by_age(id)),
            dsl::exists(open_by_age(id)),
        ))
        .get_result(conn)
        .optional()?;
    let Some((room, has_bans, has_open)) = found else {
        return Ok(None);
    };
    let bans = match has_bans {
        true => bans_by_age(id).load(conn)?,
        false => Vec::new(),
    };
    let open = match has_open {
        true => open_by_age(id)
            .select(OpenSession::as_select())
            .load(conn)?,
        false => Vec::new(),
    };
    Ok(Some(RoomFacts { room, bans, open }))
}
