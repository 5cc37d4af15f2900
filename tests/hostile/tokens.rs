//! Join tokens signed by a tenant's own key, good ones and bad ones.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::common::{
    client::TestClient,
    scenario::{TestRoom, create_key, create_tenant, create_user, eventually},
    server::{Backend, Server},
    view::text,
};

crate::on_both_backends!(
    a_tenant_signs_its_own_tokens,
    tokens_that_claim_too_much_are_unauthorized,
);

/// A tenant with its key and a room.
struct Customer {
    /// Which tenant.
    tenant: String,
    /// `cb_<id>_<secret>`.
    key: String,
    /// Its room.
    room_id: String,
    /// The signal URL of the room.
    signal_url: String,
}

impl Customer {
    async fn new(server: &Server) -> Self {
        let tenant = create_tenant(server, "Customer");
        let key = create_key(server, &tenant, "backend");
        let api = server.api.with_key(Some(&key));
        let host = create_user(&api, "Alice").await;
        let room = api
            .post("/v1/rooms", json!({"hostUserId": host}))
            .await
            .expect(201);
        let room_id = text(&room, "roomId").to_owned();
        Self {
            tenant,
            key,
            signal_url: server.signal_url(&room_id),
            room_id,
        }
    }

    fn claims(&self) -> Value {
        json!({
            "sub": Uuid::new_v4(), "room": self.room_id, "tenant": self.tenant, "role": "guest",
            "name": "Gina", "exp": seconds_from_now(3600), "jti": Uuid::new_v4(),
        })
    }

    fn key_id(&self) -> &str {
        self.key.split('_').nth(1).expect("cb_<id>_<secret>")
    }

    fn sign(&self, algorithm: Algorithm, claims: &Value) -> String {
        let secret = self.key.splitn(3, '_').nth(2).expect("cb_<id>_<secret>");
        let mut header = Header::new(algorithm);
        header.kid = Some(self.key_id().to_owned());
        encode(
            &header,
            claims,
            &EncodingKey::from_secret(secret.as_bytes()),
        )
        .expect("signed")
    }

    fn client(&self, token: &str) -> TestClient {
        TestClient::new("Gina", &self.signal_url, &self.room_id, token)
    }
}

fn seconds_from_now(seconds: u64) -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    now.as_secs() + seconds
}

async fn a_tenant_signs_its_own_tokens(backend: Backend) {
    let server = Server::on(backend).start().await;
    let customer = Customer::new(&server).await;
    let claims = customer.claims();
    let token = customer.sign(Algorithm::HS256, &claims);
    let mut gina = customer.client(&token);
    gina.join().await;
    let seen = gina.sees(text(&claims, "sub"));
    assert_eq!(
        (&seen["displayName"], &seen["role"]),
        (&json!("Gina"), &json!("attendee"))
    );

    let revoked = server.command(&["keys", "revoke", customer.key_id()]);
    assert!(revoked.status.success(), "{revoked:?}");
    eventually("tokens of a revoked key are refused", async || {
        let mut late = customer.client(&customer.sign(Algorithm::HS256, &customer.claims()));
        (late.try_join().await["code"] == "unauthorized").then_some(())
    })
    .await;
    gina.command(json!({"type": "SendMessage", "text": "still in"}))
        .await;
}

async fn tokens_that_claim_too_much_are_unauthorized(backend: Backend) {
    let server = Server::on(backend).start().await;
    let customer = Customer::new(&server).await;
    let foreign = TestRoom::new(&server).await;
    let mut bad = vec![
        customer.sign(Algorithm::HS512, &customer.claims()),
        customer.sign(Algorithm::HS384, &customer.claims()),
        unsigned(&customer.claims()),
    ];
    for (field, value) in [
        ("exp", json!(seconds_from_now(0) - 60)),
        ("exp", json!(seconds_from_now(25 * 3600))),
        ("exp", json!("tomorrow")),
        ("exp", Value::Null),
        ("room", json!(foreign.room_id)),
        ("tenant", json!(Uuid::new_v4())),
        ("role", json!("attendee")),
        ("sub", json!("me")),
        ("name", json!("x".repeat(129))),
        ("name", json!("")),
        ("name", json!("nul \0 in it")),
        ("name", json!("line\nbreak")),
    ] {
        let mut claims = customer.claims();
        claims[field] = value;
        bad.push(customer.sign(Algorithm::HS256, &claims));
    }
    for token in &bad {
        let mut client = customer.client(token);
        client
            .join_expect_error("unauthorized", 4003, "rejoin")
            .await;
    }
    // A right token of one tenant opens no room of another.
    let mut claims = customer.claims();
    claims["room"] = json!(foreign.room_id);
    let token = customer.sign(Algorithm::HS256, &claims);
    let mut astray = foreign.client(&foreign.host);
    astray.token = token;
    astray
        .join_expect_error("unauthorized", 4003, "rejoin")
        .await;
    let good = customer.sign(Algorithm::HS256, &customer.claims());
    customer.client(&good).join().await;
}

/// `alg: none`, the oldest trick (RFC 8725 section 2.1).
fn unsigned(claims: &Value) -> String {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let head = URL_SAFE_NO_PAD.encode("{\"alg\":\"none\",\"typ\":\"JWT\"}");
    format!("{head}.{}.", URL_SAFE_NO_PAD.encode(claims.to_string()))
}
