//! The list of nodes, and taking one of them out of service.

use std::collections::BTreeSet;

use serde_json::json;

use crate::common::{
    pair::{Pair, node_id},
    scenario::{create_key, create_tenant, eventually, within_deadline},
    server::{Backend, Server},
    view::{list, text},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_see_all_nodes_from_each_of_them() {
    within_deadline(async {
        let pair = Pair::start().await;
        let (home, entry) = (node_id(&pair.home).await, node_id(&pair.entry).await);
        let expected = BTreeSet::from([home.to_string(), entry.to_string()]);
        let _alice = pair.room_with_alice().await;
        for server in [&pair.home, &pair.entry] {
            let items = eventually("both are ready and the room is counted", async || {
                let listed = server.api.get("/v1/nodes").await.expect(200);
                let items = list(&listed, "items");
                let rooms: u64 = items.iter().filter_map(|node| node["rooms"].as_u64()).sum();
                let ready = items.iter().filter(|node| node["state"] == "ready").count();
                (rooms == 1 && ready == 2).then_some(items)
            })
            .await;
            let ids: BTreeSet<String> = items
                .iter()
                .map(|node| text(node, "nodeId").to_owned())
                .collect();
            assert_eq!(ids, expected);
            let mine = items
                .iter()
                .find(|node| node["nodeId"] == json!(home))
                .expect("listed");
            assert_eq!(mine["url"], format!("http://127.0.0.1:{}/", pair.home.port));
            assert_eq!(mine["region"], "local");
            assert_eq!(mine["version"], env!("CARGO_PKG_VERSION"));
            assert!(mine["connections"].is_u64() && mine["lastSeenAt"].is_string());
        }
        let first = pair.home.api.get("/v1/nodes?limit=1").await.expect(200);
        let cursor = text(&first, "nextCursor");
        let rest = pair
            .home
            .api
            .get(&format!("/v1/nodes?limit=1&cursor={cursor}"))
            .await;
        let rest = rest.expect(200);
        assert!(rest["nextCursor"].is_null());
        assert!(text(&first["items"][0], "nodeId") < text(&rest["items"][0], "nodeId"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_drained_through_another() {
    within_deadline(async {
        let mut pair = Pair::start().await;
        let entry = node_id(&pair.entry).await;
        let path = format!("/v1/nodes/{entry}/drain");
        let tenant = create_tenant(&pair.home, "Tenant");
        let key = create_key(&pair.home, &tenant, "backend");
        let tenant = pair.home.api.with_key(Some(&key));
        tenant
            .post(&path, json!({}))
            .await
            .expect_problem(403, "forbidden");
        tenant
            .get("/v1/nodes")
            .await
            .expect_problem(403, "forbidden");
        let unknown = "/v1/nodes/00000000-0000-4000-8000-000000000000/drain";
        let nobody = pair.home.api.post(unknown, json!({})).await;
        nobody.expect_problem(404, "node_not_found");
        let begun = pair.home.api.post(&path, json!({})).await.expect(202);
        assert_eq!(begun, json!({"nodeId": entry, "state": "draining"}));
        let status = pair.entry.ended().await;
        assert!(status.success(), "{status}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lone_node_lists_and_drains_itself() {
    within_deadline(async {
        let mut server = Server::on(Backend::Embedded).start().await;
        let own = node_id(&server).await;
        let listed = eventually("it has written itself down", async || {
            let listed = server.api.get("/v1/nodes").await.expect(200);
            (list(&listed, "items").len() == 1).then_some(listed)
        })
        .await;
        assert_eq!(listed["items"][0]["nodeId"], json!(own));
        let path = format!("/v1/nodes/{own}/drain");
        server.api.post(&path, json!({})).await.expect(202);
        assert!(server.ended().await.success());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_leaves_sends_those_it_only_led_elsewhere_there() {
    within_deadline(async {
        let mut pair = Pair::start().await;
        let (room, mut alice) = pair.room_with_alice().await;
        let mut bob = pair.joined_at_entry(&room, "Bob").await;
        let session = bob.look().session_id.clone();
        assert!(pair.entry.terminate().await.success());
        let goodbye = bob.expect_goodbye("draining", 1001, "reconnect").await;
        assert_eq!(text(&goodbye, "url"), room.signal_url);
        bob.url = room.signal_url.clone();
        bob.resume().await;
        assert_eq!(bob.look().session_id, session);
        alice
            .command(json!({"type": "UpdateState", "isMuted": true}))
            .await;
        bob.until_seq(alice.seq()).await;
    })
    .await;
}
