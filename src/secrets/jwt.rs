//! JSON Web Tokens (RFC 7519) signed with HMAC-SHA256. `HS256` is the only algorithm that callboard
//! signs with and accepts, so a token cannot choose a weaker one.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use serde::{
    Deserialize, Serialize,
    de::{DeserializeOwned, IgnoredAny},
};
use sha2::Sha256;

const ALGORITHM: &str = "HS256";

#[derive(Serialize)]
struct SignedHeader<'a> {
    typ: &'static str,
    alg: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<&'a str>,
}

/// The part of a token's header that matters here. Unknown members are ignored (RFC 7515 section
/// 4).
#[derive(Deserialize)]
pub(super) struct Header {
    alg: String,
    /// Names the key that the token claims to be signed with.
    pub(super) kid: Option<String>,
    /// Extensions that must be understood (RFC 7515 section 4.1.11). callboard understands none.
    crit: Option<IgnoredAny>,
}

/// Signs claims. `kid` goes into the header and tells the verifier which key to use.
#[must_use]
pub(crate) fn sign(claims: &impl Serialize, kid: Option<&str>, key: &[u8]) -> String {
    let header = SignedHeader {
        typ: "JWT",
        alg: ALGORITHM,
        kid,
    };
    let mut token = format!("{}.{}", encode(&header), encode(claims));
    let signature = mac(key, &token).finalize().into_bytes();
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    token
}

/// Reads the header without verifying the signature. `None` if the text is not an `HS256` token.
pub(super) fn header(token: &str) -> Option<Header> {
    let (header, _) = token.split_once('.')?;
    let header: Header = decode(header)?;
    (header.alg == ALGORITHM && header.crit.is_none()).then_some(header)
}

/// Returns the claims of a token that was signed with `key`. `None` if the signature is wrong, or
/// if the claims do not have the shape of `C`.
pub(super) fn verified_claims<C: DeserializeOwned>(token: &str, key: &[u8]) -> Option<C> {
    header(token)?;
    let (message, signature) = token.rsplit_once('.')?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    mac(key, message).verify_slice(&signature).ok()?;
    let (_, claims) = message.split_once('.')?;
    decode(claims)
}

fn mac(key: &[u8], message: &str) -> Hmac<Sha256> {
    Hmac::<Sha256>::new_from_slice(key)
        .expect("HMAC takes a key of any length")
        .chain_update(message)
}

fn encode(part: &impl Serialize) -> String {
    let json = serde_json::to_vec(part).expect("headers and claims have string keys");
    URL_SAFE_NO_PAD.encode(json)
}

fn decode<T: DeserializeOwned>(part: &str) -> Option<T> {
    let json = URL_SAFE_NO_PAD.decode(part).ok()?;
    serde_json::from_slice(&json).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// RFC 7515 appendix A.1.
    #[test]
    fn example_of_the_standard_verifies() {
        let token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
            eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
            dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let key = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
        let key = URL_SAFE_NO_PAD.decode(key).unwrap();
        let claims: Value = verified_claims(token, &key).unwrap();
        assert_eq!(claims["iss"], "joe");
        assert!(verified_claims::<Value>(token, &key[1..]).is_none());
    }

    #[test]
    fn other_programs_read_what_is_signed_here() {
        let claims = json!({"exp": 4_000_000_000_u64, "sub": "ada"});
        let token = sign(&claims, Some("k1"), b"secret");
        let read = jsonwebtoken::decode::<Value>(
            &token,
            &jsonwebtoken::DecodingKey::from_secret(b"secret"),
            &jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::HS256),
        )
        .unwrap();
        assert_eq!(read.claims, claims);
        assert_eq!(read.header.kid.as_deref(), Some("k1"));
    }
}
