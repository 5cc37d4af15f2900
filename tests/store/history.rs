//! Recorded sessions are read as history.

use callboard::store::{DEFAULT_TENANT, Page, Session, Update};

use crate::{World, at, closed, on_both, opening, session_id};

on_both!(
    sessions_of_a_deleted_room_stay_readable,
    sessions_are_paged_newest_first,
    recording_url_is_set_from_what_was_expected,
);

async fn sessions_of_a_deleted_room_stay_readable(world: World) {
    let room = world.room().await.id;
    let session = closed(room, session_id());
    let store = &world.store;
    store
        .record_openings(&[opening(session.session_id, room, session.start_time)])
        .await
        .unwrap();
    assert!(
        store
            .delete_room(DEFAULT_TENANT, room, at(1))
            .await
            .unwrap()
    );
    store
        .record_sessions(std::slice::from_ref(&session))
        .await
        .unwrap();
    let page = store
        .sessions(DEFAULT_TENANT, room, Page::first(5))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(page.items.len(), 1);
    let (_, attendances) = store
        .session(DEFAULT_TENANT, session.session_id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(attendances.len(), 1);
    assert_eq!(
        store.recordings(DEFAULT_TENANT, room).await.unwrap(),
        Some(vec![])
    );
}

async fn sessions_are_paged_newest_first(world: World) {
    let room = world.room().await.id;
    let store = &world.store;
    let mut wanted = Vec::new();
    for start in [10, 20, 20, 20, 30] {
        let mut session = closed(room, session_id());
        session.start_time = at(start);
        wanted.push((session.start_time, session.session_id));
        store.record_sessions(&[session]).await.unwrap();
    }
    wanted.sort();
    wanted.reverse();
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = Page { after, limit: 2 };
        let page = store
            .sessions(DEFAULT_TENANT, room, page)
            .await
            .unwrap()
            .unwrap();
        seen.extend(
            page.items
                .iter()
                .map(|session| (session.start_time, session.id)),
        );
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, wanted);
}

async fn recording_url_is_set_from_what_was_expected(world: World) {
    let room = world.room().await.id;
    let session = closed(room, session_id());
    let store = &world.store;
    store
        .record_openings(&[opening(session.session_id, room, session.start_time)])
        .await
        .unwrap();
    let open = world.session(session.session_id).await;
    // What moves by itself is no change; the end of the session is one.
    store
        .touch_sessions(&[session.session_id], at(61_000))
        .await
        .unwrap();
    let set = |url: Option<&str>, expected| {
        store.set_recording_url(
            DEFAULT_TENANT,
            session.session_id,
            url.map(str::to_owned),
            expected,
        )
    };
    let url = Some("https://media.example/1");
    assert!(matches!(
        set(url, Some(&open)).await.unwrap(),
        Update::Done(_)
    ));
    assert_eq!(set(None, Some(&open)).await.unwrap(), Update::Stale);
    store
        .record_sessions(std::slice::from_ref(&session))
        .await
        .unwrap();
    let row = world.session(session.session_id).await;
    assert_eq!(
        row.recording_url.as_deref(),
        url,
        "closing keeps the recording"
    );
    assert_eq!(
        store.recordings(DEFAULT_TENANT, room).await.unwrap(),
        Some(vec![row.clone()])
    );
    let bare = Session {
        recording_url: None,
        ..row.clone()
    };
    assert_eq!(set(None, Some(&row)).await.unwrap(), Update::Done(bare));
    assert_eq!(
        store.recordings(DEFAULT_TENANT, room).await.unwrap(),
        Some(vec![])
    );
}
