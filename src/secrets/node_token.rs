//! Node tokens: JWTs (RFC 7519), HS256 only, in which one node tells another what it has verified
//! about a caller. So callers' credentials stay on the node that they connect to.
//!
//! Each is for one node, one purpose and half a minute. The key is derived from the shared signing
//! key for node tokens only, so a join token is never a node token or the reverse.

use serde::{Deserialize, Serialize};
use thiserror::Error;
use url::Url;

use super::{
    Purpose, SigningKey, jwt,
    token::{Unverified, is_display_name},
};
use crate::{
    ids::{NodeId, RoomId, TenantId, Timestamp, UserId},
    protocol::Kind,
};

/// Life of a token, by the clock of its issuer.
pub const NODE_TOKEN_LIFETIME_SECS: u64 = 30;
/// Largest difference between the clocks of two machines.
pub const NODE_CLOCK_SKEW_SECS_MAX: u64 = 30;
/// Longest token. The longest display name takes about half of it.
pub const NODE_TOKEN_BYTES_MAX: usize = 2048;

/// What the issuer has verified about the caller, or asks for itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "kind",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum Grant {
    /// A verified join.
    Join {
        /// The tenant of the room.
        tenant: TenantId,
        /// Which room.
        room: RoomId,
        /// User who joins.
        user: UserId,
        /// Display name, see [`is_display_name`].
        name: String,
        /// The kind of joiner.
        role: Kind,
        /// The join token has expired, so it allows a resume only.
        is_expired: bool,
    },
    /// An authorised admin command for this room.
    Ask {
        /// Which room.
        room: RoomId,
    },
    /// The issuer, who owns the room, hands it off to the audience.
    Take {
        /// Which room.
        room: RoomId,
    },
    /// Asks whether the audience reaches the mirror.
    Mirror,
    /// The issuer has started and listens at this URL.
    Introduce {
        /// The advertised URL.
        url: Url,
    },
    /// The audience must hand its rooms off and stop.
    Drain,
}

/// The content of a valid token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeClaims {
    /// The node that issued the token.
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
    /// Expired, by more than clocks may differ.
    #[error("the node token has expired")]
    Expired,
    /// It is for another node, for example one that listened at this address before.
    #[error("the node token is for another node")]
    OtherAudience,
}

/// The claims as signed.
#[derive(Serialize, Deserialize)]
struct SignedClaims {
    /// The node that issued the token.
    iss: NodeId,
    /// The node that the token is for.
    aud: NodeId,
    /// Seconds since 1970 from which on the token is not valid.
    exp: u64,
    grant: Grant,
}

/// Signs a token with `grant` for `audience`.
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
    jwt::sign(&claims, None, &key.derive(Purpose::NodeToken))
}

/// Verifies a token that `audience` has received.
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
    let claims: SignedClaims = jwt::verified_claims(text, &key.derive(Purpose::NodeToken))
        .ok_or(NodeTokenError::Invalid)?;
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
    /// Whether its fields are within their bounds.
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
