//! Users: people known to a tenant.

use diesel::{
    BoolExpressionMethods, ExpressionMethods, Insertable, OptionalExtension, QueryDsl, Queryable,
    Selectable, SelectableHelper,
    result::{DatabaseErrorKind, Error},
};
use diesel_async::{AsyncConnection, RunQueryDsl};

use super::{
    Created, Page, Paged, Store, StoreFault,
    page::oldest_first,
    pool::{in_transaction, on_connection},
    schema::{attendances, rooms, sessions, users},
};
use crate::ids::{TenantId, Timestamp, UserId};

/// Attempts at a change without precondition while others change the same user.
const UPDATE_TRIES: usize = 5;

/// A person known to a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = users)]
pub struct User {
    /// Unique across tenants.
    pub id: UserId,
    /// Whose.
    pub tenant_id: TenantId,
    /// Unique within the tenant without regard to case. Stored in lower case.
    pub email: String,
    /// Shown to other participants, at most 128 characters.
    pub display_name: String,
    /// When the user was created.
    pub created_at: Timestamp,
}

/// Changes of a user. `None` keeps a field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserPatch {
    /// A new e-mail address.
    pub email: Option<String>,
    /// A new name. Finished sessions keep the old one.
    pub display_name: Option<String>,
}

/// The outcome of changing a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpdateUser {
    /// The user as it is now.
    Done(User),
    /// The tenant has no such user.
    Missing,
    /// The user is not what the caller expected to change.
    Stale,
    /// Another user of the tenant has this e-mail address.
    EmailTaken,
}

/// The outcome of deleting a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteUser {
    /// Gone, and the name is erased from all attendances.
    Deleted,
    /// The tenant has no such user.
    Missing,
    /// The user is host of rooms that are not deleted.
    OwnsRooms,
    /// The user is not what the caller expected to delete.
    Stale,
}

impl Store {
    /// Creates a user. Repeating the call with the same id and content gives [`Created::Same`].
    ///
    /// # Errors
    /// When the database is away or fails, or the tenant does not exist.
    pub async fn create_user(&self, user: User) -> Result<Created<User>, StoreFault> {
        let user = User {
            email: user.email.to_lowercase(),
            ..user
        };
        on_connection!(self, |conn, _is_repeat| {
            let inserted = diesel::insert_into(users::table)
                .values(&user)
                .on_conflict_do_nothing()
                .execute(&mut *conn)
                .await?;
            if inserted == 1 {
                return Ok(Created::New(user.clone()));
            }
            let existing: Option<User> = users::table
                .find(user.id)
                .select(User::as_select())
                .get_result(conn)
                .await
                .optional()?;
            Ok(match existing {
                // The id is free, so it was the address.
                None => Created::EmailTaken,
                Some(existing) if same_body(&existing, &user) => Created::Same(existing),
                Some(_) => Created::Conflict,
            })
        })
    }

    /// One user of a tenant.
    ///
    /// # Errors
    /// When the database is away or fails.
    pub async fn user(&self, tenant: TenantId, id: UserId) -> Result<Option<User>, StoreFault> {
        on_connection!(self, |conn, _is_repeat| {
            users::table
                .find(id)
                .filter(users::tenant_id.eq(tenant))
                .select(User::as_select())
                .get_result(conn)
                .await
                .optional()
        })
    }

    /// The users of a tenant, oldest first.
    ///
    /// # Errors
    /// When the database is away or fails.
    pub async fn users(&self, tenant: TenantId, page: Page) -> Result<Paged<User>, StoreFault> {
        let rows: Vec<User> = on_connection!(self, |conn, _is_repeat| {
            let query = users::table
                .filter(users::tenant_id.eq(tenant))
                .select(User::as_select())
                .into_boxed();
            oldest_first!(query, page, users::created_at, users::id)
                .load(conn)
                .await
        })?;
        Ok(page.cut(rows, |user| (user.created_at, user.id.0)))
    }

    /// Changes a user if it is still as `expected`. `None` allows any state.
    ///
    /// # Errors
    /// When the database is away or fails.
    pub async fn update_user(
        &self,
        tenant: TenantId,
        id: UserId,
        patch: UserPatch,
        expected: Option<&User>,
    ) -> Result<UpdateUser, StoreFault> {
        on_connection!(self, |conn, is_repeat| {
            for _ in 0..UPDATE_TRIES {
                let current: Option<User> = users::table
                    .find(id)
                    .filter(users::tenant_id.eq(tenant))
                    .select(User::as_select())
                    .get_result(&mut *conn)
                    .await
                    .optional()?;
                let Some(current) = current else {
                    return Ok(UpdateUser::Missing);
                };
                let wanted = patched(&current, &patch);
                let is_done = is_repeat && wanted == current;
                if !is_done && expected.is_some_and(|expected| *expected != current) {
                    return Ok(UpdateUser::Stale);
                }
                let unchanged = users::email
                    .eq(&current.email)
                    .and(users::display_name.eq(&current.display_name));
                let updated = diesel::update(users::table.find(id).filter(unchanged))
                    .set((
                        users::email.eq(&wanted.email),
                        users::display_name.eq(&wanted.display_name),
                    ))
                    .execute(&mut *conn)
                    .await;
                match updated {
                    Ok(0) => {} // somebody was faster: look again
                    Ok(_) => return Ok(UpdateUser::Done(wanted)),
                    Err(Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _)) => {
                        return Ok(UpdateUser::EmailTaken);
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(UpdateUser::Stale)
        })
    }

    /// Deletes a user who owns no room if it is still as `expected`, and erases the name from the
    /// tenant's attendances.
    ///
    /// # Errors
    /// When the database is away or fails.
    pub async fn delete_user(
        &self,
        tenant: TenantId,
        id: UserId,
        expected: Option<&User>,
    ) -> Result<DeleteUser, StoreFault> {
        in_transaction!(
            self,
            |conn, is_repeat| {
                let current: Option<User> = users::table
                    .find(id)
                    .filter(users::tenant_id.eq(tenant))
                    .select(User::as_select())
                    .get_result(&mut *conn)
                    .await
                    .optional()?;
                match (current, expected) {
                    (None, _) if is_repeat => return Ok(DeleteUser::Deleted),
                    (None, _) => return Ok(DeleteUser::Missing),
                    (Some(current), Some(expected)) if current != *expected => {
                        return Ok(DeleteUser::Stale);
                    }
                    (Some(_), _) => {}
                }
                let owned = rooms::table
                    .filter(rooms::tenant_id.eq(tenant))
                    .filter(rooms::host_user_id.eq(id));
                let living: i64 = owned
                    .filter(rooms::deleted_at.is_null())
                    .count()
                    .get_result(&mut *conn)
                    .await?;
                if living > 0 {
                    return Ok(DeleteUser::OwnsRooms);
                }
                diesel::update(owned)
                    .set(rooms::host_user_id.eq(None::<UserId>))
                    .execute(&mut *conn)
                    .await?;
                let of_tenant = sessions::table
                    .inner_join(rooms::table)
                    .filter(rooms::tenant_id.eq(tenant))
                    .select(sessions::id);
                let theirs = attendances::table
                    .filter(attendances::user_id.eq(id))
                    .filter(attendances::session_id.eq_any(of_tenant));
                diesel::update(theirs)
                    .set(attendances::display_name.eq(""))
                    .execute(&mut *conn)
                    .await?;
                diesel::delete(users::table.find(id)).execute(conn).await?;
                Ok(DeleteUser::Deleted)
            },
            // A room of this user was created between the count and the delete.
            foreign_key => DeleteUser::OwnsRooms
        )
    }
}

fn same_body(one: &User, other: &User) -> bool {
    (one.tenant_id, &one.email, &one.display_name)
        == (other.tenant_id, &other.email, &other.display_name)
}

fn patched(user: &User, patch: &UserPatch) -> User {
    let email = patch.email.as_ref().map(|email| email.to_lowercase());
    User {
        email: email.unwrap_or_else(|| user.email.clone()),
        display_name: patch
            .display_name
            .clone()
            .unwrap_or_else(|| user.display_name.clone()),
        ..user.clone()
    }
}
