//! Who joins: somebody with a join token, which is verified here, or whom another node has
//! verified.

use tracing::warn;

use super::{JoinService, unauthorized, unavailable};
use crate::{
    ids::{ApiKeyId, RoomId, TenantId, UserId},
    protocol::{Kind, Refusal},
    secrets::{
        api_key::{self, ApiKeyText},
        node_token::Grant,
        token::{Claims, TokenError, Unverified},
    },
};

/// Somebody with a valid join token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The token's tenant.
    pub tenant_id: TenantId,
    /// The token's room.
    pub room_id: RoomId,
    /// The user.
    pub user_id: UserId,
    /// The name that others see.
    pub display_name: String,
    /// The kind of joiner.
    pub kind: Kind,
    /// The token has expired, and allows a resume only.
    pub is_expired: bool,
}

impl Person {
    fn new(claims: Claims, is_expired: bool) -> Self {
        Self {
            tenant_id: claims.tenant,
            room_id: claims.room,
            user_id: claims.sub,
            display_name: claims.name,
            kind: claims.role,
            is_expired,
        }
    }

    /// What the owner of the room is told.
    pub(in crate::actor) fn grant(&self) -> Grant {
        Grant::Join {
            tenant: self.tenant_id,
            room: self.room_id,
            user: self.user_id,
            name: self.display_name.clone(),
            role: self.kind,
            is_expired: self.is_expired,
        }
    }
}

impl Person {
    /// The person that another node has verified. None if the grant is for something else.
    #[must_use]
    pub fn of_grant(grant: &Grant) -> Option<Self> {
        match grant {
            Grant::Join {
                tenant,
                room,
                user,
                name,
                role,
                is_expired,
            } => Some(Self {
                tenant_id: *tenant,
                room_id: *room,
                user_id: *user,
                display_name: name.clone(),
                kind: *role,
                is_expired: *is_expired,
            }),
            Grant::Ask { .. }
            | Grant::Take { .. }
            | Grant::Mirror
            | Grant::Introduce { .. }
            | Grant::Drain => None,
        }
    }
}

impl JoinService {
    /// The holder of a join token. The server's key or an API key of the token's tenant must have
    /// signed it, and it must be for this room. The room decides whether an expired token will do.
    pub(in crate::actor) async fn identify(
        &self,
        text: &str,
        room_id: RoomId,
    ) -> Result<Person, Refusal> {
        let now = self.node.clock.now();
        let token = Unverified::new(text).map_err(not_valid)?;
        let (verified, tenant_id) = match token.kid() {
            None => (token.verify_with_server_key(&self.signing, now), None),
            Some(id) => {
                let (key, tenant_id) = self.api_key(id).await?;
                (token.verify_with_key_secret(&key, now), Some(tenant_id))
            }
        };
        let (claims, is_expired) = match verified {
            Ok(claims) => (claims, false),
            Err(TokenError::Expired(claims)) => (*claims, true),
            Err(error @ TokenError::Invalid) => return Err(not_valid(error)),
        };
        if tenant_id.is_some_and(|tenant| tenant != claims.tenant) {
            return Err(unauthorized("the token is of another tenant"));
        }
        if claims.room != room_id {
            return Err(unauthorized("the token is for another room"));
        }
        Ok(Person::new(claims, is_expired))
    }

    async fn api_key(&self, id: ApiKeyId) -> Result<(ApiKeyText, TenantId), Refusal> {
        if id == self.bootstrap.id {
            return Ok((self.bootstrap.clone(), crate::store::DEFAULT_TENANT));
        }
        let row = self.node.store.api_key(id).await.map_err(|fault| {
            warn!(%fault, "cannot read an API key");
            unavailable()
        })?;
        let row = row.filter(|row| row.revoked_at.is_none());
        let opened = row.and_then(|row| {
            let key = api_key::open(id, &row.sealed_secret, &self.signing).ok()?;
            Some((key, row.tenant_id))
        });
        opened.ok_or_else(|| unauthorized("the token's key is unknown or revoked"))
    }
}

fn not_valid(_: TokenError) -> Refusal {
    unauthorized("the token is not valid")
}
