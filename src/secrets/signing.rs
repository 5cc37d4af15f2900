//! The signing key: one secret shared by all nodes, from which every other key of the server is
//! derived.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hkdf::Hkdf;
use sha2::Sha256;
use thiserror::Error;

/// Shortest signing key that is accepted.
pub const SIGNING_KEY_BYTES_MIN: usize = 32;
/// Random bytes of a generated key.
const GENERATED_BYTES: usize = 32;

/// The purpose of a derived key. Keys of different purposes reveal nothing about each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Signs join tokens.
    JoinToken,
    /// Seals the secrets of API keys at rest.
    ApiKeySealing,
    /// Signs node tokens.
    NodeToken,
}

impl Purpose {
    /// Input of the derivation. A changed text makes everything signed or sealed before unreadable.
    const fn info(self) -> &'static [u8] {
        match self {
            Self::JoinToken => b"callboard join token v1",
            Self::ApiKeySealing => b"callboard api key sealing v1",
            Self::NodeToken => b"callboard node token v1",
        }
    }
}

/// The key material is shorter than [`SIGNING_KEY_BYTES_MIN`].
#[derive(Debug, PartialEq, Eq, Error)]
#[error("must have at least {SIGNING_KEY_BYTES_MIN} bytes")]
pub struct SigningKeyTooShort;

/// The server's secret.
#[derive(Clone)]
pub struct SigningKey(Vec<u8>);

impl SigningKey {
    /// Takes the bytes of a text without surrounding white space, so that a file and a variable
    /// give the same key.
    ///
    /// # Errors
    ///
    /// When it is too short.
    pub fn from_text(text: &str) -> Result<Self, SigningKeyTooShort> {
        let bytes = text.trim().as_bytes();
        if bytes.len() < SIGNING_KEY_BYTES_MIN {
            return Err(SigningKeyTooShort);
        }
        Ok(Self(bytes.to_vec()))
    }

    /// The text of a new random key.
    pub(super) fn generate_text() -> String {
        URL_SAFE_NO_PAD.encode(rand::random::<[u8; GENERATED_BYTES]>())
    }

    /// Derives the key for one purpose with HKDF-SHA256 (RFC 5869), without salt.
    #[must_use]
    pub fn derive(&self, purpose: Purpose) -> [u8; 32] {
        let mut key = [0; 32];
        Hkdf::<Sha256>::new(None, &self.0)
            .expand(purpose.info(), &mut key)
            .expect("32 bytes are within what HKDF-SHA256 expands to");
        key
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("SigningKey(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purposes_give_different_keys_and_the_same_text_the_same_key() {
        let text = SigningKey::generate_text();
        let key = SigningKey::from_text(&text).unwrap();
        let again = SigningKey::from_text(&format!("{text}\n")).unwrap();
        assert_eq!(
            key.derive(Purpose::JoinToken),
            again.derive(Purpose::JoinToken)
        );
        assert_ne!(
            key.derive(Purpose::JoinToken),
            key.derive(Purpose::ApiKeySealing)
        );
        assert_ne!(
            key.derive(Purpose::JoinToken),
            key.derive(Purpose::NodeToken)
        );
        assert!(!format!("{key:?}").contains(&text));
    }

    #[test]
    fn short_signing_key_is_refused() {
        let long = "x".repeat(SIGNING_KEY_BYTES_MIN);
        assert!(SigningKey::from_text(&long).is_ok());
        assert!(SigningKey::from_text(&format!("  {}  ", &long[1..])).is_err());
    }

    #[test]
    fn derived_keys_stay_the_same_across_releases() {
        let key = SigningKey::from_text(&"k".repeat(32)).unwrap();
        let start = |purpose| URL_SAFE_NO_PAD.encode(&key.derive(purpose)[..6]);
        assert_eq!(start(Purpose::JoinToken), "P2V2ScUT");
        assert_eq!(start(Purpose::ApiKeySealing), "F4XAi8RF");
        assert_eq!(start(Purpose::NodeToken), "3_Y9kAEm");
    }
}
