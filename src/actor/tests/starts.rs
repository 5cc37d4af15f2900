//! One start per room, for any number of callers.

use futures_util::future::join_all;
use uuid::Uuid;

use super::stage::Stage;
use crate::{
    actor::{supervisor::FindRoom, waiter::Right},
    claims::StartError,
    ids::{TenantId, UserId},
    mirror::RoomMirror,
    protocol::Kind,
    store::DEFAULT_TENANT,
};

#[actix_web::test]
async fn room_is_started_once_however_many_ask_at_once() {
    let stage = Stage::new().await;
    let mut guests: Vec<_> = (0..40)
        .map(|number| stage.guest(&format!("Guest{number}")))
        .collect();
    join_all(guests.iter_mut().map(|guest| guest.join())).await;
    assert_eq!(stage.mirror.calls().claims, 1);
    let sessions: Vec<String> = guests
        .iter()
        .map(|guest| guest.look().session_id.clone())
        .collect();
    assert!(sessions.iter().all(|session| *session == sessions[0]));
}

#[actix_web::test]
async fn foreign_tenant_that_asks_first_gets_nothing_and_spoils_nothing() {
    let stage = Stage::new().await;
    let foreign = TenantId(Uuid::new_v4());
    let mut mallory = stage.person("Mallory", UserId(Uuid::new_v4()), foreign, Kind::Host);
    mallory
        .join_expect_error("unauthorized", 4003, "rejoin")
        .await;
    assert_eq!(stage.mirror.calls().claims, 0, "not even a start");

    // Both wait for the same start.
    stage.mirror.pause();
    let ask = |right| {
        stage.rooms.supervisor.send(FindRoom {
            room_id: stage.room_id,
            right,
        })
    };
    let asks = join_all([foreign, DEFAULT_TENANT].map(|tenant| ask(Right::Join(tenant))));
    let resume = async {
        tokio::task::yield_now().await;
        stage.mirror.resume();
    };
    let (answers, ()) = tokio::join!(asks, resume);
    let kinds: Vec<_> = answers
        .into_iter()
        .map(|answer| answer.unwrap().map(|_| ()))
        .collect();
    assert_eq!(kinds, [Err(StartError::ForeignTenant), Ok(())]);

    // Inside a live room there is no more to be had for the foreign one.
    mallory
        .join_expect_error("unauthorized", 4003, "rejoin")
        .await;
}

#[actix_web::test]
async fn joiner_who_waits_behind_a_takeover_of_nothing_gets_in() {
    let stage = Stage::new().await;
    stage.mirror.pause();
    let ask = |right| {
        stage.rooms.supervisor.send(FindRoom {
            room_id: stage.room_id,
            right,
        })
    };
    let asks = join_all([Right::Takeover, Right::Join(DEFAULT_TENANT)].map(ask));
    let resume = async {
        tokio::task::yield_now().await;
        stage.mirror.resume();
    };
    let (answers, ()) = tokio::join!(asks, resume);
    let kinds: Vec<_> = answers
        .into_iter()
        .map(|answer| answer.unwrap().map(|_| ()))
        .collect();
    assert_eq!(kinds, [Err(StartError::RoomNotFound), Ok(())]);
}

#[actix_web::test]
async fn room_of_a_former_process_goes_on_and_its_session_is_opened_in_sql_again() {
    let stage = Stage::new().await;
    let (mut alice, bob) = stage.alice_and_bob().await;
    let session_id = alice.look().session_id.clone();
    stage.claim_elsewhere().await;
    alice
        .send_text(r#"{"type":"UpdateState","id":99,"isMuted":true}"#)
        .await;
    alice.expect_goodbye("moved", 4009, "reconnect").await;
    bob.expect_goodbye("moved", 4009, "reconnect").await;
    let resumed = alice.resume().await;
    assert_eq!(resumed["sessionId"], session_id.as_str());
    let id = session_id.parse().unwrap();
    stage
        .until("the session in SQL", async || {
            stage
                .node
                .store
                .session(DEFAULT_TENANT, id)
                .await
                .unwrap()
                .is_some()
        })
        .await;
    let owner = stage
        .mirror
        .ownership(stage.room_id)
        .await
        .unwrap()
        .unwrap()
        .owner;
    assert_eq!(owner, Some(stage.node.node_id));
}
