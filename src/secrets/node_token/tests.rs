//! Which tokens a node takes from another, and that no others do.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::secrets::token::{self, Claims, NAME_CHARS_MAX, TOKEN_BYTES_MAX};

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const NOW_SECS: u64 = 1_800_000_000;
const ISSUER: NodeId = NodeId(Uuid::from_u128(1));
const AUDIENCE: NodeId = NodeId(Uuid::from_u128(2));
const ROOM: RoomId = RoomId(Uuid::from_u128(3));

fn key() -> SigningKey {
    SigningKey::from_text(&"s".repeat(32)).unwrap()
}

fn join(name: &str) -> Grant {
    Grant::Join {
        tenant: TenantId(Uuid::from_u128(4)),
        room: ROOM,
        user: UserId(Uuid::from_u128(5)),
        name: name.to_owned(),
        role: Kind::Guest,
        is_expired: false,
    }
}

fn grants() -> [Grant; 4] {
    let (room, node) = (ROOM, Grant::Mirror);
    [join("Ada"), Grant::Ask { room }, Grant::Take { room }, node]
}

fn minted(grant: Grant) -> String {
    mint(grant, ISSUER, AUDIENCE, &key(), NOW)
}

fn check(text: &str) -> Result<NodeClaims, NodeTokenError> {
    verify(text, AUDIENCE, &key(), NOW)
}

/// A token with any header and claims, signed by the derived key.
fn signed(header: &Header, claims: &Value) -> String {
    let key = EncodingKey::from_secret(&key().derive(Purpose::NodeToken));
    encode(header, claims, &key).unwrap()
}

fn plain_claims() -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "exp": NOW_SECS + NODE_TOKEN_LIFETIME_SECS,
        "grant": join("Ada"),
    })
}

/// A token with the usual claims changed by `change`.
fn changed(change: impl FnOnce(&mut Value)) -> String {
    let mut claims = plain_claims();
    change(&mut claims);
    signed(&Header::new(Algorithm::HS256), &claims)
}

#[test]
fn every_grant_comes_through_as_it_was_given() {
    for grant in grants() {
        let wanted = NodeClaims {
            issuer: ISSUER,
            grant: grant.clone(),
        };
        assert_eq!(check(&minted(grant)), Ok(wanted));
    }
}

#[test]
fn claims_are_spelled_as_other_releases_read_them() {
    let text = minted(join("Ada"));
    let payload = text.split('.').nth(1).unwrap();
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
    assert_eq!(
        claims,
        json!({
            "iss": "00000000-0000-0000-0000-000000000001",
            "aud": "00000000-0000-0000-0000-000000000002",
            "exp": NOW_SECS + 30,
            "grant": {
                "kind": "join",
                "tenant": "00000000-0000-0000-0000-000000000004",
                "room": "00000000-0000-0000-0000-000000000003",
                "user": "00000000-0000-0000-0000-000000000005",
                "name": "Ada",
                "role": "guest",
                "isExpired": false,
            },
        })
    );
}

#[test]
fn token_of_a_clock_that_differs_is_taken_within_the_leeway() {
    let token = minted(Grant::Mirror);
    let at = |secs: i64| Timestamp(NOW.0 + secs * 1000);
    let span = (NODE_TOKEN_LIFETIME_SECS + NODE_CLOCK_SKEW_SECS_MAX).cast_signed();
    let skew = NODE_CLOCK_SKEW_SECS_MAX.cast_signed();
    for (now, wanted) in [
        // Our clock is behind the issuer's.
        (at(-skew), None),
        (at(-skew - 1), Some(NodeTokenError::Invalid)),
        (NOW, None),
        (Timestamp(at(span).0 - 1), None),
        (at(span), Some(NodeTokenError::Expired)),
        (at(86_400), Some(NodeTokenError::Expired)),
        (Timestamp(0), Some(NodeTokenError::Invalid)),
    ] {
        assert_eq!(
            verify(&token, AUDIENCE, &key(), now).err(),
            wanted,
            "{now:?}"
        );
    }
}

#[test]
fn token_for_another_node_is_refused_as_that() {
    let token = minted(Grant::Ask { room: ROOM });
    for other in [ISSUER, NodeId(Uuid::from_u128(9))] {
        assert_eq!(
            verify(&token, other, &key(), NOW),
            Err(NodeTokenError::OtherAudience)
        );
    }
}

#[test]
fn token_of_another_key_is_refused() {
    let other = SigningKey::from_text(&"o".repeat(32)).unwrap();
    let token = mint(Grant::Mirror, ISSUER, AUDIENCE, &other, NOW);
    assert_eq!(check(&token), Err(NodeTokenError::Invalid));
}

#[test]
fn join_tokens_and_node_tokens_are_not_taken_for_each_other() {
    let claims = Claims {
        sub: UserId(Uuid::from_u128(5)),
        room: ROOM,
        tenant: TenantId(Uuid::from_u128(4)),
        role: Kind::Host,
        name: "Ada".to_owned(),
        exp: NOW_SECS + 20,
        jti: String::new(),
    };
    let join_token = token::mint(&claims, &key());
    assert_eq!(check(&join_token), Err(NodeTokenError::Invalid));
    for grant in grants() {
        assert_eq!(
            token::Unverified::new(&minted(grant))
                .and_then(|token| token.verify_with_server_key(&key(), NOW)),
            Err(token::TokenError::Invalid)
        );
    }
    // It is the key that keeps them apart, not only the claims.
    let mut both = plain_claims();
    let join_claims = serde_json::to_value(&claims).unwrap();
    both.as_object_mut()
        .unwrap()
        .extend(join_claims.as_object().unwrap().clone());
    let by_join_key = EncodingKey::from_secret(&key().derive(Purpose::JoinToken));
    let text = encode(&Header::new(Algorithm::HS256), &both, &by_join_key).unwrap();
    assert_eq!(check(&text), Err(NodeTokenError::Invalid));
}

#[test]
fn claims_that_are_not_allowed_are_refused() {
    type Change = Box<dyn FnOnce(&mut Value)>;
    let set = |path: &'static str, value: Value| -> Change {
        Box::new(move |claims| *claims.pointer_mut(path).unwrap() = value)
    };
    let longest = NOW_SECS + NODE_TOKEN_LIFETIME_SECS + NODE_CLOCK_SKEW_SECS_MAX;
    for change in [
        set("/exp", json!(longest)),
        set("/grant/name", json!("ä".repeat(NAME_CHARS_MAX))),
        set("/grant/role", json!("host")),
        // A newer release may say more.
        Box::new(|claims: &mut Value| claims["since"] = json!(1)),
    ] {
        let token = changed(change);
        assert!(check(&token).is_ok(), "{token}");
    }
    let mut refused = vec![
        set("/exp", json!(longest + 1)),
        set("/exp", json!(u64::MAX)),
        set("/exp", json!(-1)),
        set("/exp", json!("1800000010")),
        set("/aud", json!([AUDIENCE, ISSUER])),
        set("/aud", json!("everybody")),
        set("/iss", json!("callboard")),
        set("/grant", json!({"kind": "everything"})),
        set("/grant", json!({"kind": "ask"})),
        set("/grant", json!("node")),
        set("/grant/role", json!("attendee")),
        set("/grant/name", json!("")),
        set("/grant/name", json!("a\0b")),
        set("/grant/name", json!("x".repeat(NAME_CHARS_MAX + 1))),
        set("/grant/room", json!(null)),
    ];
    for claim in ["iss", "aud", "exp", "grant"] {
        refused.push(Box::new(move |claims| {
            drop(claims.as_object_mut().unwrap().remove(claim));
        }));
    }
    for field in [
        "kind",
        "tenant",
        "room",
        "user",
        "name",
        "role",
        "isExpired",
    ] {
        refused.push(Box::new(move |claims| {
            drop(claims["grant"].as_object_mut().unwrap().remove(field));
        }));
    }
    for change in refused {
        let token = changed(change);
        assert_eq!(check(&token), Err(NodeTokenError::Invalid), "{token}");
    }
}

#[test]
fn other_algorithms_key_ids_and_critical_extensions_are_refused() {
    for algorithm in [Algorithm::HS384, Algorithm::HS512] {
        let token = signed(&Header::new(algorithm), &plain_claims());
        assert_eq!(check(&token), Err(NodeTokenError::Invalid));
    }
    let mut named = Header::new(Algorithm::HS256);
    named.kid = Some(Uuid::from_u128(7).to_string());
    let mut critical = Header::new(Algorithm::HS256);
    critical.crit = Some(vec!["b64".to_owned()]);
    for header in [named, critical] {
        let token = signed(&header, &plain_claims());
        assert_eq!(check(&token), Err(NodeTokenError::Invalid));
    }
    let valid = minted(Grant::Mirror);
    let (_, rest) = valid.split_once('.').unwrap();
    let (payload, signature) = rest.split_once('.').unwrap();
    for header in [r#"{"alg":"none"}"#, r#"{"alg":"RS256"}"#, r#"{}"#, "[]"] {
        let header = URL_SAFE_NO_PAD.encode(header);
        for signature in ["", signature] {
            let token = format!("{header}.{payload}.{signature}");
            assert_eq!(check(&token), Err(NodeTokenError::Invalid), "{token}");
        }
    }
}

#[test]
fn text_longer_than_the_limit_is_refused_though_signed() {
    for padding in [NODE_TOKEN_BYTES_MAX, TOKEN_BYTES_MAX] {
        let token = changed(|claims| claims["padding"] = json!("x".repeat(padding)));
        assert_eq!(check(&token), Err(NodeTokenError::Invalid));
    }
    // What takes most room in UTF-8 and in JSON fits.
    for name in ["\u{10FFFF}", "\\"] {
        let token = minted(join(&name.repeat(NAME_CHARS_MAX)));
        assert!(check(&token).is_ok(), "{} bytes", token.len());
    }
}

proptest! {
    #[test]
    fn arbitrary_text_is_refused_without_panic(text in "\\PC{0,300}") {
        prop_assert!(check(&text).is_err());
    }

    #[test]
    fn arbitrary_claims_are_judged_without_panic(exp in any::<u64>(), now in any::<i64>()) {
        let token = changed(|claims| claims["exp"] = json!(exp));
        let _ = verify(&token, AUDIENCE, &key(), Timestamp(now));
    }

    #[test]
    fn changed_byte_is_refused(at in any::<prop::sample::Index>(), byte in b'!'..b'~') {
        let token = minted(join("Ada"));
        let mut bytes = token.clone().into_bytes();
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != byte);
        bytes[at] = byte;
        prop_assert!(check(&String::from_utf8(bytes).unwrap()).is_err());
    }
}
