//! Rooms: the meeting places as rows. What happens inside a live one is not the store's business.

use diesel::{
    BoolExpressionMethods, ExpressionMethods, NullableExpressionMethods, OptionalExtension,
    QueryDsl, Queryable, Selectable, SelectableHelper, dsl,
    result::{DatabaseErrorKind, Error},
};
use diesel_async::{AsyncConnection, RunQueryDsl};

use super::{
    Created, Page, Paged, Store, StoreFault, Update,
    page::oldest_first,
    pool::{in_transaction, on_connection},
    schema::rooms,
    values::{StoredSettings, settings_json},
};
use crate::{
    ids::{RoomId, TenantId, Timestamp, UserId},
    protocol::Settings,
};

/// The state of a room in its life, as far as SQL knows. A live actor is ahead of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RoomStatus {
    /// Nobody was admitted yet.
    Scheduled,
    /// A session is open.
    Active,
    /// The last session is closed. The room may be joined again.
    Completed,
}

/// A room that is not deleted.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = rooms)]
pub struct Room {
    /// Unique across tenants.
    pub id: RoomId,
    /// Whose.
    pub tenant_id: TenantId,
    /// The owner: always host.
    #[diesel(select_expression = rooms::host_user_id.assume_not_null())]
    pub host_user_id: UserId,
    /// The tenant's settings.
    #[diesel(deserialize_as = StoredSettings)]
    pub settings: Settings,
    /// The state in its life.
    pub status: RoomStatus,
    /// Version of the settings: 1 at creation, grows with each change.
    pub version: i64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was deleted. `None` in every answer.
    pub deleted_at: Option<Timestamp>,
}

impl Store {
    /// Creates a room. Repeating the call with the same id, host and settings gives
    /// [`Created::Same`].
    ///
    /// # Errors
    /// When the database is away or fails.
    pub async fn create_room(&self, room: Room) -> Result<Created<Room>, StoreFault> {
        let settings = settings_json(&room.settings);
        on_connection!(self, |conn, _is_repeat| {
            let inserting = diesel::insert_into(rooms::table)
                .values((
                    rooms::id.eq(room.id),
                    rooms::tenant_id.eq(room.tenant_id),
                    rooms::host_user_id.eq(room.host_user_id),
                    rooms::settings.eq(&settings),
                    rooms::status.eq(room.status),
                    rooms::version.eq(room.version),
                    rooms::created_at.eq(room.created_at),
                    rooms::deleted_at.eq(room.deleted_at),
                ))
                .on_conflict_do_nothing()
                .execute(&mut *conn)
                .await;
            match inserting {
                Ok(0) => {}
                Ok(_) => return Ok(Created::New(room.clone())),
                Err(Error::DatabaseError(DatabaseErrorKind::ForeignKeyViolation, _)) => {
                    return Ok(Created::HostMissing);
                }
                Err(error) => return Err(error),
            }
            let existing: Option<Room> = rooms::table
                .find(room.id)
                .filter(rooms::deleted_at.is_null())
                .select(Room::as_select())
                .get_result(conn)
                .await
                .optional()?;
            Ok(match existing {
                Some(existing) if same_body(&existing, &room) => Created::Same(existing),
                Some(_) | None => Created::Conflict,
            })
        })
    }

    /// One room of a tenant.
    ///
    /// # Errors
    /// When the database is away or fails.
    pub async fn room(&self, tenant: TenantId, id: RoomId) -> Result<Option<Room>, StoreFault> {
        let room = self.any_room(id).await?;
        Ok(room.filter(|room| room.tenant_id == tenant))
    }

    /// Returns one room of any tenant, for guests and for the rooms themselves.
    ///
    /// # Errors
    /// When the database is away or fails.
    pub async fn any_room(&self, id: RoomId) -> Result<Option<Room>, StoreFault> {
        on_connection!(self, |conn, _is_repeat| {
            undeleted(id)
                .select(Room::as_select())
                .get_result(conn)
                .await
                .optional()
        })
    }

    /// The rooms of a tenant, of one status or all, oldest first.
    ///
    /// # Errors
    /// When the database is away or fails.
    pub async fn rooms(
        &self,
        tenant: TenantId,
        status: Option<RoomStatus>,
        page: Page,
    ) -> Result<Paged<Room>, StoreFault> {
        let rows: Vec<Room> = on_connection!(self, |conn, _is_repeat| {
            let mut query = rooms::table
                .filter(rooms::tenant_id.eq(tenant))
                .filter(rooms::deleted_at.is_null())
                .select(Room::as_select())
                .into_boxed();
            if let Some(status) = status {
                query = query.filter(rooms::status.eq(status));
            }
            oldest_first!(query, page, rooms::created_at, rooms::id)
                .load(conn)
                .await
        })?;
        Ok(page.cut(rows, |room| (room.created_at, room.id.0)))
    }

    /// Replaces the settings of a room if their version is still `if_version`. `None` allows any
    /// version.
    ///
    /// # Errors
    /// When the database is away or fails.
    pub async fn update_room_settings(
        &self,
        tenant: TenantId,
        id: RoomId,
        settings: Settings,
        if_version: Option<i64>,
    ) -> Result<Update<Room>, StoreFault> {
        let json = settings_json(&settings);
        in_transaction!(self, |conn, is_repeat| {
            let ours = rooms::table
                .find(id)
                .filter(rooms::tenant_id.eq(tenant))
                .filter(rooms::deleted_at.is_null());
            let mut matching = diesel::update(ours).into_boxed();
            if let Some(version) = if_version {
                matching = matching.filter(rooms::version.eq(version));
            }
            let updated = matching
                .set((
                    rooms::settings.eq(&json),
                    rooms::version.eq(rooms::version + 1),
                ))
                .execute(&mut *conn)
                .await?;
            let room: Option<Room> = ours
                .select(Room::as_select())
                .get_result(conn)
                .await
                .optional()?;
            Ok(match room {
                None => Update::Missing,
                Some(room) if updated == 1 => Update::Done(room),
                // An earlier try of this call did it.
                Some(room) if is_repeat && room.settings == settings => Update::Done(room),
                Some(_) => Update::Stale,
            })
        })
    }

    /// Deletes a room. Its sessions stay readable. Returns false if the tenant has no such room.
    ///
    /// # Errors
    /// When the database is away or fails.
    pub async fn delete_room(
        &self,
        tenant: TenantId,
        id: RoomId,
        at: Timestamp,
    ) -> Result<bool, StoreFault> {
        on_connection!(self, |conn, is_repeat| {
            let ours = rooms::table.find(id).filter(rooms::tenant_id.eq(tenant));
            let deleted = diesel::update(ours.filter(rooms::deleted_at.is_null()))
                .set(rooms::deleted_at.eq(Some(at)))
                .execute(&mut *conn)
                .await?;
            if deleted == 1 || !is_repeat {
                return Ok(deleted == 1);
            }
            // Perhaps an earlier try of this call did it.
            let done: i64 = ours
                .filter(rooms::deleted_at.eq(Some(at)))
                .count()
                .get_result(conn)
                .await?;
            Ok(done == 1)
        })
    }
}

/// A room's row, unless the room is deleted.
#[dsl::auto_type]
pub(super) fn undeleted(id: RoomId) -> _ {
    rooms::table.find(id).filter(rooms::deleted_at.is_null())
}

fn same_body(one: &Room, other: &Room) -> bool {
    (one.tenant_id, one.host_user_id, &one.settings)
        == (other.tenant_id, other.host_user_id, &other.settings)
}
