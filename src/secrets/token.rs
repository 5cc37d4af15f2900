//! Join tokens: JWTs (RFC 7519), HS256 only, that say who may join which room in which role.
//!
//! Two signers: the server's own key (no `kid`), and the secret of a tenant's API key (`kid` = its
//! id). A caller reads [`Unverified::kid`] first and then verifies with the key that it names. Each
//! verification refuses tokens of the other signer. The caller must check the tenant and the room
//! of the claims.

use serde::{Deserialize, Serialize, de::IgnoredAny};
use thiserror::Error;

use super::{ApiKeyText, Purpose, SigningKey, jwt};
use crate::{
    ids::{ApiKeyId, RoomId, TenantId, Timestamp, UserId},
    protocol::Kind,
};

/// Longest token text.
pub const TOKEN_BYTES_MAX: usize = 4096;
/// How far ahead `exp` may be.
pub const TOKEN_LIFETIME_SECS_MAX: u64 = 24 * 3600;
/// Longest display name, in Unicode characters.
pub const NAME_CHARS_MAX: usize = 128;
/// Longest `jti`.
pub const TOKEN_ID_BYTES_MAX: usize = 128;
/// How far a tenant's clock may be ahead of ours: for `nbf` and for the bound on `exp`. `exp`
/// itself has no leeway.
pub const CLOCK_SKEW_SECS_MAX: u64 = 5;

/// Who may join which room in which role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// User who joins.
    pub sub: UserId,
    /// Room to join.
    pub room: RoomId,
    /// The tenant of both.
    pub tenant: TenantId,
    /// The kind of joiner.
    pub role: Kind,
    /// Display name, see [`is_display_name`].
    pub name: String,
    /// Seconds since 1970 from which on the token is not valid.
    pub exp: u64,
    /// Identifies the token in logs of its signer. Nothing depends on it.
    #[serde(default)]
    pub jti: String,
}

/// Why a token is refused. Both are `unauthorized` on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TokenError {
    /// Not a token, not signed by this key, or with claims that are not allowed.
    #[error("the token is not valid")]
    Invalid,
    /// Expired, but otherwise valid. Its claims still allow a resume.
    #[error("the token has expired")]
    Expired(Box<Claims>),
}

/// Signs a token with the server's key. The caller must keep to the bounds of the claims.
#[must_use]
pub fn mint(claims: &Claims, signing: &SigningKey) -> String {
    jwt::sign(claims, None, &signing.derive(Purpose::JoinToken))
}

/// A token of which only the header was read, to find the key to verify it with. Nothing is
/// verified yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unverified<'a> {
    text: &'a str,
    kid: Option<ApiKeyId>,
}

impl<'a> Unverified<'a> {
    /// Reads the header.
    ///
    /// # Errors
    ///
    /// [`TokenError::Invalid`] when the text cannot be a token of either signer.
    pub fn new(text: &'a str) -> Result<Self, TokenError> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Invalid);
        }
        let header = jwt::header(text).ok_or(TokenError::Invalid)?;
        let kid = header.kid.map(|kid| kid.parse()).transpose();
        let kid = kid.map_err(|_| TokenError::Invalid)?;
        Ok(Self { text, kid })
    }

    /// The API key that the token claims to be signed with. `None` means the server's key.
    #[must_use]
    pub fn kid(&self) -> Option<ApiKeyId> {
        self.kid
    }

    /// Verifies a token without `kid`.
    ///
    /// # Errors
    ///
    /// See [`TokenError`].
    pub fn verify_with_server_key(
        &self,
        signing: &SigningKey,
        now: Timestamp,
    ) -> Result<Claims, TokenError> {
        match self.kid {
            None => verify(self.text, &signing.derive(Purpose::JoinToken), now),
            Some(_) => Err(TokenError::Invalid),
        }
    }

    /// Verifies a token whose `kid` is this API key, signed by the UTF-8 bytes of its secret part.
    ///
    /// # Errors
    ///
    /// See [`TokenError`].
    pub fn verify_with_key_secret(
        &self,
        key: &ApiKeyText,
        now: Timestamp,
    ) -> Result<Claims, TokenError> {
        if self.kid == Some(key.id) {
            verify(self.text, key.expose_secret().as_bytes(), now)
        } else {
            Err(TokenError::Invalid)
        }
    }
}

/// Whether a text may be a display name: 1 to [`NAME_CHARS_MAX`] characters, not all white space,
/// no control characters. A tenant signs its own tokens, so this is the only check of such a name.
/// PostgreSQL would refuse a NUL.
#[must_use]
pub fn is_display_name(name: &str) -> bool {
    !name.trim().is_empty()
        && name.chars().count() <= NAME_CHARS_MAX
        && !name.chars().any(char::is_control)
}

/// The claims, and the claims of RFC 7519 that restrict a token's use.
#[derive(Deserialize)]
struct SignedClaims {
    #[serde(flatten)]
    claims: Claims,
    /// Not valid before, in seconds since 1970.
    nbf: Option<u64>,
    /// A token with an audience is for another service (RFC 7519 section 4.1.3): callboard has no
    /// audience of its own.
    aud: Option<IgnoredAny>,
}

fn verify(token: &str, secret: &[u8], now: Timestamp) -> Result<Claims, TokenError> {
    let SignedClaims { claims, nbf, aud } =
        jwt::verified_claims(token, secret).ok_or(TokenError::Invalid)?;
    let now_secs = u64::try_from(now.0 / 1000).unwrap_or(0);
    let latest = now_secs + CLOCK_SKEW_SECS_MAX;
    let is_allowed = claims.exp <= latest + TOKEN_LIFETIME_SECS_MAX
        && nbf.is_none_or(|start| start <= latest)
        && aud.is_none()
        && is_display_name(&claims.name)
        && claims.jti.len() <= TOKEN_ID_BYTES_MAX;
    if !is_allowed {
        Err(TokenError::Invalid)
    } else if claims.exp <= now_secs {
        Err(TokenError::Expired(Box::new(claims)))
    } else {
        Ok(claims)
    }
}

#[cfg(test)]
mod tests;
