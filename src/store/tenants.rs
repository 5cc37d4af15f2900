//! Tenants: the customers.

use diesel::{
    BoolExpressionMethods, ExpressionMethods, Insertable, OptionalExtension, QueryDsl, Queryable,
    Selectable, SelectableHelper,
};
use diesel_async::RunQueryDsl;

use super::{
    Created, Page, Paged, Store, StoreFault, page::oldest_first, pool::on_connection,
    schema::tenants,
};
use crate::ids::{TenantId, Timestamp};

/// A customer: owner of users, rooms and API keys.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = tenants)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// Shown to operators. Need not be unique.
    pub name: String,
    /// When it was created.
    pub created_at: Timestamp,
}

impl Store {
    /// Creates a tenant. Repeating the call is harmless.
    ///
    /// # Errors
    /// When the database is away or fails.
    pub async fn create_tenant(&self, tenant: Tenant) -> Result<Created<Tenant>, StoreFault> {
        on_connection!(self, |conn, _is_repeat| {
            let inserted = diesel::insert_into(tenants::table)
                .values(&tenant)
                .on_conflict_do_nothing()
                .execute(&mut *conn)
                .await?;
            if inserted == 1 {
                return Ok(Created::New(tenant.clone()));
            }
            let existing: Tenant = tenants::table
                .find(tenant.id)
                .select(Tenant::as_select())
                .get_result(conn)
                .await?;
            Ok(if existing.name == tenant.name {
                Created::Same(existing)
            } else {
                Created::Conflict
            })
        })
    }

    /// One tenant.
    ///
    /// # Errors
    /// When the database is away or fails.
    pub async fn tenant(&self, id: TenantId) -> Result<Option<Tenant>, StoreFault> {
        on_connection!(self, |conn, _is_repeat| {
            tenants::table
                .find(id)
                .select(Tenant::as_select())
                .get_result(conn)
                .await
                .optional()
        })
    }

    /// All tenants, oldest first.
    ///
    /// # Errors
    /// When the database is away or fails.
    pub async fn list_tenants(&self, page: Page) -> Result<Paged<Tenant>, StoreFault> {
        let rows: Vec<Tenant> = on_connection!(self, |conn, _is_repeat| {
            let query = tenants::table.select(Tenant::as_select()).into_boxed();
            oldest_first!(query, page, tenants::created_at, tenants::id)
                .load(conn)
                .await
        })?;
        Ok(page.cut(rows, |tenant| (tenant.created_at, tenant.id.0)))
    }
}
