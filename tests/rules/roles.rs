//! Who may do what: hosts, attendees, the owner; muting and recording.

use serde_json::{Value, json};

use crate::common::{
    scenario::TestRoom,
    server::{Backend, Server},
};

/// A user who is in no room.
const NOBODY: &str = "00000000-0000-4000-8000-000000000000";

crate::on_both_backends!(
    attendees_may_not_run_the_meeting,
    targets_must_be_inside,
    a_set_role_is_announced_and_kept,
    the_owner_is_always_host,
    the_meeting_goes_on_without_hosts,
    only_the_person_themself_unmutes,
    recording_needs_the_setting,
);

async fn attendees_may_not_run_the_meeting(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::with(&server, json!({"isRecordingEnabled": true})).await;
    let (alice, mut bob) = room.alice_and_bob().await;
    let user_id = alice.user_id();
    for command in [
        json!({"type": "MuteParticipant", "userId": user_id}),
        json!({"type": "RemoveParticipant", "userId": user_id}),
        json!({"type": "AdmitParticipant", "userId": NOBODY}),
        json!({"type": "DenyParticipant", "userId": NOBODY}),
        json!({"type": "SetRole", "userId": bob.user_id(), "role": "host"}),
        json!({"type": "LockRoom", "isLocked": true}),
        json!({"type": "StartRecording"}),
        json!({"type": "StopRecording"}),
        json!({"type": "EndRoom"}),
    ] {
        bob.refused(command, "forbidden").await;
    }
    bob.command(json!({"type": "UpdateState", "isHandRaised": true}))
        .await;
    alice.until_seq(3).await;
    assert_eq!(alice.seq(), 3, "two joins and the hand");
}

async fn targets_must_be_inside(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let mut alice = room.alice().await;
    for command in [
        json!({"type": "MuteParticipant", "userId": NOBODY}),
        json!({"type": "RemoveParticipant", "userId": NOBODY}),
        json!({"type": "AdmitParticipant", "userId": NOBODY}),
        json!({"type": "DenyParticipant", "userId": NOBODY}),
        json!({"type": "SetRole", "userId": NOBODY, "role": "host"}),
        json!({"type": "SendOffer", "targetUserId": NOBODY, "sdp": "x"}),
        json!({"type": "SendAnswer", "targetUserId": NOBODY, "sdp": "x"}),
        json!({"type": "SendIceCandidate", "targetUserId": NOBODY, "candidate": null}),
        json!({"type": "SendMessage", "targetUserId": NOBODY, "text": "x"}),
    ] {
        alice.refused(command, "target_not_found").await;
    }
    assert_eq!(alice.seq(), 1, "nothing happened");
}

async fn a_set_role_is_announced_and_kept(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let (mut alice, mut bob) = room.alice_and_bob().await;
    let user_id = bob.user_id();
    alice
        .command(json!({"type": "SetRole", "userId": user_id, "role": "host"}))
        .await;
    let changed = bob.next_of("RoleChanged").await;
    assert_eq!(
        (&changed["userId"], &changed["role"]),
        (&json!(user_id), &json!("host"))
    );
    assert_eq!(changed["byUserId"], alice.user_id());
    bob.command(json!({"type": "LockRoom", "isLocked": true}))
        .await;
    bob.command(json!({"type": "LockRoom", "isLocked": false}))
        .await;

    bob.command(json!({"type": "LeaveRoom"})).await;
    let joined = bob.join().await;
    assert_eq!(joined["self"]["role"], "host", "it wins over the token's");
    alice
        .command(json!({"type": "SetRole", "userId": user_id, "role": "attendee"}))
        .await;
    bob.refused(json!({"type": "LockRoom", "isLocked": true}), "forbidden")
        .await;
}

async fn the_owner_is_always_host(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let (mut alice, mut bob) = room.alice_and_bob().await;
    alice
        .command(json!({"type": "SetRole", "userId": bob.user_id(), "role": "host"}))
        .await;
    let demote = json!({"type": "SetRole", "userId": alice.user_id(), "role": "attendee"});
    bob.refused(demote.clone(), "forbidden").await;
    alice.refused(demote, "forbidden").await;
    let path = room.path(&format!("/participants/{}", alice.user_id()));
    let refused = room.api.patch(&path, json!({"role": "attendee"})).await;
    refused.expect_problem(403, "forbidden");
    assert_eq!(alice.sees(&alice.user_id())["role"], "host");
}

async fn the_meeting_goes_on_without_hosts(backend: Backend) {
    let plan = Server::on(backend).set("ROOM__DEPARTURE_TIMEOUT_MS", 0);
    let server = plan.start().await;
    let room = TestRoom::new(&server).await;
    let (mut alice, mut bob) = room.alice_and_bob().await;
    alice.command(json!({"type": "LeaveRoom"})).await;
    alice.expect_goodbye("left", 1000, "stop").await;
    let left = bob.next_of("ParticipantLeft").await;
    assert_eq!(left["reason"], "left");
    let session = bob.look().session_id.clone();
    bob.command(json!({"type": "SendMessage", "text": "still here"}))
        .await;
    let joined = alice.join().await;
    assert_eq!(joined["sessionId"], session);
}

async fn only_the_person_themself_unmutes(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let (mut alice, mut bob) = room.alice_and_bob().await;
    let user_id = bob.user_id();
    if bob.sees(&user_id)["isMuted"] == true {
        bob.command(json!({"type": "UpdateState", "isMuted": false}))
            .await;
        alice.until_seq(bob.seq()).await;
    }
    let before = bob.seq();
    alice
        .command(json!({"type": "MuteParticipant", "userId": user_id}))
        .await;
    let muted = bob
        .next("the muting", |frame| {
            frame["isMuted"] == true && frame["seq"].is_u64()
        })
        .await;
    assert_eq!(
        (&muted["userId"], &muted["byUserId"]),
        (&json!(user_id), &json!(alice.user_id()))
    );
    let again = alice
        .command(json!({"type": "MuteParticipant", "userId": user_id}))
        .await;
    assert_eq!(again["seq"], before + 1, "a no-op makes no event");

    let path = room.path(&format!("/participants/{user_id}"));
    room.api
        .patch(&path, json!({"isMuted": false}))
        .await
        .expect_any_problem(422);
    bob.command(json!({"type": "UpdateState", "isMuted": false}))
        .await;
    let unmuted = alice
        .next("the unmuting", |frame| {
            frame["isMuted"] == false
                && frame["seq"].is_u64()
                && frame["seq"].as_u64() > Some(before)
        })
        .await;
    assert_eq!(unmuted["userId"], user_id);
    room.api
        .patch(&path, json!({"isMuted": true}))
        .await
        .expect(200);
    let by_admin = bob.next("the admin's muting", |frame| {
        frame["isMuted"] == true && frame["seq"].as_u64() > unmuted["seq"].as_u64()
    });
    assert!(by_admin.await["byUserId"].is_null());
}

async fn recording_needs_the_setting(backend: Backend) {
    let server = Server::on(backend).start().await;
    let room = TestRoom::new(&server).await;
    let (mut alice, mut bob) = room.alice_and_bob().await;
    alice
        .refused(json!({"type": "StartRecording"}), "forbidden")
        .await;
    let body = json!({"settings": {"isRecordingEnabled": true}});
    let patched = room.api.patch(&room.path(""), body).await.expect(200);
    assert_eq!(patched["settings"]["isRecordingEnabled"], true);
    for (command, is_recording) in [("StartRecording", true), ("StopRecording", false)] {
        alice.command(json!({ "type": command })).await;
        let changed: Value = bob.next_of("RecordingChanged").await;
        assert_eq!(changed["isRecording"], is_recording);
        assert_eq!(changed["byUserId"], alice.user_id());
        assert_eq!(room.show().await["live"]["isRecording"], is_recording);
    }
}
