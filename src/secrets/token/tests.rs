//! Which tokens verify, and that no others do.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const NOW_SECS: u64 = 1_800_000_000;

fn signing() -> SigningKey {
    SigningKey::from_text(&"s".repeat(32)).unwrap()
}

fn claims() -> Claims {
    Claims {
        sub: UserId(Uuid::from_u128(1)),
        room: RoomId(Uuid::from_u128(2)),
        tenant: TenantId(Uuid::from_u128(3)),
        role: Kind::Guest,
        name: "Ada".to_owned(),
        exp: NOW_SECS + 60,
        jti: "t1".to_owned(),
    }
}

/// A token with any header and claims, signed by the server's key.
fn signed(header: &Header, claims: &Value) -> String {
    let key = EncodingKey::from_secret(&signing().derive(Purpose::JoinToken));
    encode(header, claims, &key).unwrap()
}

/// A token with the usual claims changed by `change`.
fn changed(change: impl FnOnce(&mut Value)) -> String {
    let mut value = serde_json::to_value(claims()).unwrap();
    change(&mut value);
    signed(&Header::new(Algorithm::HS256), &value)
}

fn peek_kid(token: &str) -> Result<Option<ApiKeyId>, TokenError> {
    Ok(Unverified::new(token)?.kid())
}

fn verify_with_server_key(
    token: &str,
    signing: &SigningKey,
    now: Timestamp,
) -> Result<Claims, TokenError> {
    Unverified::new(token)?.verify_with_server_key(signing, now)
}

fn verify_with_key_secret(token: &str, key: &ApiKeyText) -> Result<Claims, TokenError> {
    Unverified::new(token)?.verify_with_key_secret(key, NOW)
}

fn check(token: &str) -> Result<Claims, TokenError> {
    verify_with_server_key(token, &signing(), NOW)
}

#[test]
fn minted_token_verifies_until_its_second_comes() {
    let token = mint(&claims(), &signing());
    assert_eq!(peek_kid(&token), Ok(None));
    assert_eq!(check(&token), Ok(claims()));
    let last = Timestamp((claims().exp as i64) * 1000 - 1);
    assert_eq!(
        verify_with_server_key(&token, &signing(), last),
        Ok(claims())
    );
    let over = Timestamp((claims().exp as i64) * 1000);
    assert_eq!(
        verify_with_server_key(&token, &signing(), over),
        Err(TokenError::Expired(Box::new(claims())))
    );
    let other = SigningKey::from_text(&"o".repeat(32)).unwrap();
    assert_eq!(
        verify_with_server_key(&token, &other, NOW),
        Err(TokenError::Invalid)
    );
}

#[test]
fn claims_outside_their_bounds_are_refused() {
    let far = NOW_SECS + TOKEN_LIFETIME_SECS_MAX;
    type Change = Box<dyn FnOnce(&mut Value)>;
    let set =
        |key: &'static str, value: Value| -> Change { Box::new(move |claims| claims[key] = value) };
    let allowed: Vec<Change> = vec![
        set("exp", json!(far)),
        set("exp", json!(far + CLOCK_SKEW_SECS_MAX)),
        set("nbf", json!(NOW_SECS + CLOCK_SKEW_SECS_MAX)),
        set("name", json!("ä".repeat(NAME_CHARS_MAX))),
        set("role", json!("host")),
        set("unknown", json!({"nested": [1]})),
        Box::new(|claims| drop(claims.as_object_mut().unwrap().remove("jti"))),
    ];
    for change in allowed {
        let token = changed(change);
        assert!(check(&token).is_ok(), "{token}");
    }
    let mut refused: Vec<Change> = vec![
        set("exp", json!(far + CLOCK_SKEW_SECS_MAX + 1)),
        set("exp", json!(u64::MAX)),
        set("exp", json!(-1)),
        set("exp", json!((NOW_SECS + 60).to_string())),
        set("nbf", json!(NOW_SECS + CLOCK_SKEW_SECS_MAX + 1)),
        set("nbf", json!("soon")),
        set("aud", json!("somebody else")),
        set("name", json!("x".repeat(NAME_CHARS_MAX + 1))),
        set("name", json!("")),
        set("name", json!(" \t ")),
        set("name", json!("a\0b")),
        set("name", json!("a\nb\u{1b}[31m")),
        set("jti", json!("x".repeat(TOKEN_ID_BYTES_MAX + 1))),
        set("role", json!("attendee")),
        set("role", json!("Host")),
        set("sub", json!("ada")),
        set("room", json!(null)),
    ];
    for key in ["sub", "room", "tenant", "role", "name", "exp"] {
        refused.push(Box::new(move |claims| {
            drop(claims.as_object_mut().unwrap().remove(key));
        }));
    }
    for change in refused {
        let token = changed(change);
        assert_eq!(check(&token), Err(TokenError::Invalid), "{token}");
    }
}

#[test]
fn other_algorithms_and_critical_extensions_are_refused() {
    let value = serde_json::to_value(claims()).unwrap();
    for algorithm in [Algorithm::HS384, Algorithm::HS512] {
        assert_eq!(
            check(&signed(&Header::new(algorithm), &value)),
            Err(TokenError::Invalid)
        );
    }
    let mut critical = Header::new(Algorithm::HS256);
    critical.crit = Some(vec!["b64".to_owned()]);
    assert_eq!(check(&signed(&critical, &value)), Err(TokenError::Invalid));

    let valid = mint(&claims(), &signing());
    let (_, rest) = valid.split_once('.').unwrap();
    let (payload, signature) = rest.split_once('.').unwrap();
    for header in [
        r#"{"alg":"none"}"#,
        r#"{"alg":"None","typ":"JWT"}"#,
        r#"{"alg":"RS256"}"#,
        r#"{"typ":"JWT"}"#,
        "[]",
    ] {
        use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
        let header = URL_SAFE_NO_PAD.encode(header);
        for signature in ["", signature] {
            let token = format!("{header}.{payload}.{signature}");
            assert_eq!(check(&token), Err(TokenError::Invalid), "{token}");
        }
    }
}

#[test]
fn token_of_an_api_key_verifies_with_that_key_only() {
    let key = ApiKeyText::generate();
    let other = ApiKeyText::generate();
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some(key.id.to_string());
    let secret = EncodingKey::from_secret(key.expose_secret().as_bytes());
    let token = encode(&header, &claims(), &secret).unwrap();
    assert_eq!(peek_kid(&token), Ok(Some(key.id)));
    assert_eq!(verify_with_key_secret(&token, &key), Ok(claims()));
    assert_eq!(
        verify_with_key_secret(&token, &other),
        Err(TokenError::Invalid)
    );
    assert_eq!(check(&token), Err(TokenError::Invalid));

    // The simple form of the id is the one in the key's text.
    header.kid = Some(key.id.0.simple().to_string());
    let simple = encode(&header, &claims(), &secret).unwrap();
    assert_eq!(verify_with_key_secret(&simple, &key), Ok(claims()));

    // Signed by the server's key but claiming a tenant's, and the other way round.
    let mixed = signed(&header, &serde_json::to_value(claims()).unwrap());
    assert_eq!(
        verify_with_key_secret(&mixed, &key),
        Err(TokenError::Invalid)
    );
    assert_eq!(check(&mixed), Err(TokenError::Invalid));
    header.kid = None;
    let nameless = encode(&header, &claims(), &secret).unwrap();
    assert_eq!(check(&nameless), Err(TokenError::Invalid));
    assert_eq!(
        verify_with_key_secret(&nameless, &key),
        Err(TokenError::Invalid)
    );
    header.kid = Some("not-an-id".to_owned());
    let unknown = encode(&header, &claims(), &secret).unwrap();
    assert_eq!(peek_kid(&unknown), Err(TokenError::Invalid));
}

#[test]
fn text_longer_than_the_limit_is_refused_though_signed() {
    let token = changed(|claims| claims["padding"] = json!("x".repeat(TOKEN_BYTES_MAX)));
    assert_eq!(check(&token), Err(TokenError::Invalid));
}

proptest! {
    #[test]
    fn arbitrary_text_is_refused_without_panic(text in "\\PC{0,300}") {
        prop_assert!(peek_kid(&text).is_err() || check(&text).is_err());
    }

    #[test]
    fn arbitrary_parts_are_refused_without_panic(
        parts in proptest::collection::vec("[A-Za-z0-9_-]{0,80}", 0..5),
    ) {
        prop_assert!(check(&parts.join(".")).is_err());
    }

    #[test]
    fn tampered_token_never_verifies(position in any::<prop::sample::Index>(), letter in "[A-Za-z0-9_.-]") {
        let token = mint(&claims(), &signing());
        let position = position.index(token.len());
        let mut tampered = token.clone();
        tampered.replace_range(position..=position, &letter);
        prop_assume!(tampered != token);
        prop_assert!(check(&tampered).is_err());
    }

    #[test]
    fn cut_or_lengthened_token_never_verifies(cut in any::<prop::sample::Index>(), more in "[A-Za-z0-9_.=-]{1,8}") {
        let token = mint(&claims(), &signing());
        prop_assert!(check(&token[..cut.index(token.len())]).is_err());
        let lengthened = token + &more;
        prop_assert!(check(&lengthened).is_err());
    }

    #[test]
    fn claims_survive_minting(name in "[aé😀]\\PC{0,127}", ahead in 1..=TOKEN_LIFETIME_SECS_MAX, is_host: bool) {
        let claims = Claims {
            name,
            exp: NOW_SECS + ahead,
            role: if is_host { Kind::Host } else { Kind::Guest },
            ..claims()
        };
        prop_assert_eq!(check(&mint(&claims, &signing())), Ok(claims));
    }
}
