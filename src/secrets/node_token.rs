//! Node tokens: JWTs (RFC 7519), HS256 only, in which one node tells another what it has found out about a caller, so that
//! callers' own credentials stay where they came in.
//!
//! Each is for one node, one purpose and half a minute. The key is derived from the signing key that all nodes share, for
//! nothing but these tokens: a join token is never a node token, nor the other way round.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use url::Url;

use super::{
    Purpose, SigningKey,
    token::{Unverified, is_display_name},
};
use crate::{
    ids::{NodeId, RoomId, TenantId, Timestamp, UserId},
    protocol::Kind,
};

/// How long a token is valid by the clock of its issuer.
pub const NODE_TOKEN_LIFETIME_SECS: u64 = 30;
/// How far the clocks of two machines may be apart.
pub const NODE_CLOCK_SKEW_SECS_MAX: u64 = 30;
/// Longest token text; the longest display name takes about half of it.
pub const NODE_TOKEN_BYTES_MAX: usize = 2048;

/// What the entry node has found out about the caller, or asks in its own name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "kind",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum Grant {
    /// A verified join of this person.
    Join {
        /// The tenant of the room.
        tenant: TenantId,
        /// Which room.
        room: RoomId,
        /// The joiner.
        user: UserId,
        /// Display name, see [`is_display_name`].
        name: String,
        /// What the joiner comes as.
        role: Kind,
        /// The join token is right, but its time is over: good for a resume only.
        is_expired: bool,
    },
    /// An admin's command for this room was authorised.
    Ask {
        /// Which room.
        room: RoomId,
    },
    /// The room is handed over to the audience by its owner, the issuer.
    Take {
        /// Which room.
        room: RoomId,
    },
    /// Whether the audience has the mirror.
    Mirror,
    /// The issuer is there, and listens at this URL.
    Introduce {
        /// As it advertises it.
        url: Url,
    },
    /// The audience is to hand its rooms over and to end.
    Drain,
}

/// What a token says that is right in all else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeClaims {
    /// The node that says so.
    pub issuer: NodeId,
    /// What it says.
    pub grant: Grant,
}

/// Why a token is refused. On the wire all are `unauthorized`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NodeTokenError {
    /// Not a token, not signed by this key, or with claims that are not allowed.
    #[error("the node token is not valid")]
    Invalid,
    /// Its time is over, by more than clocks may differ.
    #[error("the node token has expired")]
    Expired,
    /// It is for another node, as when this process listens where that one did.
    #[error("the node token is for another node")]
    OtherAudience,
}

/// The claims as signed.
#[derive(Serialize, Deserialize)]
struct SignedClaims {
    /// The node that says so.
    iss: NodeId,
    /// The node that is told.
    aud: NodeId,
    /// Seconds since 1970 from which on the token is not valid.
    exp: u64,
    grant: Grant,
}

/// A token for `audience` that says `grant`.
#[must_use]
pub fn mint(
    grant: Grant,
    issuer: NodeId,
    audience: NodeId,
    key: &SigningKey,
    now: Timestamp,
) -> String {
    let claims = SignedClaims {
        iss: issuer,
        aud: audience,
        exp: seconds(now) + NODE_TOKEN_LIFETIME_SECS,
        grant,
    };
    let key = EncodingKey::from_secret(&key.derive(Purpose::NodeToken));
    encode(&Header::new(Algorithm::HS256), &claims, &key)
        .expect("claims are plain JSON and HS256 takes any key")
}

/// Verifies a token that `audience` was given.
///
/// # Errors
///
/// See [`NodeTokenError`].
pub fn verify(
    text: &str,
    audience: NodeId,
    key: &SigningKey,
    now: Timestamp,
) -> Result<NodeClaims, NodeTokenError> {
    let is_plain = text.len() <= NODE_TOKEN_BYTES_MAX
        && Unverified::new(text).is_ok_and(|token| token.kid().is_none());
    if !is_plain {
        return Err(NodeTokenError::Invalid);
    }
    // Time and audience are checked below: by the caller's clock, and so that each has its own error.
    let mut validation = Validation::new(Algorithm::HS256);
    validation.validate_exp = false;
    validation.validate_aud = false;
    let key = DecodingKey::from_secret(&key.derive(Purpose::NodeToken));
    let claims: SignedClaims = decode(text, &key, &validation)
        .map_err(|_| NodeTokenError::Invalid)?
        .claims;
    let now_secs = seconds(now);
    if claims.exp > now_secs + NODE_TOKEN_LIFETIME_SECS + NODE_CLOCK_SKEW_SECS_MAX
        || !claims.grant.is_allowed()
    {
        Err(NodeTokenError::Invalid)
    } else if claims.aud != audience {
        Err(NodeTokenError::OtherAudience)
    } else if claims.exp + NODE_CLOCK_SKEW_SECS_MAX <= now_secs {
        Err(NodeTokenError::Expired)
    } else {
        Ok(NodeClaims {
            issuer: claims.iss,
            grant: claims.grant,
        })
    }
}

impl Grant {
    /// Whether it keeps to the bounds of its parts.
    fn is_allowed(&self) -> bool {
        match self {
            Self::Join { name, .. } => is_display_name(name),
            Self::Introduce { url } => matches!(url.scheme(), "http" | "https"),
            Self::Ask { .. } | Self::Take { .. } | Self::Mirror | Self::Drain => true,
        }
    }
}

fn seconds(now: Timestamp) -> u64 {
    u64::try_from(now.0 / 1000).unwrap_or(0)
}

#[cfg(test)]
mod tests;
