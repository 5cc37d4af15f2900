//! API keys: kept by the hash of their secret, and sealed to verify tokens that customers sign
//! themselves.

use std::fmt;

use diesel::{
    BoolExpressionMethods, ExpressionMethods, Insertable, OptionalExtension, QueryDsl, Queryable,
    Selectable, SelectableHelper,
};
use diesel_async::RunQueryDsl;

use super::{
    Created, Page, Paged, Store, StoreFault, page::oldest_first, pool::on_connection,
    schema::api_keys, values::StoredHash,
};
use crate::ids::{ApiKeyId, TenantId, Timestamp};

/// What an API key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Everything of its own tenant.
    Tenant,
    /// Nodes and metrics too.
    Operator,
}

/// An API key, revoked or not.
#[derive(Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = api_keys)]
pub struct ApiKey {
    /// Part of the key's text and `kid` of tokens signed with it.
    pub id: ApiKeyId,
    /// Whose.
    pub tenant_id: TenantId,
    /// Shown to operators. Need not be unique.
    pub name: String,
    /// What it may do.
    pub scope: Scope,
    /// SHA-256 of the secret: checks the bearer.
    #[diesel(deserialize_as = StoredHash)]
    pub secret_hash: [u8; 32],
    /// The secret, encrypted under a key derived from the signing key: verifies tokens.
    pub sealed_secret: Vec<u8>,
    /// When it was created.
    pub created_at: Timestamp,
    /// From when on it is refused.
    pub revoked_at: Option<Timestamp>,
}

impl fmt::Debug for ApiKey {
    /// Without what is derived from the secret.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ApiKey")
            .field("id", &self.id)
            .field("tenant_id", &self.tenant_id)
            .field("name", &self.name)
            .field("scope", &self.scope)
            .field("created_at", &self.created_at)
            .field("revoked_at", &self.revoked_at)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Creates a key. Repeating the call is harmless.
    ///
    /// # Errors
    /// When the database is away or fails, or the tenant does not exist.
    pub async fn create_api_key(&self, key: ApiKey) -> Result<Created<ApiKey>, StoreFault> {
        on_connection!(self, |conn, _is_repeat| {
            let inserted = diesel::insert_into(api_keys::table)
                .values(&key)
                .on_conflict_do_nothing()
                .execute(&mut *conn)
                .await?;
            if inserted == 1 {
                return Ok(Created::New(key.clone()));
            }
            let existing: ApiKey = api_keys::table
                .find(key.id)
                .select(ApiKey::as_select())
                .get_result(conn)
                .await?;
            let is_same = (existing.tenant_id, existing.scope, &existing.secret_hash)
                == (key.tenant_id, key.scope, &key.secret_hash);
            Ok(if is_same {
                Created::Same(existing)
            } else {
                Created::Conflict
            })
        })
    }

    /// One key, also when revoked: the caller looks.
    ///
    /// # Errors
    /// When the database is away or fails.
    pub async fn api_key(&self, id: ApiKeyId) -> Result<Option<ApiKey>, StoreFault> {
        on_connection!(self, |conn, _is_repeat| {
            api_keys::table
                .find(id)
                .select(ApiKey::as_select())
                .get_result(conn)
                .await
                .optional()
        })
    }

    /// The keys of one tenant or of all, revoked ones too, oldest first.
    ///
    /// # Errors
    /// When the database is away or fails.
    pub async fn api_keys(
        &self,
        tenant: Option<TenantId>,
        page: Page,
    ) -> Result<Paged<ApiKey>, StoreFault> {
        let rows: Vec<ApiKey> = on_connection!(self, |conn, _is_repeat| {
            let mut query = api_keys::table.select(ApiKey::as_select()).into_boxed();
            if let Some(tenant) = tenant {
                query = query.filter(api_keys::tenant_id.eq(tenant));
            }
            oldest_first!(query, page, api_keys::created_at, api_keys::id)
                .load(conn)
                .await
        })?;
        Ok(page.cut(rows, |key| (key.created_at, key.id.0)))
    }

    /// Revokes a key. Returns false if there is no such key or it was revoked before.
    ///
    /// # Errors
    /// When the database is away or fails.
    pub async fn revoke_api_key(&self, id: ApiKeyId, at: Timestamp) -> Result<bool, StoreFault> {
        on_connection!(self, |conn, _is_repeat| {
            let is_ours = api_keys::revoked_at
                .is_null()
                // A repeat of this very call.
                .or(api_keys::revoked_at.eq(Some(at)));
            diesel::update(api_keys::table.find(id).filter(is_ours))
                .set(api_keys::revoked_at.eq(Some(at)))
                .execute(conn)
                .await
                .map(|rows| rows == 1)
        })
    }
}
