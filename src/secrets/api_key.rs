//! API keys: their text, their hash for bearers, their sealed secret for tokens.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use thiserror::Error;
use uuid::Uuid;

use super::{Purpose, SigningKey};
use crate::ids::ApiKeyId;

/// Prefix of every key, so that leaked keys can be searched for.
const PREFIX: &str = "cb_";
/// Random bytes of a generated secret.
const GENERATED_BYTES: usize = 32;
/// Bounds of the secret part, in characters: 32 encode 24 random bytes.
const SECRET_CHARS: std::ops::RangeInclusive<usize> = 32..=128;
/// Bytes of the nonce in front of a sealed secret.
const NONCE_BYTES: usize = 24;

/// The form that [`ApiKeyText::parse`] accepts, for messages.
pub const KEY_TEXT_RULE: &str =
    "must look like cb_<id>_<secret>: the id a UUID, the secret 32 to 128 characters of base64url";

/// An API key as its holder has it: `cb_<id>_<secret>`.
#[derive(Clone)]
pub struct ApiKeyText {
    /// Public id, the `kid` of tokens that the key signs.
    pub id: ApiKeyId,
    /// The secret part.
    secret: String,
}

impl ApiKeyText {
    /// A new key.
    #[must_use]
    pub fn generate() -> Self {
        Self {
            id: ApiKeyId(Uuid::new_v4()),
            secret: URL_SAFE_NO_PAD.encode(rand::random::<[u8; GENERATED_BYTES]>()),
        }
    }

    /// Reads a key. The id may have hyphens. `None` if the text is not a key.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split_once('_'))?;
        let is_secret = SECRET_CHARS.contains(&secret.len())
            && secret
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        let is_plain_id = id
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        let id = Uuid::try_parse(id).ok()?;
        (is_secret && is_plain_id).then(|| Self {
            id: ApiKeyId(id),
            secret: secret.to_owned(),
        })
    }

    /// The whole text.
    #[must_use]
    pub fn expose(&self) -> String {
        format!("{PREFIX}{}_{}", self.id.0.simple(), self.secret)
    }

    /// The secret part: its UTF-8 bytes sign the tenant's own join tokens.
    #[must_use]
    pub fn expose_secret(&self) -> &str {
        &self.secret
    }

    /// SHA-256 of the secret part. The secret is random, so no slow hash is needed.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.secret.as_bytes()).into()
    }

    /// Compares with a stored hash in constant time.
    #[must_use]
    pub fn matches(&self, stored_hash: &[u8; 32]) -> bool {
        self.hash().ct_eq(stored_hash).into()
    }

    /// Compares two keys in constant time.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.id == other.id && self.matches(&other.hash())
    }
}

impl fmt::Debug for ApiKeyText {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "ApiKeyText({}, ***)", self.id)
    }
}

/// A sealed secret cannot be opened: it was sealed under another signing key, or for another API
/// key, or is damaged.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("the sealed secret cannot be opened with this signing key")]
pub struct SealError;

/// Encrypts the secret part for storage: XChaCha20-Poly1305 with a random nonce in front, bound to
/// the key's id.
#[must_use]
pub fn seal(key: &ApiKeyText, signing: &SigningKey) -> Vec<u8> {
    let nonce = rand::random::<[u8; NONCE_BYTES]>();
    let sealed = cipher(signing)
        .encrypt(
            &XNonce::from(nonce),
            Payload {
                msg: key.secret.as_bytes(),
                aad: key.id.0.as_bytes(),
            },
        )
        .expect("a secret is far shorter than the cipher's limit");
    [nonce.as_slice(), sealed.as_slice()].concat()
}

/// Opens a sealed secret.
///
/// # Errors
///
/// When it was sealed under another signing key or for another id, or is damaged.
pub fn open(id: ApiKeyId, sealed: &[u8], signing: &SigningKey) -> Result<ApiKeyText, SealError> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(SealError)?;
    let secret = cipher(signing)
        .decrypt(
            &XNonce::from(*nonce),
            Payload {
                msg: sealed,
                aad: id.0.as_bytes(),
            },
        )
        .map_err(|_| SealError)?;
    let secret = String::from_utf8(secret).map_err(|_| SealError)?;
    Ok(ApiKeyText { id, secret })
}

fn cipher(signing: &SigningKey) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(&signing.derive(Purpose::ApiKeySealing).into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn signing(letter: &str) -> SigningKey {
        SigningKey::from_text(&letter.repeat(32)).unwrap()
    }

    #[test]
    fn key_text_survives_a_round_trip_also_with_hyphens() {
        for _ in 0..100 {
            let key = ApiKeyText::generate();
            let again = ApiKeyText::parse(&key.expose()).unwrap();
            assert!(again.is_same(&key) && again.matches(&key.hash()));
            let hyphenated = format!("cb_{}_{}", key.id, key.expose_secret());
            assert!(ApiKeyText::parse(&hyphenated).unwrap().is_same(&key));
            assert!(!ApiKeyText::generate().matches(&key.hash()));
            assert!(!format!("{key:?}").contains(key.expose_secret()));
        }
    }

    #[test]
    fn texts_that_are_no_keys_are_refused() {
        let id = Uuid::nil().simple();
        let secret = "s".repeat(43);
        assert!(ApiKeyText::parse(&format!("cb_{id}_{secret}")).is_some());
        for text in [
            String::new(),
            "cb_".to_owned(),
            format!("cb_{id}"),
            format!("cb_{id}_"),
            format!("cb_{id}_{}", "s".repeat(31)),
            format!("cb_{id}_{}", "s".repeat(129)),
            format!("cb_{id}_{secret}!"),
            format!("cb_x{id}_{secret}"),
            format!("cb_{{{}}}_{secret}", Uuid::nil()),
            format!("xx_{id}_{secret}"),
            format!(" cb_{id}_{secret}"),
        ] {
            assert!(ApiKeyText::parse(&text).is_none(), "{text}");
        }
    }

    #[test]
    fn sealed_secret_opens_only_with_its_key_and_id() {
        let key = ApiKeyText::generate();
        let sealed = seal(&key, &signing("a"));
        assert!(open(key.id, &sealed, &signing("a")).unwrap().is_same(&key));
        assert!(open(key.id, &sealed, &signing("b")).is_err());
        assert!(open(ApiKeyText::generate().id, &sealed, &signing("a")).is_err());
        assert_ne!(seal(&key, &signing("a")), sealed);
        for index in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[index] ^= 1;
            assert!(open(key.id, &damaged, &signing("a")).is_err());
            assert!(open(key.id, &sealed[..index], &signing("a")).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(cb_)?\\PC{0,200}") {
            let _ = ApiKeyText::parse(&text);
        }
    }
}
