//! JSON Web Tokens (RFC 7519) signed with HMAC-SHA256. `HS256` is the only algorithm that callboard
//! signs with and accepts, so a token cannot choose a weaker one.

use std::sync::LazyLock;

use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode,
};
use serde::{Serialize, de::DeserializeOwned};

/// Verifies the signature and the algorithm only. The callers check the claims against their own
/// clock.
static SIGNATURE_ONLY: LazyLock<Validation> = LazyLock::new(|| {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation
});

/// Signs claims. `kid` goes into the header and tells the verifier which key to use.
#[must_use]
pub(crate) fn sign(claims: &impl Serialize, kid: Option<&str>, key: &[u8]) -> String {
    let mut header = Header::new(Algorithm::HS256);
    header.kid = kid.map(str::to_owned);
    encode(&header, claims, &EncodingKey::from_secret(key))
        .expect("claims are plain JSON and HS256 takes any key")
}

/// Reads the header without verifying the signature. `None` if the text is not an `HS256` token, or
/// if it names extensions that must be understood (RFC 7515 section 4.1.11): callboard understands
/// none.
pub(super) fn header(token: &str) -> Option<Header> {
    let header = decode_header(token).ok()?;
    (header.alg == Algorithm::HS256 && header.crit.is_none()).then_some(header)
}

/// Returns the claims of a token that was signed with `key`. `None` if the signature is wrong, or
/// if the claims do not have the shape of `C`.
pub(super) fn verified_claims<C: DeserializeOwned>(token: &str, key: &[u8]) -> Option<C> {
    header(token)?;
    let data = decode(token, &DecodingKey::from_secret(key), &SIGNATURE_ONLY).ok()?;
    Some(data.claims)
}
