//! Join tokens that the load tool signs itself with the secret of its API key: people cost the
//! server no request.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Deserialize;
use uuid::Uuid;

use crate::{
    ids::{RoomId, TenantId, Timestamp, UserId},
    protocol::Kind,
    secrets::{
        api_key::ApiKeyText,
        jwt,
        token::{Claims, TOKEN_LIFETIME_SECS_MAX},
    },
};

/// How far the server's clock may be behind ours.
const CLOCK_SKEW_SECS: u64 = 60;

/// Signs tokens for guests.
#[derive(Clone)]
pub(super) struct Signer {
    key: ApiKeyText,
    key_id: String,
    tenant: TenantId,
    expires_at_secs: u64,
}

#[derive(Deserialize)]
struct Known {
    sub: UserId,
    tenant: TenantId,
}

impl Signer {
    /// Takes the tenant from a token of the server. `None` if the key or the token is unreadable.
    pub fn new(key: &str, join_token: &str) -> Option<Self> {
        let key = ApiKeyText::parse(key)?;
        let now_secs = u64::try_from(Timestamp::from(chrono::Utc::now()).0 / 1_000).ok()?;
        Some(Self {
            key_id: key.id.to_string(),
            key,
            tenant: known(join_token)?.tenant,
            expires_at_secs: now_secs + TOKEN_LIFETIME_SECS_MAX - CLOCK_SKEW_SECS,
        })
    }

    /// A token for a new guest of a room.
    pub fn guest(&self, room_id: Uuid, seat: usize) -> (Uuid, String) {
        let user_id = Uuid::new_v4();
        let claims = Claims {
            sub: UserId(user_id),
            room: RoomId(room_id),
            tenant: self.tenant,
            role: Kind::Guest,
            name: format!("Guest {seat}"),
            exp: self.expires_at_secs,
            jti: String::new(),
        };
        let secret = self.key.expose_secret().as_bytes();
        (user_id, jwt::sign(&claims, Some(&self.key_id), secret))
    }
}

/// What a token of the server says; its signature is the server's business.
fn known(join_token: &str) -> Option<Known> {
    let claims = join_token.split('.').nth(1)?;
    let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?;
    serde_json::from_slice(&claims).ok()
}

/// Whose token it is.
pub(super) fn holder(join_token: &str) -> Option<Uuid> {
    Some(known(join_token)?.sub.0)
}
