//! Bans: they hold for a room until lifted.

use diesel::{
    ExpressionMethods, QueryDsl, dsl,
    result::{DatabaseErrorKind, Error},
};
use diesel_async::RunQueryDsl;

use super::{Store, StoreFault, pool::on_connection, schema::bans};
use crate::ids::{RoomId, Timestamp, UserId};

/// Most bans of one room that are read.
pub const BANS_MAX: usize = 10_000;

impl Store {
    /// Bans a user from a room. An earlier ban stays as it is. A room without a row is skipped.
    ///
    /// # Errors
    /// When the database is away or fails.
    pub async fn add_ban(
        &self,
        room: RoomId,
        user: UserId,
        at: Timestamp,
    ) -> Result<(), StoreFault> {
        on_connection!(self, |conn, _is_repeat| {
            let inserting = diesel::insert_into(bans::table)
                .values((
                    bans::room_id.eq(room),
                    bans::user_id.eq(user),
                    bans::created_at.eq(at),
                ))
                .on_conflict_do_nothing()
                .execute(conn)
                .await;
            match inserting {
                Ok(_) | Err(Error::DatabaseError(DatabaseErrorKind::ForeignKeyViolation, _)) => {
                    Ok(())
                }
                Err(error) => Err(error),
            }
        })
    }

    /// Lifts a ban. Returns false if there was none.
    ///
    /// # Errors
    /// When the database is away or fails.
    pub async fn remove_ban(&self, room: RoomId, user: UserId) -> Result<bool, StoreFault> {
        on_connection!(self, |conn, is_repeat| {
            diesel::delete(bans::table.find((room, user)))
                .execute(conn)
                .await
                .map(|rows| rows == 1 || is_repeat)
        })
    }

    /// Who is banned from a room, oldest first, at most [`BANS_MAX`].
    ///
    /// # Errors
    /// When the database is away or fails.
    pub async fn bans(&self, room: RoomId) -> Result<Vec<(UserId, Timestamp)>, StoreFault> {
        on_connection!(self, |conn, _is_repeat| bans_by_age(room).load(conn).await)
    }
}

/// The bans of a room, oldest first, at most [`BANS_MAX`].
#[dsl::auto_type]
pub(super) fn bans_by_age(room: RoomId) -> _ {
    let limit: i64 = i64::try_from(BANS_MAX).expect("a small bound");
    bans::table
        .filter(bans::room_id.eq(room))
        .order((bans::created_at.asc(), bans::user_id.asc()))
        .limit(limit)
        .select((bans::user_id, bans::created_at))
}
