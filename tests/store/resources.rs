//! Tenants, users and API keys.

use callboard::{
    ids::{ApiKeyId, Timestamp, UserId},
    protocol::{Role, Settings},
    store::{
        ApiKey, Created, DEFAULT_TENANT, DeleteUser, Page, Scope, Update, UpdateUser, User,
        UserPatch,
    },
};
use uuid::Uuid;

use crate::{World, at, closed, on_both, session_id, user};

on_both!(
    default_tenant_exists_and_others_are_listed_after_it,
    user_is_created_once_and_conflicts_are_told_apart,
    email_is_unique_per_tenant_whatever_its_case,
    user_changes_only_from_what_was_expected,
    user_with_rooms_stays_and_without_is_erased,
    users_are_paged_without_gap_or_repeat_when_times_are_equal,
    what_belongs_to_another_tenant_is_missing,
    api_keys_are_kept_and_revoked_once,
);

async fn default_tenant_exists_and_others_are_listed_after_it(world: World) {
    let first = world.store.tenant(DEFAULT_TENANT).await.unwrap().unwrap();
    assert_eq!(first.name, "default");
    let other = world.tenant().await;
    let page = world.store.list_tenants(Page::first(1)).await.unwrap();
    assert_eq!(page.items.len(), 1);
    let rest = Page {
        after: page.next,
        limit: 10,
    };
    let rest = world.store.list_tenants(rest).await.unwrap();
    let mut ids = vec![page.items[0].id, rest.items[0].id];
    ids.sort();
    assert_eq!(ids, [DEFAULT_TENANT, other]);
    assert_eq!(rest.next, None);
}

async fn user_is_created_once_and_conflicts_are_told_apart(world: World) {
    let ada = world.user().await;
    assert_eq!(
        world.store.create_user(ada.clone()).await.unwrap(),
        Created::Same(ada.clone())
    );
    let later = User {
        created_at: at(999),
        ..ada.clone()
    };
    assert_eq!(
        world.store.create_user(later).await.unwrap(),
        Created::Same(ada.clone())
    );
    let renamed = User {
        display_name: "Eve".to_owned(),
        ..ada.clone()
    };
    assert_eq!(
        world.store.create_user(renamed).await.unwrap(),
        Created::Conflict
    );
    let elsewhere = User {
        tenant_id: world.tenant().await,
        ..ada.clone()
    };
    assert_eq!(
        world.store.create_user(elsewhere).await.unwrap(),
        Created::Conflict
    );
    assert_eq!(
        world.store.user(DEFAULT_TENANT, ada.id).await.unwrap(),
        Some(ada)
    );
}

async fn email_is_unique_per_tenant_whatever_its_case(world: World) {
    let ada = user("Ada@Example.org");
    let Created::New(ada) = world.store.create_user(ada).await.unwrap() else {
        panic!("the address is free");
    };
    assert_eq!(ada.email, "ada@example.org");
    let twin = user("ADA@example.ORG");
    assert_eq!(
        world.store.create_user(twin.clone()).await.unwrap(),
        Created::EmailTaken
    );
    let elsewhere = User {
        tenant_id: world.tenant().await,
        ..twin
    };
    assert!(matches!(
        world.store.create_user(elsewhere).await.unwrap(),
        Created::New(_)
    ));
    let bob = world.user().await;
    let patch = UserPatch {
        email: Some("aDa@example.org".to_owned()),
        display_name: None,
    };
    assert_eq!(
        world
            .store
            .update_user(DEFAULT_TENANT, bob.id, patch, None)
            .await
            .unwrap(),
        UpdateUser::EmailTaken
    );
}

async fn user_changes_only_from_what_was_expected(world: World) {
    let ada = world.user().await;
    let rename = |name: &str| UserPatch {
        email: None,
        display_name: Some(name.to_owned()),
    };
    let change = |patch, expected| {
        let store = &world.store;
        async move {
            store
                .update_user(DEFAULT_TENANT, ada.id, patch, expected)
                .await
                .unwrap()
        }
    };
    let lady = User {
        display_name: "Lady Ada".to_owned(),
        ..ada.clone()
    };
    assert_eq!(
        change(rename("Lady Ada"), Some(&ada)).await,
        UpdateUser::Done(lady.clone())
    );
    assert_eq!(change(rename("Eve"), Some(&ada)).await, UpdateUser::Stale);
    assert_eq!(
        change(UserPatch::default(), None).await,
        UpdateUser::Done(lady)
    );
    let nobody = UserId(Uuid::new_v4());
    assert_eq!(
        world
            .store
            .update_user(DEFAULT_TENANT, nobody, rename("Eve"), None)
            .await
            .unwrap(),
        UpdateUser::Missing
    );
}

async fn user_with_rooms_stays_and_without_is_erased(world: World) {
    let room = world.room().await;
    let host = room.host_user_id;
    let store = &world.store;
    let mut session = closed(room.id, session_id());
    session.attendances[0].user_id = host;
    session.attendances[0].role = Role::Host;
    store
        .record_sessions(std::slice::from_ref(&session))
        .await
        .unwrap();

    let delete = |expected| async move {
        store
            .delete_user(DEFAULT_TENANT, host, expected)
            .await
            .unwrap()
    };
    assert_eq!(delete(None).await, DeleteUser::OwnsRooms);
    assert!(
        store
            .delete_room(DEFAULT_TENANT, room.id, at(500))
            .await
            .unwrap()
    );
    let other = user("other@example.org");
    assert_eq!(delete(Some(&other)).await, DeleteUser::Stale);
    assert_eq!(delete(None).await, DeleteUser::Deleted);
    assert_eq!(delete(None).await, DeleteUser::Missing);

    let (_, attendances) = store
        .session(DEFAULT_TENANT, session.session_id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(attendances[0].display_name, "");
    assert_eq!(attendances[0].user_id, host);
    assert_eq!(store.user(DEFAULT_TENANT, host).await.unwrap(), None);
}

async fn users_are_paged_without_gap_or_repeat_when_times_are_equal(world: World) {
    let mut created = Vec::new();
    for _ in 0..7 {
        created.push(world.user().await.id);
    }
    created.sort(); // all at the same time: then by id
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = Page { after, limit: 3 };
        let page = world.store.users(DEFAULT_TENANT, page).await.unwrap();
        seen.extend(page.items.iter().map(|user| user.id));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, created);
}

async fn what_belongs_to_another_tenant_is_missing(world: World) {
    let room = world.room().await;
    let session = closed(room.id, session_id());
    let store = &world.store;
    store
        .record_sessions(std::slice::from_ref(&session))
        .await
        .unwrap();
    let other = world.tenant().await;
    assert_eq!(store.user(other, room.host_user_id).await.unwrap(), None);
    assert_eq!(store.room(other, room.id).await.unwrap(), None);
    assert_eq!(
        store
            .sessions(other, room.id, Page::first(1))
            .await
            .unwrap(),
        None
    );
    assert_eq!(
        store.session(other, session.session_id).await.unwrap(),
        None
    );
    assert_eq!(store.recordings(other, room.id).await.unwrap(), None);
    let url = store
        .set_recording_url(other, session.session_id, None, None)
        .await
        .unwrap();
    assert_eq!(url, Update::Missing);
    assert!(!store.delete_room(other, room.id, at(1)).await.unwrap());
    assert_eq!(
        store
            .delete_user(other, room.host_user_id, None)
            .await
            .unwrap(),
        DeleteUser::Missing
    );
    let settings = store.update_room_settings(other, room.id, Settings::default(), None);
    assert_eq!(settings.await.unwrap(), Update::Missing);
}

async fn api_keys_are_kept_and_revoked_once(world: World) {
    let key = ApiKey {
        id: ApiKeyId(Uuid::new_v4()),
        tenant_id: DEFAULT_TENANT,
        name: "first".to_owned(),
        scope: Scope::Operator,
        secret_hash: [7; 32],
        sealed_secret: vec![0, 255, 1],
        created_at: at(1),
        revoked_at: None,
    };
    let store = &world.store;
    assert_eq!(
        store.create_api_key(key.clone()).await.unwrap(),
        Created::New(key.clone())
    );
    assert_eq!(
        store.create_api_key(key.clone()).await.unwrap(),
        Created::Same(key.clone())
    );
    assert_eq!(store.api_key(key.id).await.unwrap(), Some(key.clone()));
    assert!(store.revoke_api_key(key.id, at(2)).await.unwrap());
    assert!(!store.revoke_api_key(key.id, at(3)).await.unwrap());
    let revoked = ApiKey {
        revoked_at: Some(at(2)),
        ..key.clone()
    };
    let page = Page {
        after: Some((Timestamp(0), Uuid::nil())),
        limit: 5,
    };
    for tenant in [None, Some(DEFAULT_TENANT)] {
        let listed = store.api_keys(tenant, page).await.unwrap();
        assert_eq!(listed.items, vec![revoked.clone()]);
    }
    let other = world.tenant().await;
    assert_eq!(store.api_keys(Some(other), page).await.unwrap().items, []);
}
